//! Why there is a direct path to a peer, or none. Pure: what is known goes in, a sentence comes out.

use std::net::IpAddr;

use hive_api::Mapping;
use hive_swarm::{Link, Punch, TransportKind};

/// What is known of a peer's connections and of the routers on both sides.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The connections.
    pub(crate) links: &'a [Link],
    /// What became of punching a hole.
    pub(crate) punch: Option<&'a Punch>,
    /// What this node's router does with ports.
    pub(crate) ours: Mapping,
    /// What the peer says of its own router, if it said anything.
    pub(crate) theirs: Option<Mapping>,
    /// Whether both listen on one transport at least; `None` if the peer has not said on which.
    pub(crate) common_transport: Option<bool>,
}

/// The sentence, if there is a connection.
pub(crate) fn why(facts: &Facts<'_>) -> Option<String> {
    let direct = facts.links.iter().find(|link| link.transport != TransportKind::Relay);
    match direct {
        Some(link) => Some(direct_because(link, facts.punch).to_owned()),
        None if facts.links.is_empty() => None,
        None => Some(relayed_because(facts)),
    }
}

fn direct_because(link: &Link, punch: Option<&Punch>) -> &'static str {
    match host(&link.address) {
        Some(ip) if ip.is_loopback() => "same machine",
        // Two routers' worth of private addresses may lie between; nobody would call it otherwise.
        Some(ip) if is_private(ip) => "same LAN",
        _ if punch == Some(&Punch::Succeeded) => "punched a hole",
        _ if link.outbound => "public address",
        _ => "our address is public: it dialed this node",
    }
}

fn relayed_because(facts: &Facts<'_>) -> String {
    let symmetric = |mapping| mapping == Mapping::Symmetric;
    let (ours, theirs) = (symmetric(facts.ours), facts.theirs.is_some_and(symmetric));
    match (facts.punch, ours, theirs) {
        (Some(Punch::Running), ..) => "the hole punch goes on".to_owned(),
        _ if facts.common_transport == Some(false) => "no common transport".to_owned(),
        (_, true, true) => "symmetric NAT on both sides".to_owned(),
        (_, false, true) => "symmetric NAT on their side".to_owned(),
        (_, true, false) => "symmetric NAT on our side".to_owned(),
        (Some(Punch::Failed { reason }), ..) => format!("no hole could be punched: {reason}"),
        // The direct connection has just closed, or the relayed one has just come.
        (Some(Punch::Succeeded) | None, ..) => "no direct path was tried yet".to_owned(),
    }
}

/// The host of an address that begins with one.
pub(crate) fn host(address: &str) -> Option<IpAddr> {
    let mut parts = address.split('/').skip(1);
    match parts.next()? {
        "ip4" => parts.next()?.parse().ok().map(IpAddr::V4),
        "ip6" => parts.next()?.parse().ok().map(IpAddr::V6),
        _ => None,
    }
}

/// Whether an address is of a machine or a network of one's own, and means nothing elsewhere.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_private(ip.into()),
            None => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn link(transport: TransportKind, address: &str, outbound: bool) -> Link {
        Link {
            transport,
            address: address.to_owned(),
            relay: None,
            allows_bulk: false,
            age: Duration::ZERO,
            outbound,
        }
    }

    #[test]
    fn every_path_has_its_sentence() {
        use Mapping::{Cone, None as Open, Symmetric, Unknown};
        let failed = Punch::Failed { reason: "nothing came through".to_owned() };
        let (ran, done) = (Punch::Running, Punch::Succeeded);
        let relayed =
            || vec![link(TransportKind::Relay, "/ip4/203.0.113.1/tcp/1/p2p-circuit", true)];
        let tcp = |ip: &str, outbound| {
            vec![link(TransportKind::Tcp, &format!("/ip4/{ip}/tcp/1"), outbound)]
        };
        for (links, punch, ours, theirs, common, expected) in [
            (vec![], None, Cone, None, None, None),
            (tcp("127.0.0.1", true), None, Unknown, None, None, Some("same machine")),
            (tcp("192.168.1.7", true), None, Cone, Some(Cone), None, Some("same LAN")),
            (
                tcp("198.51.100.7", true),
                Some(&done),
                Cone,
                Some(Cone),
                None,
                Some("punched a hole"),
            ),
            (tcp("198.51.100.7", true), None, Cone, Some(Open), None, Some("public address")),
            (
                tcp("198.51.100.7", false),
                None,
                Open,
                None,
                None,
                Some("our address is public: it dialed this node"),
            ),
            (relayed(), Some(&ran), Cone, Some(Cone), None, Some("the hole punch goes on")),
            (
                relayed(),
                Some(&ran),
                Symmetric,
                Some(Symmetric),
                None,
                Some("the hole punch goes on"),
            ),
            (
                relayed(),
                Some(&failed),
                Symmetric,
                Some(Symmetric),
                Some(true),
                Some("symmetric NAT on both sides"),
            ),
            (
                relayed(),
                Some(&failed),
                Cone,
                Some(Symmetric),
                None,
                Some("symmetric NAT on their side"),
            ),
            (relayed(), Some(&failed), Symmetric, None, None, Some("symmetric NAT on our side")),
            (relayed(), Some(&failed), Cone, Some(Cone), Some(false), Some("no common transport")),
            (
                relayed(),
                Some(&failed),
                Cone,
                Some(Unknown),
                Some(true),
                Some("no hole could be punched: nothing came through"),
            ),
            (relayed(), None, Cone, Some(Cone), None, Some("no direct path was tried yet")),
        ] {
            let facts = Facts { links: &links, punch, ours, theirs, common_transport: common };
            assert_eq!(why(&facts).as_deref(), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_direct_connection_counts_more_than_a_relayed_one() {
        let links = [
            link(TransportKind::Relay, "/ip4/203.0.113.1/tcp/1/p2p-circuit", true),
            link(TransportKind::Quic, "/ip4/198.51.100.7/udp/1/quic-v1", true),
        ];
        let facts = Facts {
            links: &links,
            punch: Some(&Punch::Succeeded),
            ours: Mapping::Cone,
            theirs: None,
            common_transport: None,
        };
        assert_eq!(why(&facts).as_deref(), Some("punched a hole"));
    }

    #[test]
    fn private_is_what_no_router_of_the_internet_carries() {
        for (text, private) in [
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("192.168.0.1", true),
            ("169.254.1.1", true),
            ("127.0.0.1", true),
            ("100.64.0.1", false),
            ("8.8.8.8", false),
            ("::1", true),
            ("fe80::1", true),
            ("fd00::1", true),
            ("2001:db8::1", false),
            ("::ffff:10.0.0.1", true),
        ] {
            let ip: IpAddr = text.parse().expect("an address");
            assert_eq!(is_private(ip), private, "{text}");
        }
        assert_eq!(host("/dns4/example.org/tcp/1"), None);
        assert_eq!(host("/ip6/::1/udp/1/quic-v1"), Some(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)));
    }
}
