//! Writes a model again with fewer bits.
//!
//! Read is whatever this crate can load; written is a GGUF file with the same values. Weights go
//! through memory some rows at a time: every type here stores a row in blocks of its own, so that
//! where a tensor is cut changes nothing.
//!
//! Invariant: what is written can be loaded by this crate and has the tensors of what was read.

mod policy;

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;

use candle_core::quantized::{GgmlDType, QTensor, ggml_file};
use candle_core::{Device, Tensor};
use hive_api::{EngineError, Part, Quantization};
use hive_protocol::gguf::{DEFAULT_ALIGNMENT, Header, Kind, TensorInfo, Value};

use crate::directory::{self, Opened};
use crate::error::{compute, invalid, unsupported};
use crate::{validate, weights, writer};

/// Weights that are in memory at once: 16 MiB of them in full precision.
const WEIGHTS_AT_ONCE: u64 = 4 << 20;
/// How ggml's present types are numbered; they have been so since 2023.
const VERSION: u32 = 2;

/// Its number as `general.file_type`; Q4K is what llama.cpp calls `Q4_K_M`.
fn file_type(to: Quantization) -> u32 {
    match to {
        Quantization::Q8_0 => 7,
        Quantization::Q4_0 => 2,
        Quantization::Q4K => 15,
    }
}

/// Reads a model and writes it to a file as GGUF, with weights of so many bits.
///
/// `progress` hears how many weights were written, and of how many; when it breaks, the work ends
/// with an I/O error of the kind `Interrupted`. What was in the file before is gone in any case;
/// nothing is synced.
///
/// Blocking, for seconds to minutes.
pub fn quantize(
    parts: Vec<Part>,
    to: Quantization,
    out: &mut File,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    match directory::open(parts)? {
        Opened::Gguf(file) => write(file, to, out, progress),
        Opened::Decoder(view) => write(view, to, out, progress),
        Opened::Encoder(_) => Err(unsupported(
            "models that embed are not quantised: they are small, and their vectors would no \
             longer be comparable with those of others",
        )),
    }
}

fn write<R: Read + Seek>(
    mut reader: R,
    to: Quantization,
    out: &mut File,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let (header, file_len) = crate::read_header(&mut reader)?;
    let config = crate::config::recognise(&header)?;
    validate::tensors(&header, &config, file_len)?;

    let entries = header
        .tensors
        .iter()
        .map(|tensor| writer::Entry {
            name: tensor.name.clone(),
            dims: tensor.dims.clone(),
            kind: policy::kind(to, tensor, config.n_layers),
        })
        .collect::<Vec<_>>();
    let laid_out = writer::lay_out(&entries);
    let (infos, _) = laid_out.ok_or_else(|| invalid("the tensors' sizes"))?;
    let head = writer::header(&values(&header, to), &infos);

    out.set_len(0).and_then(|()| out.rewind()).map_err(EngineError::Io)?;
    let mut out = BufWriter::with_capacity(1 << 20, out);
    out.write_all(&head).map_err(EngineError::Io)?;
    let total = header.parameters();
    let mut copy = Copy { reader, header: &header, out, at: 0, done: 0, total, progress };
    for ((tensor, entry), info) in header.tensors.iter().zip(&entries).zip(&infos) {
        copy.pad(info.offset)?;
        copy.tensor(tensor, entry.kind)?;
    }
    copy.out.flush().map_err(EngineError::Io)
}

/// The values of the new file: those of the old one, and what it is now.
fn values(header: &Header, to: Quantization) -> Vec<(String, Value)> {
    let own = ["general.file_type", "general.quantization_version"];
    let kept = header.metadata.iter().filter(|(key, _)| !own.contains(&key.as_str()));
    let new = [file_type(to), VERSION].map(Value::U32);
    kept.cloned().chain(own.map(str::to_owned).into_iter().zip(new)).collect()
}

/// Weights on their way from one file to the other.
struct Copy<'a, R, W: Write> {
    reader: R,
    header: &'a Header,
    out: W,
    /// Bytes written behind the header.
    at: u64,
    /// Weights written, and all of them.
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

impl<R: Read + Seek, W: Write> Copy<'_, R, W> {
    /// Writes zeros up to where a tensor begins.
    fn pad(&mut self, offset: u64) -> Result<(), EngineError> {
        let n = offset.saturating_sub(self.at).min(DEFAULT_ALIGNMENT) as usize;
        self.write(&[0; DEFAULT_ALIGNMENT as usize][..n])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(EngineError::Io)
    }

    /// Writes a tensor; its sizes were checked.
    fn tensor(&mut self, tensor: &TensorInfo, to: Kind) -> Result<(), EngineError> {
        let from = Kind::from_u32(tensor.kind);
        let (Some(from), Some(&width)) = (from, tensor.dims.first()) else {
            return Err(unsupported(format!("the type of `{}`", tensor.name)));
        };
        let n_rows = tensor.n_elements() / width;
        let row_len = width / from.block_len() * from.block_bytes();
        let start = self.header.data_offset + tensor.offset;
        self.reader.seek(SeekFrom::Start(start)).map_err(EngineError::Io)?;
        let step = (WEIGHTS_AT_ONCE / width).max(1);
        let mut first = 0;
        while first < n_rows {
            let n = step.min(n_rows - first);
            let len = usize::try_from(n * row_len);
            let mut bytes = vec![0; len.map_err(|_| invalid("rows over the address space"))?];
            self.reader.read_exact(&mut bytes).map_err(EngineError::Io)?;
            if from != to {
                bytes = convert(&tensor.name, from, to, &bytes, [n as usize, width as usize])?;
            }
            self.write(&bytes)?;
            first += n;
            self.done += n * width;
            if (self.progress)(self.done, self.total).is_break() {
                return Err(EngineError::Io(std::io::ErrorKind::Interrupted.into()));
            }
        }
        Ok(())
    }
}

/// Stores rows in another type.
fn convert(
    name: &str,
    from: Kind,
    to: Kind,
    bytes: &[u8],
    [n_rows, width]: [usize; 2],
) -> Result<Vec<u8>, EngineError> {
    let dtype = |kind: Kind| -> Result<GgmlDType, EngineError> {
        weights::dtype(kind).ok_or_else(|| unsupported(format!("the type of `{name}`")))
    };
    let (from, to) = (dtype(from)?, dtype(to)?);
    let rows = ggml_file::qtensor_from_ggml(from, bytes, vec![n_rows, width], &Device::Cpu)
        .and_then(|rows| rows.dequantize(&Device::Cpu))
        .map_err(compute)?;
    let numbers = rows.flatten_all().and_then(|rows| rows.to_vec1::<f32>()).map_err(compute)?;
    // They would spoil the whole block that they are in.
    if !numbers.iter().all(|x| x.is_finite()) {
        return Err(invalid(format!("`{name}` has weights that are not numbers")));
    }
    let rows = Tensor::from_vec(numbers, (n_rows, width), &Device::Cpu);
    let packed = rows.and_then(|rows| QTensor::quantize(&rows, to)).map_err(compute)?;
    packed.data().map(std::borrow::Cow::into_owned).map_err(compute)
}

#[cfg(test)]
mod tests;
