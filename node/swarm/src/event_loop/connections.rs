//! Who this node is connected to, and who waits for that.
//!
//! A caller that wants something of a peer waits here until there is a connection or no hope of
//! one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hive_protocol::message::{Request, Response};
use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::DialError as SwarmDialError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;

use super::{EventLoop, answer, unix_now};
use crate::address::{is_relayed, peer_of, without_peer};
use crate::client::{Fetch, Reply};
use crate::error::{DialError, RequestError};
use crate::identity::Peer;
use crate::inbound::SwarmEvent;
use crate::limits::{DIAL_FAILURES, DIAL_WAITERS, FAILING_PEERS, REJOIN_FIRST};

/// Somebody who waits for a connection.
#[derive(Debug)]
enum Waiter {
    Connect(Reply<Result<(), DialError>>),
    Request { request: Request, reply: Reply<Result<Response, RequestError>> },
    Fetch(Fetch),
}

impl Waiter {
    fn fail(self, error: DialError) {
        match self {
            Self::Connect(reply) => answer(reply, Err(error)),
            Self::Request { reply, .. } => answer(reply, Err(error.into())),
            Self::Fetch(fetch) => answer(fetch.reply, Err(error.into())),
        }
    }
}

/// Those who wait for one peer.
#[derive(Debug, Default)]
struct Waiting {
    waiters: Vec<Waiter>,
    /// The dial that was made for them. Before that they wait for somebody else's, which may try
    /// fewer addresses.
    dial: Option<ConnectionId>,
    /// The search for where the peer is. There is one at most.
    search: Option<mpsc::Receiver<Peer>>,
}

/// A dial that somebody asked for by address.
#[derive(Debug)]
struct Dialing {
    address: String,
    reply: Reply<Result<Peer, DialError>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) bootstrap: HashMap<PeerId, Vec<Multiaddr>>,
    waiting: HashMap<PeerId, Waiting>,
    dialing: HashMap<ConnectionId, Dialing>,
    /// Dials in a row that failed.
    failures: HashMap<PeerId, u32>,
    pub(super) rejoin_at: Instant,
    pub(super) rejoin_pause: Duration,
    /// Peers that vanished without a word, and until when they are looked for.
    pub(super) vanished: HashMap<PeerId, Instant>,
    pub(super) seek_at: Instant,
    pub(super) seek_pause: Duration,
}

impl Connections {
    pub(super) fn new(addresses: Vec<Multiaddr>, local: PeerId, now: Instant) -> Self {
        let mut bootstrap: HashMap<_, Vec<_>> = HashMap::new();
        for address in addresses {
            if let Some(peer) = peer_of(&address).filter(|peer| *peer != local) {
                bootstrap.entry(peer).or_default().push(address);
            }
        }
        Self {
            bootstrap,
            waiting: HashMap::new(),
            dialing: HashMap::new(),
            failures: HashMap::new(),
            rejoin_at: now,
            rejoin_pause: REJOIN_FIRST,
            vanished: HashMap::new(),
            seek_at: now,
            seek_pause: REJOIN_FIRST,
        }
    }

    fn n_waiting(&self) -> usize {
        self.waiting.values().map(|waiting| waiting.waiters.len()).sum::<usize>()
            + self.dialing.len()
    }
}

impl EventLoop {
    pub(super) fn on_dial(&mut self, text: &str, reply: Reply<Result<Peer, DialError>>) {
        let Ok(address) = text.parse::<Multiaddr>() else {
            let address = text.chars().take(256).collect();
            return answer(reply, Err(DialError::Address { address }));
        };
        let peer = peer_of(&address);
        if let Some(error) = peer.and_then(|peer| self.refusal(peer)) {
            return answer(reply, Err(error));
        }
        // A direct way is worth trying where there is only a relayed one.
        let there = |peer: &PeerId| self.is_direct(peer) || is_relayed(&address);
        if let Some(peer) = peer.filter(|peer| self.swarm.is_connected(peer) && there(peer)) {
            return answer(reply, Ok(Peer(peer)));
        }
        if self.connections.n_waiting() >= DIAL_WAITERS {
            return answer(reply, Err(DialError::TooMany));
        }
        self.gate.except(&address);
        let opts = match peer {
            Some(peer) => DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(vec![address.clone()])
                .build(),
            None => DialOpts::unknown_peer_id().address(address.clone()).build(),
        };
        let id = opts.connection_id();
        let address = text.to_owned();
        match self.swarm.dial(opts) {
            Ok(()) => {
                self.connections.dialing.insert(id, Dialing { address, reply });
            }
            Err(error) => answer(reply, Err(dial_error(address, peer, &error))),
        }
    }

    pub(super) fn on_connect(&mut self, peer: PeerId, reply: Reply<Result<(), DialError>>) {
        self.when_connected(peer, Waiter::Connect(reply));
    }

    pub(super) fn on_request(
        &mut self,
        peer: PeerId,
        request: Request,
        reply: Reply<Result<Response, RequestError>>,
    ) {
        self.when_connected(peer, Waiter::Request { request, reply });
    }

