//! A matrix of an encoder, laid out for products with a few rows.
//!
//! A short text is some ten rows. A general matrix product copies the weights into an order of its
//! own first, which takes longer than to multiply them with so few; here they are in that order from
//! the start.

#![expect(clippy::inline_always, reason = "a loop becomes vector code only with its body in view")]

use crate::arithmetic::{Cells, fill};
use crate::lanes::Lanes;

/// Columns of a panel: the sums of [`GROUP`] rows of them fit the registers.
const WIDTH: usize = 16;
/// Rows that share one reading of a panel.
const GROUP: usize = 6;

/// A matrix and what is added to its products.
pub(super) struct Panels {
    n_in: usize,
    n_out: usize,
    /// Panel after panel, and in each a line for each input; the last is filled up with zeros.
    weights: Vec<[f32; WIDTH]>,
    /// A line for each panel.
    bias: Vec<[f32; WIDTH]>,
}

impl Panels {
    /// Takes a row of `n_in` weights for each number of `bias`.
    pub(super) fn new(n_in: usize, weights: &[f32], bias: &[f32]) -> Self {
        let n_out = bias.len();
        let n_panels = n_out.div_ceil(WIDTH);
        let mut panels = vec![[0.0; WIDTH]; n_panels * n_in];
        for (row, weights) in weights.chunks_exact(n_in).enumerate() {
            let panel = &mut panels[row / WIDTH * n_in..][..n_in];
            for (line, &weight) in panel.iter_mut().zip(weights) {
                line[row % WIDTH] = weight;
            }
        }
        let mut lines = vec![[0.0; WIDTH]; n_panels];
        for (line, bias) in lines.iter_mut().zip(bias.chunks(WIDTH)) {
            line[..bias.len()].copy_from_slice(bias);
        }
        Self { n_in, n_out, weights: panels, bias: lines }
    }

    /// Multiplies rows with the matrix and adds to them what is added.
    pub(super) fn multiply(&self, rows: &[f32]) -> Vec<f32> {
        let n = rows.len() / self.n_in;
        fill(n * self.n_out, self.bias.len(), |panels, out| {
            for panel in panels {
                let mut first = 0;
                while first < n {
                    first += match n - first {
                        1 => self.group::<1>(panel, rows, first, out),
                        2 | 3 => self.group::<2>(panel, rows, first, out),
                        4 | 5 => self.group::<4>(panel, rows, first, out),
                        _ => self.group::<GROUP>(panel, rows, first, out),
                    };
                }
            }
        })
    }

    /// Multiplies a panel with some rows. Returns how many these are.
    #[inline(always)]
    fn group<const M: usize>(
        &self,
        panel: usize,
        rows: &[f32],
        first: usize,
        out: &Cells<'_>,
    ) -> usize {
        let weights = &self.weights[panel * self.n_in..][..self.n_in];
        let rows: [&[f32]; M] =
            std::array::from_fn(|m| &rows[(first + m) * self.n_in..][..weights.len()]);
        let (bias, _) = self.bias[panel].as_chunks();
        let mut sums = [[Lanes::load(&bias[0]), Lanes::load(&bias[1])]; M];
        for (at, line) in weights.iter().enumerate() {
            let (line, _) = line.as_chunks();
            let line = [Lanes::load(&line[0]), Lanes::load(&line[1])];
            for m in 0..M {
                let x = Lanes::all(rows[m][at]);
                for part in 0..2 {
                    sums[m][part] = line[part].times(x, sums[m][part]);
                }
            }
        }
        let start = panel * WIDTH;
        let n = WIDTH.min(self.n_out - start);
        for (m, parts) in sums.into_iter().enumerate() {
            let mut sums = [0.0; WIDTH];
            for (part, out) in parts.into_iter().zip(sums.as_chunks_mut().0) {
                part.store(out);
            }
            for (lane, &sum) in sums[..n].iter().enumerate() {
                out.set((first + m) * self.n_out + start + lane, sum);
            }
        }
        M
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let number = |at: u32| {
            let mixed =
                (at ^ seed).wrapping_mul(0x9e37_79b9).rotate_left(13).wrapping_mul(0x85eb_ca6b);
            (mixed >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..n as u32).map(number).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn products_are_those_of_a_plain_loop(
            n in 1..20_usize, n_in in 1..90_usize, n_out in 1..70_usize, seed: u32,
        ) {
            let (weights, bias) = (numbers(n_in * n_out, seed), numbers(n_out, !seed));
            let rows = numbers(n * n_in, seed.rotate_left(7));
            let products = Panels::new(n_in, &weights, &bias).multiply(&rows);
            prop_assert_eq!(products.len(), n * n_out);
            for (row, products) in rows.chunks(n_in).zip(products.chunks(n_out)) {
                for ((weights, bias), product) in weights.chunks(n_in).zip(&bias).zip(products) {
                    let pairs = row.iter().zip(weights);
                    let sum: f64 = pairs.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    let expected = sum + f64::from(*bias);
                    prop_assert!((f64::from(*product) - expected).abs() < 1e-4);
                }
            }
        }
    }
}
