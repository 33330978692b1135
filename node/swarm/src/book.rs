//! Remembers peers and where they were, so that a restart or a lost connection needs no search.
//!
//! A peer that was met stays before one that was only heard of. Nothing is written to disk here:
//! the node keeps the snapshot.

use std::collections::HashMap;

use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use crate::address::{peer_of, without_peer};
use crate::identity::Peer;
use crate::limits::{ADDRESS_LEN, BOOK_ADDRESSES, BOOK_PEERS};

/// A peer and where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPeer {
    /// Who.
    pub peer: Peer,
    /// Where, the most useful address first. They do not end in the peer.
    pub addresses: Vec<String>,
    /// When there was last a connection, in seconds since 1970; 0 if never.
    pub last_seen: u64,
}

#[derive(Debug, Default)]
struct Entry {
    addresses: Vec<Multiaddr>,
    last_seen: u64,
}

/// The address book.
#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    entries: HashMap<PeerId, Entry>,
}

impl AddressBook {
    /// Reads what was kept of last time. What cannot be read is left out.
    pub(crate) fn load(known: &[KnownPeer], local: PeerId) -> Self {
        let mut book = Self::default();
        for KnownPeer { peer, addresses, last_seen } in known {
            let addresses = addresses.iter().filter_map(|address| address.parse().ok());
            let addresses: Vec<Multiaddr> = addresses
                .filter(|address| peer_of(address).is_none_or(|other| other == peer.0))
                .map(|address| without_peer(&address))
                .filter(|address| address.len() <= ADDRESS_LEN)
                .take(BOOK_ADDRESSES)
                .collect();
            if peer.0 != local && !addresses.is_empty() {
                let entry = Entry { addresses, last_seen: *last_seen };
                book.entries.insert(peer.0, entry);
                book.shrink(peer.0);
            }
        }
        book
    }

    /// Notes what somebody said of a peer: it only fills free places.
    pub(crate) fn heard(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        if addresses.is_empty() {
            return;
        }
        let entry = self.entries.entry(peer).or_default();
        for address in addresses {
            if entry.addresses.len() < BOOK_ADDRESSES && !entry.addresses.contains(address) {
                entry.addresses.push(address.clone());
            }
        }
        self.shrink(peer);
    }

    /// Notes where a peer was reached.
    pub(crate) fn met(&mut self, peer: PeerId, address: &Multiaddr, now: u64) {
        let address = without_peer(address);
        if address.len() > ADDRESS_LEN {
            return;
        }
        let entry = self.entries.entry(peer).or_default();
        entry.last_seen = now;
        entry.addresses.retain(|other| *other != address);
        entry.addresses.insert(0, address);
        entry.addresses.truncate(BOOK_ADDRESSES);
        self.shrink(peer);
    }

    /// Notes what a connected peer says of itself. Where it was reached stays first.
    pub(crate) fn told(&mut self, peer: PeerId, addresses: &[Multiaddr], now: u64) {
        let entry = self.entries.entry(peer).or_default();
        entry.last_seen = now;
        entry.addresses.truncate(1);
        for address in addresses {
            if entry.addresses.len() < BOOK_ADDRESSES && !entry.addresses.contains(address) {
                entry.addresses.push(address.clone());
            }
        }
        if entry.addresses.is_empty() {
            self.entries.remove(&peer);
        } else {
            self.shrink(peer);
        }
    }

    /// Notes that an address did not answer: others are tried first. A peer that was never met
    /// loses it.
    pub(crate) fn failed(&mut self, peer: PeerId, address: &Multiaddr) {
        let address = without_peer(address);
        let Some(entry) = self.entries.get_mut(&peer) else { return };
        let Some(at) = entry.addresses.iter().position(|other| *other == address) else { return };
        let address = entry.addresses.remove(at);
        if entry.last_seen > 0 {
            entry.addresses.push(address);
        } else if entry.addresses.is_empty() {
            self.entries.remove(&peer);
        }
    }

    /// Where the peer may be.
    pub(crate) fn addresses(&self, peer: &PeerId) -> &[Multiaddr] {
        self.entries.get(peer).map_or(&[], |entry| &entry.addresses)
    }

