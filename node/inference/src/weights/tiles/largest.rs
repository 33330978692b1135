//! The row with the largest product, found without multiplying all of them exactly.

use super::{Bits, Digits, MAX_SCORED, ROWS, Tiles};
use crate::arithmetic::{Cells, fill};

/// What rows can be worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Score {
    /// The largest estimate.
    pub(super) estimate: f32,
    /// None is larger than this.
    pub(super) upper: f32,
}

impl Score {
    /// No row.
    pub(super) const NONE: Self = Self { estimate: f32::NEG_INFINITY, upper: f32::NEG_INFINITY };

    /// Takes in a row: its estimate, and how wrong that can be.
    pub(super) fn add(&mut self, estimate: f32, error: f32) {
        self.estimate = self.estimate.max(estimate);
        // The error is a sum, too, and was rounded. Of what is no number nothing is known.
        let upper = estimate + 1.001 * error;
        self.upper = self.upper.max(if upper.is_nan() { f32::INFINITY } else { upper });
    }
}

impl Tiles {
    /// The row with the largest product for each row of activations, of equals the first; none if
    /// that takes all products, or if they are not numbers.
    pub(super) fn largest(&self, x: &[f32]) -> Option<Vec<u32>> {
        if self.bits != Bits::Eight || MAX_SCORED < self.n_in {
            return None;
        }
        let x: Vec<Digits> =
            x.chunks_exact(self.n_in).map(|x| Digits::scored(x, self.bits)).collect();
        let n = self.n_tiles();
        let scores = fill(2 * n * x.len(), n, |tiles, out| {
            for at in tiles {
                let mut first = 0;
                while first < x.len() {
                    let rest = &x[first..];
                    first += match rest.len() {
                        1 => self.scores::<1>(at, rest, first, out),
                        2 | 3 => self.scores::<2>(at, rest, first, out),
                        _ => self.scores::<4>(at, rest, first, out),
                    };
                }
            }
        });
        x.iter()
            .zip(scores.chunks_exact(2 * n))
            .map(|(x, scores)| self.best_of(x, scores))
            .collect()
    }

    fn scores<const M: usize>(
        &self,
        at: usize,
        x: &[Digits],
        first: usize,
        out: &Cells<'_>,
    ) -> usize {
        let scores = self.vnni.scores::<M>(self.tile(at), &std::array::from_fn(|m| &x[m]));
        for (m, score) in scores.into_iter().enumerate() {
            let place = 2 * ((first + m) * self.n_tiles() + at);
            out.set(place, score.estimate);
            out.set(place + 1, score.upper);
        }
        M
    }

    /// The row with the largest product, given the scores of all tiles.
    fn best_of(&self, x: &Digits, scores: &[f32]) -> Option<u32> {
        let scores = scores.as_chunks::<2>().0;
        let exact = |at: usize| {
            let tile = self.tile(at);
            let [products] = self.vnni.products(self.bits, tile, &[x]);
            (products, tile.n_rows)
        };
        let likely = (0..scores.len()).max_by(|&a, &b| scores[a][0].total_cmp(&scores[b][0]))?;
        let (products, n_rows) = exact(likely);
        let floor = products[..n_rows].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let open: Vec<usize> = (0..scores.len()).filter(|&at| floor <= scores[at][1]).collect();
        let products = fill(ROWS * open.len(), open.len(), |parts, out| {
            for part in parts {
                let (products, n_rows) = exact(open[part]);
                for (row, product) in products.into_iter().enumerate() {
                    let product = if row < n_rows { product } else { f32::NEG_INFINITY };
                    out.set(ROWS * part + row, product);
                }
            }
        });
        let top = products.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let at = products.iter().position(|&product| top <= product)?;
        top.is_finite().then_some((open[at / ROWS] * ROWS + at % ROWS) as u32)
    }
}
