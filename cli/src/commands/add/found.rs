//! `hive add --found`: what other programs have on this disk.

use hive_api::Hive;

use crate::printer::Printer;
use crate::text::Table;
use crate::units;

/// Lists it, with what to write to add each.
pub(crate) async fn found(hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    let found = hive.discover().await?;
    if printer.json() {
        return Ok(printer.object(&found)?);
    }
    if found.is_empty() {
        printer.talk("no models of Hugging Face's tools, Ollama or LM Studio on this disk");
        return Ok(());
    }
    let mut table = Table::new(["SOURCE", "SIZE"]);
    for one in &found {
        table.row([one.source.clone(), units::bytes(one.size)]);
    }
    printer.data(table)?;
    printer.talk("add one in place, without a second copy: `hive add SOURCE`");
    Ok(())
}
