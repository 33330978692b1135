//! `hive peers`: who is there.

use hive_api::PeerSummary;

use crate::node::{Handle, Need};
use crate::session::Session;
use crate::text::Table;
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
    let mut table = Table::new(["PEER", "NAME", "STATE", "RTT", "MODELS", "ADDRESS"]);
    for peer in peers {
        let state = match (peer.banned_secs, peer.connected) {
            (Some(seconds), _) => format!("banned for {}", units::seconds(seconds as f64)),
            (None, true) => peer.transports.join("+"),
            (None, false) => "away".to_owned(),
        };
        table.row([
            peer.peer.clone(),
            or_dash(peer.name.clone()),
            state,
            or_dash(peer.rtt_ms.map(|ms| format!("{ms:.1} ms"))),
            or_dash(peer.capability.as_ref().map(|capability| capability.models.to_string())),
            or_dash(peer.addresses.first().cloned()),
        ]);
    }
    table
}
