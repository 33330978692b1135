//! `hive ls`: what is here.

use hive_api::{Hive, ModelSummary, Visibility};

use crate::printer::Printer;
use crate::text::Table;
use crate::units;

/// Lists the models of the store.
pub(crate) async fn ls(hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    let models = hive.list().await?;
    if printer.json() {
        return Ok(printer.object(&models)?);
    }
    if models.is_empty() {
        printer.talk("no models yet; `hive add FILE` or `hive fetch ID`");
        return Ok(());
    }
    let mut table = Table::new(["NAME", "SIZE", "HERE", "SHARED", "ID"]);
    for model in &models {
        table.row([
            model.name.clone(),
            units::bytes(model.size),
            here(model),
            visibility(model.visibility).to_owned(),
            model.cid.clone(),
        ]);
    }
    Ok(printer.data(table)?)
}

/// How much of a model is here, and in what state.
pub(crate) fn here(model: &ModelSummary) -> String {
    let mut here = if model.present >= model.size {
        "all".to_owned()
    } else {
        format!("{} %", units::percent(model.present, model.size))
    };
    if model.damaged.is_some() {
        here += ", damaged";
    }
    if model.pinned {
        here += ", pinned";
    }
    here
}

/// A visibility in a word.
pub(crate) fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "public",
        Visibility::Unlisted => "unlisted",
        Visibility::Local => "local",
    }
}
