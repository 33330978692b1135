//! Keys and values of the tokens that were read.
//!
//! A global layer keeps all of them, a local one its window and some more. Rows are written in
//! place. When there is no room, a layer moves to more of it, and a local one drops what its window
//! has long passed. So a token costs its own row, and a context costs what of it is used.
//!
//! What was read of one text can be [copied](Cache::prefix) for another that begins alike, cut
//! after any token whose window is still there.
//!
//! Invariant: every layer holds the rows `first..len` of its cache, without a gap.

use candle_core::{DType, Result, Tensor};

use crate::config::{Config, Reach};
use crate::decoder::CHUNK;

/// Rows that a layer has room for at first, and by which its room grows at least.
const ROOM: usize = 256;

/// What a decoder remembers of one text.
#[derive(Debug)]
pub(crate) struct Cache {
    layers: Vec<Layer>,
    len: usize,
}

/// What one layer remembers.
#[derive(Debug)]
pub(crate) struct Layer {
    n_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    context: usize,
    /// Keys and values, `(n_heads, room, head_dim)` each.
    rows: Option<(Tensor, Tensor)>,
    room: usize,
    /// The position of the first row.
    first: usize,
    n_rows: usize,
}

impl Cache {
    pub(crate) fn new(config: &Config) -> Self {
        let layer = |layer| Layer {
            n_heads: config.n_kv_heads,
            head_dim: config.head_dim,
            window: config.window.filter(|_| config.reach(layer) == Reach::Local),
            context: config.context,
            rows: None,
            room: 0,
            first: 0,
            n_rows: 0,
        };
        Self { layers: (0..config.n_layers).map(layer).collect(), len: 0 }
    }

    /// Number of tokens that were read.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory that the rows take, with the room for more.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.layers.iter().map(Layer::n_bytes).sum()
    }

    /// Whether a text could go on after the first `len` tokens of this one.
    pub(crate) fn holds(&self, len: usize) -> bool {
        len <= self.len && self.layers.iter().all(|layer| layer.first <= layer.needed(len))
    }

    /// Returns a copy of what the first `len` tokens left, of which all [must be
    /// there](Self::holds), with room for `more` tokens.
    pub(crate) fn prefix(&self, len: usize, more: usize) -> Result<Self> {
        let copy = |layer: &Layer| {
            let from = layer.kept_from(len);
            layer.moved(from, len - from, len - from + more)
        };
        Ok(Self { layers: self.layers.iter().map(copy).collect::<Result<_>>()?, len })
    }

    /// Gives back room that is not used, if it is a good deal.
    pub(crate) fn shrink(&mut self) -> Result<()> {
        for layer in &mut self.layers {
            if layer.n_rows + layer.n_rows / 4 < layer.room {
                *layer = layer.moved(layer.first, layer.n_rows, layer.n_rows)?;
            }
        }
        Ok(())
    }

    pub(super) fn layer(&mut self, layer: usize) -> &mut Layer {
        &mut self.layers[layer]
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.len += n;
    }
}

/// The first position that a token at `position` sees.
pub(super) fn seen_from(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}

impl Layer {
    /// Adds the rows of new tokens, `(n_heads, n, head_dim)`, and returns all rows that the first
    /// of them sees, and those after it.
    pub(super) fn append(&mut self, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let n = keys.dim(1)?;
        let position = self.first + self.n_rows;
        if self.room < self.n_rows + n {
            let from = self.kept_from(position);
            let needed = position - from + n;
            let more = (needed / 4).max(ROOM);
            let room = match self.window {
                // A row is moved about once while it is seen.
                Some(window) => needed + more.min(window.max(ROOM)),
                None => (needed + more).min(self.context.max(needed)),
            };
            *self = self.moved(from, position - from, room)?;
        }
        let (all_keys, all_values) = if let Some(rows) = &self.rows {
            rows
        } else {
            let shape = (self.n_heads, self.room, self.head_dim);
            let fresh = || Tensor::zeros(shape, DType::F32, keys.device());
            self.rows.insert((fresh()?, fresh()?))
        };
        all_keys.slice_set(keys, 1, self.n_rows)?;
        all_values.slice_set(values, 1, self.n_rows)?;
        self.n_rows += n;
        let from = seen_from(position, self.window);
        let (start, len) = (from - self.first, position + n - from);
        Ok((all_keys.narrow(1, start, len)?, all_values.narrow(1, start, len)?))
    }

    /// The first row without which a text cannot go on after `len` tokens.
    fn needed(&self, len: usize) -> usize {
        seen_from(len, self.window)
    }

    /// The first row that is kept after `len` tokens: another text may begin like this one up to a
    /// token of the last stretch.
    fn kept_from(&self, len: usize) -> usize {
        self.needed(len.saturating_sub(CHUNK)).max(self.first)
    }

    fn n_bytes(&self) -> u64 {
        let room = if self.rows.is_some() { self.room } else { 0 };
        (2 * self.n_heads * room * self.head_dim * DType::F32.size_in_bytes()) as u64
    }

    /// A copy of `n` rows from position `from` on, with room for `room`.
    fn moved(&self, from: usize, n: usize, room: usize) -> Result<Self> {
        let copy = |old: &Tensor| {
            let new = Tensor::zeros((self.n_heads, room, self.head_dim), DType::F32, old.device())?;
            if 0 < n {
                new.slice_set(&old.narrow(1, from - self.first, n)?.contiguous()?, 1, 0)?;
            }
            Ok::<_, candle_core::Error>(new)
        };
        let rows = match &self.rows {
            Some((keys, values)) if 0 < room => Some((copy(keys)?, copy(values)?)),
            _ => None,
        };
        let Self { n_heads, head_dim, window, context, .. } = *self;
        Ok(Self { n_heads, head_dim, window, context, rows, room, first: from, n_rows: n })
    }
}
