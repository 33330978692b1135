//! Draws the next token from logits.
//!
//! The dice are a generator of our own, eight lines long, so that a seed gives the same text after
//! the next update of a library.

use hive_api::{EngineError, Sampling};

/// Draws tokens; the same seed and logits give the same ones.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    state: u64,
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling) -> Self {
        Self { sampling, state: sampling.seed }
    }

    /// Draws a token. A logit that is not a number is never drawn.
    pub(crate) fn draw(&mut self, logits: &[f32]) -> Result<u32, EngineError> {
        // Total, so that a NaN cannot upset a sort.
        let logit = |id: u32| {
            let logit = logits[id as usize];
            if logit.is_nan() { f32::NEG_INFINITY } else { logit }
        };
        let best = (0..logits.len() as u32).max_by(|&a, &b| {
            // Of equals the first.
            logit(a).total_cmp(&logit(b)).then(b.cmp(&a))
        });
        let Some(best) = best.filter(|&best| logit(best).is_finite()) else {
            return Err(EngineError::Compute {
                reason: "the model's output is not a number; its weights are broken".to_owned(),
            });
        };
        let Sampling { temperature, top_k, top_p, .. } = self.sampling;
        if temperature.is_nan() || temperature <= 0.0 || top_k == Some(1) {
            return Ok(best);
        }

        let top = logit(best);
        let weight = |id: u32| f64::from((logit(id) - top) / temperature).exp();
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        let descending = |a: &u32, b: &u32| logit(*b).total_cmp(&logit(*a)).then(a.cmp(b));
        if let Some(k) = top_k.map(|k| k as usize).filter(|&k| 0 < k && k < ids.len()) {
            ids.select_nth_unstable_by(k - 1, descending);
            ids.truncate(k);
        }
        if let Some(p) = top_p.filter(|&p| p < 1.0) {
            let total: f64 = ids.iter().map(|&id| weight(id)).sum();
            keep_top(&mut ids, f64::from(p) * total, descending, weight);
        }

        let total: f64 = ids.iter().map(|&id| weight(id)).sum();
        let mut rest = self.dice() * total;
        for &id in &ids {
            rest -= weight(id);
            if rest < 0.0 {
                return Ok(id);
            }
        }
        Ok(best)
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

/// Keeps the smallest set of the most likely whose weights reach `target`. Sorts a few at a time:
/// of 262,144 tokens a hundred are usually enough.
fn keep_top(
    ids: &mut Vec<u32>,
    target: f64,
    descending: impl Fn(&u32, &u32) -> std::cmp::Ordering + Copy,
    weight: impl Fn(u32) -> f64,
) {
    let (mut sorted, mut sum) = (0, 0.0);
    while sorted < ids.len() {
        let rest = &mut ids[sorted..];
        let n = (4 * sorted).max(64).min(rest.len());
        if n < rest.len() {
            rest.select_nth_unstable_by(n - 1, descending);
        }
        rest[..n].sort_unstable_by(descending);
        for (index, &id) in rest[..n].iter().enumerate() {
            sum += weight(id);
            if target <= sum {
                ids.truncate(sorted + index + 1);
                return;
            }
        }
        sorted += n;
    }
}

#[cfg(test)]
mod tests;
