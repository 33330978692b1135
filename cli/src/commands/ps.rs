//! `hive ps`: the models that are loaded.

use hive_api::{Hive, LoadedModel};

use crate::failure::usage;
use crate::node::{Handle, Need};
use crate::printer::Printer;
use crate::session::Session;
use crate::text::{Table, plain};
use crate::units;

/// List the models that the node of this home has loaded
#[derive(Debug, clap::Args)]
pub(crate) struct PsArgs {
    /// Unload this one first; what it works at fails
    #[arg(long, value_name = "MODEL")]
    unload: Option<String>,
}

/// Lists what is loaded.
pub(crate) async fn ps(args: &PsArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let open = Handle::open(&session.settings, Need::Disk);
    let handle = session.stop.unless_wanted(open).await??;
    let hive = handle.hive();
    // A node of our own has loaded nothing.
    let asked = if handle.is_remote() {
        session.stop.unless_wanted(ask(args, &*hive, printer)).await
    } else {
        Ok(match &args.unload {
            Some(model) => {
                let message = format!("`{}` is not loaded: no node runs", plain(model));
                Err(usage(message).hint("`hive join` starts one").into())
            }
            None => Ok(Vec::new()),
        })
    };
    drop(hive);
    handle.close().await;
    let loaded = asked??;
    if printer.json() {
        return Ok(printer.object(&loaded)?);
    }
    if loaded.is_empty() {
        printer.talk("nothing is loaded; a node that runs (`hive join`) keeps models for a while");
        return Ok(());
    }
    Ok(printer.data(table(&loaded))?)
}

async fn ask(
    args: &PsArgs,
    hive: &dyn Hive,
    printer: &Printer,
) -> anyhow::Result<Vec<LoadedModel>> {
    if let Some(model) = &args.unload {
        hive.unload(model).await?;
        if !printer.json() {
            printer.talk(format_args!("unloaded `{}`", plain(model)));
        }
    }
    Ok(hive.loaded().await?)
}

fn table(loaded: &[LoadedModel]) -> Table {
    let mut table =
        Table::new(["NAME", "WHAT", "MEMORY", "ACTIVE", "QUEUED", "UNTIL", "PROCESS", "ID"]);
    for model in loaded {
        let until = match model.expires {
            Some(seconds) => units::seconds(seconds),
            None if model.active > 0 => "in use".to_owned(),
            None => "forever".to_owned(),
        };
        table.row([
            model.name.clone(),
            model.info.architecture.clone(),
            units::bytes(model.memory),
            model.active.to_string(),
            model.queued.to_string(),
            until,
            model.pid.map_or_else(|| "node".to_owned(), |pid| pid.to_string()),
            model.cid.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}
