//! The relays through which others reach this node.
//!
//! A node that nobody reaches directly keeps a reservation on [`RELAYS`] relays. Relays are those of
//! the configuration, and every connected peer that says it is one. Whatever ends a reservation (a
//! restart of the relay, a network that changed, silence) is followed by another attempt, there or
//! elsewhere; libp2p itself renews what goes well and says nothing of what never answers.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::relay::client::Event;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use super::EventLoop;
use crate::address::{is_relayed, peer_of, without_peer};
use crate::exchange::TransportKind;
use crate::identity::Peer;
use crate::inbound::{Reachability, RelayState, SwarmEvent};
use crate::limits::{
    RELAY_AFTER, RELAY_RETRY_FIRST, RELAY_RETRY_LAST, RELAYS, RELAYS_HELD, RELAYS_KNOWN,
    RESERVATION_TIMEOUT, SIGNALLING_BYTES,
};

/// What a peer that relays says among its protocols.
pub(super) const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";

/// A relay that may be asked.
#[derive(Debug)]
struct Relay {
    /// What the configuration says; else what the address book has.
    addresses: Vec<Multiaddr>,
    configured: bool,
    allows_bulk: bool,
    trouble: Option<String>,
    retry_at: Instant,
    pause: Duration,
}

impl Relay {
    fn new(now: Instant) -> Self {
        Self {
            addresses: Vec::new(),
            configured: false,
            allows_bulk: false,
            trouble: None,
            retry_at: now,
            pause: RELAY_RETRY_FIRST,
        }
    }
}

/// A reservation, or a request for one.
#[derive(Debug)]
struct Held {
    relay: PeerId,
    since: Instant,
    reserved: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Relays {
    traverse: bool,
    known: HashMap<PeerId, Relay>,
    held: HashMap<ListenerId, Held>,
    /// Connected relays of which both transports were tried.
    completed: HashSet<PeerId>,
    /// Since when no address of its own is known to work.
    needed_since: Instant,
}

impl Relays {
    pub(super) fn new(configured: Vec<Multiaddr>, traverse: bool, now: Instant) -> Self {
        let mut known: HashMap<PeerId, Relay> = HashMap::new();
        for address in configured {
            let Some(peer) = peer_of(&address) else { continue };
            let relay = known.entry(peer).or_insert_with(|| Relay::new(now));
            relay.configured = true;
            relay.addresses.push(without_peer(&address));
        }
        Self { traverse, known, held: HashMap::new(), completed: HashSet::new(), needed_since: now }
    }

    /// Whether circuits of this relay may carry models.
    pub(super) fn allows_bulk(&self, relay: &PeerId) -> bool {
        self.known.get(relay).is_some_and(|relay| relay.allows_bulk)
    }

    /// Whether this node goes over relays at all.
    pub(super) fn traverses(&self) -> bool {
        self.traverse
    }

    /// Whether this node is a relay's guest, or asks to be.
    pub(super) fn uses(&self, peer: &PeerId) -> bool {
        self.held.values().any(|held| held.relay == *peer)
    }

    pub(super) fn states(&self) -> Vec<RelayState> {
        let reserved =
            |peer: &PeerId| self.held.values().any(|held| held.relay == *peer && held.reserved);
        let mut states: Vec<_> = self
            .known
            .iter()
            .map(|(peer, relay)| RelayState {
                relay: Peer(*peer),
                reserved: reserved(peer),
                allows_bulk: relay.allows_bulk,
                trouble: relay.trouble.clone().filter(|_| !reserved(peer)),
            })
            .collect();
        states.sort_unstable_by_key(|state| (!state.reserved, state.relay));
        states
    }

    fn failed(&mut self, peer: PeerId, reason: String, now: Instant) {
        if let Some(relay) = self.known.get_mut(&peer) {
            relay.trouble = Some(reason);
            relay.retry_at = now + relay.pause;
            relay.pause = (relay.pause * 2).min(RELAY_RETRY_LAST);
        }
    }

