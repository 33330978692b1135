//! Attention: each token takes from those before it what its query asks for.

use candle_core::{D, Device, Storage, Tensor, bail};
use candle_nn::ops::softmax_last_dim;
use hive_api::EngineError;

use super::cache::{self, seen_from};
use super::norm::rms_norm;
use super::rope::{Angles, Rope};
use crate::arithmetic::{add_scaled, dot, fill, softmax};
use crate::config::{Config, Reach};
use crate::weights::{Linear, Source};

/// The weights of attention in one layer.
#[derive(Debug)]
pub(crate) struct Attention {
    query: Box<dyn Linear>,
    key: Box<dyn Linear>,
    value: Box<dyn Linear>,
    output: Box<dyn Linear>,
    query_norm: Option<Tensor>,
    key_norm: Option<Tensor>,
}

/// Where the tokens of one text are among those that are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// The first of their rows.
    pub(crate) start: usize,
    /// How many there are.
    pub(crate) n: usize,
    /// The first one's position in its text.
    pub(crate) position: usize,
}

/// What all layers of one reach share while they read some tokens.
#[derive(Debug)]
pub(crate) struct Step {
    angles: Angles,
    texts: Vec<(Span, Option<Tensor>)>,
}

impl Step {
    pub(crate) fn new(
        rope: &Rope,
        reach: Reach,
        window: Option<usize>,
        spans: &[Span],
        device: &Device,
    ) -> candle_core::Result<Self> {
        let positions = spans.iter().flat_map(|span| span.position..span.position + span.n);
        let angles = rope.angles(reach, positions, device)?;
        let texts = spans.iter().map(|&span| Ok((span, mask(span, window, device)?)));
        Ok(Self { angles, texts: texts.collect::<candle_core::Result<_>>()? })
    }
}

/// What is added to scores: 0 where a token sees another, minus infinity where not. A token alone
/// sees all that the cache returns.
fn mask(span: Span, window: Option<usize>, device: &Device) -> candle_core::Result<Option<Tensor>> {
    let Span { n, position, .. } = span;
    if n == 1 {
        return Ok(None);
    }
    let from = seen_from(position, window);
    let mut mask = Vec::new();
    for own in position..position + n {
        let seen = seen_from(own, window)..=own;
        mask.extend(
            (from..position + n)
                .map(|other| if seen.contains(&other) { 0.0_f32 } else { f32::NEG_INFINITY }),
        );
    }
    Tensor::from_vec(mask, (n, position + n - from), device).map(Some)
}

impl Attention {
    pub(crate) fn new(
        config: &Config,
        layer: usize,
        source: &mut dyn Source,
    ) -> Result<Self, EngineError> {
        let Config { width, n_heads, n_kv_heads, head_dim, .. } = *config;
        let at = |site: &str| format!("blk.{layer}.{site}");
        let mut norm = |site: &str| -> Result<_, EngineError> {
            config.qk_norm.then(|| source.vector(&at(site), head_dim)).transpose()
        };
        let query_norm = norm("attn_q_norm.weight")?;
        let key_norm = norm("attn_k_norm.weight")?;
        Ok(Self {
            query: source.linear(&at("attn_q"), width, n_heads * head_dim)?,
            key: source.linear(&at("attn_k"), width, n_kv_heads * head_dim)?,
            value: source.linear(&at("attn_v"), width, n_kv_heads * head_dim)?,
            output: source.linear(&at("attn_output"), n_heads * head_dim, width)?,
            query_norm,
            key_norm,
        })
    }

