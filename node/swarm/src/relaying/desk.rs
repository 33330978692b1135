//! The desk of a relay: who gets what, who used how much, and why somebody got nothing.
//!
//! libp2p asks it from within its behaviour ([`Desk::grants`]), and the loop tells it what became of
//! that and what the meters say. It is told the time and does no I/O but logging.
//!
//! Invariant: nothing is kept of a peer that has left but what it used within the hour, and every
//! map is bounded by the relay's own bounds or by `limits`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libp2p::relay::StatusCode;
use libp2p::{Multiaddr, PeerId};

use super::budget::{Budgets, Over};
use super::network::Network;
use super::{Budget, Refusal, RelayServer, RelayServing};
use crate::limits::{
    BUDGET_WINDOW, BUDGETED_NETWORKS, BUDGETED_PEERS, NETWORK_ASK_BURST, NETWORK_ASKS_PER_SECOND,
    PEER_ASK_BURST, PEER_ASKS_PER_SECOND, REFUSALS_LOGGED, REFUSALS_LOGGED_PER_SECOND,
    RESERVATION_TIME,
};
use crate::meter::Meter;
use crate::transport::metered::Moved;

/// What somebody wants of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    Reservation,
    Circuit,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Desk(Mutex<Books>);

#[derive(Debug)]
struct Books {
    server: RelayServer,
    allow: HashSet<PeerId>,
    peers: Budgets<PeerId>,
    networks: Budgets<Network>,
    peer_asks: Meter<PeerId>,
    network_asks: Meter<Network>,
    logged: Meter<PeerId>,
    /// When the reservations of each connected peer end.
    reservations: HashMap<PeerId, Vec<Instant>>,
    /// How many circuits are open from one peer to another. (When two end with one connection,
    /// libp2p says so twice; then another one of the same two peers counts as ended.)
    circuits: HashMap<(PeerId, PeerId), usize>,
    /// Where connected peers are that were granted something.
    places: HashMap<PeerId, Network>,
    /// Refusals that were counted here and that libp2p will tell of once more.
    counted: HashMap<(PeerId, Asked), u32>,
    charged: Instant,
    opened: u64,
    relayed: u64,
    refused: BTreeMap<Refusal, u64>,
}

impl Desk {
    pub(crate) fn new(server: &RelayServer, now: Instant) -> Self {
        Self(Mutex::new(Books {
            allow: server.allow.iter().map(|peer| peer.0).collect(),
            peers: Budgets::new(server.per_peer, BUDGET_WINDOW, BUDGETED_PEERS),
            networks: Budgets::new(server.per_network, BUDGET_WINDOW, BUDGETED_NETWORKS),
            peer_asks: Meter::new(PEER_ASK_BURST, PEER_ASKS_PER_SECOND),
            network_asks: Meter::new(NETWORK_ASK_BURST, NETWORK_ASKS_PER_SECOND),
            logged: Meter::new(REFUSALS_LOGGED, REFUSALS_LOGGED_PER_SECOND),
            server: server.clone(),
            reservations: HashMap::new(),
            circuits: HashMap::new(),
            places: HashMap::new(),
            counted: HashMap::new(),
            charged: now,
            opened: 0,
            relayed: 0,
            refused: BTreeMap::new(),
        }))
    }

    /// Whether a peer may have what it asks for, as far as libp2p does not decide. Counts and logs
    /// why not.
    pub(crate) fn grants(
        &self,
        asked: Asked,
        peer: PeerId,
        address: &Multiaddr,
        now: Instant,
    ) -> bool {
        let mut books = self.books();
        let Some(refusal) = books.refusal(asked, peer, address, now) else { return true };
        // Told of again when the peer was told; a connection that ends before forgets it.
        *books.counted.entry((peer, asked)).or_default() += 1;
        books.refuse(asked, peer, refusal, now);
        false
    }

    /// libp2p has refused somebody. Counts why, if it was not this desk.
    pub(crate) fn denied(&self, asked: Asked, peer: PeerId, status: &StatusCode, now: Instant) {
        let mut books = self.books();
        let refusal = match (status, asked) {
            (StatusCode::ResourceLimitExceeded, _) => {
                if books.take_counted(peer, asked) {
                    return;
                }
                books.limit(asked, peer)
            }
            (StatusCode::NoReservation, _) => Refusal::NoReservation,
            _ => Refusal::NotAnswered,
        };
        books.refuse(asked, peer, refusal, now);
    }

