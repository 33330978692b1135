//! Where a decoder gets its weights from, and what a linear layer is to it.
//!
//! The graph asks a [`Source`] for each layer by its name in the file, its *site*, and gets back a
//! [`Linear`] that it can only apply. So an adapter, a layer on another machine or weights from
//! another format is a `Source` around this one, and the graph does not change.
//!
//! Weights stay as they were quantised, but for Q4_1, Q5_0 and Q5_1 on a processor: they become
//! 8-bit weights, which [`octets`] multiplies.

mod halves;
mod octets;
mod packed;
mod superblocks;

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor, ggml_file};
use candle_core::{DType, Device, Module, Tensor};
use hive_api::EngineError;
use hive_protocol::gguf::{Header, Kind};

use crate::error::{compute, invalid, unsupported};
use halves::{BF16, F16, Halves};
use octets::{Blocks, Octets};
pub(crate) use packed::MANY;
use packed::{Multiply, Packed};
use superblocks::{Q4K, Q6K, Superblocks};

/// A linear layer at a named place in the graph.
pub(crate) trait Linear: fmt::Debug + Send + Sync {
    /// Applies the layer to rows.
    fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor>;
}

/// Gives a decoder its weights, one site after another.
pub(crate) trait Source {
    /// The layer at `site`, which turns rows of `n_in` into rows of `n_out`.
    fn linear(
        &mut self,
        site: &str,
        n_in: usize,
        n_out: usize,
    ) -> Result<Box<dyn Linear>, EngineError>;

    /// The table at `site` with a row of `width` for each token.
    fn table(&mut self, site: &str, width: usize, n: usize) -> Result<Arc<Table>, EngineError>;

    /// The vector at `site`, in full precision.
    fn vector(&mut self, site: &str, len: usize) -> Result<Tensor, EngineError>;

    /// Whether there are weights at `site`.
    fn has(&self, site: &str) -> bool;
}

/// A matrix that is looked up by row, and as the head of a tied model multiplied by.
#[derive(Debug)]
pub(crate) struct Table(Matrix);

impl Table {
    /// Returns a row for each token.
    pub(crate) fn rows(&self, tokens: &[u32], device: &Device) -> candle_core::Result<Tensor> {
        match &self.0 {
            Matrix::Octets(matrix) => rows(matrix, tokens, device),
            Matrix::Q4K(matrix) => rows(matrix, tokens, device),
            Matrix::Q6K(matrix) => rows(matrix, tokens, device),
            Matrix::F16(matrix) => rows(matrix, tokens, device),
            Matrix::BF16(matrix) => rows(matrix, tokens, device),
            Matrix::Candle(matrix) => {
                matrix.embedding(&Tensor::new(tokens, device)?)?.to_dtype(DType::F32)
            }
        }
    }
}

fn rows<P: Packed>(
    matrix: &Multiply<P>,
    tokens: &[u32],
    device: &Device,
) -> candle_core::Result<Tensor> {
    if let Some(token) = tokens.iter().find(|&&token| matrix.0.n_out() <= token as usize) {
        candle_core::bail!("{token} is not a token")
    }
    let rows = matrix.rows(tokens.iter().map(|&token| token as usize));
    Tensor::from_vec(rows, (tokens.len(), matrix.0.n_in()), device)
}

/// The head of a model whose output weights are its input table.
#[derive(Debug)]
pub(crate) struct Tied(pub(crate) Arc<Table>);

impl Linear for Tied {
    fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        self.0.0.forward(rows)
    }
}

/// Weights in the form in which they are multiplied.
#[derive(Debug)]
enum Matrix {
    Octets(Multiply<Octets>),
    Q4K(Multiply<Superblocks<Q4K>>),
    Q6K(Multiply<Superblocks<Q6K>>),
    F16(Multiply<Halves<F16>>),
    BF16(Multiply<Halves<BF16>>),
    Candle(QMatMul),
}

