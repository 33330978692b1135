//! Sends requests for groups over the connection that suits bulk best.
//!
//! TCP costs the fewest cycles and comes first, then QUIC, then WebSocket. QUIC is quicker to connect
//! and so often the only one there is: then it carries the first request while TCP is tried once.
//! (What was measured of each could go before all that.)
//!
//! A relay is not for bulk, unless its owner and whoever asks here have both allowed it. While there
//! is nothing but relayed connections, requests wait until a hole is punched, or is not.

use std::collections::HashSet;

use libp2p::PeerId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};

use super::{EventLoop, answer};
use crate::client::Fetch;
use crate::error::{DialError, FetchError};
use crate::exchange::{ConnectionInfo, RequestError, TransportKind};
use crate::identity::Peer;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    /// Connected peers for which TCP was tried.
    tried: HashSet<PeerId>,
}

impl Bulk {
    pub(super) fn left(&mut self, peer: &PeerId) {
        self.tried.remove(peer);
    }
}

/// The rank of a circuit that may be used.
const RELAYED: u8 = 3;

/// The smaller, the better.
fn rank(kind: TransportKind) -> Option<u8> {
    match kind {
        TransportKind::Tcp => Some(0),
        TransportKind::Quic | TransportKind::Other => Some(1),
        TransportKind::WebSocket => Some(2),
        TransportKind::Relay => None,
    }
}

impl EventLoop {
    /// Asks a connected peer for groups, when it is known whether there is a direct way.
    pub(super) fn fetch(&mut self, peer: PeerId, fetch: Fetch) {
        let waits = !self.is_direct(&peer);
        let fetch = if waits { self.wait_for_punch(peer, fetch) } else { Some(fetch) };
        if let Some(fetch) = fetch {
            self.fetch_now(peer, fetch);
        }
    }

    /// Asks a connected peer for groups over what there is.
    pub(super) fn fetch_now(&mut self, peer: PeerId, fetch: Fetch) {
        let relays = &self.relays;
        let relayed = |info: &ConnectionInfo| {
            let relay = info.relay.filter(|relay| relays.allows_bulk(relay));
            relay.filter(|_| fetch.over_relay).map(|_| RELAYED)
        };
        let exchange = &mut self.swarm.behaviour_mut().exchange;
        let ranked = exchange
            .connections(&peer)
            .filter_map(|info| Some((rank(info.kind).or_else(|| relayed(info))?, info.id)));
        let mut connections: Vec<_> = ranked.collect();
        connections.sort_by_key(|(rank, _)| *rank);

        let Fetch { request, events, reply, .. } = fetch;
        let mut error = if connections.is_empty() && exchange.connections(&peer).next().is_some() {
            let offered = exchange.connections(&peer).filter_map(|info| info.relay);
            let offered = offered.into_iter().any(|relay| self.relays.allows_bulk(&relay));
            FetchError::OnlyRelayed { peer: Peer(peer), offered }
        } else {
            FetchError::Dial(DialError::NoAddress { peer: Peer(peer) })
        };
        let best = connections.first().map(|(rank, _)| *rank);
        let asked = connections.into_iter().any(|(_, connection)| {
            match exchange.request(connection, request.clone(), events.clone()) {
                Ok(()) => return true,
                Err(RequestError::Full) => error = FetchError::TooMany,
                // It is closing; the next.
                Err(_) => {}
            }
            false
        });
        answer(reply, if asked { Ok(()) } else { Err(error) });
        if best.is_some_and(|best| best > 0 && best < RELAYED) {
            self.try_tcp(peer);
        }
    }

    fn try_tcp(&mut self, peer: PeerId) {
        if self.bulk.tried.contains(&peer) {
            return;
        }
        let known = self.peers.book.addresses(&peer).iter();
        let addresses: Vec<_> = known
            .filter(|address| TransportKind::of(address) == TransportKind::Tcp)
            .cloned()
            .collect();
        if addresses.is_empty() {
            // The peer may not have said yet where it is.
            return;
        }
        self.bulk.tried.insert(peer);
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses);
        if let Err(error) = self.swarm.dial(opts.build()) {
            tracing::debug!(%peer, %error, "TCP not tried");
        }
    }
}