    /// The relay to ask next: those of the configuration first, then those that gave no trouble.
    fn next(&self, now: Instant, connected: impl Fn(&PeerId) -> bool) -> Option<PeerId> {
        let free = self.known.iter().filter(|(peer, relay)| {
            // One that has served can be dialed again, where it was.
            let within_reach = !relay.addresses.is_empty() || connected(peer);
            !self.uses(peer) && relay.retry_at <= now && within_reach
        });
        let best = free.min_by_key(|(peer, relay)| {
            (!relay.configured, relay.trouble.is_some(), relay.pause, **peer)
        });
        best.map(|(peer, _)| *peer)
    }
}

impl EventLoop {
    /// A connected peer says that it relays.
    pub(super) fn on_relay_found(&mut self, peer: PeerId) {
        let relays = &mut self.relays;
        if !relays.traverse || relays.known.contains_key(&peer) {
            return;
        }
        if relays.known.len() >= RELAYS_KNOWN {
            // Whoever floods us with relays replaces others of his kind, never a configured one.
            let worst = relays.known.iter().filter(|(peer, relay)| {
                !relay.configured && !relays.held.values().any(|held| held.relay == **peer)
            });
            let Some(worst) = worst.max_by_key(|(_, relay)| relay.pause).map(|(peer, _)| *peer)
            else {
                return;
            };
            relays.known.remove(&worst);
            self.swarm.behaviour_mut().exchange.set_relay(worst, false);
        }
        self.relays.known.insert(peer, Relay::new(Instant::now()));
    }

    pub(super) fn on_relay_client(&mut self, event: Event) {
        let (relay, limit, reserved) = match event {
            Event::ReservationReqAccepted { relay_peer_id, limit, renewal } => {
                (relay_peer_id, limit, !renewal)
            }
            Event::OutboundCircuitEstablished { relay_peer_id, limit } => {
                (relay_peer_id, limit, false)
            }
            Event::InboundCircuitEstablished { .. } => return,
        };
        let bytes = limit.and_then(|limit| limit.data_in_bytes());
        let allows_bulk = bytes.is_none_or(|bytes| bytes == 0 || bytes > SIGNALLING_BYTES);
        self.on_relay_found(relay);
        if let Some(known) = self.relays.known.get_mut(&relay) {
            self.swarm.behaviour_mut().exchange.set_relay(relay, allows_bulk);
            known.allows_bulk = allows_bulk;
            if reserved {
                known.trouble = None;
                known.pause = RELAY_RETRY_FIRST;
            }
        }
        if reserved {
            let address = self.relay_address(relay);
            let known = self.relays.known.get_mut(&relay);
            if let Some(known) = known.filter(|known| known.addresses.is_empty()) {
                known.addresses.extend(address);
            }
            for held in self.relays.held.values_mut().filter(|held| held.relay == relay) {
                held.reserved = true;
            }
            tracing::info!(%relay, allows_bulk, "others reach this node through a relay");
            self.tell(SwarmEvent::RelayReserved { relay: Peer(relay) });
        }
    }

    /// Whether the listener was one on a relay.
    pub(super) fn on_relay_closed(&mut self, listener: ListenerId, reason: &str) -> bool {
        let Some(held) = self.relays.held.remove(&listener) else { return false };
        tracing::info!(relay = %held.relay, reason, "a relay no longer lets others reach this node");
        self.relays.failed(held.relay, reason.to_owned(), Instant::now());
        let relay = Peer(held.relay);
        self.tell(SwarmEvent::RelayLost { relay, reason: reason.to_owned() });
        true
    }

    pub(super) fn tick_relays(&mut self, now: Instant) {
        if !self.relays.traverse {
            return;
        }
        if self.swarm.external_addresses().any(|address| !is_relayed(address)) {
            // Reachable without help, which others may need more.
            self.relays.needed_since = now;
            let listeners: Vec<_> =
                self.relays.held.drain().map(|(listener, _)| listener).collect();
            for listener in listeners {
                self.swarm.remove_listener(listener);
            }
            self.release_relays();
            return;
        }
        let late = |held: &Held| !held.reserved && now >= held.since + RESERVATION_TIMEOUT;
        let silent = self.relays.held.iter().filter(|(_, held)| late(held));
        for listener in silent.map(|(listener, _)| *listener).collect::<Vec<_>>() {
            self.on_relay_closed(listener, "it does not answer");
            self.swarm.remove_listener(listener);
        }
        if now < self.relays.needed_since + RELAY_AFTER {
            return;
        }
        while self.relays.held.len() < RELAYS {
            let connected = |peer: &PeerId| self.swarm.is_connected(peer);
            let Some(relay) = self.relays.next(now, connected) else { return };
            self.reserve(relay, now);
        }
    }

