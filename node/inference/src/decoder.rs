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
mod rope;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use hive_api::EngineError;

pub(crate) use cache::Cache;

use crate::config::{Config, Reach};
use crate::weights::{Linear, MANY, Source, Table, Tied};
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
    rope: Rope,
    table: Arc<Table>,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Box<dyn Linear>,
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
    /// Takes the weights from a source. The large table comes first, while there is nothing else
    /// in memory.
    pub(crate) fn new(
        config: Config,
        source: &mut dyn Source,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let table = source.table("token_embd", config.width, config.vocab)?;
        let head: Box<dyn Linear> = if source.has("output") {
            source.linear("output", config.width, config.vocab)?
        } else {
            Box::new(Tied(Arc::clone(&table)))
        };
        let divisors = if source.has("rope_freqs") {
            Some(source.vector("rope_freqs.weight", config.head_dim / 2)?)
        } else {
            None
        };
        let rope = Rope::new(&config, divisors.as_ref())?;
        let layers = (0..config.n_layers)
            .map(|layer| Layer::new(&config, layer, source))
            .collect::<Result<_, _>>()?;
        let norm = source.vector("output_norm.weight", config.width)?;
        Ok(Self { config, device: device.clone(), rope, table, layers, norm, head })
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
        if batch.len() < MANY && batch.iter().all(|stretch| stretch.tokens.len() == 1) {
            // A few tokens are arithmetic of our own, which does not use those threads.
            return self.read(batch);
        }
        // In candle's own threads: from another one, each small operation would wait for them.
        self.device.with_context(|| self.read(batch))
    }

    fn read(&self, batch: &mut [Stretch<'_>]) -> candle_core::Result<Option<Tensor>> {
        let mut tokens = Vec::new();
        let mut spans = Vec::new();
        for stretch in batch.iter() {
            let n = stretch.tokens.len();
            spans.push(Span { start: tokens.len(), n, position: stretch.cache.len() });
            tokens.extend_from_slice(stretch.tokens);
        }
        let mut x = self.table.rows(&tokens, &self.device)?;
        if let Some(scale) = self.config.embedding_scale {
            x = x.affine(scale, 0.0)?;
        }
        let global = Step::new(&self.rope, Reach::Global, None, &spans, &self.device)?;
        let local = match self.config.window {
            Some(w) => Some(Step::new(&self.rope, Reach::Local, Some(w), &spans, &self.device)?),
            None => None,
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let step = match (layer.reach, &local) {
                (Reach::Local, Some(local)) => local,
                _ => &global,
            };
            let kept = batch.iter_mut().map(|stretch| stretch.cache.layer(index));
            x = layer.forward(&self.config, &x, step, kept)?;
        }
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
        let x = rms_norm(&x.contiguous()?, &self.norm, self.config.epsilon)?;
        self.head.forward(&x).map(Some)
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
