//! The policy as scripts, and as swarms in virtual time.

mod asks;
mod faults;
mod readers;
mod script;
mod sim;
mod slow;
mod swarm;

use super::*;
use hive_protocol::ChunkId;
use hive_protocol::limits::GROUP_LEN;

impl Planner {
    /// Every group is in exactly one of missing, in flight, present, and all counts agree.
    pub(super) fn assert_sound(&self) {
        for group in 0..self.geometry.n_groups() {
            let owners = self.owners.get(&group).map_or(0, Vec::len);
            let places = [self.missing.contains(group), owners > 0, self.present.contains(group)];
            assert_eq!(places.iter().filter(|&&is| is).count(), 1, "group {group}: {places:?}");
            assert!(owners <= 2, "group {group} is asked of {owners} peers");
        }
        let awaited = |peer: PeerIx| {
            let requests = self.requests.values().filter(move |request| request.peer == peer);
            requests.map(|request| request.awaited().count() as u32).sum::<u32>()
        };
        for (&ix, peer) in &self.peers {
            assert_eq!(peer.in_flight, awaited(ix), "{ix:?}");
            assert!(peer.in_flight <= self.config.max_per_peer, "{ix:?} has {}", peer.in_flight);
            assert!(peer.proven || peer.in_flight <= 1, "a new peer has {}", peer.in_flight);
        }
        assert_eq!(self.in_flight, self.peers.keys().map(|&ix| awaited(ix)).sum::<u32>());
        assert!(self.in_flight <= self.config.max_in_flight);
        assert!(self.requests.values().all(|request| request.awaited().next().is_some()));
        let duplicates = self.owners.values().filter(|owners| owners.len() > 1).count();
        assert!(duplicates <= self.config.max_duplicates);
    }
}

/// A model of chunks with these numbers of groups, all whole.
fn model(n_groups: &[u32]) -> Arc<Geometry> {
    let chunk =
        |(place, &n): (usize, &u32)| (ChunkId::of(&place.to_le_bytes()), u64::from(n) * GROUP_LEN);
    Arc::new(Geometry::new(n_groups.iter().enumerate().map(chunk)))
}
