//! Draws the next token from logits.
//!
//! The order is that of [`Sampling`]: bias and penalties change logits, `top_k`, `top_p` and
//! `min_p` choose who stays, the temperature divides what is left. Of 262,144 tokens few can be
//! drawn, so few are ever sorted: [`best`] finds them by the maxima of blocks.
//!
//! The dice are a generator of our own, eight lines long, so that a seed gives the same text after
//! the next update of a library.

use std::cmp::Ordering;
use std::collections::HashMap;

use hive_api::{EngineError, Sampling};

use crate::arithmetic::exp;
use crate::error::{compute_failed, request};

/// What a bias must reach to forbid a token, or, positive, all others.
const ABSOLUTE: f32 = 100.0;
/// Tokens that get a bias at most.
const MAX_BIASES: usize = 1_024;

/// Draws tokens; the same seed and logits give the same ones.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    state: u64,
    /// Tokens that occurred, and how often each was generated.
    seen: HashMap<u32, u32>,
}

impl Sampler {
    /// A sampler for a text that begins with `prompt`.
    pub(crate) fn new(sampling: Sampling, prompt: &[u32]) -> Self {
        let mut seen = HashMap::new();
        if sampling.repetition_penalty.is_some() {
            seen.extend(prompt.iter().map(|&token| (token, 0)));
        }
        Self { state: sampling.seed, sampling, seen }
    }

    /// Refuses values that make no sense, by name.
    pub(crate) fn check(sampling: &Sampling, vocab: usize) -> Result<(), EngineError> {
        let Sampling { temperature, top_p, min_p, repetition_penalty, .. } = *sampling;
        let penalty = -2.0..=2.0;
        for (name, value, range) in [
            ("temperature", Some(temperature), 0.0..=100.0),
            ("top_p", top_p, 0.0..=1.0),
            ("min_p", min_p, 0.0..=1.0),
            ("repetition_penalty", repetition_penalty, 0.01..=100.0),
            ("presence_penalty", Some(sampling.presence_penalty), penalty.clone()),
            ("frequency_penalty", Some(sampling.frequency_penalty), penalty),
        ] {
            // A NaN is in no range.
            if value.is_some_and(|value| !range.contains(&value)) {
                let (low, high) = (range.start(), range.end());
                return Err(request(format!("`{name}` must be from {low} to {high}")));
            }
        }
        if MAX_BIASES < sampling.logit_bias.len() {
            return Err(request(format!("`logit_bias` names more than {MAX_BIASES} tokens")));
        }
        for (&token, bias) in &sampling.logit_bias {
            if vocab <= token as usize {
                return Err(request(format!("`logit_bias` names {token}, which is not a token")));
            }
            if !(-ABSOLUTE..=ABSOLUTE).contains(bias) {
                return Err(request(format!("`logit_bias` of {token} must be from -100 to 100")));
            }
        }
        Ok(())
    }

