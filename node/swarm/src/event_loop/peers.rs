//! What is known of peers: what they say of themselves, where they were, who is banned.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use libp2p::{Multiaddr, PeerId, identify, kad, mdns};

use super::relays::HOP;
use super::{EventLoop, answer, unix_now};
use crate::address::full;
use crate::book::{AddressBook, KnownPeer};
use crate::client::Reply;
use crate::config::split_agent;
use crate::exchange::{ConnectionInfo, TransportKind};
use crate::identity::Peer;
use crate::inbound::{Link, NetworkState, PeerState, SwarmEvent};
use crate::limits::{BANS, BOOK_ADDRESSES, STRANGERS, TEXT_LEN};

/// What a connected peer is.
#[derive(Debug, Default)]
struct Connected {
    rtt: Option<Duration>,
    identity: Option<Identity>,
}

/// What a peer says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    agent: String,
    name: Option<String>,
    speaks_hive: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) book: AddressBook,
    connected: HashMap<PeerId, Connected>,
    banned: HashMap<PeerId, SystemTime>,
    /// Peers that mDNS found and that have not said yet what they are.
    found: HashSet<PeerId>,
    /// Peers that mDNS found and that are of other networks.
    strangers: HashSet<PeerId>,
}

impl Peers {
    pub(super) fn new(known: &[KnownPeer], local: PeerId) -> Self {
        Self {
            book: AddressBook::load(known, local),
            connected: HashMap::new(),
            banned: HashMap::new(),
            found: HashSet::new(),
            strangers: HashSet::new(),
        }
    }

    pub(super) fn arrived(&mut self, peer: PeerId) {
        self.connected.insert(peer, Connected::default());
    }

    pub(super) fn left(&mut self, peer: &PeerId) {
        self.connected.remove(peer);
        self.found.remove(peer);
    }

    pub(super) fn pinged(&mut self, peer: PeerId, rtt: Duration) {
        if let Some(connected) = self.connected.get_mut(&peer) {
            connected.rtt = Some(rtt);
        }
    }

    pub(super) fn connected(&self) -> Vec<Peer> {
        let mut peers: Vec<_> = self.connected.keys().copied().map(Peer).collect();
        peers.sort_unstable();
        peers
    }

    pub(super) fn is_alone(&self) -> bool {
        self.connected.is_empty()
    }

    pub(super) fn is_banned(&self, peer: &PeerId) -> bool {
        self.banned.contains_key(peer)
    }
}