    fn reserve(&mut self, relay: PeerId, now: Instant) {
        let Some(address) = self.relay_address(relay) else {
            return self.relays.failed(relay, "no address of it is known".to_owned(), now);
        };
        self.gate.except(&address);
        // Without the relay's id in it, the address would silently fail.
        let circuit = address.with(Protocol::P2p(relay)).with(Protocol::P2pCircuit);
        match self.swarm.listen_on(circuit) {
            Ok(listener) => {
                let held = Held { relay, since: now, reserved: false };
                self.relays.held.insert(listener, held);
            }
            Err(error) => self.relays.failed(relay, error.to_string(), now),
        }
    }

    /// Where the relay is: where this node dialed it, else what the configuration says, else the
    /// book.
    fn relay_address(&self, relay: PeerId) -> Option<Multiaddr> {
        let connections = self.swarm.behaviour().exchange.connections(&relay);
        let dialed = connections.filter(|info| info.outbound && !info.is_relayed());
        let dialed = dialed.map(|info| without_peer(&info.remote_addr));
        let configured = self.relays.known.get(&relay).map(|relay| relay.addresses.clone());
        let booked = self.peers.book.addresses(&relay).iter().cloned();
        let mut all = dialed.chain(configured.into_iter().flatten()).chain(booked);
        all.find(|address| !is_relayed(address))
    }

    /// Connects to a relay over the transport that is missing of TCP and QUIC: what it sees of this
    /// node there is where a hole can be punched. (A network may let one of the two through only.)
    pub(super) fn complete_transports(&mut self, relay: PeerId, told: &[Multiaddr]) {
        let needed = self.reach.now() != Reachability::Direct;
        let full = self.relays.completed.len() >= RELAYS_HELD;
        if !self.relays.traverse || !needed || full || !self.relays.completed.insert(relay) {
            return;
        }
        let connections: Vec<_> =
            self.swarm.behaviour().exchange.connections(&relay).map(|info| info.kind).collect();
        for kind in [TransportKind::Tcp, TransportKind::Quic] {
            let listens = self.swarm.listeners().any(|address| TransportKind::of(address) == kind);
            let there = told.iter().find(|address| TransportKind::of(address) == kind);
            if let Some(address) = there.filter(|_| listens && !connections.contains(&kind)) {
                self.dial_also(relay, address.clone());
            }
        }
    }

    /// Keeps what others see of this node at a relay: a router forgets a port that nobody uses.
    pub(super) fn hold_relay(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let direct = endpoint.is_dialer() && !endpoint.is_relayed();
        if direct && self.relays.completed.contains(&peer) {
            self.swarm.behaviour_mut().hold.keep(peer, connection, true);
        }
    }

    /// The last connection with a peer has closed.
    pub(super) fn relay_left(&mut self, peer: &PeerId) {
        self.relays.completed.remove(peer);
    }

    /// A connection with a peer broke. Both of a relay are kept on both sides, so that whoever closes
    /// one has gone, and a reservation over the other would be one with nobody: QUIC notices that
    /// only after half a minute.
    pub(super) fn on_relay_broken(&mut self, peer: PeerId) {
        if self.relays.completed.contains(&peer) {
            // All of it is closed already if this says so.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn release_relays(&mut self) {
        for peer in std::mem::take(&mut self.relays.completed) {
            let behaviour = self.swarm.behaviour_mut();
            let connections: Vec<_> =
                behaviour.exchange.connections(&peer).map(|info| info.id).collect();
            for connection in connections {
                behaviour.hold.keep(peer, connection, false);
            }
        }
    }
}
