//! The decoder: one graph for every family of [`Config`].
//!
//! Tokens go in with the [`Cache`] of those before them, logits come out. Several texts go in at
//! once: a layer's weights are read for all of their tokens together, and only attention, which
//! looks into the caches, goes text by text. How many tokens go in at once, and of how many texts,
//! changes nothing but speed: tests compare one, a few and all of them for every family.

mod attention;
mod cache;
mod gate;
mod norm;
mod parts;
mod rope;
mod wave;

use std::sync::Arc;
use std::time::Duration;

use candle_core::{Device, Tensor};
use hive_api::EngineError;

pub(crate) use cache::Cache;
pub(crate) use parts::Parts;
pub(crate) use wave::{WAVE, Wave};

use crate::config::{Config, Reach};
use crate::weights::{Linear, MANY, Source, TableRows};
use attention::{Attention, Span, Step};
use gate::gated;
use norm::rms_norm;
use rope::Rope;

/// Scores in one step of attention at most, over all heads: 64 MiB of them.
const MAX_SCORES: usize = 16 << 20;
/// Tokens of a text read at once at most: more do not get faster.
pub(crate) const CHUNK: usize = 128;

/// Which rows of logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// None: more of the text will follow.
    None,
    /// Those that say what follows the last token.
    Last,
    /// One for each token.
    All,
}

/// What follows the tokens that were read.
#[derive(Debug)]
pub(crate) enum Next {
    /// A row of logits for each text.
    Logits(Tensor),
    /// The likeliest token of each text.
    Tokens(Vec<u32>),
}

/// Tokens of one text that are read now; at least one.
#[derive(Debug)]
pub(crate) struct Stretch<'a> {
    /// The tokens. They must be in the vocabulary.
    pub(crate) tokens: &'a [u32],
    /// What is remembered of those before them, and after the step of these too.
    pub(crate) cache: &'a mut Cache,
    /// Which logits are wanted.
    pub(crate) rows: Rows,
}

/// A model's weights in the order in which they are applied.
#[derive(Debug)]
pub(crate) struct Decoder {
    config: Config,
    device: Device,
    parts: Arc<Parts>,
}

/// Rows between two layers, and what the layers need to know of them.
#[derive(Debug)]
struct Flow {
    x: Tensor,
    global: Step,
    local: Option<Step>,
}

impl Flow {
    fn step(&self, reach: Reach) -> &Step {
        match (reach, &self.local) {
            (Reach::Local, Some(local)) => local,
            _ => &self.global,
        }
    }
}

#[derive(Debug)]
struct Layer {
    reach: Reach,
    attention_norm: Tensor,
    attention: Attention,
    attention_post_norm: Option<Tensor>,
    ffn_norm: Tensor,
    gate: Box<dyn Linear>,
    up: Box<dyn Linear>,
    down: Box<dyn Linear>,
    ffn_post_norm: Option<Tensor>,
}

impl Decoder {
    /// Takes all weights from a source.
    pub(crate) fn new(
        config: Config,
        source: &mut dyn Source,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let decoder = Self::arriving(config, device, None);
        decoder.parts.fill(&decoder.config, source)?;
        Ok(decoder)
    }

    /// A decoder whose weights somebody else [fills in](Parts::fill), while `rows` stand in for its
    /// table.
    pub(crate) fn arriving(config: Config, device: &Device, rows: Option<TableRows>) -> Self {
        let parts = Arc::new(Parts::empty(&config, rows));
        Self { config, device: device.clone(), parts }
    }

    /// Where the weights are put.
    pub(crate) fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    /// Whether a text can go all the way through, but for [rows](Self::wait_for_rows).
    pub(crate) fn is_complete(&self) -> bool {
        self.parts.is_complete()
    }

    /// Waits for what the first layer is given of some tokens; says whether it is here when
    /// `patience` is over.
    pub(crate) fn wait_for_rows(
        &self,
        tokens: &[u32],
        patience: Duration,
    ) -> candle_core::Result<bool> {
        self.parts.wait_for_rows(tokens, patience)
    }

    /// Waits for a layer, or past the last one for what comes after; says whether it is here when
    /// `patience` is over.
    pub(crate) fn wait_for_layer(
        &self,
        index: usize,
        patience: Duration,
    ) -> candle_core::Result<bool> {
        self.parts.wait_for_layer(index, patience)
    }

    /// Layers.
    pub(crate) fn n_layers(&self) -> usize {
        self.config.n_layers
    }

    /// An empty cache for this model.
    pub(crate) fn cache(&self) -> Cache {
        Cache::new(&self.config)
    }

    /// Tokens that should be read at once after `position` others.
    pub(crate) fn chunk_len(&self, position: usize) -> usize {
        let scores_per_token = self.config.n_heads * (position + CHUNK);
        (MAX_SCORES / scores_per_token).clamp(1, CHUNK)
    }

