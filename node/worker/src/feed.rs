//! What the parent tells a child of files that are still arriving.

use std::ops::Range;

use futures::future::{FutureExt as _, select_all};
use hive_api::{Gate, Need};
use tokio::sync::watch;

use crate::backend::Input;
use crate::limits::RANGES;

/// Files that are still arriving, and what of them the other side knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed(Vec<Arriving>);

#[derive(Debug, Clone)]
struct Arriving {
    part: u32,
    gate: Gate,
    changes: watch::Receiver<u64>,
    /// Ranges that were told.
    told: usize,
}

impl Feed {
    pub(crate) fn new(inputs: &[Input]) -> Self {
        let arriving = |(at, input): (usize, &Input)| {
            let gate = input.gate.clone()?;
            Some(Arriving { part: at as u32, changes: gate.changes(), gate, told: 0 })
        };
        Self(inputs.iter().enumerate().filter_map(arriving).collect())
    }

    /// Hands on what the other side wants of a file. An error is what no sound child says.
    pub(crate) fn need(&self, part: u32, need: &Need) -> Result<(), &'static str> {
        if need.ranges.len() > RANGES {
            return Err("more ranges of a file than one message has");
        }
        if let Some(arriving) = self.0.iter().find(|arriving| arriving.part == part) {
            arriving.gate.need(need);
        }
        Ok(())
    }

    async fn changed(&mut self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let changes = self.0.iter_mut().map(|arriving| arriving.changes.changed().boxed());
        // A gate that is held here goes on ticking.
        let _ = select_all(changes).await;
    }

    /// Waits until there is more, and says of which file what. Cancel safe.
    pub(crate) async fn next(&mut self) -> (u32, Vec<Range<u64>>) {
        loop {
            for arriving in &mut self.0 {
                let mut more = arriving.gate.opened(arriving.told);
                more.truncate(RANGES);
                if !more.is_empty() {
                    arriving.told += more.len();
                    return (arriving.part, more);
                }
            }
            self.changed().await;
        }
    }

    /// Waits until a file will not come, and says why. Cancel safe.
    pub(crate) async fn failed(&mut self) -> String {
        loop {
            if let Some(reason) = self.0.iter().find_map(|arriving| arriving.gate.failure()) {
                return reason;
            }
            self.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What a process says that a hostile model has taken over must not be endless work.
    #[test]
    fn a_need_of_more_ranges_than_a_message_has_is_refused_and_not_handed_on() {
        let heard = Arc::<AtomicUsize>::default();
        let hears = Arc::clone(&heard);
        let gate = Gate::new(10, move |need| {
            hears.fetch_add(need.ranges.len(), Ordering::Relaxed);
        });
        let arriving = Arriving { part: 0, changes: gate.changes(), gate, told: 0 };
        let feed = Feed(vec![arriving]);
        let need = |n| Need { ranges: (0..n).map(|_| 0..1).collect(), now: true };
        assert_eq!(feed.need(0, &need(RANGES)), Ok(()));
        assert!(feed.need(0, &need(RANGES + 1)).is_err());
        assert_eq!(heard.load(Ordering::Relaxed), RANGES);
    }
}
