//! Keys and values of the tokens that were read.
//!
//! A global layer keeps all of them, a local one its window and some more. Rows are written in
//! place. When there is no room, a layer moves: a global one to twice the room, a local one drops
//! what its window has passed. So a token costs its own row, and a context costs what of it is used.
//!
//! Invariant: every layer holds the rows `first..len` of its cache, without a gap.

use candle_core::{DType, Result, Tensor};

use crate::config::{Config, Reach};

/// Rows that a layer has room for at first.
const INITIAL_ROWS: usize = 256;

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
            first: 0,
            n_rows: 0,
        };
        Self { layers: (0..config.n_layers).map(layer).collect(), len: 0 }
    }

    /// Number of tokens that were read.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Forgets all tokens; the memory is kept for the next text.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        for layer in &mut self.layers {
            (layer.first, layer.n_rows) = (0, 0);
        }
    }

    pub(super) fn layers(&mut self) -> impl Iterator<Item = &mut Layer> {
        self.layers.iter_mut()
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
        let from = seen_from(position, self.window);
        let room = self.rows.as_ref().map_or(Ok(0), |(keys, _)| keys.dim(1))?;
        if room < self.n_rows + n {
            self.make_room(n, from, room, keys)?;
        }
        let (all_keys, all_values) = self.rows.as_ref().expect("there is room now");
        all_keys.slice_set(keys, 1, self.n_rows)?;
        all_values.slice_set(values, 1, self.n_rows)?;
        self.n_rows += n;
        let (start, len) = (from - self.first, position + n - from);
        Ok((all_keys.narrow(1, start, len)?, all_values.narrow(1, start, len)?))
    }

    fn make_room(&mut self, n: usize, from: usize, room: usize, like: &Tensor) -> Result<()> {
        let keep = self.first + self.n_rows - from;
        let wanted = match self.window {
            // Twice the window, so that a row is moved once while it is seen.
            Some(window) => (2 * room).clamp(INITIAL_ROWS, 2 * window.max(INITIAL_ROWS)),
            None => (2 * room).max(INITIAL_ROWS).min(self.context),
        };
        let shape = (self.n_heads, wanted.max(keep + n), self.head_dim);
        let fresh = || Tensor::zeros(shape, DType::F32, like.device());
        let (keys, values) = (fresh()?, fresh()?);
        if let Some((old_keys, old_values)) = &self.rows
            && 0 < keep
        {
            let start = from - self.first;
            keys.slice_set(&old_keys.narrow(1, start, keep)?.contiguous()?, 1, 0)?;
            values.slice_set(&old_values.narrow(1, start, keep)?.contiguous()?, 1, 0)?;
        }
        self.rows = Some((keys, values));
        (self.first, self.n_rows) = (from, keep);
        Ok(())
    }
}
