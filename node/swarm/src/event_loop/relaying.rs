//! What this node relays for others.
//!
//! libp2p's relay says what it granted and refused, the meters say what went through, and the
//! [`Desk`](crate::relaying::Desk) keeps both. Who is over a budget loses its connections here, and
//! with them its circuits and reservations; it may connect again, and is refused both.

use std::collections::HashSet;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::relay::{Event, Status};

use super::{EventLoop, answer};
use crate::client::Reply;
use crate::limits::SWEEP_INTERVAL;
use crate::relaying::{Asked, Relay, RelayServing};

/// See the module.
#[derive(Debug)]
pub(super) struct Relaying {
    relay: Option<Relay>,
    /// Connected peers with a reservation. What a guest is seen at over its other connection is where
    /// holes are punched to it, so that one is kept too.
    guests: HashSet<PeerId>,
    sweep_at: Instant,
}

impl Relaying {
    pub(super) fn new(relay: Option<Relay>, now: Instant) -> Self {
        Self { relay, guests: HashSet::new(), sweep_at: now + SWEEP_INTERVAL }
    }
}

impl EventLoop {
    pub(super) fn on_relay_server(&mut self, event: Event) {
        let Some(Relay { desk, .. }) = &self.relaying.relay else { return };
        let now = Instant::now();
        match event {
            Event::ReservationReqAccepted { src_peer_id: peer, renewed } => {
                tracing::debug!(%peer, renewed, "reserved");
                desk.reserved(peer, renewed, now);
                self.relaying.guests.insert(peer);
                self.hold_guest(&peer);
            }
            Event::ReservationReqDenied { src_peer_id: peer, status } => {
                desk.denied(Asked::Reservation, peer, &status, now);
            }
            Event::ReservationClosed { src_peer_id: peer } => {
                desk.unreserved(&peer, self.n_connections(&peer));
            }
            Event::ReservationTimedOut { src_peer_id: peer } => {
                desk.unreserved(&peer, self.n_connections(&peer).saturating_sub(1));
                self.relaying.guests.remove(&peer);
            }
            Event::CircuitReqAccepted { src_peer_id: from, dst_peer_id: to } => {
                tracing::debug!(%from, %to, "a circuit begins");
                desk.opened(from, to, now);
            }
            Event::CircuitReqDenied { src_peer_id: peer, status, .. } => {
                desk.denied(Asked::Circuit, peer, &status, now);
            }
            Event::CircuitClosed { src_peer_id: from, dst_peer_id: to, error } => {
                let reason = error.map(|error| error.to_string());
                tracing::debug!(%from, %to, ?reason, "a circuit ended");
                desk.closed(from, to, now);
            }
            Event::StatusChanged { status: Status::Enable } => {
                tracing::info!("relaying for others");
            }
            Event::StatusChanged { status: Status::Disable } => {
                tracing::warn!("no longer relaying: this node has no confirmed address of its own");
            }
            // Answers that did not reach their peer; it will ask again.
            event => tracing::debug!(?event, "relay"),
        }
    }

    pub(super) fn on_relay_state(&self, reply: Reply<Option<RelayServing>>) {
        let relay = self.relaying.relay.as_ref();
        answer(reply, relay.map(|relay| relay.desk.serving(Instant::now())));
    }

    pub(super) fn tick_relaying(&mut self, now: Instant) {
        let Some(relay) = &self.relaying.relay else { return };
        let over = relay.desk.charge(&relay.meters.collect(), now);
        if now >= self.relaying.sweep_at {
            relay.desk.sweep(now);
            self.relaying.sweep_at = now + SWEEP_INTERVAL;
        }
        for peer in over {
            tracing::debug!(%peer, "disconnected, over a budget of this relay");
            // It may have left already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Keeps the connections with a guest.
    pub(super) fn hold_guest(&mut self, peer: &PeerId) {
        if !self.relaying.guests.contains(peer) {
            return;
        }
        let behaviour = self.swarm.behaviour_mut();
        let connections = behaviour.exchange.connections(peer).filter(|info| !info.is_relayed());
        for connection in connections.map(|info| info.id).collect::<Vec<_>>() {
            behaviour.hold.keep(*peer, connection, true);
        }
    }

    /// The last connection with a peer has closed.
    pub(super) fn guest_left(&mut self, peer: &PeerId) {
        self.relaying.guests.remove(peer);
    }

    fn n_connections(&self, peer: &PeerId) -> usize {
        self.swarm.behaviour().exchange.connections(peer).count()
    }
}
