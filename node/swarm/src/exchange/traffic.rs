//! What a connection has brought, in how much time that something was asked of it, and whether what
//! runs on it is to be asked elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Bytes of groups, and the time in which some were on their way: their quotient is the goodput. How
/// long a peer lets a request wait before it answers says nothing of the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes that came.
    pub bytes: u64,
    /// The time in which at least one request was being answered.
    pub busy: Duration,
    /// Requests that run, answered or not.
    pub running: u32,
}

/// Counts for one connection.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    count: Mutex<Count>,
    /// Changes when what runs is withdrawn.
    withdrawn: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Count {
    sum: Carried,
    /// Requests that are being answered.
    answered: u32,
    /// Since when that is so of at least one.
    since: Option<Instant>,
}

impl Count {
    fn sum(&self, now: Instant) -> Carried {
        let running =
            self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        Carried { busy: self.sum.busy + running, ..self.sum }
    }
}

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was carried until now.
    pub(super) fn sum(&self) -> Carried {
        self.lock().sum(Instant::now())
    }

    /// Ends the requests that run, also those that have no stream yet.
    pub(super) fn withdraw(&self) {
        self.withdrawn.send_replace(());
    }

    /// A request is asked; it runs until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        let mut count = self.lock();
        count.sum.running += 1;
        let withdrawn = self.withdrawn.subscribe();
        Running { traffic: Arc::clone(self), is_answered: AtomicBool::new(false), withdrawn }
    }
}

/// A request that runs.
#[derive(Debug)]
pub(super) struct Running {
    traffic: Arc<Traffic>,
    is_answered: AtomicBool,
    /// Has seen all that was withdrawn before the request began, and nothing since.
    withdrawn: watch::Receiver<()>,
}

impl Running {
    /// The answer has begun.
    pub(super) fn answered(&self) {
        if !self.is_answered.swap(true, Ordering::Relaxed) {
            let mut count = self.traffic.lock();
            count.answered += 1;
            count.since.get_or_insert_with(Instant::now);
        }
    }

    /// Bytes of a group have come.
    pub(super) fn moved(&self, bytes: u64) {
        self.traffic.lock().sum.bytes += bytes;
    }

    /// Waits until the request is withdrawn, which it may have been before.
    pub(super) async fn withdrawn(&self) {
        // The sender is in `traffic`, which is held here.
        let _ = self.withdrawn.clone().changed().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut count = self.traffic.lock();
        count.sum.running -= 1;
        if !*self.is_answered.get_mut() {
            return;
        }
        count.answered -= 1;
        if count.answered == 0 {
            count.sum = count.sum(Instant::now());
            count.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn time_counts_once_however_many_requests_run() {
        let traffic = Arc::new(Traffic::default());
        assert_eq!(traffic.sum(), Carried::default());
        let start = Instant::now();
        let (one, two) = (traffic.begin(), traffic.begin());
        assert_eq!((traffic.sum().busy, traffic.sum().running), (Duration::ZERO, 2), "in a queue");
        one.answered();
        two.answered();
        let counts = (0..100_000_000).any(|_| !traffic.sum().busy.is_zero());
        assert!(counts, "what is answered takes time");
        one.moved(5);
        two.moved(7);
        drop(one);
        assert_eq!(traffic.sum().running, 1);
        drop(two);
        let sum = traffic.sum();
        assert_eq!(sum.bytes, 12);
        assert!(sum.busy <= start.elapsed());
        assert_eq!(traffic.sum(), sum, "idle time does not count");
    }

    /// A request waits for its stream, and what it runs on is withdrawn in that moment.
    #[test]
    fn a_request_that_nobody_drives_yet_is_withdrawn_all_the_same() {
        let traffic = Arc::new(Traffic::default());
        let before = traffic.begin();
        traffic.withdraw();
        let after = traffic.begin();
        assert_eq!(before.withdrawn().now_or_never(), Some(()));
        assert_eq!(before.withdrawn().now_or_never(), Some(()), "it stays withdrawn");
        assert_eq!(after.withdrawn().now_or_never(), None, "it was asked later");
        traffic.withdraw();
        assert_eq!(after.withdrawn().now_or_never(), Some(()));
    }
}
