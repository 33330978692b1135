//! Who takes part in a fetch: whom to ask what they have, when again, and whom to suspect.
//!
//! The [`Roster`] numbers the peers of one fetch and remembers what each has done. It blames nobody
//! by itself: it says who is under suspicion, the caller asks that peer something, and only one that
//! answers, and so is there, is named as the one who starves us.
//!
//! Invariant: a peer keeps its number for as long as the roster lives.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::peer::PeerIx;

/// How often a peer that has a part is asked what it has now …
const POLL: Duration = Duration::from_secs(1);
/// … where there are so many of them; of more, each is asked more rarely.
const POLLS: u32 = 16;
/// How soon a peer that had nothing is asked again when there is a sign that it may have something.
const AGAIN: Duration = Duration::from_millis(500);
/// Somebody else delivered within this time, so that a silence is the peer's and not ours.
const FAULT_GAP: Duration = Duration::from_secs(20);
/// Times that a peer may let a request starve before it is banned like a liar.
const FAULTS: u32 = 2;

/// What is known of a peer of this fetch.
#[derive(Debug)]
struct Known {
    ix: PeerIx,
    here: bool,
    /// The version of what it has, from its last answer.
    version: u64,
    has_all: bool,
    asking: bool,
    asked_at: Option<Duration>,
    faults: u32,
    fault_at: Option<Duration>,
    /// What it is to be banned for, should it turn out to be there.
    suspect: Option<String>,
    /// When a group of it was verified last.
    gave_at: Option<Duration>,
}

/// A peer that said what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    /// Its number.
    pub ix: PeerIx,
    /// Whether it was not here before: the planner has to be told that it came.
    pub is_new: bool,
}

/// The peers of one fetch. See the module.
#[derive(Debug)]
pub struct Roster<P> {
    known: BTreeMap<P, Known>,
    peers: Vec<P>,
}

impl<P> Default for Roster<P> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), peers: Vec::new() }
    }
}

impl<P: Copy + Ord> Roster<P> {
    /// Who has a number. It must be one that this roster gave.
    pub fn peer(&self, ix: PeerIx) -> P {
        self.peers[ix.0 as usize]
    }

    /// Somebody may have the model. Says since which version to ask it what it has, if it is to be
    /// asked now.
    pub fn candidate(&mut self, peer: P, now: Duration) -> Option<u64> {
        let next = PeerIx(self.peers.len() as u32);
        let known = self.known.entry(peer).or_insert_with(|| {
            self.peers.push(peer);
            Known {
                ix: next,
                here: false,
                version: 0,
                has_all: false,
                asking: false,
                asked_at: None,
                faults: 0,
                fault_at: None,
                suspect: None,
                gave_at: None,
            }
        });
        let lately = known.asked_at.is_some_and(|at| now.saturating_sub(at) < AGAIN);
        if known.here || lately || known.faults >= FAULTS {
            return None;
        }
        self.ask(peer, now)
    }

    /// Says since which version to ask a peer what it has, unless it is being asked.
    pub fn ask(&mut self, peer: P, now: Duration) -> Option<u64> {
        let known = self.known.get_mut(&peer).filter(|known| !known.asking)?;
        known.asking = true;
        known.asked_at = Some(now);
        Some(if known.here { known.version } else { 0 })
    }

    /// A peer that was asked answered, or did not. Says what it is to be banned for, if it was under
    /// suspicion and is there.
    pub fn answered(&mut self, peer: P, is_there: bool) -> Option<String> {
        let known = self.known.get_mut(&peer)?;
        known.asking = false;
        let reason = known.suspect.take()?;
        if is_there {
            return Some(reason);
        }
        // A broken line, not a liar. The next fault is a suspicion at once.
        known.faults = FAULTS - 1;
        None
    }

    /// A peer has something.
    pub fn has(&mut self, peer: P, version: u64, has_all: bool) -> Option<Met> {
        let known = self.known.get_mut(&peer)?;
        (known.version, known.has_all) = (version, has_all);
        let is_new = !std::mem::replace(&mut known.here, true);
        Some(Met { ix: known.ix, is_new })
    }

    /// A peer has nothing. Says its number if it had something before.
    pub fn has_nothing(&mut self, peer: P) -> Option<PeerIx> {
        let known = self.known.get_mut(&peer).filter(|known| known.here)?;
        known.here = false;
        Some(known.ix)
    }

    /// A peer went. Says its number if it took part.
    pub fn left(&mut self, peer: P) -> Option<PeerIx> {
        let known = self.known.get_mut(&peer).filter(|known| known.here)?;
        known.here = false;
        known.asked_at = None;
        Some(known.ix)
    }

    /// Whether a peer takes part.
    pub fn is_here(&self, peer: P) -> bool {
        self.known.get(&peer).is_some_and(|known| known.here)
    }

