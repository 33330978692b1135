//! What the network shows of a node, judged. Pure: what is known goes in, checks come out.

use hive_api::{
    Check, Level, Mapping, PeerPath, PeerSummary, Reachability, RelayUse, Status, UpnpState,
};

use super::graded;
use crate::config::Config;

const FORWARD: &str = "forward TCP and UDP port 4483 of the router to this machine";

/// All checks of the network, in the order in which they matter.
pub(super) fn checks(status: &Status, peers: &[PeerSummary], config: &Config) -> Vec<Check> {
    vec![
        connected(status, config),
        reachability(status, config),
        upnp(status),
        nat(status),
        relays(status, config),
        dht(status, config),
        ways_out(status, peers),
    ]
}

fn connected(status: &Status, config: &Config) -> Check {
    let n_known = config.bootstrap.len();
    match (status.connected, n_known) {
        (0, 0) => Check::fail(
            "peers",
            "no peer is connected, and no address of one is known",
            "give an address to join through: `hive config set bootstrap ADDR`; on the other machine `hive id` prints it",
        ),
        (0, n) => Check::fail(
            "peers",
            format!("no peer is connected; none of {n} bootstrap addresses answers"),
            "check that the bootstrap nodes run and that their addresses are right (`hive config get bootstrap`), and that the firewall lets this machine out on their ports",
        ),
        (n, _) => Check::ok("peers", format!("{n} connected")),
    }
}

fn reachability(status: &Status, config: &Config) -> Check {
    let name = "reachability";
    match status.reachability {
        Reachability::Direct => {
            Check::ok(name, format!("others reach this node at {}", status.external.join(", ")))
        }
        _ if config.lan_only => Check::ok(name, "on the LAN only, as configured (`lan-only`)"),
        Reachability::Relayed => Check::warn(
            name,
            "nobody gets in directly; others come through relays, and holes are punched",
            format!(
                "for the full speed of every peer {FORWARD}, or turn UPnP on (there and here: `--upnp on`)"
            ),
        ),
        Reachability::Unreachable => Check::fail(
            name,
            "nobody reaches this node, which reaches others",
            format!("name a relay (`hive config set relay ADDR`), or {FORWARD}"),
        ),
        Reachability::Unknown if status.connected == 0 => {
            Check::ok(name, "cannot know: nobody is there to say")
        }
        Reachability::Unknown => Check::warn(
            name,
            "no peer has tried to get in yet",
            "run `hive doctor` again when the node has been up for a minute; nodes of the LAN alone cannot tell",
        ),
    }
}

fn upnp(status: &Status) -> Check {
    let name = "upnp";
    let needed = status.reachability != Reachability::Direct;
    let level = |level| if needed { level } else { Level::Ok };
    match &status.upnp {
        UpnpState::Off => Check::ok(name, "the router is not asked (`upnp` is off)"),
        UpnpState::Asking => {
            graded(name, "the router has not answered yet".into(), level(Level::Warn), FORWARD)
        }
        UpnpState::NoGateway => graded(
            name,
            "no router here answers to UPnP".into(),
            level(Level::Warn),
            "turn UPnP on in the router's settings, or forward TCP and UDP port 4483 there to this machine",
        ),
        UpnpState::NotRoutable => graded(
            name,
            "the router's own address is private: there is another router behind it (or the provider shares one address among many)".into(),
            level(Level::Warn),
            "forward the port on both routers, ask the provider for a public address, or name a relay (`hive config set relay ADDR`)",
        ),
        UpnpState::Mapped { addresses, confirmed: true } => {
            Check::ok(name, format!("the router lets others in at {}", addresses.join(", ")))
        }
        UpnpState::Mapped { addresses, confirmed: false } => graded(
            name,
            format!(
                "the router says that it lets others in at {}; nobody has come in there",
                addresses.join(", ")
            ),
            level(Level::Warn),
            "a firewall or a second router may stand before it: forward the port there too",
        ),
    }
}