    pub(crate) fn reserved(&self, peer: PeerId, renewed: bool, now: Instant) {
        let mut books = self.books();
        let ends = books.reservations.entry(peer).or_default();
        if renewed && let Some(first) = ends.iter_mut().min() {
            *first = now + RESERVATION_TIME;
        } else {
            ends.push(now + RESERVATION_TIME);
        }
    }

    /// A reservation ended, or a connection that may have had one; the peer has `n_connections` left.
    pub(crate) fn unreserved(&self, peer: &PeerId, n_connections: usize) {
        let mut books = self.books();
        if let Some(ends) = books.reservations.get_mut(peer) {
            ends.sort_unstable();
            let gone = ends.len().saturating_sub(n_connections);
            ends.drain(..gone);
            if ends.is_empty() {
                books.reservations.remove(peer);
            }
        }
        if n_connections == 0 {
            books.counted.retain(|(other, _), _| other != peer);
            books.places.remove(peer);
        }
    }

    pub(crate) fn opened(&self, from: PeerId, to: PeerId, now: Instant) {
        let mut books = self.books();
        // The time before was without this circuit.
        books.charge_time(now);
        *books.circuits.entry((from, to)).or_default() += 1;
        books.opened += 1;
    }

    pub(crate) fn closed(&self, from: PeerId, to: PeerId, now: Instant) {
        let mut books = self.books();
        books.charge_time(now);
        if let Some(n) = books.circuits.get_mut(&(from, to)) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                books.circuits.remove(&(from, to));
            }
        }
    }

    /// Charges what was moved, and the time of open circuits. Says whose circuits are to end.
    pub(crate) fn charge(&self, moved: &[Moved], now: Instant) -> Vec<PeerId> {
        let mut books = self.books();
        books.charge_time(now);
        for Moved { peer, remote, hop, stop } in moved {
            books.relayed = books.relayed.saturating_add(*stop);
            // Whoever asked for a circuit pays for it. Otherwise anybody could use up the budget of
            // somebody else by calling him.
            let used = Budget { bytes: *hop, time: Duration::ZERO };
            books.charge(*peer, Network::of(remote), used, now);
        }
        books.to_close(now)
    }

    /// Forgets what is over.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut books = self.books();
        books.peers.sweep(now);
        books.networks.sweep(now);
        books.reservations.retain(|_, ends| {
            ends.retain(|end| *end > now);
            !ends.is_empty()
        });
    }

    pub(crate) fn serving(&self, now: Instant) -> RelayServing {
        let books = self.books();
        RelayServing {
            reservations: books.n_reservations(),
            circuits: books.n_circuits(),
            circuits_opened: books.opened,
            bytes_relayed: books.relayed,
            refused: books.refused.clone(),
            peers_over_budget: books.peers.n_over(now),
            networks_over_budget: books.networks.n_over(now),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn refusal(
        &mut self,
        asked: Asked,
        peer: PeerId,
        address: &Multiaddr,
        now: Instant,
    ) -> Option<Refusal> {
        if !self.allow.is_empty() && !self.allow.contains(&peer) {
            return Some(Refusal::NotAllowed);
        }
        let network = Network::of(address);
        match self.peers.over(&peer, now) {
            Some(Over::Bytes) => return Some(Refusal::PeerBytes),
            Some(Over::Time) => return Some(Refusal::PeerTime),
            None => {}
        }
        match network.and_then(|network| self.networks.over(&network, now)) {
            Some(Over::Bytes) => return Some(Refusal::NetworkBytes),
            Some(Over::Time) => return Some(Refusal::NetworkTime),
            None => {}
        }
        if !self.peer_asks.allows(peer, now) {
            return Some(Refusal::PeerRate);
        }
        if network.is_some_and(|network| !self.network_asks.allows(network, now)) {
            return Some(Refusal::NetworkRate);
        }
        // Whoever has a reservation renews it, which takes nobody's place.
        let is_new = asked == Asked::Reservation && !self.reservations.contains_key(&peer);
        if is_new && self.n_reservations() >= self.server.max_reservations {
            return Some(Refusal::Reservations);
        }
        if let Some(network) = network.filter(|_| self.places.len() < BUDGETED_PEERS) {
            self.places.insert(peer, network);
        }
        None
    }

    /// Which of libp2p's bounds it was: the one that is nearer. (What is being set up counts for
    /// libp2p and is not known here.)
    fn limit(&self, asked: Asked, peer: PeerId) -> Refusal {
        let server = &self.server;
        match asked {
            Asked::Reservation => {
                let of_peer = self.reservations.get(&peer).map_or(0, Vec::len);
                if of_peer >= server.max_reservations_per_peer {
                    Refusal::PeerReservations
                } else {
                    Refusal::Reservations
                }
            }
            Asked::Circuit => {
                let of_peer =
                    self.circuits.iter().filter(|(ends, _)| ends.0 == peer || ends.1 == peer);
                let of_peer: usize = of_peer.map(|(_, n)| n).sum();
                let all = self.n_circuits().saturating_mul(server.max_circuits_per_peer);
                if all > of_peer.saturating_mul(server.max_circuits) {
                    Refusal::Circuits
                } else {
                    Refusal::PeerCircuits
                }
            }
        }
    }

    fn refuse(&mut self, asked: Asked, peer: PeerId, refusal: Refusal, now: Instant) {
        *self.refused.entry(refusal).or_default() += 1;
        let what = match asked {
            Asked::Reservation => "reservation",
            Asked::Circuit => "circuit",
        };
        if self.logged.allows(peer, now) {
            let reason = refusal.name();
            tracing::info!(%peer, what, reason, "refused to relay: {refusal}");
        } else {
            tracing::debug!(%peer, what, reason = refusal.name(), "refused to relay");
        }
    }

    fn take_counted(&mut self, peer: PeerId, asked: Asked) -> bool {
        let Some(n) = self.counted.get_mut(&(peer, asked)) else { return false };
        *n -= 1;
        if *n == 0 {
            self.counted.remove(&(peer, asked));
        }
        true
    }

    fn charge_time(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.charged);
        self.charged = self.charged.max(now);
        let open: Vec<_> = self.circuits.iter().map(|(ends, n)| (*ends, *n)).collect();
        for ((from, _), n) in open {
            let time = passed.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX));
            let network = self.places.get(&from).copied();
            self.charge(from, network, Budget { bytes: 0, time }, now);
        }
    }

    fn charge(&mut self, peer: PeerId, network: Option<Network>, used: Budget, now: Instant) {
        let what = |over: Over| match over {
            Over::Bytes => "bytes",
            Over::Time => "circuit time",
        };
        if let Some(over) = self.peers.charge(peer, used, now) {
            let (used_up, refused_for) = (what(over), self.peers.wait(&peer, now));
            tracing::info!(%peer, used_up, ?refused_for, "a peer used up its budget");
        }
        let Some(network) = network else { return };
        if let Some(over) = self.networks.charge(network, used, now) {
            let (used_up, refused_for) = (what(over), self.networks.wait(&network, now));
            tracing::info!(%network, used_up, ?refused_for, "a network used up its budget");
        }
    }

    /// Peers that have something here and are over, or whose network is.
    fn to_close(&self, now: Instant) -> Vec<PeerId> {
        let over = |peer: &PeerId| {
            let network = self.places.get(peer);
            self.peers.over(peer, now).is_some()
                || network.is_some_and(|network| self.networks.over(network, now).is_some())
        };
        let ends = self.circuits.keys().flat_map(|ends| [ends.0, ends.1]);
        let peers: HashSet<PeerId> = ends.chain(self.reservations.keys().copied()).collect();
        peers.into_iter().filter(over).collect()
    }

    fn n_reservations(&self) -> usize {
        self.reservations.values().map(Vec::len).sum()
    }

    fn n_circuits(&self) -> usize {
        self.circuits.values().sum()
    }
}

#[cfg(test)]
mod tests;
