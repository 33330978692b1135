//! How much a peer, or a network of addresses, may use of a relay within an hour.
//!
//! Told what was used and when, it says who is over. It reads no clock.
//!
//! Invariant: whoever used a whole budget stays refused until the window that began with its first
//! use is over, whatever else is told; and no more than `max` users are remembered.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What was used, or may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Bytes, both ways.
    pub bytes: u64,
    /// Time of circuits: two at once use twice the time.
    pub time: Duration,
}

/// Which part of a budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Bytes,
    Time,
}

#[derive(Debug, Clone, Copy)]
struct Used {
    since: Instant,
    used: Budget,
}

/// The budgets of all users of a kind.
#[derive(Debug)]
pub(crate) struct Budgets<K> {
    allowed: Budget,
    window: Duration,
    max: usize,
    users: HashMap<K, Used>,
}

impl<K: Eq + Hash + Copy> Budgets<K> {
    pub(crate) fn new(allowed: Budget, window: Duration, max: usize) -> Self {
        Self { allowed, window, max, users: HashMap::new() }
    }

    /// Takes this off the user's budget; says so when that was the last of it.
    pub(crate) fn charge(&mut self, user: K, used: Budget, now: Instant) -> Option<Over> {
        if used == Budget::default() {
            return None;
        }
        if self.users.len() >= self.max && !self.users.contains_key(&user) {
            self.sweep(now);
            if self.users.len() >= self.max {
                self.forget_one();
            }
        }
        let window = self.window;
        let entry = self.users.entry(user).or_insert(Used { since: now, used: Budget::default() });
        if is_past(entry.since, window, now) {
            *entry = Used { since: now, used: Budget::default() };
        }
        let before = over(entry.used, self.allowed);
        entry.used.bytes = entry.used.bytes.saturating_add(used.bytes);
        entry.used.time = entry.used.time.saturating_add(used.time);
        over(entry.used, self.allowed).filter(|_| before.is_none())
    }

    /// What of its budget the user has used up, if any.
    pub(crate) fn over(&self, user: &K, now: Instant) -> Option<Over> {
        let used = self.users.get(user).filter(|used| !is_past(used.since, self.window, now))?;
        over(used.used, self.allowed)
    }

    /// How many are over.
    pub(crate) fn n_over(&self, now: Instant) -> usize {
        self.users.keys().filter(|user| self.over(user, now).is_some()).count()
    }

    /// How long the user stays refused.
    pub(crate) fn wait(&self, user: &K, now: Instant) -> Duration {
        let since = self.users.get(user).map(|used| now.saturating_duration_since(used.since));
        since.map_or(Duration::ZERO, |since| self.window.saturating_sub(since))
    }

    /// Forgets whose window is over.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let window = self.window;
        self.users.retain(|_, used| !is_past(used.since, window, now));
    }

    /// Makes room when every user's window still runs: whoever used least is refused least.
    fn forget_one(&mut self) {
        let least = self.users.iter().filter(|(_, used)| over(used.used, self.allowed).is_none());
        let least = least.min_by_key(|(_, used)| (used.used.bytes, used.used.time));
        let least = least.or_else(|| self.users.iter().min_by_key(|(_, used)| used.since));
        if let Some(user) = least.map(|(user, _)| *user) {
            self.users.remove(&user);
        }
    }
}

fn over(used: Budget, allowed: Budget) -> Option<Over> {
    if used.bytes >= allowed.bytes {
        Some(Over::Bytes)
    } else if used.time >= allowed.time {
        Some(Over::Time)
    } else {
        None
    }
}

fn is_past(since: Instant, window: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) >= window
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn bytes(bytes: u64) -> Budget {
        Budget { bytes, time: Duration::ZERO }
    }

    fn budgets(max: usize) -> Budgets<u32> {
        Budgets::new(Budget { bytes: 100, time: Duration::from_mins(10) }, HOUR, max)
    }

    #[test]
    fn a_budget_is_back_when_its_window_is_over() {
        let (mut budgets, start) = (budgets(9), Instant::now());
        assert_eq!(budgets.charge(1, bytes(99), start), None);
        let later = start + HOUR / 2;
        assert_eq!(budgets.charge(1, bytes(1), later), Some(Over::Bytes));
        // Told once.
        assert_eq!(budgets.charge(1, bytes(1), later), None);
        assert_eq!(budgets.over(&1, later), Some(Over::Bytes));
        assert_eq!((budgets.over(&2, later), budgets.n_over(later)), (None, 1));
        assert_eq!(budgets.wait(&1, later), HOUR / 2);
        assert_eq!(budgets.over(&1, start + HOUR), None);
        assert_eq!(budgets.charge(1, bytes(99), start + HOUR), None);
    }

    #[test]
    fn time_is_a_budget_of_its_own() {
        let (mut budgets, now) = (budgets(9), Instant::now());
        let time = Duration::from_mins(10);
        assert_eq!(budgets.charge(1, Budget { bytes: 0, time }, now), Some(Over::Time));
    }

    proptest! {
        /// Against a model that remembers everything.
        #[test]
        fn nobody_gets_more_than_a_budget_in_a_window(
            uses in prop::collection::vec((0..4_u32, 0..60_u64, 0..1_800_u64), 1..60),
        ) {
            let (mut budgets, start) = (budgets(9), Instant::now());
            let mut now = start;
            // When the window began, and what was used in it.
            let mut model: HashMap<u32, (Instant, u64)> = HashMap::new();
            for (user, n, pause) in uses {
                now += Duration::from_secs(pause);
                let (since, used) = model.entry(user).or_insert((now, 0));
                if now.duration_since(*since) >= HOUR {
                    (*since, *used) = (now, 0);
                }
                prop_assert_eq!(budgets.over(&user, now).is_some(), *used >= 100);
                let was_over = *used >= 100;
                *used += n;
                if n == 0 && *used == 0 {
                    model.remove(&user);
                }
                let told = budgets.charge(user, bytes(n), now).is_some();
                let is_over = model.get(&user).is_some_and(|(_, used)| *used >= 100);
                prop_assert_eq!(told, is_over && !was_over);
            }
        }

        #[test]
        fn users_without_end_take_no_memory_without_end_and_free_nobody(
            strangers in prop::collection::vec(10..10_000_u32, 1..200),
        ) {
            let (mut budgets, now) = (budgets(4), Instant::now());
            budgets.charge(1, bytes(100), now);
            for stranger in strangers {
                budgets.charge(stranger, bytes(1), now);
                prop_assert!(budgets.users.len() <= 4);
            }
            prop_assert_eq!(budgets.over(&1, now), Some(Over::Bytes));
        }
    }
}