    pub(super) fn on_fetch(&mut self, peer: PeerId, fetch: Fetch) {
        self.when_connected(peer, Waiter::Fetch(fetch));
    }

    pub(super) fn on_disconnect(&mut self, peer: PeerId, reply: Reply<()>) {
        // Not connected is what was asked for.
        let _ = self.swarm.disconnect_peer_id(peer);
        answer(reply, ());
    }

    /// Why there shall be no connection with the peer at all.
    pub(super) fn refusal(&self, peer: PeerId) -> Option<DialError> {
        if peer == self.local {
            Some(DialError::Oneself)
        } else if self.peers.is_banned(&peer) {
            Some(DialError::Banned { peer: Peer(peer) })
        } else {
            None
        }
    }

    fn when_connected(&mut self, peer: PeerId, waiter: Waiter) {
        if let Some(error) = self.refusal(peer) {
            return waiter.fail(error);
        }
        if self.swarm.is_connected(&peer) {
            return self.serve(peer, waiter);
        }
        if self.connections.n_waiting() >= DIAL_WAITERS {
            return waiter.fail(DialError::TooMany);
        }
        let waiting = self.connections.waiting.entry(peer).or_default();
        waiting.waiters.push(waiter);
        if waiting.waiters.len() == 1 {
            self.dial_for_waiters(peer);
        }
    }

    fn dial_for_waiters(&mut self, peer: PeerId) {
        match self.dial_known(peer) {
            Ok(dial) => {
                if let Some(waiting) = self.connections.waiting.get_mut(&peer) {
                    waiting.dial = dial;
                }
            }
            Err(error) => self.search_or_fail(peer, &error),
        }
    }

    /// A peer of which only the id is known may have said in the DHT where it is.
    fn search_or_fail(&mut self, peer: PeerId, error: &DialError) {
        let unknown = matches!(error, DialError::NoAddress { .. });
        let searched = self.connections.waiting.get(&peer).is_none_or(|w| w.search.is_some());
        let found = if unknown && !searched { self.search_for(peer) } else { None };
        match (found, self.connections.waiting.get_mut(&peer)) {
            (Some(found), Some(waiting)) => {
                waiting.dial = None;
                waiting.search = Some(found);
            }
            _ => self.fail_waiters(peer, error),
        }
    }

    /// The search for a peer has ended: with what it has brought, or without.
    pub(super) fn on_searched(&mut self, peer: PeerId) {
        let waiting = self.connections.waiting.get(&peer);
        if waiting.is_some_and(|waiting| waiting.search.is_some() && waiting.dial.is_none()) {
            // Nobody is searched for twice: this dials, waits for a dial, or fails those who wait.
            self.dial_for_waiters(peer);
        }
    }

    fn serve(&mut self, peer: PeerId, waiter: Waiter) {
        match waiter {
            Waiter::Connect(reply) => answer(reply, Ok(())),
            Waiter::Request { request, reply } => self.ask(peer, request, reply),
            Waiter::Fetch(fetch) => self.fetch(peer, fetch),
        }
    }

    fn serve_waiters(&mut self, peer: PeerId) {
        let waiting = self.connections.waiting.remove(&peer).unwrap_or_default();
        for waiter in waiting.waiters {
            self.serve(peer, waiter);
        }
    }

    fn fail_waiters(&mut self, peer: PeerId, error: &DialError) {
        let waiting = self.connections.waiting.remove(&peer).unwrap_or_default();
        for waiter in waiting.waiters {
            waiter.fail(error.clone());
        }
    }

    /// Dials a peer wherever it may be. `None` if that is happening already.
    pub(super) fn dial_known(&mut self, peer: PeerId) -> Result<Option<ConnectionId>, DialError> {
        let mut addresses = self.connections.bootstrap.get(&peer).cloned().unwrap_or_default();
        addresses.extend_from_slice(self.peers.book.addresses(&peer));
        // A relay has no way over relays, least of all over itself.
        addresses.retain(|address| self.relays.traverses() || !is_relayed(address));
        for address in &addresses {
            // The book has private addresses only where this node has been.
            self.gate.except(address);
        }
        for address in self.dht_addresses(peer) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        self.dial_at(peer, addresses)
    }

    pub(super) fn dial_at(
        &mut self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<Option<ConnectionId>, DialError> {
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing);
        let opts = if addresses.is_empty() {
            // Other behaviours may know.
            opts.build()
        } else {
            opts.addresses(addresses).build()
        };
        let id = opts.connection_id();
        match self.swarm.dial(opts) {
            Ok(()) => Ok(Some(id)),
            Err(SwarmDialError::DialPeerConditionFalse(_)) => Ok(None),
            Err(error) => Err(dial_error(peer.to_string(), Some(peer), &error)),
        }
    }

