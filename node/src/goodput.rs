//! How fast chunks go to and from each peer: measured where groups arrive and leave.
//!
//! A second counts if a group ended in it, so that a peer which gave ten seconds at 50 MB/s and then
//! had nothing more to give is shown with 50 MB/s, not with a sixth of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hive_swarm::Peer;

/// Seconds that count.
const WINDOW: u64 = 60;
/// Peers that are measured at once; the one that was quiet longest makes room.
const PEERS: usize = 256;

/// The bytes of each of the last seconds; the slot of a second is its number modulo [`WINDOW`].
#[derive(Debug, Clone)]
struct Seconds {
    slots: [(u64, u64); WINDOW as usize],
    last: u64,
}

impl Seconds {
    fn new() -> Self {
        Self { slots: [(0, 0); WINDOW as usize], last: 0 }
    }

    fn add(&mut self, second: u64, bytes: u64) {
        let (slot, sum) = &mut self.slots[(second % WINDOW) as usize];
        if *slot != second {
            (*slot, *sum) = (second, 0);
        }
        *sum += bytes;
        self.last = second;
    }

    fn rate(&self, second: u64) -> Option<f64> {
        let oldest = second.saturating_sub(WINDOW - 1);
        let counted = self.slots.iter().filter(|(slot, sum)| *slot >= oldest && *sum > 0);
        let (n, bytes) = counted.fold((0u64, 0u64), |(n, bytes), (_, sum)| (n + 1, bytes + sum));
        (n > 0).then(|| bytes as f64 / n as f64)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Goodput {
    start: Instant,
    peers: Mutex<HashMap<Peer, Seconds>>,
}

impl Default for Goodput {
    fn default() -> Self {
        Self { start: Instant::now(), peers: Mutex::default() }
    }
}

impl Goodput {
    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, Seconds>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes of chunks have just come from a peer, or gone to it.
    pub(crate) fn moved(&self, peer: Peer, bytes: u64) {
        self.moved_at(peer, bytes, self.start.elapsed().as_secs());
    }

    fn moved_at(&self, peer: Peer, bytes: u64, second: u64) {
        let mut peers = self.lock();
        if peers.len() >= PEERS && !peers.contains_key(&peer) {
            let quiet = peers.iter().min_by_key(|(_, seconds)| seconds.last).map(|(peer, _)| *peer);
            if let Some(quiet) = quiet {
                peers.remove(&quiet);
            }
        }
        peers.entry(peer).or_insert_with(Seconds::new).add(second, bytes);
    }

    /// Bytes a second of the last minute, if any moved.
    pub(crate) fn of(&self, peer: Peer) -> Option<f64> {
        self.at(peer, self.start.elapsed().as_secs())
    }

    fn at(&self, peer: Peer, second: u64) -> Option<f64> {
        self.lock().get(&peer)?.rate(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u16) -> Peer {
        let mut secret = [1; 32];
        secret[..2].copy_from_slice(&n.to_le_bytes());
        hive_swarm::NodeIdentity::from_ed25519_secret(secret).peer()
    }

    #[test]
    fn seconds_without_a_byte_do_not_count_and_old_ones_end() {
        let goodput = Goodput::default();
        assert_eq!(goodput.at(peer(1), 0), None);
        goodput.moved_at(peer(1), 100, 0);
        goodput.moved_at(peer(1), 200, 0);
        goodput.moved_at(peer(1), 500, 10);
        assert_eq!(goodput.at(peer(1), 10), Some(400.0));
        assert_eq!(goodput.at(peer(1), 59), Some(400.0));
        assert_eq!(goodput.at(peer(1), 60), Some(500.0));
        assert_eq!(goodput.at(peer(1), 70), None);
        goodput.moved_at(peer(1), 7, 70);
        assert_eq!(goodput.at(peer(1), 70), Some(7.0), "a slot that is used again begins anew");
        assert_eq!(goodput.at(peer(2), 70), None);
    }

    #[test]
    fn the_quietest_makes_room() {
        let goodput = Goodput::default();
        for n in 0..PEERS as u16 {
            goodput.moved_at(peer(n), 1, u64::from(n) + 1);
        }
        goodput.moved_at(peer(9_999), 1, 300);
        assert_eq!(goodput.lock().len(), PEERS);
        assert!(!goodput.lock().contains_key(&peer(0)));
    }
}
