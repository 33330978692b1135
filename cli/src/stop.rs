//! The user's wish to stop: Ctrl-C, or `SIGTERM`.
//!
//! The first one cancels, so that a command drops its streams and its node ends in good order; the
//! second one ends the process where it stands, which the store survives. A command can take Ctrl-C
//! for something smaller than the program ([`Stop::divert`]), never `SIGTERM`.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hive_api::{ErrorKind, HiveError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Told when the user wants to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    diverted: Arc<Mutex<Option<Arc<Notify>>>>,
}

impl Stop {
    /// Listens for it from now on. Must be called inside the runtime, whose end ends the listening.
    pub(crate) fn install() -> io::Result<Self> {
        let stop = Self::default();
        let mut signals = Signals::new()?;
        tokio::spawn({
            let stop = stop.clone();
            async move {
                loop {
                    let signal = signals.next().await;
                    stop.on(signal);
                }
            }
        });
        Ok(stop)
    }

    fn on(&self, signal: Signal) {
        if signal == Signal::Interrupt
            && let Some(taker) = &*self.taker()
        {
            taker.notify_one();
        } else if self.token.is_cancelled() {
            end_now();
        } else {
            self.token.cancel();
        }
    }

    fn taker(&self) -> std::sync::MutexGuard<'_, Option<Arc<Notify>>> {
        self.diverted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes Ctrl-C for something smaller than the program, until the result is dropped.
    pub(crate) fn divert(&self) -> Diverted<'_> {
        let told = Arc::new(Notify::new());
        *self.taker() = Some(told.clone());
        Diverted { stop: self, told }
    }

    /// Waits until the user wants to stop.
    pub(crate) async fn wanted(&self) {
        self.token.cancelled().await;
    }

    /// Whether the user wanted to stop.
    pub(crate) fn is_wanted(&self) -> bool {
        self.token.is_cancelled()
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

/// Ctrl-C for something smaller than the program.
#[derive(Debug)]
pub(crate) struct Diverted<'a> {
    stop: &'a Stop,
    told: Arc<Notify>,
}

impl Diverted<'_> {
    /// Waits for Ctrl-C. Cancel safe: one that came meanwhile is there the next time.
    pub(crate) async fn interrupted(&self) {
        self.told.notified().await;
    }
}

impl Drop for Diverted<'_> {
    fn drop(&mut self) {
        *self.stop.taker() = None;
    }
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "asked twice: now means now")]
fn end_now() {
    std::process::exit(i32::from(ErrorKind::Interrupted.exit_code()));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The system, or another program, ends this one.
    #[cfg_attr(windows, expect(dead_code, reason = "there is no such signal"))]
    Terminate,
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

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
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

    async fn next(&mut self) -> Signal {
        self.0.recv().await;
        Signal::Interrupt
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_diverted_interrupt_reaches_its_taker_and_not_the_program() {
        let stop = Stop::default();
        let diverted = stop.divert();
        stop.on(Signal::Interrupt);
        assert!(diverted.interrupted().now_or_never().is_some() && !stop.is_wanted());
        stop.on(Signal::Terminate);
        assert!(stop.is_wanted(), "nobody diverts the end");
    }

    #[test]
    fn an_interrupt_ends_the_program_again_once_its_taker_is_gone() {
        let stop = Stop::default();
        drop(stop.divert());
        stop.on(Signal::Interrupt);
        assert!(stop.is_wanted());
    }
}
