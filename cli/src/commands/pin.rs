//! `hive pin`: what `gc` leaves.

use hive_api::Hive;

use crate::model::ModelRef;
use crate::printer::Printer;
use crate::text::plain;

/// Pin a model, so that `gc` leaves it
#[derive(Debug, clap::Args)]
pub(crate) struct PinArgs {
    /// Id or name of a model that is here
    #[arg(value_name = "CID|NAME")]
    model: ModelRef,

    /// Take the pin off
    #[arg(long)]
    off: bool,
}

/// Pins or unpins.
pub(crate) async fn pin(args: &PinArgs, hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    let model = hive.pin(&args.model.to_string(), !args.off).await?;
    if printer.json() {
        return Ok(printer.object(&model)?);
    }
    let now = if model.pinned { "is pinned" } else { "has no pin" };
    printer.talk(format_args!("`{}` {now} now", plain(&model.name)));
    Ok(())
}
