//! Which addresses are kept, passed on and dialed.
//!
//! Peers say any address they like, so an address that this node did not learn first hand has to
//! have one of the forms that are dialed, and to be public unless the network is a private one.

use std::iter::Peekable;
use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::limits::{ADDRESS_LEN, ADDRESSES_SEEN};

/// What the configuration says of private addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Whether loopback and private addresses are shared and dialed.
    pub(crate) allow_private: bool,
}

impl Policy {
    /// Whether an address that somebody told us may be kept, passed on and dialed.
    pub(crate) fn allows(self, address: &Multiaddr) -> bool {
        is_dialable(address) && (self.allow_private || is_global(address))
    }

    /// The addresses of `peer` that may be kept: allowed, of this peer, different, at most `max`.
    pub(crate) fn filter<'a>(
        self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = &'a Multiaddr>,
        max: usize,
    ) -> Vec<Multiaddr> {
        let mut kept: Vec<Multiaddr> = Vec::new();
        for address in addresses.into_iter().take(ADDRESSES_SEEN) {
            let of_peer = peer_of(address).is_none_or(|other| other == peer);
            let address = without_peer(address);
            if of_peer && self.allows(&address) && !kept.contains(&address) && kept.len() < max {
                kept.push(address);
            }
        }
        kept
    }
}

/// The peer that an address ends in.
pub(crate) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// The address without the peer that it ends in.
pub(crate) fn without_peer(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if peer_of(&address).is_some() {
        address.pop();
    }
    address
}

/// The address as others can use it: with the peer at its end.
pub(crate) fn full(address: &Multiaddr, peer: PeerId) -> String {
    without_peer(address).with(Protocol::P2p(peer)).to_string()
}

/// Whether the address goes through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|protocol| protocol == Protocol::P2pCircuit)
}

/// Whether the address stands for all of this machine's addresses.
pub(crate) fn is_unspecified(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => ip.is_unspecified(),
        _ => false,
    }
}

/// Whether it is an address of this machine for itself.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

/// Whether it is a host and then TCP, QUIC or WebSocket, and nothing more but a peer, or a relay and
/// its circuit to the peer.
fn is_dialable(address: &Multiaddr) -> bool {
    if address.len() > ADDRESS_LEN {
        return false;
    }
    let mut parts = address.iter().peekable();
    let host = match parts.next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => !name.is_empty(),
        _ => false,
    };
    let carrier = match parts.next() {
        Some(Protocol::Tcp(port)) => port != 0 && skip_websocket(&mut parts),
        Some(Protocol::Udp(port)) => port != 0 && parts.next() == Some(Protocol::QuicV1),
        _ => false,
    };
    let rest = match (parts.next(), parts.next()) {
        (None, _) | (Some(Protocol::P2p(_)), None) => true,
        (Some(Protocol::P2p(_)), Some(Protocol::P2pCircuit)) => {
            parts.next().is_none_or(|part| matches!(part, Protocol::P2p(_)))
                && parts.next().is_none()
        }
        _ => false,
    };
    host && carrier && rest
}

/// Passes over what makes WebSocket over TLS of TCP, if anything does; says whether that is well
/// formed.
fn skip_websocket<'a>(parts: &mut Peekable<impl Iterator<Item = Protocol<'a>>>) -> bool {
    let root = |path: &str| path.is_empty() || path == "/";
    if parts.next_if_eq(&Protocol::Tls).is_some() {
        // A server name may stand between the two.
        parts.next_if(|part| matches!(part, Protocol::Sni(_)));
        return matches!(parts.next(), Some(Protocol::Ws(path)) if root(&path));
    }
    match parts.next_if(|part| matches!(part, Protocol::Wss(_))) {
        Some(Protocol::Wss(path)) => root(&path),
        _ => true,
    }
}

/// The relay that an address goes through.
pub(crate) fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let mut last = None;
    for part in address {
        match part {
            Protocol::P2p(peer) => last = Some(peer),
            Protocol::P2pCircuit => return last,
            _ => {}
        }
    }
    None
}

/// Whether it is an address of this machine or its LAN, by number: a name may lead anywhere. Less
/// than "not global": some ranges that are no host's own are ways out (NAT64, 6to4, carriers').
pub(crate) fn is_private_host(address: &Multiaddr) -> bool {
    let lan = |ip: Ipv4Addr| ip.is_private() || ip.is_loopback() || ip.is_link_local();
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => lan(ip),
        Some(Protocol::Ip6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => lan(ip),
            None => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        },
        _ => false,
    }
}

/// Whether the whole internet means the same host by it.
pub(crate) fn is_global(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => is_global_v4(ip),
        Some(Protocol::Ip6(ip)) => is_global_v6(ip),
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let local = [".local", ".localhost", ".lan", ".internal", ".home.arpa"];
            name.contains('.') && !local.iter().any(|end| name.ends_with(end))
        }
        _ => false,
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18);
    !(special
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation())
}

