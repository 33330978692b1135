//! `hive search`: what the network offers.

use std::time::Duration;

use hive_api::Offer;

use crate::args::NetArgs;
use crate::node::{Handle, Need};
use crate::session::Session;
use crate::text::Table;
use crate::units;

/// How often to ask a node that has just begun to listen.
const STEP: Duration = Duration::from_millis(250);

/// Search the models that the network offers
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// Part of a name, an id or an architecture [default: everything]
    #[arg(default_value = "", hide_default_value = true)]
    text: String,

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
    let searching = async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(wait);
        loop {
            let offers = hive.search(&args.text).await?;
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
    let mut table = Table::new(["NAME", "KIND", "SIZE", "WHAT", "LICENCE", "PEERS", "HERE", "ID"]);
    for offer in offers {
        table.row([
            offer.name.clone(),
            offer.kind.clone(),
            units::bytes(offer.size),
            offer.description.clone(),
            offer.license.clone().unwrap_or_else(|| "-".to_owned()),
            offer.peers.len().to_string(),
            if offer.here { "yes" } else { "-" }.to_owned(),
            offer.cid.clone(),
        ]);
    }
    table
}