    pub(crate) fn forward<'a>(
        &self,
        config: &Config,
        x: &Tensor,
        step: &Step,
        kept: impl Iterator<Item = &'a mut cache::Layer>,
    ) -> candle_core::Result<Tensor> {
        let Config { n_heads, n_kv_heads, head_dim, .. } = *config;
        let n = x.dim(0)?;
        let heads =
            |rows: Tensor, n_heads: usize, norm: Option<&Tensor>| -> candle_core::Result<Tensor> {
                let mut rows = rows.reshape((n, n_heads, head_dim))?;
                if let Some(weight) = norm {
                    rows = rms_norm(&rows, weight, config.epsilon)?;
                }
                rows.transpose(0, 1)?.contiguous()
            };
        let query = heads(self.query.forward(x)?, n_heads, self.query_norm.as_ref())?;
        let key = heads(self.key.forward(x)?, n_kv_heads, self.key_norm.as_ref())?;
        let value = heads(self.value.forward(x)?, n_kv_heads, None)?;
        let query = step.angles.rotate(&query)?.affine(config.attention_scale, 0.0)?;
        let key = step.angles.rotate(&key)?;

        let on_cpu = x.device().is_cpu();
        let mut singles = Vec::new();
        let mut mixed = Vec::new();
        for ((span, mask), kept) in step.texts.iter().zip(kept) {
            let own = |rows: &Tensor| rows.narrow(1, span.start, span.n)?.contiguous();
            let (keys, values) = kept.append(&own(&key)?, &own(&value)?)?;
            if span.n == 1 && on_cpu {
                singles.push(Single { row: span.start, keys, values });
                mixed.push(None);
            } else {
                mixed.push(Some(many(config, &own(&query)?, &keys, &values, mask.as_ref())?));
            }
        }
        let singles = alone(config, &query, &singles)?;
        if mixed.iter().all(Option::is_none) {
            return self.output.forward(&singles);
        }
        let mut n_singles = 0;
        let mixed = mixed.into_iter().map(|rows| {
            if let Some(rows) = rows {
                return Ok(rows);
            }
            n_singles += 1;
            singles.narrow(0, n_singles - 1, 1)
        });
        self.output.forward(&Tensor::cat(&mixed.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
    }
}

/// Attention of several tokens of one text, `(n_heads, n, head_dim)`.
fn many(
    config: &Config,
    query: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    mask: Option<&Tensor>,
) -> candle_core::Result<Tensor> {
    let Config { n_heads, n_kv_heads, head_dim, .. } = *config;
    let n = query.dim(1)?;
    // The queries that share a head of keys stand one after another, so they are one matrix.
    let group = n_heads / n_kv_heads;
    let query = query.reshape((n_kv_heads, group * n, head_dim))?;
    let mut scores = query.matmul(&keys.transpose(D::Minus2, D::Minus1)?)?;
    if let Some(mask) = mask {
        let n_seen = scores.dim(2)?;
        scores = scores.reshape((n_heads, n, n_seen))?.broadcast_add(mask)?.reshape((
            n_kv_heads,
            group * n,
            n_seen,
        ))?;
    }
    let mixed = softmax_last_dim(&scores)?.matmul(values)?;
    let mixed = mixed.reshape((n_heads, n, head_dim))?.transpose(0, 1)?;
    mixed.contiguous()?.reshape((n, n_heads * head_dim))
}

/// One token of a text.
struct Single {
    /// Its row among the queries.
    row: usize,
    /// What it sees.
    keys: Tensor,
    values: Tensor,
}

/// Attention of single tokens of some texts on the processor. As a product of matrices each would
/// be repacked for longer than it is multiplied.
fn alone(config: &Config, query: &Tensor, singles: &[Single]) -> candle_core::Result<Tensor> {
    let Config { n_heads, n_kv_heads, head_dim, .. } = *config;
    let n_rows = query.dim(1)?;
    let (query_storage, query_layout) = query.storage_and_layout();
    let Storage::Cpu(query) = &*query_storage else { bail!("attention is not on the processor") };
    let query = &query.as_slice::<f32>()?[query_layout.start_offset()..];
    let storages: Vec<_> = singles
        .iter()
        .map(|single| (single.keys.storage_and_layout(), single.values.storage_and_layout()))
        .collect();
    let mut texts = Vec::new();
    for (single, ((keys, key_layout), (values, value_layout))) in singles.iter().zip(&storages) {
        let (Storage::Cpu(keys), Storage::Cpu(values)) = (&**keys, &**values) else {
            bail!("attention is not on the processor")
        };
        let keys = &keys.as_slice::<f32>()?[key_layout.start_offset()..];
        let values = &values.as_slice::<f32>()?[value_layout.start_offset()..];
        // Both are rows of the cache's two tensors, which look alike.
        texts.push((single.row, keys, values, single.keys.dim(1)?, key_layout.stride()[0]));
    }

    // A few positions are not worth waking a thread for.
    let n_scores: usize = texts.iter().map(|(_, _, _, n_seen, _)| n_heads * n_seen).sum();
    let n_parts = singles.len() * n_heads;
    let parallel = FEW_SCORES < n_scores;
    let mixed = fill(n_parts * head_dim, if parallel { n_parts } else { 1 }, |parts, out| {
        let mut mixed = vec![0.0; head_dim];
        let mut scores = Vec::new();
        for part in if parallel { parts } else { 0..n_parts } {
            let (row, keys, values, n_seen, stride) = texts[part / n_heads];
            let head = part % n_heads;
            let query = &query[(head * n_rows + row) * head_dim..][..head_dim];
            let start = head / (n_heads / n_kv_heads) * stride;
            let rows = |all| -> std::slice::ChunksExact<'_, f32> {
                let all: &[f32] = all;
                all[start..][..n_seen * head_dim].chunks_exact(head_dim)
            };
            scores.clear();
            scores.extend(rows(keys).map(|key| dot(query, key)));
            softmax(&mut scores);
            mixed.fill(0.0);
            for (&score, value) in scores.iter().zip(rows(values)) {
                add_scaled(score, value, &mut mixed);
            }
            for (at, &number) in mixed.iter().enumerate() {
                out.set(part * head_dim + at, number);
            }
        }
    });
    Tensor::from_vec(mixed, (singles.len(), n_heads * head_dim), &Device::Cpu)
}

/// Scores that one thread computes alone.
const FEW_SCORES: usize = 2_048;
