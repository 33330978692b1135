//! When to look for providers again, and whom of many.
//!
//! A popular model has thousands of holders in the catalog, most of whom may have gone home; a fetch
//! needs a few dozen. A [`Search`] draws that many by chance, keeps those that were met, and draws
//! others in place of the rest with each round. Rounds come ever more seldom, and soon again when
//! somebody is lost. Peers that are here and of whom nobody says that they have the model take no
//! place: a node may know hundreds.
//!
//! Invariant: at most `room` holders are kept, and as many that are tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::dice::Dice;

/// Time between two rounds at first; it grows by half …
const ROUND: Duration = Duration::from_secs(3);
/// … up to this.
const ROUND_MAX: Duration = Duration::from_mins(1);

/// How a holder stands with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is said to have the model, and nothing was heard of it yet.
    Said,
    /// It was here.
    Met,
    /// It was here and left. It may be back in a moment, so it is tried once more.
    Lost,
}

/// The search for peers that may have one model. See the module.
#[derive(Debug)]
pub struct Search<P> {
    room: usize,
    wait: Duration,
    next: Duration,
    holders: BTreeMap<P, Standing>,
    /// Who was lost and is tried once more in this round, in nobody's place.
    again: BTreeSet<P>,
}

impl<P: Copy + Ord> Search<P> {
    /// A search whose first round is due at once, and that keeps at most `room` holders.
    pub fn new(room: usize) -> Self {
        Self {
            room,
            wait: ROUND,
            next: Duration::ZERO,
            holders: BTreeMap::new(),
            again: BTreeSet::new(),
        }
    }

    /// When the next round is due.
    pub fn due(&self) -> Duration {
        self.next
    }

    /// Begins a round: says whom of those who are `known` to have the model to try. Whoever was tried
    /// before and never met makes room for another; of the known those come first that are `here`.
    pub fn round(
        &mut self,
        mut known: Vec<P>,
        here: impl Fn(&P) -> bool,
        dice: &mut Dice,
        now: Duration,
    ) -> Vec<P> {
        self.holders.retain(|peer, standing| {
            if *standing == Standing::Said && here(peer) {
                *standing = Standing::Met;
            }
            *standing != Standing::Said
        });
        let mut tried: Vec<P> = self.holders.keys().copied().collect();
        let lost = self.holders.extract_if(.., |_, standing| *standing == Standing::Lost);
        self.again = lost.map(|(peer, _)| peer).collect();
        known.retain(|peer| !self.holders.contains_key(peer));
        let n_here = partition(&mut known, &here);
        let room = self.room.saturating_sub(self.holders.len()).min(known.len());
        for drawn in 0..room {
            // From among those that are here, as long as there are any.
            let end = if drawn < n_here { n_here } else { known.len() };
            known.swap(drawn, drawn + dice.below((end - drawn) as u32) as usize);
            let standing = if drawn < n_here { Standing::Met } else { Standing::Said };
            if self.holders.insert(known[drawn], standing).is_none() {
                tried.push(known[drawn]);
            }
        }
        self.next = now + self.wait;
        self.wait = self.wait.mul_f64(1.5).min(ROUND_MAX);
        tried
    }

    /// The DHT names a holder.
    pub fn found(&mut self, peer: P) {
        if self.holders.len() < self.room {
            self.holders.entry(peer).or_insert(Standing::Said);
        }
    }

    /// A peer is here. One that was lost and is back is kept again, in the place of somebody of whom
    /// nothing was heard.
    pub fn met(&mut self, peer: P) {
        if let Some(standing) = self.holders.get_mut(&peer) {
            *standing = Standing::Met;
        } else if self.again.remove(&peer) {
            let said =
                |(peer, standing): (&P, &Standing)| (*standing == Standing::Said).then_some(*peer);
            if self.holders.len() >= self.room
                && let Some(other) = self.holders.iter().find_map(said)
            {
                self.holders.remove(&other);
            }
            if self.holders.len() < self.room {
                self.holders.insert(peer, Standing::Met);
            }
        }
    }

    /// A peer went. A fetch that has nobody else does not wait for a late round.
    pub fn left(&mut self, peer: P, now: Duration) {
        if let Some(standing) = self.holders.get_mut(&peer) {
            *standing = Standing::Lost;
            self.wait = ROUND;
            self.next = self.next.min(now + ROUND);
        }
    }
}