    /// Dials another address of a connected peer.
    pub(super) fn dial_also(&mut self, peer: PeerId, address: Multiaddr) {
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always);
        if let Err(error) = self.swarm.dial(opts.addresses(vec![address]).build()) {
            tracing::debug!(%peer, %error, "another transport not tried");
        }
    }

    /// Dials an address of a peer that mDNS found.
    pub(super) fn dial_found(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        for address in &addresses {
            self.gate.except(address);
        }
        if let Err(error) = self.dial_at(peer, addresses) {
            tracing::debug!(%peer, %error, "peer on this network not dialed");
        }
    }

    pub(super) fn on_established(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        n_established: u32,
    ) {
        self.connections.failures.remove(&peer);
        if self.connections.vanished.remove(&peer).is_some() {
            // Where one is, the others may be.
            self.connections.seek_soon(Instant::now());
        }
        self.on_member(peer);
        if let Some(Dialing { reply, .. }) = self.connections.dialing.remove(&connection) {
            answer(reply, Ok(Peer(peer)));
        }
        if endpoint.is_dialer() && !endpoint.is_relayed() {
            let address = without_peer(endpoint.get_remote_address());
            self.peers.book.met(peer, &address, unix_now());
        }
        if n_established == 1 {
            self.connections.rejoin_pause = REJOIN_FIRST;
            self.peers.arrived(peer);
            tracing::debug!(%peer, address = %endpoint.get_remote_address(), "connected");
            self.tell(SwarmEvent::PeerConnected { peer: Peer(peer) });
        }
        self.on_path(peer, endpoint);
        self.hold_relay(peer, connection, endpoint);
        self.hold_guest(&peer);
        self.serve_waiters(peer);
    }

    pub(super) fn on_closed(&mut self, peer: PeerId, n_established: u32) {
        if n_established == 0 {
            self.peers.left(&peer);
            self.members.left(&peer);
            self.bulk.left(&peer);
            self.punching_left(peer);
            self.relay_left(&peer);
            self.guest_left(&peer);
            tracing::debug!(%peer, "disconnected");
            self.tell(SwarmEvent::PeerDisconnected { peer: Peer(peer) });
        }
    }

    pub(super) fn on_dial_failed(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        error: &SwarmDialError,
    ) {
        tracing::debug!(?peer, %error, "dial failed");
        if let Some(Dialing { address, reply }) = self.connections.dialing.remove(&connection) {
            answer(reply, Err(dial_error(address, peer, error)));
        }
        let Some(peer) = peer else { return };
        self.note_failure(peer, error);
        if self.swarm.is_connected(&peer) {
            return self.serve_waiters(peer);
        }
        match self.connections.waiting.get(&peer).map(|waiting| waiting.dial) {
            Some(None) => self.dial_for_waiters(peer),
            Some(Some(dial)) if dial == connection => {
                self.search_or_fail(peer, &dial_error(peer.to_string(), Some(peer), error));
            }
            // Theirs is another dial, or nobody waits.
            _ => {}
        }
    }

    /// Addresses that fail sink in the book; a peer that fails often leaves the routing table, which
    /// by itself would go on naming it to others.
    fn note_failure(&mut self, peer: PeerId, error: &SwarmDialError) {
        match error {
            SwarmDialError::Transport(errors) => {
                for (address, _) in errors {
                    self.peers.book.failed(peer, address);
                }
            }
            SwarmDialError::WrongPeerId { address, .. } => {
                self.peers.book.failed(peer, address);
                self.swarm.behaviour_mut().kad.remove_address(&peer, address);
            }
            // Nobody was asked.
            _ => return,
        }
        if self.connections.failures.len() >= FAILING_PEERS {
            self.connections.failures.clear();
        }
        let failures = self.connections.failures.entry(peer).or_default();
        *failures += 1;
        if *failures >= DIAL_FAILURES && !self.swarm.is_connected(&peer) {
            self.connections.failures.remove(&peer);
            self.swarm.behaviour_mut().kad.remove_peer(&peer);
        }
    }
}

/// Says in this crate's words why a dial failed.
fn dial_error(target: String, peer: Option<PeerId>, error: &SwarmDialError) -> DialError {
    let unreachable = |reason: String| DialError::Unreachable { target: target.clone(), reason };
    match error {
        SwarmDialError::LocalPeerId { .. } => DialError::Oneself,
        SwarmDialError::WrongPeerId { obtained, .. } => {
            DialError::WrongPeer { peer: Peer(*obtained) }
        }
        SwarmDialError::NoAddresses => match peer {
            Some(peer) => DialError::NoAddress { peer: Peer(peer) },
            None => unreachable("no address".to_owned()),
        },
        SwarmDialError::Denied { cause } => {
            if cause.downcast_ref::<libp2p::connection_limits::Exceeded>().is_some() {
                DialError::TooMany
            } else {
                unreachable(reason(cause))
            }
        }
        SwarmDialError::Transport(errors) => {
            let each = errors
                .iter()
                .map(|(address, error)| format!("{}: {}", without_peer(address), reason(error)));
            unreachable(each.collect::<Vec<_>>().join("; "))
        }
        error => unreachable(error.to_string()),
    }
}

/// The innermost cause, which is the one that says something.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
