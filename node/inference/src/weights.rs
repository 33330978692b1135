//! Where a decoder gets its weights from, and what a linear layer is to it.
//!
//! The graph asks a [`Source`] for each layer by its name in the file, its *site*, and gets back a
//! [`Linear`] that it can only apply. So an adapter, a layer on another machine or weights from
//! another format is a `Source` around this one, and the graph does not change.
//!
//! Weights stay as they were quantised: in [`tiles`] where the processor multiplies bytes, and else in
//! the order of the file. Q4_1 and Q5_1, and in that order Q5_0 too, become 8-bit weights.

mod halves;
mod octets;
mod packed;
mod pages;
mod rows;
mod superblocks;
mod tiles;

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
pub(crate) use rows::TableRows;
use superblocks::{Q4K, Q6K, Superblocks};
use tiles::{Bits, Tiles};

/// A linear layer at a named place in the graph.
pub(crate) trait Linear: fmt::Debug + Send + Sync {
    /// Applies the layer to rows.
    fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor>;

    /// Returns which number is the largest of what [`forward`](Self::forward) makes of each row, of
    /// equals the first; none if there is no way that is shorter, or if they are not numbers.
    fn likeliest(&self, _: &Tensor) -> candle_core::Result<Option<Vec<u32>>> {
        Ok(None)
    }
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
            Matrix::Tiles(matrix) => {
                check_tokens(tokens, matrix.n_out())?;
                let mut numbers = Vec::with_capacity(tokens.len() * matrix.n_in());
                for &token in tokens {
                    matrix.unpack(token as usize, &mut numbers);
                }
                Tensor::from_vec(numbers, (tokens.len(), matrix.n_in()), device)
            }
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
    check_tokens(tokens, matrix.0.n_out())?;
    let rows = matrix.rows(tokens.iter().map(|&token| token as usize));
    Tensor::from_vec(rows, (tokens.len(), matrix.0.n_in()), device)
}

fn check_tokens(tokens: &[u32], n: usize) -> candle_core::Result<()> {
    match tokens.iter().find(|&&token| n <= token as usize) {
        Some(token) => candle_core::bail!("{token} is not a token"),
        None => Ok(()),
    }
}

/// The head of a model whose output weights are its input table.
#[derive(Debug)]
pub(crate) struct Tied(pub(crate) Arc<Table>);

impl Linear for Tied {
    fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        self.0.0.forward(rows)
    }

    fn likeliest(&self, rows: &Tensor) -> candle_core::Result<Option<Vec<u32>>> {
        self.0.0.likeliest(rows)
    }
}