fn nat(status: &Status) -> Check {
    let words = |mapping| match mapping {
        Mapping::Unknown => "not known yet",
        Mapping::None => "no translation",
        Mapping::Cone => "one port for all: holes can be punched",
        Mapping::Symmetric => {
            "another port for each host (symmetric): no hole can be punched from the other side"
        }
    };
    let (tcp, udp) = (status.nat.tcp, status.nat.udp);
    let found = if tcp == udp {
        words(tcp).to_owned()
    } else {
        format!("TCP: {}; UDP: {}", words(tcp), words(udp))
    };
    let blocked = tcp == Mapping::Symmetric && matches!(udp, Mapping::Symmetric | Mapping::Unknown)
        || udp == Mapping::Symmetric && tcp == Mapping::Unknown;
    let level = if blocked && status.reachability != Reachability::Direct {
        Level::Warn
    } else {
        Level::Ok
    };
    graded(
        "nat",
        found,
        level,
        "look for \"endpoint-independent\", \"full cone\" or \"gaming\" NAT in the router's settings, or forward TCP and UDP port 4483 to this machine",
    )
}

fn relays(status: &Status, config: &Config) -> Check {
    let name = "relays";
    if config.lan_only {
        return Check::ok(name, "none: this node keeps to the LAN");
    }
    if !config.traverse {
        return Check::ok(name, "none, as configured (`relay` is `none`)");
    }
    if status.reachability == Reachability::Direct {
        return Check::ok(name, "not needed: others reach this node directly");
    }
    let reserved: Vec<&RelayUse> = status.relays.iter().filter(|relay| relay.reserved).collect();
    if !reserved.is_empty() {
        let bulk = reserved.iter().filter(|relay| relay.allows_bulk).count();
        let n = reserved.len();
        return Check::ok(
            name,
            format!("{n} let others reach this node; {bulk} of them let models through"),
        );
    }
    let troubles: Vec<String> = status
        .relays
        .iter()
        .filter_map(|relay| Some(format!("{}: {}", relay.peer, relay.trouble.as_ref()?)))
        .collect();
    if troubles.is_empty() {
        let remedy = "name a relay (`hive config set relay ADDR`), or run one on a machine with a public address: `hive relay --external-addr IP`";
        return Check::warn(name, "none is known", remedy);
    }
    Check::fail(
        name,
        format!("none accepts: {}", troubles.join("; ")),
        "check the relay's address and that it runs (`hive status` there), or name another: `hive config set relay ADDR`",
    )
}

fn dht(status: &Status, config: &Config) -> Check {
    use hive_swarm::ServerMode;
    let part = match (status.dht.server, config.dht_server) {
        (true, _) => "answers others",
        (false, ServerMode::Never) => "only asks, as configured (`dht` is `never`)",
        (false, _) => "only asks, since nobody gets in directly",
    };
    let found = format!("{} peers in the routing table; it {part}", status.dht.peers);
    let level = if status.connected > 0 && status.dht.peers == 0 { Level::Warn } else { Level::Ok };
    let remedy = "none of the connected peers answers the DHT: one node with a public address does (`hive relay`), or one with `--dht always`";
    graded("dht", found, level, remedy)
}

/// What gets out: UDP, TCP, or port 443 alone.
fn ways_out(status: &Status, peers: &[PeerSummary]) -> Check {
    let name = "firewall";
    let mut kinds: Vec<&str> = peers
        .iter()
        .filter(|peer| peer.connected && peer.path == Some(PeerPath::Direct))
        .flat_map(|peer| peer.links.iter().map(|link| link.transport.as_str()))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds == ["websocket"] {
        return Check::warn(
            name,
            "only TCP port 443 gets out (WebSocket over TLS)",
            "let this machine out on TCP and UDP port 4483; fetches go the long way until then",
        );
    }
    let quic = |address: &String| address.contains("/quic-v1") && !address.contains("/p2p-circuit");
    let (tcp, udp) = (status.nat.tcp, status.nat.udp);
    let unseen = tcp != Mapping::Unknown && udp == Mapping::Unknown;
    if unseen && status.addresses.iter().any(quic) {
        return Check::warn(
            name,
            "peers see this node over TCP and not over UDP, which may be blocked",
            "let this machine out on UDP port 4483: QUIC gets through more routers than TCP does",
        );
    }
    let found = if kinds.is_empty() {
        "no direct connection to judge by".into()
    } else {
        format!("out over {}", kinds.join(", "))
    };
    Check::ok(name, found)
}

#[cfg(test)]
mod tests {
    use hive_api::{DhtPart, Diagnosis, Nat, PeerLink};

    use super::*;

    fn level(checks: &[Check], name: &str) -> Level {
        let check = checks.iter().find(|check| check.name == name);
        check.unwrap_or_else(|| panic!("no check `{name}`")).level
    }

