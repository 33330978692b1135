//! Times an encoder: `embed DIRECTORY TEXT`. The directory is one of sentence-transformers.
//!
//! Prints the first numbers of the vector, and the milliseconds that a text takes once the model is
//! warm.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use hive_api::{EngineOptions, Part, Prompt};

/// Texts that are timed.
const ROUNDS: u32 = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: embed DIRECTORY TEXT";
    let (directory, text) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let names = ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"];
    let parts = names
        .iter()
        .filter_map(|name| {
            let file = File::open(Path::new(&directory).join(name)).ok()?;
            Some(Part { path: (*name).to_owned(), file, gate: None })
        })
        .collect();
    let started = Instant::now();
    let mut engine = hive_inference::load(parts, &EngineOptions::default())?;
    let loaded = started.elapsed();
    let texts = [Prompt::Text(text)];
    let embedded = engine.embed(&texts)?;
    let started = Instant::now();
    for _ in 0..ROUNDS {
        engine.embed(&texts)?;
    }
    let each = started.elapsed() / ROUNDS;
    writeln!(
        std::io::stdout(),
        "{:?}\n{} tokens, loaded in {loaded:.0?}, {each:.2?} a text",
        &embedded.vectors[0][..8],
        embedded.tokens,
    )?;
    Ok(())
}