impl Matrix {
    fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Octets(matrix) => matrix.forward(rows),
            Self::Q4K(matrix) => matrix.forward(rows),
            Self::Q6K(matrix) => matrix.forward(rows),
            Self::F16(matrix) => matrix.forward(rows),
            Self::BF16(matrix) => matrix.forward(rows),
            Self::Candle(matrix) => matrix.forward(rows),
        }
    }

    fn n_bytes(&self) -> u64 {
        match self {
            Self::Octets(matrix) => matrix.0.n_bytes(),
            Self::Q4K(matrix) => matrix.0.n_bytes(),
            Self::Q6K(matrix) => matrix.0.n_bytes(),
            Self::F16(matrix) => matrix.0.n_bytes(),
            Self::BF16(matrix) => matrix.0.n_bytes(),
            Self::Candle(QMatMul::QTensor(tensor)) => tensor.storage_size_in_bytes() as u64,
            Self::Candle(QMatMul::Tensor(tensor) | QMatMul::TensorF16(tensor)) => {
                (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
            }
        }
    }
}

/// A layer as the file has it.
struct Plain {
    site: String,
    weight: Matrix,
    bias: Option<Tensor>,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plain").field(&self.site).finish()
    }
}

impl Linear for Plain {
    fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        let out = self.weight.forward(rows)?;
        match &self.bias {
            Some(bias) => out.broadcast_add(bias),
            None => Ok(out),
        }
    }
}

/// Reads weights from a GGUF file, one tensor at a time.
///
/// The header must have passed `validate`: every size here was checked there against the file.
pub(crate) struct File<'a, R> {
    reader: R,
    header: &'a Header,
    device: Device,
    n_bytes: u64,
    piece: Vec<u8>,
}

/// Bytes that are read and unpacked at a time: they stay in the processor's cache between the two.
const PIECE: usize = 1 << 20;

impl<'a, R: Read + Seek> File<'a, R> {
    pub(crate) fn new(reader: R, header: &'a Header, device: Device) -> Self {
        Self { reader, header, device, n_bytes: 0, piece: Vec::new() }
    }

    /// Bytes of weights handed out so far.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Goes to a tensor's bytes, having checked that it is what the graph expects.
    fn seek(&mut self, name: &str, dims: &[usize]) -> Result<(GgmlDType, usize), EngineError> {
        let info = self
            .header
            .tensor(name)
            .ok_or_else(|| invalid(format!("the tensor `{name}` is missing")))?;
        let dtype = Kind::from_u32(info.kind).and_then(dtype);
        let (Some(dtype), Some(len)) = (dtype, info.byte_len()) else {
            return Err(unsupported(format!("the tensor `{name}` has ggml type {}", info.kind)));
        };
        if !info.dims.iter().rev().copied().eq(dims.iter().map(|&dim| dim as u64)) {
            return Err(invalid(format!("`{name}` is {:?}, expected {dims:?}", info.dims)));
        }
        let start = self.header.data_offset + info.offset;
        self.reader.seek(SeekFrom::Start(start)).map_err(EngineError::Io)?;
        let len = usize::try_from(len).map_err(|_| invalid("a tensor over the address space"))?;
        Ok((dtype, len))
    }

    fn read(&mut self, len: usize) -> Result<Vec<u8>, EngineError> {
        let mut bytes = vec![0; len];
        self.reader.read_exact(&mut bytes).map_err(EngineError::Io)?;
        Ok(bytes)
    }

    /// Reads 8-bit weights in pieces: the file's form of them is never in memory as a whole.
    fn octets(&mut self, n_in: usize, kind: Blocks, len: usize) -> Result<Octets, EngineError> {
        let n_blocks = len / kind.len();
        let mut octets = Octets::zero(n_in, n_blocks);
        let piece = PIECE / kind.len();
        self.piece.resize(piece.min(n_blocks) * kind.len(), 0);
        for first in (0..n_blocks).step_by(piece) {
            let bytes = &mut self.piece[..piece.min(n_blocks - first) * kind.len()];
            self.reader.read_exact(bytes).map_err(EngineError::Io)?;
            octets.put(first, kind, bytes);
        }
        Ok(octets)
    }