    /// Reads the next tokens of some texts. Returns the rows of logits that were asked for, in the
    /// order of the texts; none if none were.
    pub(crate) fn forward(&self, batch: &mut [Stretch<'_>]) -> candle_core::Result<Option<Tensor>> {
        self.read(batch, |rows| self.logits(rows))
    }

    /// Reads the next tokens of some texts, as [`forward`](Self::forward) does. Of each row of logits
    /// that was asked for it says only which is the largest, if that can be said sooner.
    pub(crate) fn likeliest(&self, batch: &mut [Stretch<'_>]) -> candle_core::Result<Option<Next>> {
        self.read(batch, |rows| match self.parts.tail()?.head.likeliest(rows)? {
            Some(tokens) => Ok(Next::Tokens(tokens)),
            None => self.logits(rows).map(Next::Logits),
        })
    }

    /// Reads tokens and applies the head to the rows that are wanted, if any are.
    fn read<T: Send>(
        &self,
        batch: &mut [Stretch<'_>],
        head: impl Fn(&Tensor) -> candle_core::Result<T> + Sync,
    ) -> candle_core::Result<Option<T>> {
        let few = batch.len() < MANY && batch.iter().all(|stretch| stretch.tokens.len() == 1);
        let mut work = || self.rows(batch)?.map(|rows| head(&rows)).transpose();
        if few {
            // A few tokens are arithmetic of our own, which does not use those threads.
            return work();
        }
        // In candle's own threads: from another one, each small operation would wait for them.
        self.device.with_context(work)
    }

    /// Reads tokens; returns what the head is applied to.
    fn rows(&self, batch: &mut [Stretch<'_>]) -> candle_core::Result<Option<Tensor>> {
        let mut tokens = Vec::new();
        let mut spans = Vec::new();
        for stretch in batch.iter() {
            let n = stretch.tokens.len();
            spans.push(Span { start: tokens.len(), n, position: stretch.cache.len() });
            tokens.extend_from_slice(stretch.tokens);
        }
        let mut flow = self.enter(&tokens, &spans)?;
        for index in 0..self.config.n_layers {
            let layer = self.parts.layer(index)?;
            let kept = batch.iter_mut().map(|stretch| stretch.cache.layer(index));
            flow.x = layer.forward(&self.config, &flow.x, flow.step(layer.reach), kept)?;
        }
        let mut x = flow.x;
        let mut wanted = Vec::new();
        for (stretch, span) in batch.iter_mut().zip(&spans) {
            stretch.cache.advance(span.n);
            let end = (span.start + span.n) as u32;
            wanted.extend(match stretch.rows {
                Rows::None => end..end,
                Rows::Last => end - 1..end,
                Rows::All => span.start as u32..end,
            });
        }
        if wanted.is_empty() {
            return Ok(None);
        }
        if wanted.len() < tokens.len() {
            x = x.index_select(&Tensor::new(wanted, &self.device)?, 0)?;
        }
        self.leave(&x).map(Some)
    }

    /// What the first layer is given.
    fn enter(&self, tokens: &[u32], spans: &[Span]) -> candle_core::Result<Flow> {
        let mut x = self.parts.embed(tokens, &self.device)?;
        if let Some(scale) = self.config.embedding_scale {
            x = x.affine(scale, 0.0)?;
        }
        let rope = self.parts.rope()?;
        let global = Step::new(rope, Reach::Global, None, spans, &self.device)?;
        let local = match self.config.window {
            Some(w) => Some(Step::new(rope, Reach::Local, Some(w), spans, &self.device)?),
            None => None,
        };
        Ok(Flow { x, global, local })
    }

    /// What the head is applied to, of what the last layer returned.
    fn leave(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        rms_norm(&x.contiguous()?, &self.parts.tail()?.norm, self.config.epsilon)
    }

    /// The logits of rows that have [left](Self::leave) the last layer.
    fn logits(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        self.parts.tail()?.head.forward(rows)
    }
}

impl Layer {
    fn new(config: &Config, layer: usize, source: &mut dyn Source) -> Result<Self, EngineError> {
        let Config { width, ffn, .. } = *config;
        let at = |site: &str| format!("blk.{layer}.{site}");
        let mut post_norm = |site: &str| -> Result<_, EngineError> {
            config.post_norms.then(|| source.vector(&at(site), width)).transpose()
        };
        let attention_post_norm = post_norm("post_attention_norm.weight")?;
        let ffn_post_norm = post_norm("post_ffw_norm.weight")?;
        Ok(Self {
            reach: config.reach(layer),
            attention_norm: source.vector(&at("attn_norm.weight"), width)?,
            attention: Attention::new(config, layer, source)?,
            attention_post_norm,
            ffn_norm: source.vector(&at("ffn_norm.weight"), width)?,
            gate: source.linear(&at("ffn_gate"), width, ffn)?,
            up: source.linear(&at("ffn_up"), width, ffn)?,
            down: source.linear(&at("ffn_down"), ffn, width)?,
            ffn_post_norm,
        })
    }

    fn forward<'a>(
        &self,
        config: &Config,
        x: &Tensor,
        step: &Step,
        kept: impl Iterator<Item = &'a mut cache::Layer>,
    ) -> candle_core::Result<Tensor> {
        let norm = |x: &Tensor, weight| rms_norm(x, weight, config.epsilon);
        let mut attended =
            self.attention.forward(config, &norm(x, &self.attention_norm)?, step, kept)?;
        if let Some(weight) = &self.attention_post_norm {
            attended = norm(&attended, weight)?;
        }
        let x = (x + attended)?;
        let h = norm(&x, &self.ffn_norm)?;
        let gate = self.gate.forward(&h)?;
        let gated = gated(config.activation, &gate, &self.up.forward(&h)?)?;
        let mut h = self.down.forward(&gated)?;
        if let Some(weight) = &self.ffn_post_norm {
            h = norm(&h, weight)?;
        }
        x + h
    }
}

#[cfg(test)]
mod tests;
