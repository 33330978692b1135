//! Finding the network again: a node without connections, and one whose peers vanished.
//!
//! A node without connections dials its bootstrap nodes and the peers it met last, ever more slowly.
//! So does a node whose peers vanish without a word, beside what it has: the network may have come
//! apart between it and them, and each part alone would never look for the other.

use std::time::Instant;

use libp2p::PeerId;
use rand::seq::SliceRandom as _;

use super::EventLoop;
use super::connections::Connections;
use crate::limits::{REJOIN_FIRST, REJOIN_LAST, REJOIN_PEERS, SEEK_LAST, VANISHED, VANISHED_TIME};

impl Connections {
    /// Looks for those who vanished soon, and then ever more seldom.
    pub(super) fn seek_soon(&mut self, now: Instant) {
        self.seek_at = now + REJOIN_FIRST;
        self.seek_pause = REJOIN_FIRST * 2;
    }
}

impl EventLoop {
    /// Dials the bootstrap nodes; says whether there are any.
    pub(super) fn dial_bootstrap(&mut self) -> bool {
        for (peer, addresses) in self.connections.bootstrap.clone() {
            if self.refusal(peer).is_some() {
                continue;
            }
            for address in &addresses {
                self.gate.except(address);
            }
            if let Err(error) = self.dial_at(peer, addresses) {
                tracing::debug!(%peer, %error, "bootstrap node not dialed");
            }
        }
        !self.connections.bootstrap.is_empty()
    }

    /// A connected peer does not answer any more.
    pub(super) fn on_vanished(&mut self, peer: PeerId, now: Instant) {
        let connections = &mut self.connections;
        if connections.vanished.is_empty() {
            connections.seek_soon(now);
        }
        if connections.vanished.len() < VANISHED {
            connections.vanished.insert(peer, now + VANISHED_TIME);
        }
    }

    /// Dials some of those who vanished, and the bootstrap nodes: a part of the network that lost
    /// another finds it there.
    fn seek_vanished(&mut self, now: Instant) {
        self.connections.vanished.retain(|_, until| *until > now);
        if now < self.connections.seek_at || self.connections.vanished.is_empty() {
            return;
        }
        self.dial_bootstrap();
        let mut vanished: Vec<PeerId> = self.connections.vanished.keys().copied().collect();
        vanished.retain(|peer| self.refusal(*peer).is_none());
        vanished.shuffle(&mut rand::rng());
        for peer in vanished.into_iter().take(REJOIN_PEERS) {
            // Failing is told by an event.
            let _ = self.dial_known(peer);
        }
        self.connections.seek_at = now + self.connections.seek_pause;
        self.connections.seek_pause = (self.connections.seek_pause * 2).min(SEEK_LAST);
    }

    pub(super) fn tick_connections(&mut self, now: Instant) {
        self.seek_vanished(now);
        if now < self.connections.rejoin_at || !self.is_listening() {
            return;
        }
        let alone = self.peers.is_alone();
        if alone || self.dht_len() == 0 {
            self.dial_bootstrap();
        }
        if alone {
            for peer in self.peers.book.recent(REJOIN_PEERS) {
                // Failing is told by an event.
                let _ = self.dial_known(peer);
            }
        }
        self.connections.rejoin_at = now + self.connections.rejoin_pause;
        self.connections.rejoin_pause = (self.connections.rejoin_pause * 2).min(REJOIN_LAST);
    }
}
