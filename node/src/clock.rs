//! What others' clocks say of ours. Nothing is set by it: it is for `hive doctor`.
//!
//! A signed statement says when it was made. It comes later than that, by a moment if its author
//! sent it and by minutes if it was repeated; so of each author the latest time counts, and of all
//! authors the one in the middle, since any of them may have a wrong clock.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use hive_swarm::Peer;

/// Authors that count, the last ones.
const AUTHORS: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// By how many seconds an author's clock seems to be ahead of ours.
    ahead: Mutex<VecDeque<(Peer, i64)>>,
}

impl Clock {
    /// An author made a statement at `issued`; here it is `now`.
    pub(crate) fn heard(&self, author: Peer, issued: u64, now: u64) {
        let seconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
        let ahead = seconds(issued).saturating_sub(seconds(now));
        let mut all = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = all.iter_mut().find(|(known, _)| *known == author) {
            *known = (*known).max(ahead);
            return;
        }
        if all.len() >= AUTHORS {
            all.pop_front();
        }
        all.push_back((author, ahead));
    }

    /// By how many seconds others are ahead of this machine, and how many others that is.
    pub(crate) fn ahead(&self) -> Option<(i64, usize)> {
        let all = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seconds: Vec<i64> = all.iter().map(|(_, ahead)| *ahead).collect();
        seconds.sort_unstable();
        let middle = *seconds.get(seconds.len() / 2)?;
        Some((middle, seconds.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> Peer {
        hive_swarm::NodeIdentity::from_ed25519_secret([n; 32]).peer()
    }

    #[test]
    fn the_clock_in_the_middle_counts_and_repetitions_do_not() {
        let clock = Clock::default();
        assert_eq!(clock.ahead(), None);
        clock.heard(peer(1), 1_000, 1_060);
        clock.heard(peer(1), 1_100, 1_101);
        assert_eq!(clock.ahead(), Some((-1, 1)));
        clock.heard(peer(2), 1_100, 1_100);
        clock.heard(peer(3), 999_999, 1_100);
        assert_eq!(clock.ahead(), Some((0, 3)), "one that is far off does not count");
    }

    #[test]
    fn many_authors_take_no_memory_without_end() {
        let clock = Clock::default();
        for n in 0..100 {
            clock.heard(peer(n), 5, 0);
        }
        assert_eq!(clock.ahead(), Some((5, AUTHORS)));
    }
}
