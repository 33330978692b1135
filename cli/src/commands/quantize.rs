//! `hive quantize`: a smaller model of one.

use futures::StreamExt as _;
use hive_api::{ErrorKind, Hive, HiveError, Quantization, QuantizeEvent, QuantizeRequest};
use hive_protocol::Name;

use crate::commands::add::storage;
use crate::printer::Printer;
use crate::progress::Progress;
use crate::units;

/// Make a smaller model of one, and add it; prints its id
#[derive(Debug, clap::Args)]
pub(crate) struct QuantizeArgs {
    /// Id or name of a model that is here, or a file or directory
    model: String,

    /// What its weights become
    #[arg(value_enum)]
    to: Target,

    /// What to call it [default: the old name and the quantisation]
    #[arg(long)]
    name: Option<Name>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Target {
    /// 8 bits a weight: half of f16, hardly any loss
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits a weight in small blocks: fast, some loss
    #[value(name = "q4_0")]
    Q4_0,
    /// 4 bits a weight in superblocks: less loss at the same size
    #[value(name = "q4_k", alias = "q4_k_m")]
    Q4K,
}

impl QuantizeArgs {
    /// The request; the model as the user wrote it.
    pub(crate) fn resolve(self) -> QuantizeRequest {
        QuantizeRequest {
            model: self.model,
            to: match self.to {
                Target::Q8_0 => Quantization::Q8_0,
                Target::Q4_0 => Quantization::Q4_0,
                Target::Q4K => Quantization::Q4K,
            },
            name: self.name.map(String::from),
        }
    }
}

/// Quantises; the new id goes to stdout, or each event as a line of JSON.
pub(crate) async fn quantize(
    request: QuantizeRequest,
    hive: &dyn Hive,
    printer: &Printer,
) -> anyhow::Result<()> {
    let model = super::run::on_the_node(&request.model, hive).await?;
    let mut events = hive.quantize(QuantizeRequest { model, ..request }).await?;
    let mut progress = Progress::counting(printer, "quantising", "weights");
    while let Some(event) = events.next().await {
        let event = event?;
        if printer.json() {
            printer.object(&event)?;
        }
        match event {
            QuantizeEvent::Progress { done, total } => progress.show(done, total),
            QuantizeEvent::Done(added) => {
                drop(progress);
                if !printer.json() {
                    let (size, how) = (units::bytes(added.size), storage(added.storage));
                    printer.talk(format_args!("added `{}`: {size}, {how}", added.name));
                    printer.data(&added.cid)?;
                }
                return Ok(());
            }
        }
    }
    Err(HiveError::new(ErrorKind::Failed, "the node did not say how the quantising ended").into())
}
