//! Sends requests for groups over the connection that suits bulk best.
//!
//! TCP costs the fewest cycles and comes first, then QUIC, then WebSocket, until what each of them
//! brings has been measured ([`crate::choice`]). Where a peer is reached over one of them only, the
//! others are dialed once: TCP at once, since QUIC is quicker to connect and so often the only one
//! there is, and QUIC when there is more than a moment's work for it.
//!
//! A relay is not for bulk, unless its owner and whoever asks here have both allowed it. While there
//! is nothing but relayed connections, requests wait until a hole is punched, or is not.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use hive_protocol::chunk_message::Range;
use libp2p::PeerId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};

use super::{EventLoop, answer};
use crate::choice::{Choice, Pick, WARM};
use crate::client::Fetch;
use crate::error::{DialError, FetchError};
use crate::exchange::{Carried, ConnectionInfo, RequestError, TransportKind};
use crate::identity::Peer;

/// See the module.
#[derive(Debug)]
pub(super) struct Bulk {
    start: Instant,
    /// Connected peers, and what was dialed besides what there was.
    tried: HashSet<(PeerId, TransportKind)>,
    /// Of connected peers that were asked.
    choices: HashMap<PeerId, Choice>,
}

impl Default for Bulk {
    fn default() -> Self {
        Self { start: Instant::now(), tried: HashSet::new(), choices: HashMap::new() }
    }
}

impl Bulk {
    pub(super) fn left(&mut self, peer: &PeerId) {
        self.tried.retain(|(tried, _)| tried != peer);
        self.choices.remove(peer);
    }

    /// What carries the next request to a peer, of what is there in the order of rank.
    fn choose(&mut self, peer: PeerId, there: &[(TransportKind, Carried)]) -> Option<Pick> {
        let choice = self.choices.entry(peer).or_insert_with(Choice::new);
        choice.pick(there, self.start.elapsed())
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
        let ranked = exchange.connections(&peer).filter_map(|info| {
            Some((rank(info.kind).or_else(|| relayed(info))?, info.kind, info.id))
        });
        let mut connections: Vec<_> = ranked.collect();
        connections.sort_by_key(|(rank, ..)| *rank);
        let direct = connections.iter().filter(|(rank, ..)| *rank < RELAYED);
        let there: Vec<_> = direct.map(|(_, kind, id)| (*kind, exchange.carried(*id))).collect();
        let pick = self.bulk.choose(peer, &there);
        let chosen = pick.map(|pick| pick.kind);
        connections.sort_by_key(|(_, kind, _)| Some(*kind) != chosen);
        if let Some(loser) = pick.and_then(|pick| pick.withdrawn) {
            tracing::debug!(%peer, ?chosen, ?loser, "transports compared");
            let of_loser = connections.iter().filter(|(_, kind, _)| *kind == loser);
            of_loser.for_each(|(.., connection)| exchange.withdraw(*connection));
        }

        let Fetch { request, events, reply, .. } = fetch;
        let tried = pick.filter(|pick| pick.is_trial).map(|pick| pick.kind);
        let ask_of = |kind: TransportKind| {
            let mut request = request.clone();
            if Some(kind) == tried
                && let Some(first) = request.ranges.first()
            {
                // What is not granted is asked again elsewhere.
                request.ranges = vec![Range { n: 1, ..*first }];
            }
            request
        };
        let mut error = if connections.is_empty() && exchange.connections(&peer).next().is_some() {
            let offered = exchange.connections(&peer).filter_map(|info| info.relay);
            let offered = offered.into_iter().any(|relay| self.relays.allows_bulk(&relay));
            FetchError::OnlyRelayed { peer: Peer(peer), offered }
        } else {
            FetchError::Dial(DialError::NoAddress { peer: Peer(peer) })
        };
        let asked = connections.into_iter().any(|(_, kind, connection)| {
            match exchange.request(connection, ask_of(kind), events.clone()) {
                Ok(()) => return true,
                Err(RequestError::Full) => error = FetchError::TooMany,
                // It is closing; the next.
                Err(_) => {}
            }
            false
        });
        answer(reply, if asked { Ok(()) } else { Err(error) });
        self.try_others(peer, &there);
    }

    /// Ends the trials that are over, also where nothing more is asked.
    pub(super) fn tick_bulk(&mut self) {
        let now = self.bulk.start.elapsed();
        let exchange = &mut self.swarm.behaviour_mut().exchange;
        let trying = self.bulk.choices.iter_mut().filter(|(_, choice)| choice.is_trying());
        for (peer, choice) in trying {
            let there: Vec<_> = exchange
                .connections(peer)
                .map(|info| (info.kind, info.id, exchange.carried(info.id)))
                .collect();
            let sums: Vec<_> = there.iter().map(|(kind, _, sum)| (*kind, *sum)).collect();
            let Some(loser) = choice.look(&sums, now) else { continue };
            tracing::debug!(%peer, ?loser, "transports compared");
            for (_, id, _) in there.into_iter().filter(|(kind, ..)| *kind == loser) {
                exchange.withdraw(id);
            }
        }
    }

    /// Dials the transports that a peer is not reached over, so that they can be compared.
    fn try_others(&mut self, peer: PeerId, there: &[(TransportKind, Carried)]) {
        let busy = there.iter().any(|(_, carried)| carried.busy >= WARM);
        for kind in [TransportKind::Tcp, TransportKind::Quic] {
            let due = busy || kind == TransportKind::Tcp;
            if due && !there.is_empty() && there.iter().all(|(other, _)| *other != kind) {
                self.try_also(peer, kind);
            }
        }
    }

    fn try_also(&mut self, peer: PeerId, kind: TransportKind) {
        if self.bulk.tried.contains(&(peer, kind)) {
            return;
        }
        let known = self.peers.book.addresses(&peer).iter();
        let addresses: Vec<_> =
            known.filter(|address| TransportKind::of(address) == kind).cloned().collect();
        if addresses.is_empty() {
            // The peer may not have said yet where it is.
            return;
        }
        self.bulk.tried.insert((peer, kind));
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses);
        if let Err(error) = self.swarm.dial(opts.build()) {
            tracing::debug!(%peer, ?kind, %error, "another transport not tried");
        }
    }
}
