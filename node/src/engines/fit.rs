//! What running a model takes: bytes of memory before it is loaded, and what was measured before.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use hive_api::{EngineOptions, Gate, Gated};
use hive_inference as inference;
use hive_protocol::BlockId;
use hive_store::Store;
use hive_worker::Input;
use serde::{Deserialize, Serialize};

/// Memory of a process that has loaded nothing, with its pools and tokenizer.
const BASE: u64 = 96 << 20;
/// Tokens of context that each place is counted with: few texts are longer, and keys and values
/// are allocated as they come.
pub(crate) const CONTEXT: u64 = 4096;
/// Bytes of a `config.json` that are read; no honest one has a tenth of it.
const CONFIG_LEN: u64 = 1 << 20;

/// Bytes of memory that a model takes with its files loaded and all places at work.
pub(crate) fn needed(inputs: &mut [Input], options: &EngineOptions) -> u64 {
    let context = options.context.map_or(CONTEXT, |limit| CONTEXT.min(u64::from(limit)));
    let (mut files, mut known) = (0_u64, None);
    for input in inputs {
        let of_disk = || input.file.metadata().map_or(0, |metadata| metadata.len());
        let len = input.gate.as_ref().map_or_else(of_disk, Gate::size);
        if input.path.ends_with("config.json") {
            known = known.or(by_config(&mut input.file, context));
        } else if !input.path.to_lowercase().ends_with(".json") {
            files = files.saturating_add(len);
            // Of a file that is arriving it waits for the header.
            let reader = input.file.try_clone().map(|file| Gated::new(file, input.gate.clone()));
            if let Ok(mut reader) = reader
                && let Ok((header, _)) = inference::read_arriving_header(&mut reader)
            {
                known = inference::memory_needed(&header, context).ok();
            }
        }
        // Whoever reads it next begins at its beginning; a file that cannot be rewound fails then.
        let _ = input.file.seek(SeekFrom::Start(0));
    }
    let Some(known) = known else {
        // An encoder, or something that will be refused: its files and a little.
        return BASE.saturating_add(files).saturating_add(files / 10);
    };
    let texts = known.context.saturating_mul(u64::from(options.places));
    let prefixes = options.prefix_bytes.min(texts);
    // A directory's weights stay as wide as they are on disk.
    BASE.saturating_add(known.weights.max(files))
        .saturating_add(texts)
        .saturating_add(prefixes)
        .saturating_add(known.working)
}

/// What the configuration of a directory says; its weights are counted by their files.
fn by_config(file: &mut File, context: u64) -> Option<inference::MemoryNeeded> {
    let mut json = Vec::new();
    file.take(CONFIG_LEN).read_to_end(&mut json).ok()?;
    let needed = inference::memory_needed_by_config(&json, 1, context).ok()?;
    Some(inference::MemoryNeeded { weights: 0, ..needed })
}

/// What running a model took on this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Measured {
    /// Seconds that its latest load took.
    pub(crate) load_seconds: f64,
    /// Tokens a second that it generated lately.
    pub(crate) tokens_per_second: f64,
    /// Bytes of memory that it took.
    pub(crate) memory: u64,
}

fn key(id: &BlockId) -> String {
    format!("engines/measured/{id}")
}

/// Keeps what was measured. Blocks.
pub(crate) fn record(store: &Store, id: &BlockId, measured: Measured) {
    let bytes = serde_json::to_vec(&measured).unwrap_or_default();
    if let Err(error) = store.set_meta(&key(id), &bytes) {
        tracing::warn!(%id, %error, "cannot keep what was measured");
    }
}

/// What was measured with this very model, if it ever ran here. Blocks.
pub(crate) fn measured(store: &Store, id: &BlockId) -> Option<Measured> {
    let bytes = store.meta(&key(id)).ok()??;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn input(bytes: &[u8]) -> Input {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Input { path: "m.gguf".into(), file, at: "m.gguf".into(), gate: None }
    }

    #[test]
    fn a_model_needs_its_weights_and_its_texts() {
        let options = EngineOptions { places: 1, ..EngineOptions::default() };
        let mut inputs = [input(crate::TINY_MODEL)];
        let one = needed(&mut inputs, &options);
        assert!(one > BASE + crate::TINY_MODEL.len() as u64, "{one}");
        let four = needed(&mut inputs, &EngineOptions { places: 4, ..options.clone() });
        assert!(four > one);
        let short = needed(&mut inputs, &EngineOptions { context: Some(8), ..options });
        assert!(short < one);
        // The loader begins at the beginning.
        assert_eq!(inputs[0].file.stream_position().unwrap(), 0);
    }

    #[test]
    fn what_is_no_gguf_is_counted_by_its_length() {
        let mut inputs = [input(&[0; 1000])];
        assert_eq!(needed(&mut inputs, &EngineOptions::default()), BASE + 1100);
    }
}