    /// Whether a peer has more than it told.
    pub fn is_behind(&self, peer: P, version: u64) -> bool {
        self.known.get(&peer).is_some_and(|known| !known.has_all && known.version < version)
    }

    /// The peers with a part of the model that are to be asked again.
    pub fn due(&self, now: Duration) -> Vec<P> {
        let partial = self.known.iter().filter(|(_, known)| known.here && !known.has_all);
        let n_partial = u32::try_from(partial.clone().count()).unwrap_or(u32::MAX);
        let pause = POLL.max(POLL.saturating_mul(n_partial) / POLLS);
        let due = |known: &Known| known.asked_at.is_none_or(|at| now.saturating_sub(at) >= pause);
        partial.filter(|(_, known)| due(known)).map(|(peer, _)| *peer).collect()
    }

    /// A group of a peer was verified.
    pub fn gave(&mut self, peer: P, now: Duration) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.gave_at = Some(now);
            known.faults = 0;
        }
    }

    /// A peer took part and nothing came, or less than it granted. Once is bad luck; the second time,
    /// or the first for one that has never sent a group, it is under suspicion, which this says: let
    /// it leave and ask it again. Nobody is blamed for an outage of ours: somebody else has to have
    /// delivered meanwhile.
    pub fn fault(&mut self, peer: P, reason: &str, now: Duration) -> bool {
        let lately =
            |known: &Known| known.gave_at.is_some_and(|at| now.saturating_sub(at) < FAULT_GAP);
        let others_gave = self.known.iter().any(|(other, known)| *other != peer && lately(known));
        let Some(known) = self.known.get_mut(&peer) else { return false };
        // Requests that end together are one fault.
        let again = known.fault_at.is_none_or(|at| now.saturating_sub(at) >= FAULT_GAP / 2);
        if !others_gave || !again {
            return false;
        }
        known.fault_at = Some(now);
        known.faults += if known.gave_at.is_none() { FAULTS } else { 1 };
        if known.faults < FAULTS {
            return false;
        }
        known.suspect = Some(reason.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn met(roster: &mut Roster<char>, peer: char, now: Duration) {
        assert!(roster.candidate(peer, now).is_some());
        assert_eq!(roster.answered(peer, true), None);
        assert!(roster.has(peer, 1, false).is_some_and(|met| met.is_new));
    }

    #[test]
    fn a_candidate_is_asked_once_and_again_after_a_while() {
        let mut roster = Roster::default();
        assert_eq!(roster.candidate('a', SECOND), Some(0));
        assert_eq!(roster.candidate('a', SECOND * 9), None, "it is being asked");
        roster.answered('a', false);
        assert_eq!(roster.candidate('a', SECOND + AGAIN / 2), None, "it was asked just now");
        assert_eq!(roster.candidate('a', SECOND * 9), Some(0));
    }

    #[test]
    fn who_has_a_part_is_polled_and_who_has_all_is_not() {
        let mut roster = Roster::default();
        met(&mut roster, 'a', SECOND);
        met(&mut roster, 'b', SECOND);
        roster.has('b', 2, true);
        assert!(roster.due(SECOND + POLL / 2).is_empty());
        assert_eq!(roster.due(SECOND * 4), ['a']);
        assert_eq!(roster.ask('a', SECOND * 4), Some(1), "since the version that it told");
        assert!(roster.is_behind('a', 2) && !roster.is_behind('b', 3));
    }

    #[test]
    fn who_starves_us_is_blamed_only_if_others_gave_and_it_answers() {
        let mut roster = Roster::default();
        met(&mut roster, 'a', SECOND);
        met(&mut roster, 'b', SECOND);
        assert!(!roster.fault('a', "silent", SECOND * 20), "nobody gave: it may be our line");
        roster.gave('b', SECOND * 30);
        assert!(roster.fault('a', "silent", SECOND * 31), "it has never sent a group");
        let ix = roster.left('a').unwrap();
        assert_eq!(roster.peer(ix), 'a');
        assert!(roster.ask('a', SECOND * 31).is_some());
        assert_eq!(roster.answered('a', true).as_deref(), Some("silent"));
        assert_eq!(roster.candidate('a', SECOND * 99), None, "it is not asked any more");
    }

    #[test]
    fn a_broken_line_is_not_blamed() {
        let mut roster = Roster::default();
        met(&mut roster, 'a', SECOND);
        met(&mut roster, 'b', SECOND);
        roster.gave('b', SECOND * 30);
        assert!(roster.fault('a', "silent", SECOND * 31));
        roster.left('a');
        roster.ask('a', SECOND * 31);
        assert_eq!(roster.answered('a', false), None);
        assert_eq!(roster.candidate('a', SECOND * 40), Some(0), "it may come back");
    }
}