/// The only part of IPv6 that is given out to hosts is 2000::/3; in it are documentation, and the
/// tunnels of 6to4 and Teredo, which hold IPv4 addresses of any kind.
fn is_global_v6(ip: Ipv6Addr) -> bool {
    if let Some(ip) = ip.to_ipv4_mapped() {
        return is_global_v4(ip);
    }
    let [a, b, ..] = ip.segments();
    a & 0xe000 == 0x2000 && a != 0x2002 && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Multiaddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_public_hosts_are_global() {
        for public in [
            "/ip4/8.8.8.8/tcp/1",
            "/ip6/2606:4700::1/udp/1/quic-v1",
            "/dns4/relay.example.org/tcp/4483",
        ] {
            assert!(Policy { allow_private: false }.allows(&parse(public)), "{public}");
        }
        for private in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.1.2.3/tcp/1",
            "/ip4/172.16.0.1/tcp/1",
            "/ip4/192.168.1.1/tcp/1",
            "/ip4/169.254.1.1/tcp/1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/::ffff:10.0.0.1/tcp/1",
            "/dns/localhost/tcp/1",
            "/dns/printer.local/tcp/1",
        ] {
            assert!(!Policy { allow_private: false }.allows(&parse(private)), "{private}");
            assert!(Policy { allow_private: true }.allows(&parse(private)), "{private}");
        }
    }

    #[test]
    fn no_other_forms_are_dialed() {
        for other in [
            "/ip4/8.8.8.8",
            "/ip4/8.8.8.8/udp/1",
            "/ip4/8.8.8.8/tcp/0",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/224.0.0.1/udp/1/quic-v1",
            "/ip4/8.8.8.8/tcp/1/ws",
            "/memory/1",
            "/unix/tmp",
        ] {
            assert!(!Policy { allow_private: true }.allows(&parse(other)), "{other}");
        }
        let long = format!("/dns4/{}.org/tcp/1", "a".repeat(ADDRESS_LEN));
        assert!(!Policy { allow_private: true }.allows(&parse(&long)));
    }

    #[test]
    fn a_relay_and_a_websocket_are_dialed() {
        let relay = PeerId::random();
        for (end, fine) in [
            (format!("/tcp/1/p2p/{relay}/p2p-circuit"), true),
            (format!("/udp/1/quic-v1/p2p/{relay}/p2p-circuit/p2p/{relay}"), true),
            (format!("/tcp/443/tls/ws/p2p/{relay}/p2p-circuit"), true),
            ("/tcp/443/wss".to_owned(), true),
            ("/tcp/443/tls/sni/example.org/ws".to_owned(), true),
            ("/tcp/1/p2p-circuit".to_owned(), false),
            (format!("/tcp/1/p2p/{relay}/p2p-circuit/tcp/1"), false),
            (format!("/tcp/1/p2p/{relay}/p2p-circuit/p2p/{relay}/p2p-circuit"), false),
            ("/tcp/443/tls".to_owned(), false),
            ("/udp/443/quic-v1/wss".to_owned(), false),
        ] {
            let address = parse(&format!("/ip4/8.8.8.8{end}"));
            assert_eq!(Policy { allow_private: false }.allows(&address), fine, "{end}");
        }
        let through = parse(&format!("/ip4/8.8.8.8/tcp/1/p2p/{relay}/p2p-circuit"));
        assert_eq!(relay_of(&through), Some(relay));
        assert_eq!(relay_of(&parse("/ip4/8.8.8.8/tcp/1").with(Protocol::P2p(relay))), None);
    }

    #[test]
    fn a_name_is_no_private_host() {
        assert!(is_private_host(&parse("/ip4/192.168.1.1/tcp/1")));
        assert!(is_private_host(&parse("/ip6/fe80::1/tcp/1")));
        assert!(!is_private_host(&parse("/dns/printer.local/tcp/1")));
        for elsewhere in [
            "/ip4/8.8.8.8/tcp/1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip6/64:ff9b::808:808/tcp/1",
            "/ip6/2002:808:808::1/tcp/1",
        ] {
            assert!(!is_private_host(&parse(elsewhere)), "{elsewhere}");
        }
    }

    #[test]
    fn a_peer_speaks_for_itself_only_and_not_without_end() {
        let policy = Policy { allow_private: false };
        let (peer, other) = (PeerId::random(), PeerId::random());
        let mut addresses: Vec<_> =
            (1..100).map(|port| parse(&format!("/ip4/8.8.8.8/tcp/{port}"))).collect();
        addresses.insert(0, parse("/ip4/8.8.8.8/tcp/1000").with(Protocol::P2p(other)));
        addresses.insert(1, parse("/ip4/8.8.8.8/tcp/1").with(Protocol::P2p(peer)));
        let kept = policy.filter(peer, &addresses, 3);
        let expected: Vec<_> =
            (1..4).map(|port| parse(&format!("/ip4/8.8.8.8/tcp/{port}"))).collect();
        assert_eq!(kept, expected);
        assert!(policy.filter(peer, &addresses, 100).len() <= ADDRESSES_SEEN);
    }
}
