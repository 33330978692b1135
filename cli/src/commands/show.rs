//! `hive show`: all that is known of a model, or its manifest's bytes.

use hive_api::{ErrorKind, Hive, ModelDetails};

use crate::args::NetArgs;
use crate::commands::ls;
use crate::model::ModelRef;
use crate::node::Need;
use crate::printer::Printer;
use crate::session::Session;
use crate::text::{Table, plain};
use crate::units;

/// Show what is known of a model that is here
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Id or name of a model, or the beginning or end of an id
    #[arg(value_name = "CID|NAME")]
    model: ModelRef,

    /// Write the manifest's bytes (DAG-CBOR) to stdout, from peers if it is not here
    #[arg(long)]
    raw: bool,

    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// Shows a model.
pub(crate) async fn show(args: &ShowArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    if !args.raw {
        let showing = async |hive: &dyn Hive| {
            let details = hive.show(&args.model.to_string()).await?;
            if printer.json() { Ok(printer.object(&details)?) } else { print(&details, printer) }
        };
        return session.with_node(Need::Disk, showing).await;
    }
    let model = &args.model;
    let mut bytes = session.with_node(Need::Disk, async |hive| block(model, hive).await).await?;
    if bytes.is_none() {
        bytes = session.with_node(Need::Network, async |hive| block(model, hive).await).await?;
    }
    let bytes = bytes.ok_or_else(|| {
        let message = format!("nobody who can be reached has `{model}`");
        hive_api::HiveError::new(ErrorKind::NotFound, message)
    })?;
    Ok(printer.bytes(&bytes)?)
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
        ("here", ls::here(summary)),
        ("shared", ls::visibility(summary.visibility).to_owned()),
        ("path", summary.path.display().to_string()),
        ("chunks", details.chunks.to_string()),
    ];
    let more = [
        ("damaged", summary.damaged.clone()),
        ("format", details.format.clone()),
        ("architecture", details.architecture.clone()),
        ("quantization", details.quantization.clone()),
        ("parameters", details.parameters.map(|n| n.to_string())),
        ("context", details.context_length.map(|n| format!("{n} tokens"))),
        ("licence", details.license.clone()),
    ];
    facts.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
    for (name, value) in facts {
        printer.data(format_args!("{name:<13}{}", plain(&value)))?;
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
