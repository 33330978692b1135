//! Single rows of a table whose file is still arriving.
//!
//! A model with a head of its own looks into its table once for each token. So it can begin, and
//! go on, with those rows alone.

use std::collections::HashSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use hive_api::{EngineError, Gate, Gated, Need};
use hive_protocol::gguf::{Header, Kind};

use super::{Matrix, Table, dtype};
use crate::error::{invalid, unsupported};

/// Rows that are asked for at once; more are several needs.
const ROWS: usize = 1_024;

/// Rows of a table, read one by one where they stand in the file.
#[derive(Debug)]
pub(crate) struct TableRows {
    reader: Mutex<Gated>,
    gate: Gate,
    /// Where the table begins, and bytes in a row.
    start: u64,
    row_len: u64,
    n_rows: u64,
    width: usize,
    dtype: GgmlDType,
    device: Device,
    /// The tokens whose rows were asked for: a text looks for its rows many times a second.
    asked: Mutex<HashSet<u32>>,
}

impl TableRows {
    /// Rows of the tensor `name`, each of `width` weights. The header must have passed `validate`.
    pub(crate) fn new(
        reader: Gated,
        header: &Header,
        name: &str,
        width: usize,
        device: Device,
    ) -> Result<Self, EngineError> {
        let missing = || invalid(format!("the tensor `{name}` is missing"));
        let info = header.tensor(name).ok_or_else(missing)?;
        let (Some(dtype), Some(len), Some(&n_rows), Some(gate)) = (
            Kind::from_u32(info.kind).and_then(dtype),
            info.byte_len(),
            info.dims.get(1).filter(|&&n_rows| 0 < n_rows),
            reader.gate().cloned(),
        ) else {
            return Err(unsupported(format!("the tensor `{name}` has ggml type {}", info.kind)));
        };
        let start = header.data_offset + info.offset;
        // Blocks of weights never reach from one row into the next.
        let row_len = len / n_rows;
        let (reader, asked) = (Mutex::new(reader), Mutex::default());
        Ok(Self { reader, gate, start, row_len, n_rows, width, dtype, device, asked })
    }

    fn range(&self, token: u32) -> candle_core::Result<Range<u64>> {
        if self.n_rows <= u64::from(token) {
            candle_core::bail!("{token} is not a token")
        }
        let start = self.start + u64::from(token) * self.row_len;
        Ok(start..start + self.row_len)
    }

    /// Waits for the rows of some tokens; says whether they are here when `patience` is over.
    pub(crate) fn wait(&self, tokens: &[u32], patience: Duration) -> candle_core::Result<bool> {
        let (mut missing, mut new) = (Vec::new(), Vec::new());
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            for &token in tokens {
                let range = self.range(token)?;
                if self.gate.has(&range) {
                    continue;
                }
                if asked.insert(token) {
                    new.push(range.clone());
                }
                missing.push(range);
            }
        }
        for ranges in new.chunks(ROWS) {
            self.gate.need(&Need { ranges: ranges.to_vec(), now: true });
        }
        self.gate.wait(&missing, patience).map_err(candle_core::Error::wrap)
    }

    /// Returns a row for each token, to the last bit as the whole table would.
    pub(crate) fn read(&self, tokens: &[u32]) -> candle_core::Result<Tensor> {
        let mut bytes = vec![0; tokens.len() * self.row_len as usize];
        {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            for (&token, row) in tokens.iter().zip(bytes.chunks_exact_mut(self.row_len as usize)) {
                reader.seek(SeekFrom::Start(self.range(token)?.start))?;
                reader.read_exact(row)?;
            }
        }
        let matrix = Matrix::pack(self.dtype, bytes, self.width, tokens.len(), &self.device);
        let table = Table(matrix.map_err(candle_core::Error::wrap)?);
        let order: Vec<u32> = (0..tokens.len() as u32).collect();
        table.rows(&order, &self.device)
    }
}