    /// The peers that were met last.
    pub(crate) fn recent(&self, n: usize) -> Vec<PeerId> {
        let met = self.entries.iter().filter(|(_, entry)| entry.last_seen > 0);
        let mut met: Vec<_> = met.map(|(peer, entry)| (entry.last_seen, *peer)).collect();
        met.sort_unstable_by(|a, b| b.cmp(a));
        met.into_iter().take(n).map(|(_, peer)| peer).collect()
    }

    /// All of it, those met last first.
    pub(crate) fn snapshot(&self) -> Vec<KnownPeer> {
        let mut known: Vec<_> = self
            .entries
            .iter()
            .map(|(peer, entry)| KnownPeer {
                peer: Peer(*peer),
                addresses: entry.addresses.iter().map(Multiaddr::to_string).collect(),
                last_seen: entry.last_seen,
            })
            .collect();
        known.sort_unstable_by_key(|known| std::cmp::Reverse((known.last_seen, known.peer)));
        known
    }

    /// The peers in it.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.entries.keys()
    }

    /// Makes room after `newcomer` came: the one that was met the longest ago leaves, and a peer
    /// that was only heard of never pushes out one that was met.
    fn shrink(&mut self, newcomer: PeerId) {
        if self.entries.len() <= BOOK_PEERS {
            return;
        }
        let others = self.entries.iter().filter(|(peer, _)| **peer != newcomer);
        let oldest = others.min_by_key(|(_, entry)| entry.last_seen);
        let oldest = oldest.map(|(peer, entry)| (*peer, entry.last_seen));
        let heard = self.entries.get(&newcomer).is_some_and(|entry| entry.last_seen == 0);
        match oldest {
            Some((oldest, last_seen)) if last_seen == 0 || !heard => self.entries.remove(&oldest),
            _ => self.entries.remove(&newcomer),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: usize) -> Multiaddr {
        format!("/ip4/8.8.8.8/tcp/{port}").parse().expect("an address")
    }

    #[test]
    fn hearsay_never_pushes_out_a_peer_that_was_met() {
        let mut book = AddressBook::default();
        let met: Vec<_> = (0..BOOK_PEERS).map(|_| PeerId::random()).collect();
        for (n, peer) in met.iter().enumerate() {
            book.met(*peer, &address(1), n as u64 + 1);
        }
        for _ in 0..100 {
            book.heard(PeerId::random(), &[address(2)]);
        }
        assert!(met.iter().all(|peer| !book.addresses(peer).is_empty()));

        let late = PeerId::random();
        book.met(late, &address(3), 5_000);
        assert_eq!(book.entries.len(), BOOK_PEERS);
        assert!(book.addresses(&met[0]).is_empty());
        assert_eq!(book.recent(2), [late, met[BOOK_PEERS - 1]]);
    }

    #[test]
    fn a_peer_has_so_many_addresses_and_the_one_that_worked_comes_first() {
        let mut book = AddressBook::default();
        let peer = PeerId::random();
        let many: Vec<_> = (1..50).map(address).collect();
        book.heard(peer, &many);
        assert_eq!(book.addresses(&peer).len(), BOOK_ADDRESSES);
        book.met(peer, &address(40), 1);
        assert_eq!(book.addresses(&peer)[0], address(40));
        book.told(peer, &[address(41)], 2);
        assert_eq!(book.addresses(&peer), [address(40), address(41)]);
        book.failed(peer, &address(40));
        assert_eq!(book.addresses(&peer), [address(41), address(40)]);
    }

    #[test]
    fn an_address_that_was_only_heard_of_is_gone_when_it_fails() {
        let mut book = AddressBook::default();
        let peer = PeerId::random();
        book.heard(peer, &[address(1)]);
        book.failed(peer, &address(1));
        assert_eq!(book.peers().count(), 0);
    }

    #[test]
    fn a_snapshot_loads_again_without_what_is_no_address() {
        let (local, peer) = (PeerId::random(), PeerId::random());
        let mut book = AddressBook::default();
        book.met(peer, &address(1), 7);
        let mut snapshot = book.snapshot();
        assert_eq!(AddressBook::load(&snapshot, local).snapshot(), snapshot);

        snapshot[0].addresses.push("rubbish".to_owned());
        snapshot.push(KnownPeer {
            peer: Peer(local),
            addresses: vec![address(1).to_string()],
            last_seen: 9,
        });
        assert_eq!(AddressBook::load(&snapshot, local).snapshot(), book.snapshot());
    }
}
