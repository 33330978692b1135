//! The weights of a decoder, each part in its place from the moment on when it is here.
//!
//! Of a file that is whole all parts are here before anything is computed. Of one that is still
//! arriving a thread puts one after another, in the order in which a prompt goes through them.
//!
//! Invariant: a part that is here stays and never changes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor, bail};
use hive_api::{EngineError, Failure};

use super::{Config, Layer, Rope};
use crate::weights::{Linear, Source, Table, TableRows, Tied};

/// What comes after the layers.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) norm: Tensor,
    pub(super) head: Box<dyn Linear>,
}

/// A decoder's weights.
#[derive(Debug)]
pub(crate) struct Parts {
    rope: OnceLock<Rope>,
    table: OnceLock<Arc<Table>>,
    /// Single rows of the table, while it is not here.
    rows: Option<TableRows>,
    layers: Vec<OnceLock<Layer>>,
    tail: OnceLock<Tail>,
    /// Why no more parts will come.
    failed: Mutex<Option<Failure>>,
    changed: Condvar,
}

impl Parts {
    /// Places for the parts of a decoder. With `rows` it can begin without its table.
    pub(super) fn empty(config: &Config, rows: Option<TableRows>) -> Self {
        Self {
            rope: OnceLock::new(),
            table: OnceLock::new(),
            rows,
            layers: (0..config.n_layers).map(|_| OnceLock::new()).collect(),
            tail: OnceLock::new(),
            failed: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Takes the weights from a source, in the order in which a prompt needs them. Those of a model
    /// whose head is its table begin with it, while there is nothing else in memory; a model with a
    /// head of its own needs single rows of its table only, which can wait.
    pub(crate) fn fill(&self, config: &Config, source: &mut dyn Source) -> Result<(), EngineError> {
        let is_tied = !source.has("output");
        let table = |source: &mut dyn Source| {
            let table = source.table("token_embd", config.width, config.vocab)?;
            self.put(&self.table, table);
            Ok::<_, EngineError>(())
        };
        if is_tied {
            table(source)?;
        }
        let divisors = if source.has("rope_freqs") {
            Some(source.vector("rope_freqs.weight", config.head_dim / 2)?)
        } else {
            None
        };
        self.put(&self.rope, Rope::new(config, divisors.as_ref())?);
        for (index, place) in self.layers.iter().enumerate() {
            self.put(place, Layer::new(config, index, source)?);
        }
        let norm = source.vector("output_norm.weight", config.width)?;
        let head: Box<dyn Linear> = match self.table.get().filter(|_| is_tied) {
            Some(table) => Box::new(Tied(Arc::clone(table))),
            None => source.linear("output", config.width, config.vocab)?,
        };
        self.put(&self.tail, Tail { norm, head });
        if is_tied { Ok(()) } else { table(source) }
    }

    fn put<T>(&self, place: &OnceLock<T>, part: T) {
        // Each part is put once.
        let _ = place.set(part);
        // Whoever looked before and waits now holds the lock until it does.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Says that no more parts will come, and why.
    pub(crate) fn fail(&self, failure: Failure) {
        self.lock().get_or_insert(failure);
        self.changed.notify_all();
    }

    /// Why no more parts will come.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a part; says whether it is here when `patience` is over.
    fn wait<T>(&self, place: &OnceLock<T>, patience: Duration) -> candle_core::Result<bool> {
        if place.get().is_some() {
            return Ok(true);
        }
        let deadline = Instant::now() + patience;
        let mut failed = self.lock();
        while place.get().is_none() {
            if let Some(failure) = &*failed {
                bail!("{}", failure.message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let waited = self.changed.wait_timeout(failed, left);
            failed = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(true)
    }

    /// Waits for what the first layer is given of some tokens.
    pub(super) fn wait_for_rows(
        &self,
        tokens: &[u32],
        patience: Duration,
    ) -> candle_core::Result<bool> {
        if !self.wait(&self.rope, patience)? {
            return Ok(false);
        }
        match &self.rows {
            Some(rows) if self.table.get().is_none() => rows.wait(tokens, patience),
            _ => self.wait(&self.table, patience),
        }
    }

    /// Waits for a layer, or past the last one for what comes after.
    pub(super) fn wait_for_layer(
        &self,
        index: usize,
        patience: Duration,
    ) -> candle_core::Result<bool> {
        match self.layers.get(index) {
            Some(layer) => self.wait(layer, patience),
            None => self.wait(&self.tail, patience),
        }
    }

    /// Whether a text can go all the way through, but for rows of the table.
    pub(super) fn is_complete(&self) -> bool {
        // Parts come in order.
        self.tail.get().is_some()
    }

    /// A row for each token.
    pub(super) fn embed(&self, tokens: &[u32], device: &Device) -> candle_core::Result<Tensor> {
        match (self.table.get(), &self.rows) {
            (Some(table), _) => table.rows(tokens, device),
            (None, Some(rows)) => rows.read(tokens),
            (None, None) => bail!("the table of tokens is not here"),
        }
    }

    pub(super) fn rope(&self) -> candle_core::Result<&Rope> {
        here(&self.rope)
    }

    pub(super) fn layer(&self, index: usize) -> candle_core::Result<&Layer> {
        match self.layers.get(index) {
            Some(layer) => here(layer),
            None => bail!("a layer {index} of {}", self.layers.len()),
        }
    }

    pub(super) fn tail(&self) -> candle_core::Result<&Tail> {
        here(&self.tail)
    }
}

fn here<T>(place: &OnceLock<T>) -> candle_core::Result<&T> {
    place.get().ok_or_else(|| candle_core::Error::msg("a part of the model is not here"))
}
