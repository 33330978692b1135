//! Estimates what a model takes in memory, before any of it is read.
//!
//! Weights are counted in the form in which this crate multiplies them, which for some types is not
//! the file's. Keys and values are counted at full precision, as the cache keeps them, for a whole
//! context; a model that looks back a window only keeps twice that.

use hive_api::EngineError;
use hive_protocol::gguf::{Header, Kind};

use crate::config::{Config, Reach, recognise, recognise_without_vocabulary};
use crate::directory::names::{self, Wanted};
use crate::directory::shape;

/// Bytes of rows of attention and of a step's intermediate results: an allowance that small models
/// stay far under, and little beside the rest for large ones.
const WORKING: u64 = 64 << 20;

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryNeeded {
    /// Bytes of weights, as they are multiplied.
    pub weights: u64,
    /// Bytes of keys and values of one text that fills the context.
    pub context: u64,
    /// Bytes for the tokenizer and for results on the way.
    pub working: u64,
}

impl MemoryNeeded {
    /// All of it, for so many texts at once.
    pub fn total(&self, texts: u64) -> u64 {
        let contexts = self.context.saturating_mul(texts);
        self.weights.saturating_add(contexts).saturating_add(self.working)
    }
}

/// Estimates what the model of a GGUF header takes with a context of `n_tokens`, on a processor.
///
/// # Errors
///
/// The architecture is not one that this build runs, or the header's values make no sense.
pub fn memory_needed(header: &Header, n_tokens: u64) -> Result<MemoryNeeded, EngineError> {
    let config = recognise(header)?;
    // The tokens' texts, the merges and what finds them again.
    let vocabulary = header.data_offset.saturating_mul(3);
    Ok(MemoryNeeded {
        weights: weights(header),
        context: context(&config, n_tokens),
        working: WORKING.saturating_add(vocabulary),
    })
}

/// Estimates the same for a directory of safetensors, from its `config.json` and the bytes of a
/// weight in it: 2 for F16 and BF16, 4 for F32.
///
/// # Errors
///
/// The file is not the configuration of a decoder that this build runs.
pub fn memory_needed_by_config(
    config_json: &[u8],
    bytes_per_weight: u64,
    n_tokens: u64,
) -> Result<MemoryNeeded, EngineError> {
    let json = serde_json::from_slice(config_json)
        .map_err(|error| crate::error::invalid(format!("`config.json`: {error}")))?;
    let shape = shape::read(&json)?;
    let header = crate::writer::header(&shape.values, &[]);
    let header = crate::read_header(&mut std::io::Cursor::new(header))?.0;
    let config = recognise_without_vocabulary(&header, shape.vocab)?;
    let wanted = names::wanted(&config, shape.biases, shape.tied);
    let bytes = |wanted: &Wanted| {
        let each = if wanted.shape.len() == 1 { 4 } else { bytes_per_weight };
        wanted.shape.iter().fold(each, |n, &dim| n.saturating_mul(dim))
    };
    Ok(MemoryNeeded {
        weights: wanted.iter().map(bytes).fold(0, u64::saturating_add),
        context: context(&config, n_tokens),
        // Some 60 bytes a token and as much a merge, of which there are about two a token.
        working: WORKING.saturating_add(180 * shape.vocab),
    })
}

/// Bytes that all tensors of a file take when they are loaded.
pub(crate) fn weights(header: &Header) -> u64 {
    header.tensors.iter().fold(0_u64, |sum, tensor| {
        let bytes = match Kind::from_u32(tensor.kind) {
            Some(kind) => loaded(kind, tensor.n_elements(), tensor.dims.len()),
            None => tensor.n_elements(),
        };
        sum.saturating_add(bytes)
    })
}

/// Bytes that a tensor takes when it is loaded.
fn loaded(kind: Kind, n: u64, n_dims: usize) -> u64 {
    let per_block = |block: u64, bytes: u64| (n / block).saturating_mul(bytes);
    match kind {
        _ if n_dims == 1 => n.saturating_mul(4),
        kind => match crate::weights::run_bytes(kind) {
            Some(bytes) => per_block(32, bytes),
            None => per_block(kind.block_len(), kind.block_bytes()),
        },
    }
}

/// Bytes of keys and values.
fn context(config: &Config, n_tokens: u64) -> u64 {
    let n_tokens = n_tokens.min(config.context as u64);
    let row = 2 * 4 * (config.n_kv_heads * config.head_dim) as u64;
    let rows = (0..config.n_layers).map(|layer| match (config.reach(layer), config.window) {
        (Reach::Local, Some(window)) => n_tokens.min(2 * window as u64),
        _ => n_tokens,
    });
    rows.fold(0, |sum, rows| sum + rows * row)
}

#[cfg(test)]
mod tests;
