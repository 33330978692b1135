//! What commands have in common: settings, a printer, the user's wish to stop, and a node that is
//! ended in good order however the command ends.

use std::time::Duration;

use hive_api::{ErrorKind, Hive, HiveError};

use crate::node::{self, Handle, Need};
use crate::printer::Printer;
use crate::settings::Settings;
use crate::stop::Stop;

/// How long a node that stops may still answer.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// How long to wait for another process to let go of the home.
const HANDOVER: Duration = Duration::from_secs(10);
/// How often to look whether it has.
const HANDOVER_STEP: Duration = Duration::from_millis(200);

/// A run of the program.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) settings: Settings,
    pub(crate) printer: Printer,
    pub(crate) stop: Stop,
}

impl Session {
    /// Does something with the home's node, or with one that lives as long as that takes.
    pub(crate) async fn with_node<T>(
        &self,
        need: Need,
        work: impl AsyncFnOnce(&dyn Hive) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let handle = self.stop.unless_wanted(Handle::open(&self.settings, need)).await??;
        self.run(handle, work).await
    }

    /// The same for what may be begun again and goes on where it was, as a fetch does: when the node
    /// that it went through ends, with the command that had started it or by a crash, this one goes
    /// on with its own.
    pub(crate) async fn with_lasting_node<T>(
        &self,
        need: Need,
        mut work: impl AsyncFnMut(&dyn Hive) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut handle = self.stop.unless_wanted(Handle::open(&self.settings, need)).await??;
        loop {
            let remote = handle.is_remote();
            if remote {
                self.printer.more("asking the node that runs on this home");
            }
            let result = self.run(handle, &mut work).await;
            let ended_under_us = result
                .as_ref()
                .err()
                .is_some_and(|error| remote && !self.stop.is_wanted() && may_be_its_end(error));
            if !ended_under_us || self.still_runs().await {
                return result.map_err(resumable);
            }
            self.printer.talk("that node ended; going on with one of our own");
            handle = self.stop.unless_wanted(self.open_after_another(need)).await??;
        }
    }

    async fn run<T>(
        &self,
        handle: Handle,
        work: impl AsyncFnOnce(&dyn Hive) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let hive = handle.hive();
        let result = self.stop.unless_wanted(work(&*hive)).await;
        drop(hive);
        handle.close().await;
        result?
    }

    /// Whether a node that interrupted something goes on, as after `hive cancel`. One that is on its
    /// way out is gone in a moment.
    async fn still_runs(&self) -> bool {
        let deadline = tokio::time::Instant::now() + LAST_BREATH;
        while node::is_running(&self.settings).await {
            if tokio::time::Instant::now() >= deadline {
                return true;
            }
            tokio::time::sleep(HANDOVER_STEP).await;
        }
        false
    }

    async fn open_after_another(&self, need: Need) -> hive_api::Result<Handle> {
        let deadline = tokio::time::Instant::now() + HANDOVER;
        loop {
            match Handle::open(&self.settings, need).await {
                Err(_) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(HANDOVER_STEP).await;
                }
                opened => return opened,
            }
        }
    }
}

/// Whether an error is one that the end of a node can cause.
fn may_be_its_end(error: &anyhow::Error) -> bool {
    let told = error.downcast_ref::<HiveError>();
    told.is_some_and(|told| matches!(told.kind, ErrorKind::Interrupted | ErrorKind::Failed))
}

/// Says of an interrupted command that nothing was lost.
pub(crate) fn resumable(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<HiveError>() {
        Ok(error) if error.kind == ErrorKind::Interrupted && error.hint.is_none() => {
            let message = format!("{error}; run the same command again to resume");
            HiveError::new(ErrorKind::Interrupted, message).into()
        }
        Ok(error) => error.into(),
        Err(error) => error,
    }
}
