//! `hive search`: what the network offers.

use std::time::Duration;

use hive_api::{Offer, PeerName, SearchRequest};

use crate::args::NetArgs;
use crate::node::{Handle, Need};
use crate::session::Session;
use crate::text::{Table, named_peer};
use crate::units;

/// How often to ask a node that has just begun to listen.
const STEP: Duration = Duration::from_millis(250);

/// Peers of an offer that a line has room for.
const SHOWN: usize = 3;

/// Search the models that the network offers
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// Part of a name, an id, an architecture or a peer's name [default: everything]
    #[arg(default_value = "", hide_default_value = true)]
    text: String,

    /// Ask connected peers for what they offer now, instead of waiting for them to say
    #[arg(long)]
    refresh: bool,

    /// Only this kind
    #[arg(long, value_name = "KIND")]
    #[arg(value_parser = ["model", "adapter", "tokenizer", "dataset", "other"])]
    kind: Option<String>,

    /// Only up to this size, as in `4GiB`
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    max_size: Option<u64>,

    /// Only what this machine has the memory to run
    #[arg(long)]
    fits: bool,

    /// Seconds to listen for offers, when no node runs that has heard of them
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    listen_for: u64,

    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// Searches.
pub(crate) async fn search(args: &SearchArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let fresh =
        session.stop.unless_wanted(Handle::open(&session.settings, Need::Network)).await??;
    let wait = if fresh.is_remote() { 0 } else { args.listen_for };
    let hive = fresh.hive();
    let request = |refresh: bool| SearchRequest {
        text: args.text.clone(),
        kind: args.kind.clone(),
        max_size: args.max_size,
        fits: args.fits,
        refresh,
    };
    let searching = async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(wait);
        loop {
            // A node of our own hears of everything as it connects; there is nothing to ask again.
            let offers = hive.search(request(args.refresh && fresh.is_remote())).await?;
            if !offers.is_empty() || tokio::time::Instant::now() >= deadline {
                return Ok::<_, hive_api::HiveError>(offers);
            }
            tokio::time::sleep(STEP).await;
        }
    };
    let offers = session.stop.unless_wanted(searching).await;
    drop(hive);
    fresh.close().await;
    let offers = offers??;

    if printer.json() {
        return Ok(printer.object(&offers)?);
    }
    if offers.is_empty() {
        printer.talk("nothing found; offers take a while to get around");
        return Ok(());
    }
    Ok(printer.data(table(&offers))?)
}

fn table(offers: &[Offer]) -> Table {
    let mut table =
        Table::new(["NAME", "KIND", "SIZE", "FITS", "WHAT", "LICENCE", "PEERS", "HERE", "ID"]);
    for offer in offers {
        table.row([
            offer.name.clone(),
            offer.kind.clone(),
            units::bytes(offer.size),
            match offer.fits {
                Some(true) => "yes",
                Some(false) => "no",
                None => "-",
            }
            .to_owned(),
            offer.description.clone(),
            offer.license.clone().unwrap_or_else(|| "-".to_owned()),
            peers(&offer.peers),
            if offer.here { "yes" } else { "-" }.to_owned(),
            offer.cid.clone(),
        ]);
    }
    table
}

/// The first few, and how many more there are.
pub(crate) fn peers(peers: &[PeerName]) -> String {
    let shown = peers.iter().take(SHOWN).map(|peer| named_peer(&peer.peer, peer.name.as_deref()));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if peers.len() > SHOWN {
        text.push_str(&format_args!(" and {} more", peers.len() - SHOWN).to_string());
    }
    text
}
