//! `hive status`: how the node is.

use hive_api::{Hive, Mapping, Reachability, Status, UpnpState};

use crate::commands::network;
use crate::printer::Printer;
use crate::text::{plain, short_peer};
use crate::units;

/// Tells how the node is.
pub(crate) async fn status(hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    let status = hive.status().await?;
    if printer.json() {
        return Ok(printer.object(&status)?);
    }
    let fact = |name: &str, value: String| printer.data(format_args!("{name:<11}{value}"));
    fact("peer", status.peer.clone())?;
    if let Some(name) = &status.name {
        fact("name", plain(name))?;
    }
    if status.addresses.is_empty() {
        printer.talk(
            "nobody can dial this node: none runs on this home (`hive join` starts one), or it only \
             dials (`listen` is `none`)",
        );
    }
    for address in &status.addresses {
        fact("address", address.clone())?;
    }
    match &status.membership {
        Some(own) => {
            for (name, value) in network::facts(own) {
                fact(name, value)?;
            }
            network::tell_concern(own, printer);
        }
        None => fact("network", status.network.clone())?,
    }
    fact("home", status.home.display().to_string())?;
    fact("version", status.version.clone())?;
    fact("up for", units::seconds(status.uptime))?;
    fact("connected", format!("{} peers", status.connected))?;
    for (name, value) in standing(&status) {
        fact(name, plain(&value))?;
    }
    fact("models", status.models.to_string())?;
    fact("uploaded", units::bytes(status.uploaded))?;
    let used = units::bytes(status.disk_used);
    fact("disk", format!("{used} used, {} free for models", units::bytes(status.disk_free)))?;
    for fetch in &status.fetches {
        let percent = units::percent(fetch.bytes, fetch.size);
        let rate = units::rate(fetch.rate);
        let name = plain(&fetch.name);
        fact("fetching", format!("{name}, {percent} %, {rate} from {} peers", fetch.peers))?;
    }
    if let Some(advice) = advice(&status) {
        printer.talk(advice);
    }
    Ok(())
}

/// How the node stands in the network; nothing of a node that has none.
fn standing(status: &Status) -> Vec<(&'static str, String)> {
    if status.addresses.is_empty() && status.connected == 0 {
        return Vec::new();
    }
    let mut facts = vec![("reached", reached(status))];
    let nat = match (status.nat.tcp, status.nat.udp) {
        (tcp, udp) if tcp == udp => word(tcp).to_owned(),
        (tcp, udp) => format!("{} for TCP, {} for UDP", word(tcp), word(udp)),
    };
    facts.push(("router", format!("{nat}{}", router(&status.upnp))));
    for relay in &status.relays {
        let state = match (relay.reserved, relay.allows_bulk, &relay.trouble) {
            (true, true, _) => "lets others reach this node, and models through",
            (true, false, _) => "lets others reach this node, no models through",
            (false, _, Some(trouble)) => trouble,
            (false, _, None) => "not needed, or not asked yet",
        };
        facts.push(("relay", format!("{}: {state}", short_peer(&relay.peer))));
    }
    let part = if status.dht.server { "answers others" } else { "asks others" };
    facts.push(("dht", format!("{part}, {} peers in the table", status.dht.peers)));
    if let Some(relay) = &status.relay {
        let bulk = if relay.allows_bulk { "models too" } else { "no models" };
        let (n, circuits) = (relay.reservations, relay.circuits);
        let bytes = units::bytes(relay.bytes);
        facts.push((
            "relaying",
            format!("{n} peers reachable, {circuits} circuits, {bytes} through ({bulk})"),
        ));
        let refused: Vec<String> =
            relay.refused.iter().map(|(why, n)| format!("{n} {why}")).collect();
        if !refused.is_empty() {
            let over = relay.over_budget;
            facts.push(("refused", format!("{}; {over} over budget", refused.join(", "))));
        }
    }
    facts
}

fn reached(status: &Status) -> String {
    match status.reachability {
        _ if status.lan_only => "on the LAN only, as configured".to_owned(),
        Reachability::Direct => match status.external.first() {
            Some(address) => format!("directly, at {address}"),
            None => "directly".to_owned(),
        },
        Reachability::Relayed => "through relays; holes are punched where routers allow".to_owned(),
        Reachability::Unreachable => "by nobody; it reaches others".to_owned(),
        Reachability::Unknown => "not known yet: no peer has tried to get in".to_owned(),
    }
}