impl EventLoop {
    // What peers say of themselves.

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id: peer, connection_id, info } = event else {
            return;
        };
        if !self.peers.connected.contains_key(&peer) {
            return;
        }
        self.on_observed(connection_id, &info);
        let speaks_hive = info.protocols.contains(&self.names.model);
        if self.peers.found.remove(&peer) {
            if !speaks_hive {
                return self.on_stranger(peer);
            }
            self.tell(SwarmEvent::PeerFound { peer: Peer(peer) });
        }

        let told = self.policy.filter(peer, &info.listen_addrs, BOOK_ADDRESSES);
        self.peers.book.told(peer, &told, unix_now());
        if info.protocols.iter().any(|protocol| protocol.as_ref() == HOP) {
            self.on_relay_found(peer);
            self.complete_transports(peer, &told);
        }
        if info.protocols.contains(&self.names.kad) {
            let mut addresses = told;
            // Where it was reached is as good as what it says, and a peer may say nothing.
            addresses.extend(self.dialed_addresses(peer));
            self.route(peer, &addresses);
        } else {
            self.unroute(peer);
        }

        let (agent, name) = split_agent(&info.agent_version);
        let identity = Identity { agent, name, speaks_hive };
        let Some(connected) = self.peers.connected.get_mut(&peer) else { return };
        if connected.identity.as_ref() != Some(&identity) {
            connected.identity = Some(identity.clone());
            let Identity { agent, name, speaks_hive } = identity;
            let peer = Peer(peer);
            self.tell(SwarmEvent::PeerIdentified { peer, agent, name, speaks_hive });
        }
    }

    fn dialed_addresses(&self, peer: PeerId) -> Vec<Multiaddr> {
        // The first in the book is where it was last reached; behind inbound connections there are
        // ports that nobody can dial.
        self.peers.book.addresses(&peer).first().cloned().into_iter().collect()
    }

    pub(super) fn on_mdns(&mut self, event: mdns::Event) {
        let mdns::Event::Discovered(found) = event else { return };
        let mut addresses: HashMap<PeerId, Vec<Multiaddr>> = HashMap::new();
        for (peer, address) in found {
            let of_peer = addresses.entry(peer).or_default();
            if of_peer.len() < BOOK_ADDRESSES {
                of_peer.push(address);
            }
        }
        for (peer, addresses) in addresses {
            let known = self.peers.strangers.contains(&peer) || self.peers.is_banned(&peer);
            if peer == self.local || known || self.peers.found.len() >= STRANGERS {
                continue;
            }
            match self.peers.connected.get(&peer).map(|connected| &connected.identity) {
                // Every libp2p node answers to mDNS: which it is, it says when connected.
                None => {
                    self.peers.found.insert(peer);
                    self.dial_found(peer, addresses);
                }
                Some(None) => {
                    self.peers.found.insert(peer);
                }
                Some(Some(identity)) if identity.speaks_hive => {
                    self.tell(SwarmEvent::PeerFound { peer: Peer(peer) });
                }
                Some(Some(_)) => {}
            }
        }
    }

    fn on_stranger(&mut self, peer: PeerId) {
        tracing::debug!(%peer, "a node of another network");
        if self.peers.strangers.len() >= STRANGERS {
            self.peers.strangers.clear();
        }
        self.peers.strangers.insert(peer);
        // It has left already if this fails.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    // Bans.

    pub(super) fn on_ban(
        &mut self,
        peer: PeerId,
        time: Duration,
        mut reason: String,
        reply: Reply<()>,
    ) {
        if peer == self.local {
            return answer(reply, ());
        }
        if self.peers.banned.len() >= BANS && !self.peers.is_banned(&peer) {
            let first = self.peers.banned.iter().min_by_key(|(_, until)| **until);
            if let Some(first) = first.map(|(peer, _)| *peer) {
                self.lift(first);
            }
        }
        let now = SystemTime::now();
        let until = now.checked_add(time).unwrap_or(now + Duration::from_hours(365 * 24));
        self.peers.banned.insert(peer, until);
        let cut = (0..=TEXT_LEN).rev().find(|at| reason.is_char_boundary(*at));
        reason.truncate(cut.unwrap_or(0));
        tracing::warn!(%peer, ?time, reason, "banned");

        let behaviour = self.swarm.behaviour_mut();
        // Closes what connections there are.
        behaviour.bans.block_peer(peer);
        behaviour.kad.remove_peer(&peer);
        behaviour.kad.store_mut().forget(&peer);
        self.tell(SwarmEvent::Banned { peer: Peer(peer), reason });
        answer(reply, ());
    }

    pub(super) fn on_unban(&mut self, peer: PeerId, reply: Reply<()>) {
        self.lift(peer);
        answer(reply, ());
    }

    pub(super) fn lift_bans(&mut self, now: SystemTime) {
        let over = self.peers.banned.iter().filter(|(_, until)| **until <= now);
        let over: Vec<_> = over.map(|(peer, _)| *peer).collect();
        for peer in over {
            self.lift(peer);
        }
    }

    fn lift(&mut self, peer: PeerId) {
        self.peers.banned.remove(&peer);
        self.swarm.behaviour_mut().bans.unblock_peer(peer);
    }

    // What is shown.

    pub(super) fn peer_states(&self) -> Vec<PeerState> {
        let mut peers: Vec<PeerId> = self.peers.connected.keys().copied().collect();
        peers.extend(self.peers.banned.keys());
        peers.extend(self.peers.book.peers());
        peers.sort_unstable();
        peers.dedup();
        peers.into_iter().map(|peer| self.peer_state(peer)).collect()
    }

    fn peer_state(&self, peer: PeerId) -> PeerState {
        let connected = self.peers.connected.get(&peer);
        let identity = connected.and_then(|connected| connected.identity.as_ref());
        let (mut addresses, mut transports) = (Vec::new(), Vec::new());
        for info in self.swarm.behaviour().exchange.connections(&peer) {
            addresses.push(info.remote_addr.clone());
            if !transports.contains(&info.kind) {
                transports.push(info.kind);
            }
        }
        if addresses.is_empty() {
            addresses.extend_from_slice(self.peers.book.addresses(&peer));
        }
        let links = self.links(peer);
        PeerState {
            peer: Peer(peer),
            connected: connected.is_some(),
            addresses: addresses.iter().map(|address| full(address, peer)).collect(),
            transports,
            links,
            punch: self.punching.of(&peer),
            rtt: connected.and_then(|connected| connected.rtt),
            agent: identity.map(|identity| identity.agent.clone()),
            name: identity.and_then(|identity| identity.name.clone()),
            banned_until: self.peers.banned.get(&peer).copied(),
        }
    }

    fn links(&self, peer: PeerId) -> Vec<Link> {
        let link = |info: &ConnectionInfo| Link {
            transport: info.kind,
            address: full(&info.remote_addr, peer),
            relay: info.relay.map(Peer),
            allows_bulk: info.relay.is_none_or(|relay| self.relays.allows_bulk(&relay)),
            age: info.since.elapsed(),
            outbound: info.outbound,
        };
        self.swarm.behaviour().exchange.connections(&peer).map(link).collect()
    }

    pub(super) fn network_state(&mut self) -> NetworkState {
        let (provided, announced) = self.dht.provided();
        NetworkState {
            connected: self.peers.connected.len(),
            dht_server: self.swarm.behaviour().kad.mode() == kad::Mode::Server,
            dht_peers: self.dht_len(),
            listening: self.listen_addrs(),
            external: self.swarm.external_addresses().map(|a| full(a, self.local)).collect(),
            reachability: self.reach.now(),
            tcp_mapping: self.mapping(TransportKind::Tcp),
            udp_mapping: self.mapping(TransportKind::Quic),
            observed: self.reach.observed(self.local),
            relays: self.relays.states(),
            upnp: self.reach.upnp(),
            provided,
            announced,
        }
    }
}