    fn at_home(reachability: Reachability, upnp: UpnpState, nat: Mapping) -> Status {
        Status {
            connected: 3,
            reachability,
            upnp,
            nat: Nat { tcp: nat, udp: nat },
            dht: DhtPart { server: false, peers: 5 },
            ..Status::default()
        }
    }

    fn relay(reserved: bool, trouble: Option<&str>) -> RelayUse {
        let trouble = trouble.map(str::to_owned);
        RelayUse { peer: "12D3KooWr".into(), reserved, allows_bulk: false, trouble }
    }

    #[test]
    fn a_node_that_all_reach_has_nothing_to_do() {
        let mut status = at_home(Reachability::Direct, UpnpState::NoGateway, Mapping::Symmetric);
        status.external = vec!["/ip4/1.2.3.4/tcp/1".into()];
        let found = checks(&status, &[], &Config::default());
        assert_eq!(Diagnosis::of(true, found.clone()).to_do, Vec::<String>::new(), "{found:?}");
    }

    #[test]
    fn every_trouble_has_its_level_and_its_remedy() {
        use Level::{Fail, Ok, Warn};
        let config = Config::default();
        let alone = checks(&Status::default(), &[], &config);
        assert_eq!((level(&alone, "peers"), level(&alone, "reachability")), (Fail, Ok));

        let mut status = at_home(Reachability::Relayed, UpnpState::NoGateway, Mapping::Cone);
        status.relays = vec![relay(true, None), relay(false, Some("full"))];
        let found = checks(&status, &[], &config);
        for (name, expected) in [
            ("peers", Ok),
            ("reachability", Warn),
            ("upnp", Warn),
            ("nat", Ok),
            ("relays", Ok),
            ("dht", Ok),
        ] {
            assert_eq!(level(&found, name), expected, "{name}");
        }

        let mapped =
            UpnpState::Mapped { addresses: vec!["/ip4/1.2.3.4/tcp/1".into()], confirmed: false };
        let mut status = at_home(Reachability::Unreachable, mapped, Mapping::Symmetric);
        status.relays = vec![relay(false, Some("it does not answer"))];
        status.dht.peers = 0;
        let found = checks(&status, &[], &config);
        for (name, expected) in
            [("reachability", Fail), ("upnp", Warn), ("nat", Warn), ("relays", Fail), ("dht", Warn)]
        {
            assert_eq!(level(&found, name), expected, "{name}");
        }
        assert!(
            found.iter().all(|check| (check.level == Ok) == check.remedy.is_none()),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_configured_is_no_trouble() {
        let status = at_home(Reachability::Unknown, UpnpState::Off, Mapping::Unknown);
        let lan = Config { lan_only: true, ..Config::default() };
        let found = checks(&status, &[], &lan);
        assert_eq!(Diagnosis::of(true, found.clone()).to_do, Vec::<String>::new(), "{found:?}");
        let alone = Config { traverse: false, ..Config::default() };
        assert_eq!(level(&checks(&status, &[], &alone), "relays"), Level::Ok);
    }

    #[test]
    fn a_network_that_lets_only_443_out_is_recognised() {
        let link = |transport: &str| PeerLink {
            transport: transport.into(),
            address: String::new(),
            relay: None,
            allows_bulk: false,
            age: 1.0,
            outbound: true,
        };
        let peer = |links: Vec<PeerLink>| PeerSummary {
            peer: "x".into(),
            name: None,
            agent: None,
            connected: true,
            addresses: vec![],
            transports: vec![],
            path: Some(PeerPath::Direct),
            links,
            goodput: None,
            why: None,
            rtt_ms: None,
            banned_secs: None,
            capability: None,
        };
        let status = Status::default();
        assert_eq!(ways_out(&status, &[peer(vec![link("websocket")])]).level, Level::Warn);
        let both = peer(vec![link("websocket"), link("quic")]);
        assert_eq!(ways_out(&status, &[both]).level, Level::Ok);
        let nat = Nat { tcp: Mapping::Cone, udp: Mapping::Unknown };
        let mut status = Status { nat, ..status };
        assert_eq!(ways_out(&status, &[]).level, Level::Ok, "it does not listen on UDP");
        status.addresses = vec!["/ip4/10.0.0.2/udp/4483/quic-v1".into()];
        assert_eq!(ways_out(&status, &[]).level, Level::Warn);
    }
}
