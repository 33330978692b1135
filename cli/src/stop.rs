//! The user's wish to stop: Ctrl-C, or `SIGTERM`.
//!
//! The first one cancels, so that a command drops its streams and its node ends in good order; the
//! second one ends the process where it stands, which the store survives.

use std::future::Future;
use std::io;

use hive_api::{ErrorKind, HiveError};
use tokio_util::sync::CancellationToken;

/// Told when the user wants to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop(CancellationToken);

impl Stop {
    /// Listens for it from now on. Must be called inside the runtime, whose end ends the listening.
    pub(crate) fn install() -> io::Result<Self> {
        let token = CancellationToken::new();
        let mut signals = Signals::new()?;
        tokio::spawn({
            let token = token.clone();
            async move {
                signals.next().await;
                token.cancel();
                signals.next().await;
                end_now();
            }
        });
        Ok(Self(token))
    }

    /// Waits until the user wants to stop.
    pub(crate) async fn wanted(&self) {
        self.0.cancelled().await;
    }

    /// Whether the user wanted to stop.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Does something unless the user stops it, in which case it is dropped.
    pub(crate) async fn unless_wanted<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, HiveError> {
        tokio::select! {
            biased;
            () = self.wanted() => {
                Err(HiveError::new(ErrorKind::Interrupted, "stopped"))
            }
            done = work => Ok(done),
        }
    }
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "asked twice: now means now")]
fn end_now() {
    std::process::exit(i32::from(ErrorKind::Interrupted.exit_code()));
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