/// Weights in the form in which they are multiplied.
#[derive(Debug)]
enum Matrix {
    Tiles(Tiles),
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
            Self::Tiles(matrix) => matrix.forward(rows),
            Self::Octets(matrix) => matrix.forward(rows),
            Self::Q4K(matrix) => matrix.forward(rows),
            Self::Q6K(matrix) => matrix.forward(rows),
            Self::F16(matrix) => matrix.forward(rows),
            Self::BF16(matrix) => matrix.forward(rows),
            Self::Candle(matrix) => matrix.forward(rows),
        }
    }

    /// See [`Linear::likeliest`].
    fn likeliest(&self, rows: &Tensor) -> candle_core::Result<Option<Vec<u32>>> {
        match self {
            Self::Tiles(matrix) => matrix.likeliest(rows),
            _ => Ok(None),
        }
    }

    fn n_bytes(&self) -> u64 {
        match self {
            Self::Tiles(matrix) => matrix.n_bytes(),
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

    fn likeliest(&self, rows: &Tensor) -> candle_core::Result<Option<Vec<u32>>> {
        if self.bias.is_some() { Ok(None) } else { self.weight.likeliest(rows) }
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

    /// Does the same for processors that multiply bytes; none on others.
    fn tiles(
        &mut self,
        n_in: usize,
        n_out: usize,
        bits: Bits,
    ) -> Result<Option<Tiles>, EngineError> {
        let Some(mut tiles) = Tiles::zero(n_in, n_out, bits) else { return Ok(None) };
        let row_len = bits.row_bytes(n_in);
        let piece = (PIECE / row_len).max(1).next_multiple_of(Tiles::ROWS);
        self.piece.resize(piece.min(n_out) * row_len, 0);
        for first in (0..n_out).step_by(piece) {
            let bytes = &mut self.piece[..piece.min(n_out - first) * row_len];
            self.reader.read_exact(bytes).map_err(EngineError::Io)?;
            tiles.put(first, bytes);
        }
        Ok(Some(tiles))
    }

    fn matrix(&mut self, name: &str, n_in: usize, n_out: usize) -> Result<Matrix, EngineError> {
        let (dtype, len) = self.seek(name, &[n_out, n_in])?;
        let on_cpu = self.device.is_cpu();
        let tiles = match bits(dtype).filter(|_| on_cpu) {
            Some(bits) => self.tiles(n_in, n_out, bits)?,
            None => None,
        };
        let matrix = match (tiles, blocks(dtype).filter(|_| on_cpu)) {
            (Some(tiles), _) => Matrix::Tiles(tiles),
            (None, Some(kind)) => Matrix::Octets(Multiply(self.octets(n_in, kind, len)?)),
            (None, None) => Matrix::pack(dtype, self.read(len)?, n_in, n_out, &self.device)?,
        };
        self.n_bytes += matrix.n_bytes();
        Ok(matrix)
    }
}

/// The blocks of 8-bit weights that are read in pieces.
fn blocks(dtype: GgmlDType) -> Option<Blocks> {
    match dtype {
        GgmlDType::Q8_0 => Some(Blocks::Q8_0),
        GgmlDType::Q5_0 => Some(Blocks::Q5_0),
        _ => None,
    }
}

impl Matrix {
    /// Puts a tensor's bytes into the form in which it is multiplied.
    fn pack(
        dtype: GgmlDType,
        bytes: Vec<u8>,
        n_in: usize,
        n_out: usize,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let on_cpu = device.is_cpu();
        if let Some(bits) = bits(dtype).filter(|_| on_cpu)
            && let Some(tiles) = Tiles::from_blocks(n_in, bits, &bytes)
        {
            return Ok(Self::Tiles(tiles));
        }
        if let Some(kind) = blocks(dtype).filter(|_| on_cpu) {
            return Ok(Self::Octets(Multiply(Octets::from_blocks(n_in, kind, &bytes))));
        }
        Ok(match dtype {
            // candle multiplies these one by one. 8 bits hold nearly what 4 or 5 and an offset do.
            GgmlDType::Q4_1 | GgmlDType::Q5_1 if on_cpu => {
                requantise(dtype, &bytes, n_in, n_out).map_err(compute)?
            }
            GgmlDType::Q4K if on_cpu => Matrix::Q4K(Multiply(Superblocks::new(n_in, bytes))),
            GgmlDType::Q6K if on_cpu => Matrix::Q6K(Multiply(Superblocks::new(n_in, bytes))),
            GgmlDType::F16 if on_cpu => Matrix::F16(Multiply(Halves::new(n_in, &bytes))),
            GgmlDType::BF16 if on_cpu => Matrix::BF16(Multiply(Halves::new(n_in, &bytes))),
            _ => {
                let dims = vec![n_out, n_in];
                let tensor = ggml_file::qtensor_from_ggml(dtype, &bytes, dims, device);
                let matrix = tensor.and_then(|tensor| {
                    // On a CPU `from_qtensor` would unpack 16-bit weights; the kernels take them.
                    let tensor = Arc::new(tensor);
                    if on_cpu { Ok(QMatMul::QTensor(tensor)) } else { QMatMul::from_arc(tensor) }
                });
                Matrix::Candle(matrix.map_err(compute)?)
            }
        })
    }
}

/// The form of [`Tiles`] that a type has.
fn bits(dtype: GgmlDType) -> Option<Bits> {
    match dtype {
        GgmlDType::Q8_0 => Some(Bits::Eight),
        GgmlDType::Q5_0 => Some(Bits::Five),
        GgmlDType::Q6K => Some(Bits::Six),
        GgmlDType::Q4K => Some(Bits::Four),
        _ => None,
    }
}

fn requantise(
    dtype: GgmlDType,
    bytes: &[u8],
    n_in: usize,
    n_out: usize,
) -> candle_core::Result<Matrix> {
    let tensor = ggml_file::qtensor_from_ggml(dtype, bytes, vec![n_out, n_in], &Device::Cpu)?;
    let tensor = QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, GgmlDType::Q8_0)?;
    let blocks = tensor.data()?;
    Ok(match Tiles::from_blocks(n_in, Bits::Eight, &blocks) {
        Some(tiles) => Matrix::Tiles(tiles),
        None => Matrix::Octets(Multiply(Octets::from_q8_0(n_in, &blocks))),
    })
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

/// Bytes that 32 weights take in memory; none for those that stay as they are in the file.
pub(crate) fn run_bytes(kind: Kind) -> Option<u64> {
    let kind = match kind {
        Kind::Q8_0 | Kind::Q4_1 | Kind::Q5_1 => Blocks::Q8_0,
        Kind::Q5_0 => Blocks::Q5_0,
        _ => return None,
    };
    Some(if Tiles::are_of_use() { kind.len() as u64 } else { Octets::RUN_BYTES })
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
