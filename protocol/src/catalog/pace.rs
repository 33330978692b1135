//! How often a node speaks, and when it asks for a list that it heard of.
//!
//! Every announcement reaches everybody, so what a node hears grows with the network unless each
//! speaks less: the interval grows with it, up to an hour.

use std::time::Duration;

/// Heads are repeated this often in a small network …
const INTERVAL: Duration = Duration::from_mins(1);
/// … and at most this seldom in a large one.
const INTERVAL_MAX: Duration = Duration::from_hours(1);
/// Nodes up to which the interval stays as it is.
const SMALL_NETWORK: usize = 50;
/// So many nodes more, and a newcomer waits [`NEWCOMERS`] once more.
const NEWCOMERS_NETWORK: usize = 10;

/// Newcomers within this time are told together, in a small network; what is gossiped more often is
/// cut as a flood.
pub const NEWCOMERS: Duration = Duration::from_secs(6);

/// When a list is asked for, counted from its head: whoever passed the head on may be fetching the
/// list itself.
pub const LIST_PAUSES: [Duration; 3] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)];

/// A head is passed on once its list is here, or after this much time: so whoever hears of a list can
/// have it from who told it. Shorter than a verdict may take.
pub const PASS_ON: Duration = Duration::from_secs(3);

/// How often a node that knows of so many others repeats itself.
pub fn interval(n_nodes: usize) -> Duration {
    let times = (n_nodes / SMALL_NETWORK).max(1).min(usize::from(u16::MAX));
    (INTERVAL * times as u32).min(INTERVAL_MAX)
}

/// How soon after the last time a node speaks again because somebody new is there. Others hear what
/// a newcomer is told, so that is not too often, the less the more they are.
pub fn newcomers(n_nodes: usize) -> Duration {
    NEWCOMERS * (1 + n_nodes / NEWCOMERS_NETWORK).min(usize::from(u16::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_the_network_the_less_each_speaks() {
        let minutes =
            [0, 50, 99, 100, 1_000, 10_000, usize::MAX].map(|n| interval(n).as_secs() / 60);
        assert_eq!(minutes, [1, 1, 1, 2, 20, 60, 60]);
        let seconds = [0, 9, 10, 100, 10_000].map(|n| newcomers(n).as_secs());
        assert_eq!(seconds, [6, 6, 12, 66, 6_006]);
        assert!(newcomers(usize::MAX) > newcomers(10_000));
    }
}
