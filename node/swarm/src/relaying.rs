//! Relays for others: what a node that can be reached does for those that cannot.
//!
//! libp2p's relay counts reservations and circuits and cuts a circuit that is too long or too
//! large. What it does not know stands here: how much each peer and each network of addresses has
//! used within the hour ([`budget`]), who may use this relay at all, and why somebody was refused
//! ([`desk`]). It is asked before each reservation and each circuit, in place of libp2p's own rates,
//! which would turn away the second half of an office behind one address.
//!
//! Traps of libp2p 0.57 that are met here: its relay is silent until this node has a confirmed
//! external address; a duration of zero ends a circuit at once and one over [`u32::MAX`] seconds
//! panics; its bounds for each peer allow one more than they say; a full relay refuses to renew
//! what it gave; a connection that never reserved
//! anything is told as a reservation that was closed.
//!
//! Invariant: what is refused is refused for a [`Refusal`] that is counted and can be read.

mod budget;
mod desk;
mod network;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId, relay};

pub use self::budget::Budget;
pub(crate) use self::desk::{Asked, Desk};
use crate::config::Limits;
use crate::identity::Peer;
use crate::limits::{BULK_BYTES, RESERVATION_TIME, SIGNALLING_BYTES};
use crate::transport::metered::Meters;
pub use crate::transport::websocket::CertificateFiles;

/// What a relay gives, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayServer {
    /// Whether circuits may carry models. If not, each is cut at
    /// [`SIGNALLING_BYTES`](crate::limits::SIGNALLING_BYTES), by which clients know.
    pub allow_bulk: bool,
    /// Peers' connections that may be reached through this relay at once.
    pub max_reservations: usize,
    /// Of these, those of one peer.
    pub max_reservations_per_peer: usize,
    /// Circuits at once.
    pub max_circuits: usize,
    /// Of these, those that one peer is an end of when it asks for one more.
    pub max_circuits_per_peer: usize,
    /// How long a circuit may last: a second to a day.
    pub circuit_duration: Duration,
    /// Bytes of a circuit, both ways, where bulk is not allowed.
    pub circuit_bytes: u64,
    /// Bytes of a circuit, both ways, where bulk is allowed.
    pub bulk_circuit_bytes: u64,
    /// What one peer may use within an hour.
    pub per_peer: Budget,
    /// What a network of addresses (a /24, or a /48 of IPv6) may use within an hour.
    pub per_network: Budget,
    /// Who may reserve and who may ask for circuits; everybody if empty.
    pub allow: Vec<Peer>,
    /// The certificate that this node shows on WebSocket addresses, if not one of its own.
    pub certificate: Option<CertificateFiles>,
}

impl Default for RelayServer {
    fn default() -> Self {
        Self {
            allow_bulk: false,
            max_reservations: 1_024,
            max_reservations_per_peer: 2,
            max_circuits: 512,
            max_circuits_per_peer: 8,
            circuit_duration: Duration::from_mins(10),
            circuit_bytes: SIGNALLING_BYTES,
            bulk_circuit_bytes: BULK_BYTES,
            per_peer: Budget { bytes: 256 << 20, time: Duration::from_hours(32) },
            per_network: Budget { bytes: 2 << 30, time: Duration::from_hours(256) },
            allow: Vec::new(),
            certificate: None,
        }
    }
}

impl RelayServer {
    /// The budgets that go with models: what a signalling relay gives would be used up by one.
    pub fn bulk() -> Self {
        Self {
            allow_bulk: true,
            per_peer: Budget { bytes: 16 << 30, time: Duration::from_hours(32) },
            per_network: Budget { bytes: 64 << 30, time: Duration::from_hours(256) },
            ..Self::default()
        }
    }

    /// How many connections a node needs that relays this much: the reserving peers', as many of
    /// those who want to reach them, and many from one address, where an office is.
    pub fn connection_limits(&self) -> Limits {
        let reserving = u32::try_from(self.max_reservations).unwrap_or(u32::MAX / 8);
        let inbound = reserving.saturating_mul(4).max(1_024);
        Limits {
            inbound,
            outbound: 256,
            pending: 512,
            per_peer: 6,
            total: inbound.saturating_add(256),
            per_ip: 128,
        }
    }

