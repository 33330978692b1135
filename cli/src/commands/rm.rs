//! `hive rm`: remove models.

use hive_api::Hive;

use crate::model::ModelRef;
use crate::printer::Printer;
use crate::units;

/// Remove models from the store
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Ids or names of models that are here
    #[arg(value_name = "CID|NAME", required = true)]
    models: Vec<ModelRef>,
}

/// Removes each model.
pub(crate) async fn rm(args: &RmArgs, hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    for model in &args.models {
        let freed = hive.remove(&model.to_string()).await?;
        if printer.json() {
            printer.object(&serde_json::json!({ "model": model.to_string(), "freed": freed }))?;
        } else {
            printer.talk(format_args!("removed `{model}`, {} freed", units::bytes(freed)));
        }
    }
    Ok(())
}
