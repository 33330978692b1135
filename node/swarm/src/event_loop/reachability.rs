//! Whether others reach this node, and what its router does.
//!
//! Where others see this node ([`identify`]) is proposed as it is ([`crate::candidates`]), checked by
//! whoever can dial it (AutoNAT), and compared: a router that shows different ports to different
//! hosts is one through which no hole can be punched from the other side.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId, autonat, identify, ping, upnp};

use super::EventLoop;
use crate::address::{full, is_relayed, without_peer};
use crate::exchange::TransportKind;
use crate::inbound::{NatMapping, Reachability, SwarmEvent, Upnp};
use crate::limits::{OBSERVERS, UNREACHABLE_AFTER};

/// Where a host sees this node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Observation {
    observer: IpAddr,
    kind: TransportKind,
    seen: Multiaddr,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reach {
    /// The newest last.
    observations: VecDeque<Observation>,
    now: Reachability,
    upnp: Upnp,
    /// Since when there is a connection and no address.
    alone_since: Option<Instant>,
}

/// The host and the port of an address.
fn socket(address: &Multiaddr) -> Option<(IpAddr, u16)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some((ip, port)),
        _ => None,
    }
}

impl Reach {
    pub(super) fn new(asks_router: bool) -> Self {
        Self {
            observations: VecDeque::new(),
            now: Reachability::Unknown,
            upnp: if asks_router { Upnp::Asking } else { Upnp::Off },
            alone_since: None,
        }
    }

    pub(super) fn now(&self) -> Reachability {
        self.now
    }

    pub(super) fn upnp(&self) -> Upnp {
        self.upnp.clone()
    }

    /// Where others see this node, without repetition.
    pub(super) fn observed(&self, local: PeerId) -> Vec<String> {
        let mut seen: Vec<_> = self.observations.iter().map(|o| full(&o.seen, local)).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    fn note(&mut self, observation: Observation) {
        let same = |other: &Observation| {
            other.observer == observation.observer && other.kind == observation.kind
        };
        self.observations.retain(|other| !same(other));
        if self.observations.len() >= OBSERVERS {
            self.observations.pop_front();
        }
        self.observations.push_back(observation);
    }

    /// What the router does with the ports of a transport, of what different hosts have seen.
    /// `is_ours` says whether an address is one of this machine's.
    pub(super) fn mapping(
        &self,
        kind: TransportKind,
        is_ours: impl Fn(IpAddr) -> bool,
    ) -> NatMapping {
        let seen = self.observations.iter().rev().filter(|o| o.kind == kind);
        let mut seen = seen.filter_map(|o| Some((o.observer, socket(&o.seen)?)));
        let Some((_, (ip, port))) = seen.next() else { return NatMapping::Unknown };
        if is_ours(ip) {
            return NatMapping::None;
        }
        // Observations from before the network changed show another host.
        let mut others = seen.filter(|(_, (other, _))| *other == ip).peekable();
        if others.peek().is_none() {
            return NatMapping::Unknown;
        }
        if others.all(|(_, (_, other))| other == port) {
            NatMapping::EndpointIndependent
        } else {
            NatMapping::AddressDependent
        }
    }
}

/// Notes what became of a check.
pub(super) fn on_autonat(event: autonat::v2::client::Event) {
    let autonat::v2::client::Event { tested_addr, server, result, .. } = event;
    match result {
        Ok(()) => tracing::debug!(address = %tested_addr, %server, "checked: others reach it"),
        Err(error) => {
            tracing::debug!(address = %tested_addr, %server, %error, "checked: not reached");
        }
    }
}

impl EventLoop {
    /// What the router does with the ports of a transport.
    pub(super) fn mapping(&self, kind: TransportKind) -> NatMapping {
        let listening: Vec<_> = self.swarm.listeners().filter_map(socket).collect();
        self.reach.mapping(kind, |ip| listening.iter().any(|(own, _)| *own == ip))
    }