/// Moves those that are `here` to the front and says how many they are.
fn partition<P>(peers: &mut [P], here: impl Fn(&P) -> bool) -> usize {
    let mut n_here = 0;
    for at in 0..peers.len() {
        if here(&peers[at]) {
            peers.swap(at, n_here);
            n_here += 1;
        }
    }
    n_here
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rounds_come_ever_more_seldom_and_soon_when_somebody_is_lost() {
        let (mut search, mut dice) = (Search::new(8), Dice::new(1));
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..12 {
            search.round(vec!['a'], |_| false, &mut dice, now);
            waits.push(search.due().saturating_sub(now).as_secs());
            now = search.due();
        }
        assert_eq!(waits, [3, 4, 6, 10, 15, 22, 34, 51, 60, 60, 60, 60]);
        search.met('a');
        search.left('a', now);
        assert!(search.due() <= now + ROUND);
    }

    #[test]
    fn of_thousands_a_few_are_tried_and_others_with_each_round() {
        let (mut search, mut dice) = (Search::new(16), Dice::new(1));
        let all: Vec<u32> = (0..4_000).collect();
        let first = search.round(all.clone(), |_| false, &mut dice, SECOND);
        assert_eq!(first.len(), 16);
        search.met(first[0]);
        let second = search.round(all, |_| false, &mut dice, SECOND * 4);
        assert!(second.len() <= 16 && second.contains(&first[0]), "{second:?}");
        assert!(second.iter().filter(|peer| first.contains(peer)).count() < 4, "{second:?}");
        assert!(search.holders.len() <= 16);
    }

    #[test]
    fn who_left_is_tried_once_more_and_then_makes_room() {
        let (mut search, mut dice) = (Search::new(1), Dice::new(1));
        let mut round =
            |search: &mut Search<char>, known, at| search.round(known, |_| false, &mut dice, at);
        assert_eq!(round(&mut search, vec!['a'], SECOND), ['a']);
        search.met('a');
        search.left('a', SECOND * 2);
        assert_eq!(round(&mut search, vec!['b'], SECOND * 5), ['a', 'b']);
        assert_eq!(round(&mut search, vec!['b'], SECOND * 9), ['b']);
        search.met('a');
        assert_eq!(round(&mut search, vec!['b'], SECOND * 12), ['b'], "it came back too late");
    }

    #[test]
    fn who_comes_back_is_kept_and_missed_again() {
        let (mut search, mut dice) = (Search::new(1), Dice::new(1));
        search.round(vec!['a'], |_| false, &mut dice, SECOND);
        for n in 1..4 {
            search.met('a');
            search.left('a', SECOND * 100 * n);
            assert!(search.due() <= SECOND * 100 * n + ROUND, "{n}");
            search.round(vec!['b'], |_| false, &mut dice, SECOND * 100 * n + ROUND);
        }
    }

    /// No connection is made to a peer that is connected, so nothing says that it was met.
    #[test]
    fn a_holder_that_was_here_before_is_kept_and_missed() {
        let (mut search, mut dice) = (Search::new(4), Dice::new(1));
        let known: Vec<u32> = (0..1_000).collect();
        let mut now = SECOND;
        for _ in 0..10 {
            let tried = search.round(known.clone(), |peer| *peer == 700, &mut dice, now);
            assert!(tried.len() <= 4 && tried.contains(&700), "{tried:?}");
            now = search.due();
        }
        search.left(700, now);
        assert!(search.due() <= now + ROUND);
        // What the DHT found is kept in the same way.
        search.round(Vec::new(), |_| false, &mut dice, now);
        search.found(2_000);
        let tried = search.round(Vec::new(), |peer| *peer == 2_000, &mut dice, now);
        assert_eq!(tried, [2_000]);
    }

    /// A node has hundreds of connections, to peers that have other models.
    #[test]
    fn strangers_take_no_place_of_a_holder() {
        let (mut search, mut dice) = (Search::new(4), Dice::new(1));
        for stranger in 100..400_u32 {
            search.met(stranger);
            search.left(stranger, SECOND);
        }
        assert_eq!(search.round(vec![1, 2, 3], |_| true, &mut dice, SECOND).len(), 3);
    }
}
