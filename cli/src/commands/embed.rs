//! `hive embed`: texts as vectors.

use std::io::{self, IsTerminal as _};

use hive_api::{EmbedRequest, Hive, Prompt};
use serde_json::json;

use crate::failure::usage;
use crate::printer::Printer;

/// Bytes read from stdin at most.
const TEXTS_LEN: u64 = 16 << 20;

/// Make vectors of texts with an embedding model; prints a line of JSON for each text
#[derive(Debug, clap::Args)]
pub(crate) struct EmbedArgs {
    /// Id or name of a model that is here, or a file or directory
    model: String,

    /// The texts [default: the lines of stdin]
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    /// Keep so many of each vector's numbers, and bring it back to length 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    dimensions: Option<u32>,

    /// How long a node keeps the model loaded afterwards: `10m`, `0`, `forever`
    #[arg(long, value_name = "TIME", value_parser = super::run::keep_alive)]
    keep_alive: Option<f64>,
}

impl EmbedArgs {
    /// The request; the model as the user wrote it.
    pub(crate) fn resolve(self) -> anyhow::Result<EmbedRequest> {
        let texts = if self.texts.is_empty() { texts_of_stdin()? } else { self.texts };
        Ok(EmbedRequest {
            model: self.model,
            input: texts.into_iter().map(Prompt::Text).collect(),
            dimensions: self.dimensions,
            keep_alive: self.keep_alive,
        })
    }
}

fn texts_of_stdin() -> anyhow::Result<Vec<String>> {
    if io::stdin().is_terminal() {
        return Err(usage("there is no text")
            .hint("`hive embed MODEL \"a text\" \"another\"`, or pipe lines in")
            .into());
    }
    let text = super::run::text_of_stdin(TEXTS_LEN)?;
    let texts: Vec<String> = text.lines().map(str::to_owned).collect();
    if texts.is_empty() { Err(usage("stdin has no lines").into()) } else { Ok(texts) }
}

/// Embeds; one line for each text, in their order, with `--json` and without.
pub(crate) async fn embed(
    request: EmbedRequest,
    hive: &dyn Hive,
    printer: &Printer,
) -> anyhow::Result<()> {
    let model = super::run::on_the_node(&request.model, hive).await?;
    let embeddings = hive.embed(EmbedRequest { model, ..request }).await?;
    for (index, vector) in embeddings.vectors.iter().enumerate() {
        printer.object(&json!({ "index": index, "embedding": vector }))?;
    }
    printer.more(format_args!("{} tokens", embeddings.tokens));
    Ok(())
}
