//! Attention: each token takes from those before it what its query asks for.

use candle_core::{D, Storage, Tensor, bail};
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

/// What all layers of one reach share while they read some tokens.
#[derive(Debug)]
pub(crate) struct Step {
    angles: Angles,
    /// Added to scores: 0 where a token sees another, minus infinity where not. A token alone
    /// sees all that the cache returns.
    mask: Option<Tensor>,
}

impl Step {
    /// For `n` tokens from `position` on.
    pub(crate) fn new(
        rope: &Rope,
        reach: Reach,
        window: Option<usize>,
        position: usize,
        n: usize,
        like: &Tensor,
    ) -> candle_core::Result<Self> {
        let angles = rope.angles(reach, position, n, like.device())?;
        let mask =
            if n == 1 {
                None
            } else {
                let from = seen_from(position, window);
                let mut mask = Vec::new();
                for own in position..position + n {
                    let seen = seen_from(own, window)..=own;
                    mask.extend((from..position + n).map(|other| {
                        if seen.contains(&other) { 0.0_f32 } else { f32::NEG_INFINITY }
                    }));
                }
                Some(Tensor::from_vec(mask, (n, position + n - from), like.device())?)
            };
        Ok(Self { angles, mask })
    }
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

    pub(crate) fn forward(
        &self,
        config: &Config,
        x: &Tensor,
        step: &Step,
        kept: &mut cache::Layer,
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
        let (keys, values) = kept.append(&step.angles.rotate(&key)?, &value)?;

        if n == 1 && x.device().is_cpu() {
            return self.output.forward(&one(config, &query, &keys, &values)?);
        }
        // The queries that share a head of keys stand one after another, so they are one matrix.
        let group = n_heads / n_kv_heads;
        let query = query.reshape((n_kv_heads, group * n, head_dim))?;
        let mut scores = query.matmul(&keys.transpose(D::Minus2, D::Minus1)?)?;
        if let Some(mask) = &step.mask {
            let n_seen = scores.dim(2)?;
            scores = scores.reshape((n_heads, n, n_seen))?.broadcast_add(mask)?.reshape((
                n_kv_heads,
                group * n,
                n_seen,
            ))?;
        }
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        let mixed = mixed.reshape((n_heads, n, head_dim))?.transpose(0, 1)?;
        self.output.forward(&mixed.contiguous()?.reshape((n, n_heads * head_dim))?)
    }
}

/// Attention of one token on the processor. As a product of matrices it would be repacked for
/// longer than it is multiplied.
fn one(
    config: &Config,
    query: &Tensor,
    keys: &Tensor,
    values: &Tensor,
) -> candle_core::Result<Tensor> {
    let Config { n_heads, n_kv_heads, head_dim, .. } = *config;
    let n_seen = keys.dim(1)?;
    let (query_storage, query_layout) = query.storage_and_layout();
    let (key_storage, key_layout) = keys.storage_and_layout();
    let (value_storage, value_layout) = values.storage_and_layout();
    let (Storage::Cpu(query), Storage::Cpu(keys), Storage::Cpu(values)) =
        (&*query_storage, &*key_storage, &*value_storage)
    else {
        bail!("attention is not on the processor")
    };
    let query = &query.as_slice::<f32>()?[query_layout.start_offset()..];
    let keys = &keys.as_slice::<f32>()?[key_layout.start_offset()..];
    let values = &values.as_slice::<f32>()?[value_layout.start_offset()..];
    // Both are rows of the cache's two tensors, which look alike.
    let stride = key_layout.stride()[0];

    // A few positions are not worth waking a thread for.
    let parallel = FEW_SCORES < n_heads * n_seen;
    let mixed = fill(n_heads * head_dim, if parallel { n_heads } else { 1 }, |parts, out| {
        let mut scores = vec![0.0; n_seen];
        let mut mixed = vec![0.0; head_dim];
        for head in if parallel { parts } else { 0..n_heads } {
            let query = &query[head * head_dim..][..head_dim];
            let start = head / (n_heads / n_kv_heads) * stride;
            let rows = |all| -> std::slice::ChunksExact<'_, f32> {
                let all: &[f32] = all;
                all[start..][..n_seen * head_dim].chunks_exact(head_dim)
            };
            for (score, key) in scores.iter_mut().zip(rows(keys)) {
                *score = dot(query, key);
            }
            softmax(&mut scores);
            mixed.fill(0.0);
            for (&score, value) in scores.iter().zip(rows(values)) {
                add_scaled(score, value, &mut mixed);
            }
            for (at, &number) in mixed.iter().enumerate() {
                out.set(head * head_dim + at, number);
            }
        }
    });
    Tensor::from_vec(mixed, (1, n_heads * head_dim), &candle_core::Device::Cpu)
}

/// Scores that one thread computes alone.
const FEW_SCORES: usize = 2_048;