fn word(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::Unknown => "not known yet",
        Mapping::None => "none between",
        Mapping::Cone => "one port for all (holes can be punched)",
        Mapping::Symmetric => "another port for each host (symmetric)",
    }
}

fn router(upnp: &UpnpState) -> String {
    match upnp {
        UpnpState::Off => String::new(),
        UpnpState::Asking => "; asked to let others in".to_owned(),
        UpnpState::NoGateway => "; does not answer to UPnP".to_owned(),
        UpnpState::NotRoutable => "; has another router behind it".to_owned(),
        UpnpState::Mapped { addresses, confirmed } => {
            let checked = if *confirmed { "checked" } else { "nobody has come in there yet" };
            format!("; lets others in at {} ({checked})", addresses.join(", "))
        }
    }
}

/// What would make it better, if something would.
fn advice(status: &Status) -> Option<&'static str> {
    let online = !status.addresses.is_empty();
    match status.reachability {
        _ if !online || status.lan_only => None,
        Reachability::Unreachable => Some(
            "nobody reaches this node: name a relay (`--relay ADDR`), or forward TCP and UDP port \
             4483 of the router to this machine; `hive doctor` checks it all",
        ),
        Reachability::Relayed if status.relays.iter().all(|relay| !relay.reserved) => {
            Some("no relay accepts this node now; `hive doctor` says why")
        }
        Reachability::Unknown if status.connected == 0 => {
            Some("nobody is connected; `hive doctor` says what to do")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hive_api::{Nat, RelayService, RelayUse};

    use super::*;

    fn shown(status: &Status) -> String {
        let lines = standing(status).into_iter().map(|(name, value)| format!("{name}: {value}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_node_without_a_network_has_no_standing() {
        assert_eq!(shown(&Status::default()), "");
        assert_eq!(advice(&Status::default()), None);
    }

    #[test]
    fn a_node_behind_a_router_is_told_how_it_is_reached() {
        let mut status = Status {
            addresses: vec!["/ip4/10.0.0.2/tcp/1".into()],
            connected: 2,
            reachability: Reachability::Relayed,
            nat: Nat { tcp: Mapping::Cone, udp: Mapping::Symmetric },
            upnp: UpnpState::NoGateway,
            relays: vec![RelayUse {
                peer: "12D3KooWabcdefgh".into(),
                reserved: true,
                allows_bulk: false,
                trouble: None,
            }],
            ..Status::default()
        };
        assert_eq!(
            shown(&status),
            "\
reached: through relays; holes are punched where routers allow
router: one port for all (holes can be punched) for TCP, another port for each host (symmetric) for UDP; does not answer to UPnP
relay: abcdefgh: lets others reach this node, no models through
dht: asks others, 0 peers in the table"
        );
        assert_eq!(advice(&status), None);
        status.relays[0].reserved = false;
        assert!(advice(&status).is_some_and(|advice| advice.contains("hive doctor")));
        status.reachability = Reachability::Unreachable;
        assert!(advice(&status).is_some_and(|advice| advice.contains("--relay")));
    }

    #[test]
    fn a_relay_says_what_it_does() {
        let status = Status {
            addresses: vec!["/ip4/203.0.113.7/tcp/1".into()],
            reachability: Reachability::Direct,
            external: vec!["/ip4/203.0.113.7/tcp/1".into()],
            relay: Some(RelayService {
                reservations: 3,
                circuits: 1,
                bytes: 2_000_000,
                refused: [("peer_bytes".to_owned(), 4)].into(),
                over_budget: 1,
                allows_bulk: false,
            }),
            ..Status::default()
        };
        let shown = shown(&status);
        for line in [
            "reached: directly, at /ip4/203.0.113.7/tcp/1",
            "relaying: 3 peers reachable, 1 circuits, 2.0 MB through (no models)",
            "refused: 4 peer_bytes; 1 over budget",
        ] {
            assert!(shown.lines().any(|said| said == line), "{line}\n{shown}");
        }
    }
}
