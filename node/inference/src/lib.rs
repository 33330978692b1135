//! Runs models.
//!
//! The only user of candle and tokenizers: what goes in is an open file, what comes out is a
//! [`hive_api::Engine`]. A file is believed nothing: its form is checked by
//! [`hive_protocol::gguf`], its meaning by `validate`, and only then are weights read, one tensor
//! at a time, quantised as they are. The graph is our own (`decoder`), one for the families that
//! most small models are of; any other is refused with a list of those.
//!
//! It never opens a path, starts a process or speaks to the network.
//!
//! Invariant: a file or a prompt can fail, it cannot panic, and what it makes this crate allocate
//! is bounded by the file's own size and the context.
//!
//! Threads: candle's pools belong to the process and take their size from the environment
//! (`RAYON_NUM_THREADS`, `CANDLE_NUM_THREADS`) when they are first used. They wait for each other by
//! spinning: more of them than free cores is slower than one.

mod arithmetic;
mod arrival;
mod bert;
mod chat;
mod config;
mod constraint;
mod decoder;
mod directory;
mod error;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod lanes;
mod llama;
mod memory;
mod quantize;
mod sampler;
mod stop;
#[cfg(test)]
mod testing;
mod tokenizer;
mod validate;
mod weights;
mod writer;

use std::io::{Read, Seek, SeekFrom};

use hive_api::{Device, Engine, EngineError, EngineOptions, Gated, Part};
use hive_protocol::gguf::{self, Header, Parse};

pub use arrival::order_of_need;
pub use bert::Bert;
pub use llama::Llama;
pub use memory::{MemoryNeeded, memory_needed, memory_needed_by_config};
pub use quantize::quantize;

use crate::directory::Opened;
use crate::error::{invalid, unsupported};

/// Loads a model from its files, whatever it is: one GGUF file, or a directory of safetensors with
/// `config.json` and `tokenizer.json`.
///
/// All of `options` holds but `threads`, which only the process can set (see above): whoever starts
/// one for a model sets it there. A GGUF file that is still [arriving](Part::gate) is loaded as soon
/// as its header is here; texts go through each layer when that is.
///
/// Blocking, for seconds. Files are read to the end of what is needed and dropped: later changes to
/// them do not matter.
pub fn load(parts: Vec<Part>, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
    Ok(match directory::open(parts)? {
        Opened::Gguf(file) => Box::new(Llama::load_arriving(file, options)?),
        Opened::Decoder(view) => Box::new(Llama::load(view, options)?),
        Opened::Encoder(files) => Box::new(Bert::load(files, options)?),
    })
}

/// The architectures that this build runs, as files name them.
pub fn architectures() -> Vec<&'static str> {
    config::ARCHITECTURES.iter().map(|(name, _)| *name).collect()
}

/// Reads the header of a file, asking for no more of it than the header takes.
///
/// Anything but GGUF is refused in words that say what it is: a pickle by its bytes, whatever its
/// name.
pub fn read_header<R: Read + Seek>(reader: &mut R) -> Result<(Header, u64), EngineError> {
    read_header_with(reader, || u64::MAX)
}

/// [`read_header`] of a file that may still be arriving: waits for the header, and for nothing else.
pub fn read_arriving_header(reader: &mut Gated) -> Result<(Header, u64), EngineError> {
    let gate = reader.gate().cloned();
    read_header_with(reader, || gate.as_ref().map_or(u64::MAX, |gate| gate.run_from(0)))
}

/// Reads a header with no more bytes than it takes or `ready` says can be read without waiting.
fn read_header_with<R: Read + Seek>(
    reader: &mut R,
    ready: impl Fn() -> u64,
) -> Result<(Header, u64), EngineError> {
    let file_len = reader.seek(SeekFrom::End(0)).map_err(EngineError::Io)?;
    reader.seek(SeekFrom::Start(0)).map_err(EngineError::Io)?;
    let mut prefix = Vec::new();
    let mut wanted = FIRST_READ.min(ready().max(LEAST_READ)).min(file_len);
    loop {
        let missing = wanted - prefix.len() as u64;
        let n = reader.by_ref().take(missing).read_to_end(&mut prefix).map_err(EngineError::Io)?;
        if (n as u64) < missing {
            return Err(EngineError::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(kind) = format::not_ours(&prefix) {
            return Err(unsupported(kind));
        }
        match gguf::parse(&prefix, file_len).map_err(|error| invalid(error.to_string()))? {
            Parse::Done(header) => return Ok((header, file_len)),
            // Twice as much each time, so that a long vocabulary is not read again and again.
            Parse::NeedMore { at_least } => {
                let more = (2 * prefix.len() as u64).min(ready());
                wanted = at_least.max(more).min(file_len);
            }
        }
    }
}

/// Bytes of a file that are read first: enough for most headers without a vocabulary.
const FIRST_READ: u64 = 1 << 20;
/// Bytes that say what a file is, and how much of it its header takes at least.
const LEAST_READ: u64 = 24;

/// The device in candle's words.
fn device(device: Device) -> Result<candle_core::Device, EngineError> {
    match device {
        Device::Cpu => Ok(candle_core::Device::Cpu),
        #[cfg(feature = "cuda")]
        Device::Cuda => candle_core::Device::new_cuda(0).map_err(error::compute),
        #[cfg(feature = "metal")]
        Device::Metal => candle_core::Device::new_metal(0).map_err(error::compute),
        #[cfg(not(all(feature = "cuda", feature = "metal")))]
        _ => Err(unsupported(format!("this build has no {device:?}"))),
    }
}
