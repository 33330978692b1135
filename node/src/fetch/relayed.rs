//! Models through relays: only what the user of a fetch allowed, and only where the relay's operator
//! allowed it too.
//!
//! A relay carries what two nodes need to find each other; models would cost its operator dearly. So
//! each request for groups asks for a direct connection first and takes a relayed one only out of
//! the [`Allowance`]. A peer that cannot be asked without is barred until there is a direct
//! connection or the user allows more; who waits hears why, and which word is missing from whom.
//!
//! Invariant: of one fetch, no more bytes are asked for over relays than were allowed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hive_api::{ErrorKind, HiveError};
use hive_protocol::BlockId;
use hive_swarm::Peer;

/// Bytes of a fetch that may come through relays.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    allowed: AtomicU64,
    taken: AtomicU64,
}

impl Allowance {
    /// So many, or none.
    pub(crate) fn new(bytes: Option<u64>) -> Arc<Self> {
        Arc::new(Self { allowed: bytes.unwrap_or(0).into(), taken: 0.into() })
    }

    /// Another who follows the fetch allows so many in all.
    pub(crate) fn raise(&self, bytes: Option<u64>) {
        self.allowed.fetch_max(bytes.unwrap_or(0), Ordering::Relaxed);
    }

    /// How many were allowed.
    pub(crate) fn allowed(&self) -> u64 {
        self.allowed.load(Ordering::Relaxed)
    }

    /// Takes bytes for one request, or nothing if there are fewer left.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> Option<Spending> {
        let allowed = self.allowed();
        let fits = |taken: u64| taken.checked_add(bytes).filter(|taken| *taken <= allowed);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Spending { of: Arc::clone(self), left: bytes })
    }
}

/// What one request may bring; what it did not bring is given back.
#[derive(Debug)]
pub(crate) struct Spending {
    of: Arc<Allowance>,
    left: u64,
}

impl Spending {
    /// So many have come.
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(self.left, Ordering::Relaxed);
    }
}

/// Peers that are reached through relays only, and whether these would let models through.
#[derive(Debug, Default)]
pub(crate) struct Barred {
    peers: HashMap<Peer, bool>,
    /// What was allowed when they were barred.
    allowed: u64,
}

impl Barred {
    /// A peer could not be asked. Says whether that is news.
    pub(crate) fn insert(&mut self, peer: Peer, offered: bool, allowed: u64) -> bool {
        self.allowed = allowed;
        self.peers.insert(peer, offered) != Some(offered)
    }

    pub(crate) fn contains(&self, peer: Peer) -> bool {
        self.peers.contains_key(&peer)
    }

    /// There is a direct connection, or none at all. Says whether the peer was barred.
    pub(crate) fn remove(&mut self, peer: Peer) -> bool {
        self.peers.remove(&peer).is_some()
    }

    /// Those who may be asked again since more is allowed now.
    pub(crate) fn freed(&mut self, allowed: u64) -> Vec<Peer> {
        if allowed <= self.allowed {
            return Vec::new();
        }
        self.allowed = allowed;
        self.peers.drain().map(|(peer, _)| peer).collect()
    }

    /// Why a fetch that has nobody else to ask ends.
    pub(crate) fn error(&self, id: BlockId, missing: u64, allowed: u64) -> Option<HiveError> {
        if self.peers.is_empty() {
            return None;
        }
        let offered = self.peers.values().any(|offered| *offered);
        // What the user can change is a policy; what only others can is a network.
        let kind = if offered { ErrorKind::Refused } else { ErrorKind::Unreachable };
        let n = self.peers.len();
        let who = if n == 1 { "the peer that has it is" } else { "the peers that have it are" };
        let message = format!("{id}: {who} reached through relays only");
        Some(HiveError::new(kind, message).hint(remedy(id, offered, allowed, missing)))
    }
}

/// Which of the two words is missing, from whom, and the command that gives it.
pub(crate) fn remedy(id: BlockId, offered: bool, allowed: u64, missing: u64) -> String {
    let here = format!("`hive fetch {id} --relay-bulk {}`", round(missing));
    let there = "`hive relay --allow-bulk`";
    match (offered, allowed > 0) {
        (true, false) => format!("the relay lets models through; allow it here too: {here}"),
        (true, true) => format!("what was allowed for relays is used up; allow more: {here}"),
        (false, true) => {
            format!("it is allowed here; the relay's operator does not allow it ({there} there)")
        }
        (false, false) => format!(
            "neither the relay's operator nor you allow models through it: {there} there, and \
             {here} here"
        ),
    }
}

/// A size that a person would write, and no less.
fn round(bytes: u64) -> String {
    const GB: u64 = 1_000_000_000;
    if bytes >= GB {
        format!("{}GB", bytes.div_ceil(GB))
    } else {
        format!("{}MB", bytes.div_ceil(1_000_000).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> BlockId {
        BlockId::of(b"x")
    }

    fn peer(n: u8) -> Peer {
        hive_swarm::NodeIdentity::from_ed25519_secret([n; 32]).peer()
    }

    #[test]
    fn no_more_is_taken_than_allowed_and_what_did_not_come_is_given_back() {
        assert!(Allowance::new(None).take(1).is_none());
        let allowance = Allowance::new(Some(100));
        let mut first = allowance.take(60).expect("there is room");
        assert!(allowance.take(60).is_none());
        let second = allowance.take(40).expect("there is room");
        first.spend(50);
        drop(first);
        assert!(allowance.take(11).is_none());
        let third = allowance.take(10).expect("what did not come");
        drop((second, third));
        let all = allowance.take(50).expect("all but what came");
        drop(all);
        allowance.raise(Some(70));
        assert_eq!(allowance.allowed(), 100, "nobody takes away what another allowed");
        allowance.raise(Some(u64::MAX));
        assert!(allowance.take(u64::MAX).is_none() && allowance.take(1 << 40).is_some());
    }

    #[test]
    fn who_is_barred_is_told_of_once_and_freed_by_more() {
        let mut barred = Barred::default();
        assert_eq!(barred.error(id(), 5, 0), None);
        assert!(barred.insert(peer(1), false, 0) && !barred.insert(peer(1), false, 0));
        assert!(barred.insert(peer(1), true, 0), "the relay changed its mind");
        assert!(barred.freed(0).is_empty());
        assert_eq!(barred.freed(10), [peer(1)]);
        assert!(!barred.contains(peer(1)) && !barred.remove(peer(1)));
    }

    #[test]
    fn the_missing_word_is_named_with_its_command() {
        let (gb, id) = (1_500_000_000, id());
        for (offered, allowed, kind, told) in [
            (true, 0, ErrorKind::Refused, "--relay-bulk 2GB"),
            (true, 9, ErrorKind::Refused, "used up"),
            (false, 9, ErrorKind::Unreachable, "hive relay --allow-bulk"),
            (false, 0, ErrorKind::Unreachable, "neither"),
        ] {
            let mut barred = Barred::default();
            barred.insert(peer(1), offered, allowed);
            let error = barred.error(id, gb, allowed).expect("somebody is barred");
            assert_eq!(error.kind, kind, "{told}");
            assert!(error.hint.as_deref().is_some_and(|hint| hint.contains(told)), "{error:?}");
        }
        assert_eq!(
            (round(0), round(1), round(999_999_999)),
            ("1MB".into(), "1MB".into(), "1000MB".into())
        );
    }
}
