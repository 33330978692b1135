//! `hive peers`: who is there.

use std::collections::HashMap;

use hive_api::{PeerPath, PeerSummary};

use crate::node::{Handle, Need};
use crate::session::Session;
use crate::text::{Table, short_peer};
use crate::units;

/// List the peers that are known, connected ones first
#[derive(Debug, clap::Args)]
pub(crate) struct PeersArgs {
    /// First connect to this full address
    #[arg(long, value_name = "ADDR")]
    connect: Option<String>,
}

/// Lists peers.
pub(crate) async fn peers(args: &PeersArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let need = if args.connect.is_some() { Need::Network } else { Need::Disk };
    let handle = session.stop.unless_wanted(Handle::open(&session.settings, need)).await??;
    let hive = handle.hive();
    let peers = session
        .stop
        .unless_wanted(async {
            match &args.connect {
                Some(address) => hive.connect(address).await?,
                // A store by itself knows nobody.
                None if !handle.is_remote() => return Ok(Vec::new()),
                None => {}
            }
            hive.peers().await
        })
        .await;
    drop(hive);
    handle.close().await;
    let peers = peers??;
    if printer.json() {
        return Ok(printer.object(&peers)?);
    }
    if peers.is_empty() {
        printer.talk("no peers; `hive join --bootstrap ADDR` meets some");
        return Ok(());
    }
    Ok(printer.data(table(&peers))?)
}

fn table(peers: &[PeerSummary]) -> Table {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut table = Table::new(["NAME", "PEER", "PATH", "OVER", "RTT", "GOODPUT", "WHY"]);
    let names: HashMap<&str, String> =
        peers.iter().map(|peer| (peer.peer.as_str(), called(peer))).collect();
    for peer in peers {
        let path = match (peer.banned_secs, peer.connected, peer.path) {
            (Some(seconds), ..) => format!("banned for {}", units::seconds(seconds as f64)),
            (None, false, _) => "away".to_owned(),
            (None, true, Some(PeerPath::Relayed)) => "relayed".to_owned(),
            (None, true, _) => "direct".to_owned(),
        };
        table.row([
            or_dash(peer.name.clone()),
            short_peer(&peer.peer),
            path,
            or_dash(over(peer, &names)),
            or_dash(peer.rtt_ms.map(|ms| format!("{ms:.1} ms"))),
            or_dash(peer.goodput.map(units::rate)),
            or_dash(peer.why.clone()),
        ]);
    }
    table
}

/// What a peer is called beside another: its name, or enough of its id.
fn called(peer: &PeerSummary) -> String {
    peer.name.clone().unwrap_or_else(|| short_peer(&peer.peer))
}

/// What the connections run over, each once: `quic`, `tcp`, `relay kitchen`.
fn over(peer: &PeerSummary, names: &HashMap<&str, String>) -> Option<String> {
    let mut kinds: Vec<String> = Vec::new();
    for link in &peer.links {
        let kind = match &link.relay {
            Some(relay) => {
                let name = names.get(relay.as_str()).cloned();
                let bulk = if link.allows_bulk { " (bulk)" } else { "" };
                format!("relay {}{bulk}", name.unwrap_or_else(|| short_peer(relay)))
            }
            None => link.transport.clone(),
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    (!kinds.is_empty()).then(|| kinds.join("+"))
}

#[cfg(test)]
mod tests {
    use hive_api::PeerLink;

    use super::*;

    fn peer(
        id: &str,
        name: Option<&str>,
        path: Option<PeerPath>,
        links: Vec<PeerLink>,
    ) -> PeerSummary {
        PeerSummary {
            peer: format!("12D3KooW{id}"),
            name: name.map(str::to_owned),
            agent: None,
            connected: path.is_some(),
            addresses: vec![],
            transports: vec![],
            path,
            links,
            goodput: None,
            why: None,
            rtt_ms: None,
            banned_secs: None,
            capability: None,
        }
    }

    fn link(transport: &str, relay: Option<&str>) -> PeerLink {
        PeerLink {
            transport: transport.to_owned(),
            address: "/ip4/192.0.2.1/tcp/1".to_owned(),
            relay: relay.map(|id| format!("12D3KooW{id}")),
            allows_bulk: false,
            age: 1.0,
            outbound: true,
        }
    }

    #[test]
    fn a_person_sees_how_and_why_each_peer_is_reached() {
        let direct = Some(PeerPath::Direct);
        let mut near =
            peer("aaaaaaaa", Some("kitchen"), direct, vec![link("quic", None), link("quic", None)]);
        (near.rtt_ms, near.goodput) = (Some(0.43), Some(85_200_000.0));
        near.why = Some("same LAN".to_owned());
        let relayed = vec![link("relay", Some("aaaaaaaa")), link("relay", Some("dddddddd"))];
        let mut far = peer("bbbbbbbb", None, Some(PeerPath::Relayed), relayed);
        far.why = Some("symmetric NAT on both sides".to_owned());
        let mut banned = peer("cccccccc", Some("\u{1b}[2J"), None, vec![]);
        banned.banned_secs = Some(3_000);
        let shown = table(&[near, far, banned]).to_string();
        assert_eq!(
            shown,
            "\
NAME     PEER      PATH              OVER                          RTT     GOODPUT    WHY
kitchen  aaaaaaaa  direct            quic                          0.4 ms  85.2 MB/s  same LAN
-        bbbbbbbb  relayed           relay kitchen+relay dddddddd  -       -          symmetric NAT on both sides
\u{FFFD}[2J     cccccccc  banned for 50:00  -                             -       -          -"
        );
    }
}
