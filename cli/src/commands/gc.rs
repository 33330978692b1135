//! `hive gc`: remove what nobody pinned.

use hive_api::Hive;

use crate::printer::Printer;
use crate::text::plain;
use crate::units;

/// Remove all models without a pin, and downloads that nobody went on with for a week
#[derive(Debug, clap::Args)]
pub(crate) struct GcArgs {
    /// Only say what would be removed
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// Collects.
pub(crate) async fn gc(args: &GcArgs, hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    let report = hive.gc(args.dry_run).await?;
    if printer.json() {
        return Ok(printer.object(&report)?);
    }
    let size = units::bytes(report.bytes);
    let models = report.models.len();
    let did = if report.removed { "removed" } else { "would remove" };
    printer.talk(format_args!("{did} {models} models without a pin, {size}"));
    if !report.downloads.is_empty() {
        let downloads = report.downloads.len();
        printer.talk(format_args!("{did} {downloads} downloads that nobody went on with"));
    }
    for removed in report.models.iter().chain(&report.downloads) {
        printer.data(plain(removed))?;
    }
    Ok(())
}
