//! `hive share`: who may have a model.

use hive_api::{Hive, Visibility};

use crate::commands::ls;
use crate::model::ModelRef;
use crate::printer::Printer;
use crate::settings::keys;
use crate::text::plain;

/// Say who may have a model
#[derive(Debug, clap::Args)]
pub(crate) struct ShareArgs {
    /// Id or name of a model that is here
    #[arg(value_name = "CID|NAME")]
    model: ModelRef,

    /// `public`: announced; `unlisted`: for whoever knows the id; `local`: for nobody else
    #[arg(value_name = "WHO", default_value = "public", value_parser = keys::visibility)]
    with: Visibility,
}

/// Changes who may have a model.
pub(crate) async fn share(
    args: &ShareArgs,
    hive: &dyn Hive,
    printer: &Printer,
) -> anyhow::Result<()> {
    let model = hive.share(&args.model.to_string(), args.with).await?;
    if printer.json() {
        return Ok(printer.object(&model)?);
    }
    let now = ls::visibility(model.visibility);
    printer.talk(format_args!("`{}` is {now} now", plain(&model.name)));
    Ok(())
}
