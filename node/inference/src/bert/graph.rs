//! The encoder's layers.

use std::fmt;

use super::panels::Panels;
use crate::arithmetic::{add_scaled, dot, exp, fill, softmax};

/// Scale and shift of a normalisation.
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// One layer.
pub(super) struct Layer {
    /// Queries, keys and values beside each other.
    pub(super) mix: Panels,
    pub(super) out: Panels,
    pub(super) norm: Norm,
    pub(super) up: Panels,
    pub(super) down: Panels,
    pub(super) last_norm: Norm,
}

/// All weights.
pub(super) struct Graph {
    pub(super) n_heads: usize,
    pub(super) width: usize,
    pub(super) epsilon: f32,
    /// A row for each token.
    pub(super) words: Vec<f32>,
    /// A row for each position, the one for the first kind of sentence added.
    pub(super) positions: Vec<f32>,
    pub(super) norm: Norm,
    pub(super) layers: Vec<Layer>,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Graph({} layers of {})", self.layers.len(), self.width)
    }
}

impl Graph {
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Returns a row for each token of each text. Tokens and lengths were checked.
    pub(super) fn forward(&self, texts: &[Vec<u32>]) -> Vec<f32> {
        let width = self.width;
        let mut x = Vec::with_capacity(texts.iter().map(Vec::len).sum::<usize>() * width);
        for text in texts {
            for (&token, position) in text.iter().zip(self.positions.chunks_exact(width)) {
                let word = &self.words[token as usize * width..][..width];
                x.extend(word.iter().zip(position).map(|(word, position)| word + position));
            }
        }
        self.norm.apply(&mut x, self.epsilon);
        for layer in &self.layers {
            let mixed = layer.mix.multiply(&x);
            let attended = self.attend(&mixed, texts);
            add(&mut x, &layer.out.multiply(&attended));
            layer.norm.apply(&mut x, self.epsilon);
            let mut up = layer.up.multiply(&x);
            for x in &mut up {
                *x = gelu(*x);
            }
            add(&mut x, &layer.down.multiply(&up));
            layer.last_norm.apply(&mut x, self.epsilon);
        }
        x
    }

    /// Each token looks at all tokens of its text.
    fn attend(&self, mixed: &[f32], texts: &[Vec<u32>]) -> Vec<f32> {
        let (width, n_heads) = (self.width, self.n_heads);
        let head_dim = width / n_heads;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let starts: Vec<usize> = texts
            .iter()
            .scan(0, |start, text| Some(std::mem::replace(start, *start + text.len())))
            .collect();
        fill(mixed.len() / 3, texts.len() * n_heads, |parts, out| {
            let (mut scores, mut sum) = (Vec::new(), vec![0.0; head_dim]);
            for part in parts {
                let (text, head) = (part / n_heads, part % n_heads);
                let rows = starts[text]..starts[text] + texts[text].len();
                let of = |row: usize, what: usize| {
                    &mixed[(3 * row + what) * width + head * head_dim..][..head_dim]
                };
                for row in rows.clone() {
                    scores.clear();
                    scores.extend(rows.clone().map(|other| scale * dot(of(row, 0), of(other, 1))));
                    softmax(&mut scores);
                    sum.fill(0.0);
                    for (other, &score) in rows.clone().zip(&scores) {
                        add_scaled(score, of(other, 2), &mut sum);
                    }
                    let at = row * width + head * head_dim;
                    sum.iter().enumerate().for_each(|(index, &x)| out.set(at + index, x));
                }
            }
        })
    }
}

impl Norm {
    /// Brings each row to mean 0 and variance 1, then scales and shifts it.
    fn apply(&self, rows: &mut [f32], epsilon: f32) {
        let n = self.weight.len();
        for row in rows.chunks_exact_mut(n) {
            let mean = row.iter().sum::<f32>() / n as f32;
            let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n as f32;
            let scale = 1.0 / (variance + epsilon).sqrt();
            for ((x, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
                *x = (*x - mean) * scale * weight + bias;
            }
        }
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// The exact form, by the error function.
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function to 2e-7 (Abramowitz and Stegun, 7.1.26).
fn erf(x: f32) -> f32 {
    let positive = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * positive);
    let tail =
        0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4)));
    (1.0 - t * tail * exp(-positive * positive)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_right_to_its_seventh_digit() {
        for (x, expected) in [
            (0.0, 0.0),
            (0.1, 0.112_462_916),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (2.0, 0.995_322_3),
            (3.5, 0.999_999_3),
            (9.0, 1.0),
        ] {
            assert!((erf(x) - expected).abs() < 3e-7, "{x}: {}", erf(x));
            assert!((erf(-x) + expected).abs() < 3e-7, "{x}");
        }
    }

    #[test]
    fn a_norm_brings_rows_to_its_scale_and_shift() {
        let norm = Norm { weight: vec![2.0; 4], bias: vec![1.0; 4] };
        let mut rows = vec![1.0, 2.0, 3.0, 4.0, 10.0, 10.0, 10.0, 10.0];
        norm.apply(&mut rows, 1e-12);
        let deviation = 1.25_f32.sqrt();
        for (x, expected) in rows.iter().zip([-1.5, -0.5, 0.5, 1.5]) {
            assert!((x - (1.0 + 2.0 * expected / deviation)).abs() < 1e-5, "{x}");
        }
        assert!(rows[4..].iter().all(|x| (x - 1.0).abs() < 1e-5));
    }
}
