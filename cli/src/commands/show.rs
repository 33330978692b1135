//! `hive show`: all that is known of a model, here or in the network, or its manifest's bytes.

use std::time::Duration;

use hive_api::{ErrorKind, Fit, Hive, HiveError, ModelDetails};
use tokio::time::Instant;

use crate::args::NetArgs;
use crate::commands::{ls, search};
use crate::model::ModelRef;
use crate::node::{self, Need};
use crate::printer::Printer;
use crate::session::Session;
use crate::text::{Table, plain};
use crate::units;

/// How often to ask a node that has just begun to listen.
const STEP: Duration = Duration::from_millis(250);

/// Show what is known of a model that is here or that the network offers
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Id or name of a model, or the beginning or end of an id
    #[arg(value_name = "CID|NAME")]
    model: ModelRef,

    /// Write the manifest's bytes (DAG-CBOR) to stdout, from peers if it is not here
    #[arg(long)]
    raw: bool,

    /// Seconds to listen for offers, when no node runs that has heard of them
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    listen_for: u64,

    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// Shows a model.
pub(crate) async fn show(args: &ShowArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    if !args.raw {
        let details = details(args, session).await?;
        return if printer.json() {
            Ok(printer.object(&details)?)
        } else {
            print(&details, printer)
        };
    }
    let model = &args.model;
    let mut bytes = session.with_node(Need::Disk, async |hive| block(model, hive).await).await?;
    if bytes.is_none() {
        bytes = session.with_node(Need::Network, async |hive| block(model, hive).await).await?;
    }
    let bytes = bytes.ok_or_else(|| {
        let message = format!("nobody who can be reached has `{model}`");
        HiveError::new(ErrorKind::NotFound, message)
    })?;
    Ok(printer.bytes(&bytes)?)
}

/// What the store or the node that runs knows; else what can be heard of in a few seconds.
async fn details(args: &ShowArgs, session: &Session) -> anyhow::Result<ModelDetails> {
    let model = args.model.to_string();
    let here = session.with_node(Need::Disk, async |hive| shown(&model, hive).await).await?;
    if let Some(details) = here {
        return Ok(details);
    }
    let listening = async |hive: &dyn Hive| {
        let deadline = Instant::now() + Duration::from_secs(args.listen_for);
        loop {
            match shown(&model, hive).await? {
                Some(details) => return Ok(Some(details)),
                None if Instant::now() >= deadline => return Ok(None),
                None => tokio::time::sleep(STEP).await,
            }
        }
    };
    // A node that runs has been listening all the time.
    let heard = if node::is_running(&session.settings).await {
        None
    } else {
        session.with_node(Need::Network, listening).await?
    };
    heard.ok_or_else(|| {
        let message = format!("no model `{model}` here, and nobody who was heard offers it");
        let error = HiveError::new(ErrorKind::NotFound, message);
        error.hint("`hive ls` lists what is here, `hive search` what the network offers").into()
    })
}

/// What a node knows of a model, if it does.
async fn shown(model: &str, hive: &dyn Hive) -> anyhow::Result<Option<ModelDetails>> {
    match hive.show(model).await {
        Ok(details) => Ok(Some(details)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A manifest's bytes; `None` if they are not to be had this way.
async fn block(model: &ModelRef, hive: &dyn Hive) -> anyhow::Result<Option<Vec<u8>>> {
    let cid = match model {
        ModelRef::Id(id) => id.to_string(),
        ModelRef::Name(name) => hive.show(name.as_str()).await?.summary.cid,
    };
    match hive.block(&cid).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unreachable) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn print(details: &ModelDetails, printer: &Printer) -> anyhow::Result<()> {
    let summary = &details.summary;
    let mut facts = vec![
        ("name", summary.name.clone()),
        ("id", summary.cid.clone()),
        ("size", format!("{} ({} bytes)", units::bytes(summary.size), summary.size)),
    ];
    // A model that is only offered is nowhere.
    let is_here = !summary.path.as_os_str().is_empty();
    if is_here {
        facts.extend([
            ("here", ls::here(summary)),
            ("shared", ls::visibility(summary.visibility).to_owned()),
            ("path", summary.path.display().to_string()),
            ("chunks", details.chunks.to_string()),
        ]);
    } else {
        facts.push(("here", format!("no; `hive fetch {}` gets it", summary.cid)));
    }
    let more = [
        ("damaged", summary.damaged.clone()),
        ("format", details.format.clone()),
        ("architecture", details.architecture.clone()),
        ("quantization", details.quantization.clone()),
        ("parameters", details.parameters.map(|n| n.to_string())),
        ("context", details.context_length.map(|n| format!("{n} tokens"))),
        ("licence", details.license.clone()),
        ("memory", details.fit.as_ref().map(memory)),
        ("speed", details.fit.as_ref().and_then(speed)),
        (
            "to fetch",
            details.fetch_seconds.map(|seconds| {
                format!("{} at the rate of the latest fetch", units::seconds(seconds))
            }),
        ),
        (
            "peers",
            Some(&details.holders).filter(|all| !all.is_empty()).map(|all| search::peers(all)),
        ),
    ];
    facts.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
    for (name, value) in facts {
        printer.data(format_args!("{name:<13}{}", plain(&value)))?;
    }
    if details.files.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["FILE", "SIZE", "SHA-256", "ID"]);
    for file in &details.files {
        table.row([
            file.path.clone(),
            units::bytes(file.size),
            file.sha256.clone().unwrap_or_else(|| "-".to_owned()),
            file.cid.clone(),
        ]);
    }
    printer.data("")?;
    Ok(printer.data(table)?)
}

fn memory(fit: &Fit) -> String {
    let [needed, free, total] = [fit.needed, fit.free, fit.total].map(units::bytes);
    let fits = if fit.fits { "fits" } else { "does not fit" };
    format!("{fits}: needs {needed} with {} tokens of context; {free} of {total} free", fit.context)
}

fn speed(fit: &Fit) -> Option<String> {
    let tokens = format!("{:.1} tokens a second", fit.tokens_per_second?);
    let load = units::seconds(fit.load_seconds?);
    let how = if fit.measured { "measured here" } else { "estimated" };
    Some(format!("{tokens}, loaded in {load} ({how})"))
}