    /// A peer says where it sees this node.
    pub(super) fn on_observed(&mut self, connection: ConnectionId, info: &identify::Info) {
        let seen = without_peer(&info.observed_addr);
        let candidates = &mut self.swarm.behaviour_mut().candidates;
        let Some(remote) = candidates.take_reusing(connection) else { return };
        if is_relayed(&seen) || !self.policy.allows(&seen) {
            return;
        }
        let kind = TransportKind::of(&remote);
        if let Some((observer, _)) = socket(&remote) {
            candidates.propose(observer, seen.clone());
            self.reach.note(Observation { observer, kind, seen });
        }
    }

    pub(super) fn on_upnp(&mut self, event: upnp::Event) {
        let upnp = &mut self.reach.upnp;
        match event {
            upnp::Event::NewExternalAddr { external_addr, .. } => {
                let address = external_addr.to_string();
                tracing::info!(address, "the router maps a port; others will check it");
                match upnp {
                    Upnp::Mapped { addresses } if !addresses.contains(&address) => {
                        addresses.push(address);
                    }
                    Upnp::Mapped { .. } => {}
                    _ => *upnp = Upnp::Mapped { addresses: vec![address] },
                }
            }
            upnp::Event::ExpiredExternalAddr { external_addr, .. } => {
                if let Upnp::Mapped { addresses } = upnp {
                    addresses.retain(|address| *address != external_addr.to_string());
                }
            }
            upnp::Event::GatewayNotFound => *upnp = Upnp::NoGateway,
            upnp::Event::NonRoutableGateway => *upnp = Upnp::NotRoutable,
        }
    }

    /// Who misses two pings in a row (libp2p tells of the second) is behind a line that broke without
    /// a word. Nothing else ends such a connection: TCP tries for a quarter of an hour.
    pub(super) fn on_ping(&mut self, event: ping::Event) {
        let ping::Event { peer, connection, result } = event;
        match result {
            Ok(rtt) => self.peers.pinged(peer, rtt),
            // Nobody has to answer pings.
            Err(ping::Failure::Unsupported) => {}
            Err(error) => {
                tracing::debug!(%peer, %error, "disconnected, no answer to pings");
                // Closed already if this says so.
                self.swarm.close_connection(connection);
                self.on_vanished(peer, Instant::now());
            }
        }
    }

    /// An address of this machine is gone: what was seen of it holds no longer, and nobody answers on
    /// connections that left from it.
    pub(super) fn on_network_changed(&mut self, gone: &Multiaddr) {
        self.reach.observations.clear();
        self.swarm.behaviour_mut().candidates.forget();
        let Some((gone, _)) = socket(gone) else { return };
        let dead = self.swarm.behaviour().exchange.all().filter(|info| info.local == Some(gone));
        for (peer, connection) in dead.map(|info| (info.peer, info.id)).collect::<Vec<_>>() {
            tracing::debug!(%peer, %connection, %gone, "closed, its address is gone");
            self.swarm.close_connection(connection);
        }
    }

    pub(super) fn tick_reachability(&mut self, now: Instant) {
        let (mut direct, mut relayed) = (false, false);
        for address in self.swarm.external_addresses() {
            if is_relayed(address) {
                relayed = true;
            } else {
                direct = true;
            }
        }
        let alone = !direct && !relayed && !self.peers.is_alone();
        self.reach.alone_since = self.reach.alone_since.filter(|_| alone).or(alone.then_some(now));
        let long = self.reach.alone_since.is_some_and(|since| now >= since + UNREACHABLE_AFTER);
        let reachability = match (direct, relayed) {
            (true, _) => Reachability::Direct,
            (false, true) => Reachability::Relayed,
            (false, false) if long => Reachability::Unreachable,
            (false, false) if alone || self.peers.is_alone() => Reachability::Unknown,
            (false, false) => self.reach.now,
        };
        if reachability != self.reach.now {
            tracing::info!(?reachability, "reachability");
            self.reach.now = reachability;
            self.tell(SwarmEvent::ReachabilityChanged { reachability });
        }
    }
}

#[cfg(test)]
mod tests;
