//! `hive fetch`: get a model from whoever has it.

use std::path::PathBuf;

use futures::StreamExt as _;
use hive_api::{ErrorKind, FetchEvent, FetchPeer, FetchRequest, Hive, HiveError};

use crate::args::NetArgs;
use crate::failure::usage;
use crate::model::ModelRef;
use crate::printer::Printer;
use crate::progress::FetchProgress;
use crate::text::named_peer;
use crate::units;

/// Fetch a model from the peers that have it; prints where it is
#[derive(Debug, clap::Args)]
pub(crate) struct FetchArgs {
    /// Id of a model, or a name that the network knows once
    #[arg(value_name = "CID|NAME")]
    model: ModelRef,

    /// Ask this peer first: its id, its full address or its name; may be given several times
    #[arg(long, value_name = "PEER")]
    from: Vec<String>,

    /// Also put the files here
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,

    /// Wait for somebody to have it
    #[arg(long)]
    wait: bool,

    /// Let so many bytes of it come through relays, if their operators allow it too, as in `2GB`
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    relay_bulk: Option<u64>,

    #[command(flatten)]
    pub(crate) net: NetArgs,
}

impl FetchArgs {
    /// The request.
    pub(crate) fn resolve(self) -> anyhow::Result<FetchRequest> {
        let to = match self.to {
            None => None,
            Some(to) => Some(
                std::path::absolute(&to)
                    .map_err(|error| usage(format!("`{}` is no path: {error}", to.display())))?,
            ),
        };
        Ok(FetchRequest {
            model: self.model.to_string(),
            from: self.from,
            to,
            wait: self.wait,
            relay_bulk: self.relay_bulk,
        })
    }
}

/// How a fetch ended.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) cid: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) peers: Vec<FetchPeer>,
}

/// Fetches; the path goes to stdout, or each event as a line of JSON.
pub(crate) async fn fetch(
    request: FetchRequest,
    hive: &dyn Hive,
    printer: &Printer,
) -> anyhow::Result<()> {
    let fetched = follow(request, hive, printer, printer.json()).await?;
    if !printer.json() {
        printer.talk(summary(&fetched));
        printer.data(fetched.path.display())?;
    }
    Ok(())
}

/// Fetches and shows progress; with `events`, each event goes to stdout.
pub(crate) async fn follow(
    request: FetchRequest,
    hive: &dyn Hive,
    printer: &Printer,
    events: bool,
) -> anyhow::Result<Fetched> {
    let mut progress = FetchProgress::new(printer);
    let mut stream = hive.fetch(request).await?;
    while let Some(event) = stream.next().await {
        let event = event?;
        progress.show(&event);
        if events {
            printer.object(&event)?;
        }
        if let FetchEvent::Done { cid, path, bytes, seconds, peers } = event {
            return Ok(Fetched { cid, path, bytes, seconds, peers });
        }
    }
    Err(HiveError::new(ErrorKind::Failed, "the node did not say how the fetch ended").into())
}

/// A line for a person: how much, how fast, from whom.
fn summary(fetched: &Fetched) -> String {
    let received: u64 = fetched.peers.iter().map(|peer| peer.bytes).sum();
    if received == 0 {
        return format!("{} were here already", units::bytes(fetched.bytes));
    }
    let rate = units::rate(received as f64 / fetched.seconds.max(0.001));
    let mut lines = vec![format!(
        "fetched {} in {} ({rate}), every byte verified",
        units::bytes(received),
        units::seconds(fetched.seconds)
    )];
    for peer in fetched.peers.iter().filter(|peer| peer.bytes > 0 || peer.struck) {
        let struck = if peer.struck { ", banned" } else { "" };
        let name = named_peer(&peer.peer, peer.name.as_deref());
        let bytes = units::bytes(peer.bytes);
        lines.push(format!("  {name}  {bytes}{struck}"));
    }
    lines.join("\n")
}
