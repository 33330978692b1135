//! Which addresses belong together.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// Addresses that one owner is likely to have: a /24 of IPv4, a /48 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4([u8; 3]),
    V6([u8; 6]),
}

impl Network {
    /// The network of an address; `None` for what is no IP address.
    pub(crate) fn of(address: &Multiaddr) -> Option<Self> {
        let ip = match address.iter().next()? {
            Protocol::Ip4(ip) => IpAddr::V4(ip),
            Protocol::Ip6(ip) => IpAddr::V6(ip).to_canonical(),
            _ => return None,
        };
        Some(match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f])
            }
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4([a, b, c]) => write!(f, "{}/24", Ipv4Addr::new(a, b, c, 0)),
            Self::V6(start) => {
                let mut octets = [0; 16];
                octets[..6].copy_from_slice(&start);
                write!(f, "{}/48", Ipv6Addr::from(octets))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Option<String> {
        Network::of(&address.parse().expect("an address")).map(|network| network.to_string())
    }

    #[test]
    fn neighbours_are_one_network() {
        for (address, expected) in [
            ("/ip4/8.8.4.9/tcp/1", Some("8.8.4.0/24")),
            ("/ip4/8.8.4.200/udp/2/quic-v1", Some("8.8.4.0/24")),
            ("/ip6/::ffff:8.8.4.9/tcp/1", Some("8.8.4.0/24")),
            ("/ip6/2001:4860:1:2::3/tcp/1", Some("2001:4860:1::/48")),
            ("/memory/1", None),
        ] {
            assert_eq!(network(address).as_deref(), expected, "{address}");
        }
    }
}
