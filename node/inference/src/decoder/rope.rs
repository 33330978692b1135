//! Positions as rotations.
//!
//! The angles of the few positions of a step are computed when they are needed: a table for a
//! context of 128 Ki positions would take 128 MiB, and a step takes microseconds.

use candle_core::{Device, Tensor};
use candle_nn::rotary_emb;
use hive_api::EngineError;

use crate::config::{Config, Pairing, Reach, Rotation};
use crate::error::{compute, invalid};
use crate::weights::MANY;

/// The rotations of a model.
#[derive(Debug)]
pub(crate) struct Rope {
    pairing: Pairing,
    /// Radians per position of each pair, in global and in local layers.
    global: Vec<f64>,
    local: Vec<f64>,
}

/// The rotations of the positions of one step.
#[derive(Debug)]
pub(crate) struct Angles {
    pairing: Pairing,
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// `divisors` slow the pairs down one by one: Llama 3.1's way to a longer context.
    pub(crate) fn new(config: &Config, divisors: Option<&Tensor>) -> Result<Self, EngineError> {
        let divisors: Option<Vec<f32>> =
            divisors.map(Tensor::to_vec1).transpose().map_err(compute)?;
        if divisors.iter().flatten().any(|divisor| !divisor.is_normal() || *divisor <= 0.0) {
            return Err(invalid("the tensor `rope_freqs.weight` has values out of range"));
        }
        let speeds = |rotation: Rotation| {
            (0..config.head_dim / 2)
                .map(|pair| {
                    let exponent = 2.0 * pair as f64 / config.head_dim as f64;
                    let speed = f64::from(rotation.base).powf(-exponent);
                    let divisor = divisors.as_ref().map_or(1.0, |divisors| divisors[pair].into());
                    speed / f64::from(rotation.factor) / divisor
                })
                .collect()
        };
        let (global, local) = (speeds(config.global), speeds(config.local));
        Ok(Self { pairing: config.pairing, global, local })
    }

    /// The rotations of some positions.
    pub(crate) fn angles(
        &self,
        reach: Reach,
        positions: impl Iterator<Item = usize>,
        device: &Device,
    ) -> candle_core::Result<Angles> {
        let speeds = match reach {
            Reach::Global => &self.global,
            Reach::Local => &self.local,
        };
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in positions {
            for speed in speeds {
                let (s, c) = (position as f64 * speed).sin_cos();
                sin.push(s as f32);
                cos.push(c as f32);
            }
        }
        let shape = (cos.len() / speeds.len().max(1), speeds.len());
        Ok(Angles {
            pairing: self.pairing,
            cos: Tensor::from_vec(cos, shape, device)?,
            sin: Tensor::from_vec(sin, shape, device)?,
        })
    }
}

impl Angles {
    /// Rotates heads: `(n_heads, n_positions, head_dim)`, without gaps.
    pub(crate) fn rotate(&self, heads: &Tensor) -> candle_core::Result<Tensor> {
        let heads = heads.unsqueeze(0)?;
        if heads.dim(2)? < MANY && heads.device().is_cpu() {
            return self.rotate_few(&heads)?.squeeze(0);
        }
        let rotated = match self.pairing {
            Pairing::Neighbours => rotary_emb::rope_i(&heads, &self.cos, &self.sin)?,
            Pairing::Halves => rotary_emb::rope(&heads, &self.cos, &self.sin)?,
        };
        rotated.squeeze(0)
    }

    /// Rotates heads of a few positions here: candle would wake its threads for them.
    fn rotate_few(&self, heads: &Tensor) -> candle_core::Result<Tensor> {
        let half = self.cos.dim(1)?;
        let (cos, sin) = (self.cos.flatten_all()?.to_vec1()?, self.sin.flatten_all()?.to_vec1()?);
        let (cos, sin): (Vec<f32>, Vec<f32>) = (cos, sin);
        let n = cos.len() / half;
        let mut numbers = heads.flatten_all()?.to_vec1::<f32>()?;
        for (row, head) in numbers.chunks_exact_mut(2 * half).enumerate() {
            let at = row % n * half;
            let (cos, sin) = (&cos[at..][..half], &sin[at..][..half]);
            for pair in 0..half {
                let (a, b) = match self.pairing {
                    Pairing::Neighbours => (2 * pair, 2 * pair + 1),
                    Pairing::Halves => (pair, half + pair),
                };
                let (x, y) = (head[a], head[b]);
                head[a] = x * cos[pair] - y * sin[pair];
                head[b] = x * sin[pair] + y * cos[pair];
            }
        }
        Tensor::from_vec(numbers, heads.shape(), heads.device())
    }
}