    /// Remembers a token that was drawn.
    pub(crate) fn accept(&mut self, token: u32) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } =
            self.sampling;
        if repetition_penalty.is_some() || presence_penalty != 0.0 || frequency_penalty != 0.0 {
            let count = self.seen.entry(token).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Whether what is drawn is always the likeliest token, as the logits come.
    pub(crate) fn takes_likeliest(&self) -> bool {
        let Sampling { temperature, top_k, presence_penalty, frequency_penalty, .. } =
            self.sampling;
        let greedy = temperature.is_nan() || temperature <= 0.0 || top_k == Some(1);
        let plain = self.sampling.logit_bias.is_empty()
            && self.sampling.repetition_penalty.is_none()
            && presence_penalty == 0.0
            && frequency_penalty == 0.0;
        greedy && plain
    }

    /// Draws a token; changes the logits on the way. One that is not a number is never drawn.
    pub(crate) fn draw(&mut self, logits: &mut [f32]) -> Result<u32, EngineError> {
        self.penalise(logits);
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // Of equals the first. A NaN is never the maximum, and none is at least that.
        let likeliest = logits.iter().position(|&logit| top <= logit);
        let Some(likeliest) = likeliest.filter(|_| top.is_finite()) else {
            return Err(compute_failed(if logits.iter().any(|logit| logit.is_nan()) {
                "the model's output is not a number; its weights are broken"
            } else {
                "no token is left that may follow"
            }));
        };
        let likeliest = likeliest as u32;
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        if temperature.is_nan() || temperature <= 0.0 || top_k == Some(1) {
            return Ok(likeliest);
        }

        // Relative to the likeliest, whose weight is 1.
        let weight = |id: u32| exp(logits[id as usize] - top);
        let k = top_k.map(|k| k as usize).filter(|&k| 0 < k && k < logits.len());
        let mut ids = match (k, top_p.filter(|&p| p < 1.0)) {
            (Some(k), p) => {
                let mut ids = best(logits, k);
                if let Some(p) = p {
                    let total: f64 = ids.iter().map(|&id| f64::from(weight(id))).sum();
                    let n = reach(&ids, f64::from(p) * total, weight);
                    ids.truncate(n);
                }
                ids
            }
            (None, Some(p)) => nucleus(logits, p, top),
            (None, None) => (0..logits.len() as u32).filter(|&id| allowed(logits, id)).collect(),
        };
        if let Some(min_p) = min_p {
            ids.retain(|&id| min_p <= weight(id));
        }

        let weight = |id: u32| f64::from((logits[id as usize] - top) / temperature).exp();
        let total: f64 = ids.iter().map(|&id| weight(id)).sum();
        let mut rest = self.dice() * total;
        for &id in &ids {
            rest -= weight(id);
            if rest < 0.0 {
                return Ok(id);
            }
        }
        Ok(likeliest)
    }

    /// Bias and penalties.
    fn penalise(&self, logits: &mut [f32]) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } =
            self.sampling;
        let bias = &self.sampling.logit_bias;
        if bias.values().any(|&bias| ABSOLUTE <= bias) {
            for (id, logit) in logits.iter_mut().enumerate() {
                if bias.get(&(id as u32)).is_none_or(|&bias| bias < ABSOLUTE) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        for (&id, &bias) in bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += if bias <= -ABSOLUTE { f32::NEG_INFINITY } else { bias };
            }
        }
        for (&id, &count) in &self.seen {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            if let Some(penalty) = repetition_penalty {
                *logit = if 0.0 < *logit { *logit / penalty } else { *logit * penalty };
            }
            if 0 < count {
                *logit -= presence_penalty + count as f32 * frequency_penalty;
            }
        }
    }

    /// A number from 0 to under 1 (SplitMix64).
    fn dice(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The `k` likeliest tokens, likeliest first, of equals the first; fewer if fewer may be drawn.
pub(crate) fn best(logits: &[f32], k: usize) -> Vec<u32> {
    /// Logits whose maximum stands for them.
    const BLOCK: usize = 64;
    let k = k.min(logits.len());
    if k == 0 {
        return Vec::new();
    }
    let mut maxima: Vec<f32> = logits
        .chunks(BLOCK)
        .map(|block| block.iter().copied().fold(f32::NEG_INFINITY, f32::max))
        .collect();
    // Each of the k blocks with the largest maxima has a logit of at least the k-th maximum, so
    // none under it is among the k largest.
    let floor = if k < maxima.len() {
        *maxima.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    } else {
        f32::NEG_INFINITY
    };
    let mut ids: Vec<u32> = (0..logits.len() as u32)
        .filter(|&id| floor <= logits[id as usize] && allowed(logits, id))
        .collect();
    let order = |a: &u32, b: &u32| descending(logits, *a, *b);
    if k < ids.len() {
        ids.select_nth_unstable_by(k - 1, order);
        ids.truncate(k);
    }
    ids.sort_unstable_by(order);
    ids
}

/// Whether a token may be drawn at all.
fn allowed(logits: &[f32], id: u32) -> bool {
    let logit = logits[id as usize];
    !logit.is_nan() && f32::NEG_INFINITY < logit
}

fn descending(logits: &[f32], a: u32, b: u32) -> Ordering {
    logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b))
}

/// How many of `ids`, from the first on, it takes for their weights to reach `target`.
fn reach(ids: &[u32], target: f64, weight: impl Fn(u32) -> f32) -> usize {
    let mut sum = 0.0;
    let mut short = |&id: &u32| {
        sum += f64::from(weight(id));
        sum < target
    };
    (ids.iter().take_while(|id| short(id)).count() + 1).min(ids.len())
}

/// The smallest set of the likeliest tokens whose probabilities reach `p`. A hundred are usually
/// enough, so they are looked for a few at first and then four times as many.
fn nucleus(logits: &[f32], p: f32, top: f32) -> Vec<u32> {
    let weight = |logit: f32| if logit.is_nan() { 0.0 } else { exp(logit - top) };
    let sums = logits.chunks(256).map(|part| part.iter().map(|&x| weight(x)).sum::<f32>());
    let target = f64::from(p) * sums.map(f64::from).sum::<f64>();
    let mut k = 64;
    loop {
        let mut ids = best(logits, k);
        let sum: f64 = ids.iter().map(|&id| f64::from(weight(logits[id as usize]))).sum();
        if target <= sum || ids.len() < k || logits.len() <= k {
            let n = reach(&ids, target, |id| weight(logits[id as usize]));
            ids.truncate(n);
            return ids;
        }
        k *= 4;
    }
}

#[cfg(test)]
mod tests;
