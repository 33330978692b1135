//! `hive verify`: hash what is on disk again.

use futures::StreamExt as _;
use hive_api::{ErrorKind, Hive, HiveError, VerifyEvent};

use crate::model::ModelRef;
use crate::printer::Printer;
use crate::progress::Progress;
use crate::text::plain;
use crate::units;

/// Hash one model or all again, and set aside what is damaged
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Id or name of a model that is here [default: all]
    #[arg(value_name = "CID|NAME")]
    model: Option<ModelRef>,

    /// Fetch what is damaged again
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Verifies. Damage that stays is a failure of kind `Verification`.
pub(crate) async fn verify(
    args: &VerifyArgs,
    hive: &dyn Hive,
    printer: &Printer,
) -> anyhow::Result<()> {
    let model = args.model.as_ref().map(ToString::to_string);
    let mut events = hive.verify(model.as_deref(), args.repair).await?;
    let mut progress = Progress::new(printer, "verifying");
    while let Some(event) = events.next().await {
        let event = event?;
        if printer.json() {
            printer.object(&event)?;
        }
        match event {
            VerifyEvent::Progress { bytes, total } => progress.show(bytes, total),
            VerifyEvent::Damaged { cid, path, offset, len, reason } if !printer.json() => {
                let (path, reason) = (plain(&path), plain(&reason));
                printer.warning(format_args!(
                    "`{path}` of {cid} is damaged from byte {offset} on, {len} bytes: {reason}"
                ));
            }
            VerifyEvent::Repaired { cid, bytes: 0 } if !printer.json() => {
                printer.talk(format_args!("{cid} was damaged and is as it should be again"));
            }
            VerifyEvent::Repaired { cid, bytes } if !printer.json() => {
                printer.talk(format_args!("repaired {cid}: {} fetched", units::bytes(bytes)));
            }
            VerifyEvent::Damaged { .. } | VerifyEvent::Repaired { .. } => {}
            VerifyEvent::Done { models, bytes, damaged, repaired } => {
                drop(progress);
                let left = damaged.saturating_sub(repaired);
                if left > 0 {
                    let message = format!("{left} damaged places in {models} models");
                    let error = HiveError::new(ErrorKind::Verification, message);
                    return Err(error.hint("`hive verify --repair` fetches them again").into());
                }
                if !printer.json() {
                    let bytes = units::bytes(bytes);
                    printer.talk(format_args!("{models} models, {bytes}: all as it should be"));
                }
                return Ok(());
            }
        }
    }
    Err(HiveError::new(ErrorKind::Failed, "the node did not say how the check ended").into())
}