    fn matrix(&mut self, name: &str, n_in: usize, n_out: usize) -> Result<Matrix, EngineError> {
        let (dtype, len) = self.seek(name, &[n_out, n_in])?;
        let on_cpu = self.device.is_cpu();
        let kind = match dtype {
            GgmlDType::Q8_0 => Some(Blocks::Q8_0),
            GgmlDType::Q5_0 => Some(Blocks::Q5_0),
            _ => None,
        };
        if let Some(kind) = kind.filter(|_| on_cpu) {
            let matrix = Matrix::Octets(Multiply(self.octets(n_in, kind, len)?));
            self.n_bytes += matrix.n_bytes();
            return Ok(matrix);
        }
        let bytes = self.read(len)?;
        let matrix = match dtype {
            // candle multiplies these one by one. 8 bits hold nearly what 4 or 5 and an offset do.
            GgmlDType::Q4_1 | GgmlDType::Q5_1 if on_cpu => {
                let octets = requantise(dtype, &bytes, n_in, n_out).map_err(compute)?;
                Matrix::Octets(Multiply(octets))
            }
            GgmlDType::Q4K if on_cpu => Matrix::Q4K(Multiply(Superblocks::new(n_in, bytes))),
            GgmlDType::Q6K if on_cpu => Matrix::Q6K(Multiply(Superblocks::new(n_in, bytes))),
            GgmlDType::F16 if on_cpu => Matrix::F16(Multiply(Halves::new(n_in, &bytes))),
            GgmlDType::BF16 if on_cpu => Matrix::BF16(Multiply(Halves::new(n_in, &bytes))),
            _ => {
                let dims = vec![n_out, n_in];
                let tensor = ggml_file::qtensor_from_ggml(dtype, &bytes, dims, &self.device);
                let matrix = tensor.and_then(|tensor| {
                    // On a CPU `from_qtensor` would unpack 16-bit weights; the kernels take them.
                    let tensor = Arc::new(tensor);
                    if on_cpu { Ok(QMatMul::QTensor(tensor)) } else { QMatMul::from_arc(tensor) }
                });
                Matrix::Candle(matrix.map_err(compute)?)
            }
        };
        self.n_bytes += matrix.n_bytes();
        Ok(matrix)
    }
}

fn requantise(
    dtype: GgmlDType,
    bytes: &[u8],
    n_in: usize,
    n_out: usize,
) -> candle_core::Result<Octets> {
    let tensor = ggml_file::qtensor_from_ggml(dtype, bytes, vec![n_out, n_in], &Device::Cpu)?;
    let tensor = QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, GgmlDType::Q8_0)?;
    let blocks = tensor.data()?;
    Ok(Octets::from_q8_0(n_in, &blocks))
}

impl<R: Read + Seek> Source for File<'_, R> {
    fn linear(
        &mut self,
        site: &str,
        n_in: usize,
        n_out: usize,
    ) -> Result<Box<dyn Linear>, EngineError> {
        let weight = self.matrix(&format!("{site}.weight"), n_in, n_out)?;
        let bias = format!("{site}.bias");
        let bias = if self.header.tensor(&bias).is_some() {
            Some(self.vector(&bias, n_out)?)
        } else {
            None
        };
        Ok(Box::new(Plain { site: site.to_owned(), weight, bias }))
    }

    fn table(&mut self, site: &str, width: usize, n: usize) -> Result<Arc<Table>, EngineError> {
        Ok(Arc::new(Table(self.matrix(&format!("{site}.weight"), width, n)?)))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor, EngineError> {
        let (dtype, n_bytes) = self.seek(name, &[len])?;
        let bytes = self.read(n_bytes)?;
        let tensor = ggml_file::qtensor_from_ggml(dtype, &bytes, vec![len], &self.device);
        self.n_bytes += 4 * len as u64;
        tensor.and_then(|tensor| tensor.dequantize(&self.device)).map_err(compute)
    }

    fn has(&self, site: &str) -> bool {
        self.header.tensor(&format!("{site}.weight")).is_some()
    }
}

/// The type in candle's words; none for those that it cannot load.
pub(crate) fn dtype(kind: Kind) -> Option<GgmlDType> {
    Some(match kind {
        Kind::F32 => GgmlDType::F32,
        Kind::F16 => GgmlDType::F16,
        Kind::BF16 => GgmlDType::BF16,
        Kind::Q4_0 => GgmlDType::Q4_0,
        Kind::Q4_1 => GgmlDType::Q4_1,
        Kind::Q5_0 => GgmlDType::Q5_0,
        Kind::Q5_1 => GgmlDType::Q5_1,
        Kind::Q8_0 => GgmlDType::Q8_0,
        Kind::Q2_K => GgmlDType::Q2K,
        Kind::Q3_K => GgmlDType::Q3K,
        Kind::Q4_K => GgmlDType::Q4K,
        Kind::Q5_K => GgmlDType::Q5K,
        Kind::Q6_K => GgmlDType::Q6K,
        Kind::Q8_1 | Kind::Q8_K => return None,
    })
}
