//! Bounds how many connections come from one address, so that one host cannot take all of them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::{ConnectionClosed, ListenFailure};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::address::is_private_host;

/// What counts as one host: an IPv4 address, or what one customer gets of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Host {
    V4([u8; 4]),
    V6([u8; 7]),
}

impl Host {
    /// `None` for what is not bounded: this machine itself, and what is no IP address.
    fn of(address: &Multiaddr) -> Option<Self> {
        let ip = match address.iter().next()? {
            Protocol::Ip4(ip) => IpAddr::V4(ip),
            Protocol::Ip6(ip) => IpAddr::V6(ip).to_canonical(),
            _ => return None,
        };
        match ip {
            ip if ip.is_loopback() => None,
            IpAddr::V4(ip) => Some(Self::V4(ip.octets())),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, ..] = ip.octets();
                Some(Self::V6([a, b, c, d, e, f, g]))
            }
        }
    }
}

/// More connections from one host than are taken.
#[derive(Debug, thiserror::Error)]
#[error("{0} connections from this host already")]
struct TooMany(u32);

/// A connection from outside of the LAN.
#[derive(Debug, thiserror::Error)]
#[error("a host outside of the LAN; this node keeps to it (--lan-only)")]
struct Elsewhere;

/// Refuses inbound connections of a host that has `max` already; of IPv6 it may have twice that.
#[derive(Debug)]
pub(crate) struct Behaviour {
    max: u32,
    /// Whether only hosts of the LAN are let in.
    lan_only: bool,
    connections: HashMap<ConnectionId, Host>,
    hosts: HashMap<Host, u32>,
}

impl Behaviour {
    pub(crate) fn new(max: u32, lan_only: bool) -> Self {
        Self { max, lan_only, connections: HashMap::new(), hosts: HashMap::new() }
    }

    fn admit(&mut self, id: ConnectionId, remote: &Multiaddr) -> Result<(), TooMany> {
        let Some(host) = Host::of(remote) else { return Ok(()) };
        let max = match host {
            Host::V4(_) => self.max,
            Host::V6(_) => self.max.saturating_mul(2),
        };
        let count = self.hosts.entry(host).or_default();
        if *count >= max {
            return Err(TooMany(*count));
        }
        *count += 1;
        self.connections.insert(id, host);
        Ok(())
    }

    fn release(&mut self, id: ConnectionId) {
        let Some(host) = self.connections.remove(&id) else { return };
        if let Some(count) = self.hosts.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.hosts.remove(&host);
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if self.lan_only && !is_private_host(remote) {
            return Err(ConnectionDenied::new(Elsewhere));
        }
        self.admit(id, remote).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.release(connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(behaviour: &mut Behaviour, id: usize, address: &str) -> bool {
        let address = address.parse().expect("an address");
        behaviour.admit(ConnectionId::new_unchecked(id), &address).is_ok()
    }

    #[test]
    fn a_host_gets_no_more_until_it_gives_one_back() {
        let mut behaviour = Behaviour::new(2, false);
        assert!(admit(&mut behaviour, 1, "/ip4/8.8.8.8/tcp/1"));
        assert!(admit(&mut behaviour, 2, "/ip4/8.8.8.8/udp/2/quic-v1"));
        assert!(!admit(&mut behaviour, 3, "/ip4/8.8.8.8/tcp/3"));
        assert!(admit(&mut behaviour, 4, "/ip4/8.8.4.4/tcp/4"));
        behaviour.release(ConnectionId::new_unchecked(1));
        assert!(admit(&mut behaviour, 5, "/ip6/::ffff:8.8.8.8/tcp/5"));
        assert!(!admit(&mut behaviour, 6, "/ip4/8.8.8.8/tcp/6"));
    }

    #[test]
    fn a_customer_of_ipv6_is_one_host() {
        let mut behaviour = Behaviour::new(1, false);
        assert!(admit(&mut behaviour, 1, "/ip6/2606:4700:0:1200::1/tcp/1"));
        assert!(admit(&mut behaviour, 2, "/ip6/2606:4700:0:12ff::1/tcp/1"));
        assert!(!admit(&mut behaviour, 3, "/ip6/2606:4700:0:1234::2/tcp/1"));
        assert!(admit(&mut behaviour, 4, "/ip6/2606:4700:0:1300::1/tcp/1"));
    }

    #[test]
    fn nothing_is_kept_of_hosts_that_have_left() {
        let mut behaviour = Behaviour::new(2, false);
        for id in 0..1_000 {
            assert!(admit(
                &mut behaviour,
                id,
                &format!("/ip4/8.8.{}.{}/tcp/1", id / 250, id % 250)
            ));
            behaviour.release(ConnectionId::new_unchecked(id));
        }
        assert!(behaviour.hosts.is_empty() && behaviour.connections.is_empty());
    }
}