    /// What libp2p is told. It asks the desk before it grants anything.
    fn config(&self, desk: &Arc<Desk>) -> relay::Config {
        let asks = |asked: Asked| -> Box<dyn relay::RateLimiter> {
            let desk = Arc::clone(desk);
            Box::new(move |peer: PeerId, address: &Multiaddr, now: Instant| {
                desk.grants(asked, peer, address, now)
            })
        };
        relay::Config {
            // libp2p would refuse renewals when all are taken, and everybody would lose his own in
            // turn. So the desk says when they are, and this is for those that come at once.
            max_reservations: self.max_reservations.saturating_add(self.max_reservations / 8 + 1),
            max_reservations_per_peer: self.max_reservations_per_peer.saturating_sub(1),
            reservation_duration: RESERVATION_TIME,
            reservation_rate_limiters: vec![asks(Asked::Reservation)],
            max_circuits: self.max_circuits,
            max_circuits_per_peer: self.max_circuits_per_peer.saturating_sub(1),
            max_circuit_duration: self
                .circuit_duration
                .clamp(Duration::from_secs(1), Duration::from_hours(24)),
            max_circuit_bytes: self.bytes_per_circuit(),
            circuit_src_rate_limiters: vec![asks(Asked::Circuit)],
        }
    }

    /// Bytes of a circuit. libp2p takes zero for no bound.
    fn bytes_per_circuit(&self) -> u64 {
        if self.allow_bulk {
            // Less would tell clients that bulk is not allowed.
            self.bulk_circuit_bytes.max(SIGNALLING_BYTES + 1)
        } else {
            self.circuit_bytes.clamp(1, SIGNALLING_BYTES)
        }
    }
}

/// A relay that runs, as its transport, its behaviour and the loop share it.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    server: RelayServer,
    pub(crate) desk: Arc<Desk>,
    pub(crate) meters: Meters,
}

impl Relay {
    pub(crate) fn new(server: &RelayServer, now: Instant) -> Self {
        let desk = Arc::new(Desk::new(server, now));
        Self { server: server.clone(), desk, meters: Meters::default() }
    }

    pub(crate) fn behaviour(&self, peer: PeerId) -> relay::Behaviour {
        relay::Behaviour::new(peer, self.server.config(&self.desk))
    }
}

/// Why a reservation or a circuit was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The operator names who may use the relay.
    #[error("not on the list of peers that may use this relay")]
    NotAllowed,
    /// The peer used its bytes of the hour.
    #[error("over the peer's bytes of the hour")]
    PeerBytes,
    /// The peer used its circuit time of the hour.
    #[error("over the peer's circuit time of the hour")]
    PeerTime,
    /// Its network used its bytes of the hour.
    #[error("over the network's bytes of the hour")]
    NetworkBytes,
    /// Its network used its circuit time of the hour.
    #[error("over the network's circuit time of the hour")]
    NetworkTime,
    /// The peer asks too often.
    #[error("the peer asks too often")]
    PeerRate,
    /// Its network asks too often.
    #[error("the peer's network asks too often")]
    NetworkRate,
    /// The peer has as many reservations as it may have.
    #[error("too many reservations of this peer")]
    PeerReservations,
    /// The relay has as many as it may have.
    #[error("too many reservations")]
    Reservations,
    /// The peer has as many circuits as it may have.
    #[error("too many circuits of this peer")]
    PeerCircuits,
    /// The relay has as many as it may have.
    #[error("too many circuits")]
    Circuits,
    /// Whom the peer wants to reach cannot be reached here.
    #[error("the other peer has no reservation here")]
    NoReservation,
    /// The other peer did not take the circuit.
    #[error("the other peer did not answer")]
    NotAnswered,
}

impl Refusal {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::PeerBytes => "peer_bytes",
            Self::PeerTime => "peer_time",
            Self::NetworkBytes => "network_bytes",
            Self::NetworkTime => "network_time",
            Self::PeerRate => "peer_rate",
            Self::NetworkRate => "network_rate",
            Self::PeerReservations => "peer_reservations",
            Self::Reservations => "reservations",
            Self::PeerCircuits => "peer_circuits",
            Self::Circuits => "circuits",
            Self::NoReservation => "no_reservation",
            Self::NotAnswered => "not_answered",
        }
    }
}

/// What a relay does at the moment, and has done since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayServing {
    /// Peers' connections that can be reached through it, as far as libp2p tells: one that was
    /// closed while its peer had others counts until it would have ended.
    pub reservations: usize,
    /// Circuits that are open.
    pub circuits: usize,
    /// Circuits that were opened.
    pub circuits_opened: u64,
    /// Bytes that went through circuits, both ways, each counted once.
    pub bytes_relayed: u64,
    /// How often something was refused, by why.
    pub refused: BTreeMap<Refusal, u64>,
    /// Peers that used up a budget and are refused until its hour is over.
    pub peers_over_budget: usize,
    /// Networks likewise.
    pub networks_over_budget: usize,
}

#[cfg(test)]
mod tests;
