//! Multiplies packed weights on the processor without rounding the activations.
//!
//! candle and llama.cpp round activations to 8 bits, so that integers can be multiplied. On a small
//! model that noise moves log-probabilities by tenths, and it buys nothing here: one token reads
//! each weight once and waits for memory, and `f32` arithmetic on weights unpacked in registers,
//! which the compiler turns into vector code, was measured faster than candle's integers. Many rows
//! at once are multiplied by candle, some unpacked weights at a time.

#![expect(clippy::inline_always, reason = "a loop becomes vector code only with its body in view")]

use std::fmt;
use std::ops::Range;

use candle_core::{Device, Storage, Tensor, bail};

use super::Linear;
use crate::arithmetic::{Cells, LANES, fill, multiply_add};

/// Activations whose sum is at hand; the shortest run of weights that share an offset.
pub(super) const RUN: usize = 32;
/// From so many rows of activations on it pays to unpack weights for a matrix multiplication: 8
/// texts at once were a sixth faster without.
pub(crate) const MANY: usize = 16;
/// Rows of weights that are unpacked at a time: with 2,048 columns they are 1 MiB.
const TILE: usize = 128;
/// Rows of weights that a thread takes at a time.
const STRIP: usize = 16;
/// Rows of activations that share one reading of the weights: their accumulators fit the registers.
const GROUP: usize = 4;

/// A matrix whose rows can be multiplied as they are stored.
pub(crate) trait Packed: Send + Sync {
    /// Columns of the matrix.
    fn n_in(&self) -> usize;

    /// Rows of the matrix.
    fn n_out(&self) -> usize;

    /// Bytes that the weights take.
    fn n_bytes(&self) -> u64;

    /// Whether [`Row::sums`] are needed.
    const SUMS: bool;

    /// Multiplies a row of weights, read once, with some of activations.
    ///
    /// What comes out for one of them must not depend, to the last bit, on how many there are: then
    /// a text does not depend on those that are generated beside it.
    fn dots<const M: usize>(&self, row: usize, x: &[Row<'_>; M]) -> [f32; M];

    /// Adds the weights of a row to a list.
    fn unpack(&self, row: usize, out: &mut Vec<f32>);
}

/// A row of activations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// The activations.
    pub(crate) x: &'a [f32],
    /// The sum of each [`RUN`] of them.
    pub(crate) sums: &'a [f32],
}

/// Makes a linear layer of packed weights.
pub(crate) struct Multiply<P>(pub(crate) P);

impl<P: Packed> fmt::Debug for Multiply<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Multiply({} to {})", self.0.n_in(), self.0.n_out())
    }
}

impl<P: Packed> Multiply<P> {
    /// Returns some rows of the matrix, one after another.
    pub(crate) fn rows(&self, rows: impl ExactSizeIterator<Item = usize>) -> Vec<f32> {
        let mut unpacked = Vec::with_capacity(rows.len() * self.0.n_in());
        for row in rows {
            self.0.unpack(row, &mut unpacked);
        }
        unpacked
    }

    fn few(&self, x: &[f32]) -> Vec<f32> {
        let (n_in, n_out) = (self.0.n_in(), self.0.n_out());
        let sums: Vec<f32> = if P::SUMS {
            x.as_chunks::<RUN>().0.iter().map(|run| run.iter().sum()).collect()
        } else {
            Vec::new()
        };
        let sums_len = if P::SUMS { n_in / RUN } else { 0 };
        let row = |at: usize| {
            let sums = &sums[at * sums_len..][..sums_len];
            Row { x: &x[at * n_in..][..n_in], sums }
        };
        let rows: Vec<Row<'_>> = (0..x.len() / n_in).map(row).collect();
        fill(rows.len() * n_out, n_out.div_ceil(STRIP), |strips, out| {
            let strip = strips.start * STRIP..n_out.min(strips.end * STRIP);
            let (groups, rest) = rows.as_chunks::<GROUP>();
            for (at, group) in groups.iter().enumerate() {
                self.strip(strip.clone(), group, at * GROUP, out);
            }
            let at = groups.len() * GROUP;
            match *rest {
                [a] => self.strip(strip, &[a], at, out),
                [a, b] => self.strip(strip, &[a, b], at, out),
                // Three at once do not become vector code.
                [a, b, c] => {
                    self.strip(strip.clone(), &[a, b], at, out);
                    self.strip(strip, &[c], at + 2, out);
                }
                _ => {}
            }
        })
    }

    /// Multiplies a strip of the matrix with rows of activations, of which `first` is the first.
    #[inline(always)]
    fn strip<const M: usize>(
        &self,
        strip: Range<usize>,
        x: &[Row<'_>; M],
        first: usize,
        out: &Cells<'_>,
    ) {
        let n_out = self.0.n_out();
        for row in strip {
            for (at, product) in self.0.dots(row, x).into_iter().enumerate() {
                out.set((first + at) * n_out + row, product);
            }
        }
    }

    fn many(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (n_in, n_out) = (self.0.n_in(), self.0.n_out());
        let tiles = (0..n_out).step_by(TILE).map(|start| {
            let end = n_out.min(start + TILE);
            let tile = Tensor::from_vec(self.rows(start..end), (end - start, n_in), &Device::Cpu)?;
            x.matmul(&tile.t()?)
        });
        Tensor::cat(&tiles.collect::<candle_core::Result<Vec<_>>>()?, 1)
    }
}

impl<P: Packed> Linear for Multiply<P> {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (n, n_in) = x.dims2()?;
        if n_in != self.0.n_in() {
            bail!("rows of {n_in} for weights of {}", self.0.n_in())
        }
        if MANY <= n {
            return self.many(x);
        }
        let x = x.contiguous()?;
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("rows are not on the processor") };
        let x = &storage.as_slice::<f32>()?[layout.start_offset()..][..n * n_in];
        Tensor::from_vec(self.few(x), (n, self.0.n_out()), &Device::Cpu)
    }
}

/// Adds `scale` times the products of weights and activations to the accumulators.
#[inline(always)]
pub(super) fn accumulate<const N: usize, const M: usize>(
    weight: impl Fn(usize) -> f32,
    x: [&[f32; N]; M],
    scale: f32,
    sums: &mut [[f32; LANES]; M],
) {
    let mut products = [[0.0_f32; LANES]; M];
    for at in (0..N).step_by(LANES) {
        for m in 0..M {
            for lane in 0..LANES {
                products[m][lane] =
                    multiply_add(weight(at + lane), x[m][at + lane], products[m][lane]);
            }
        }
    }
    for m in 0..M {
        for lane in 0..LANES {
            sums[m][lane] = multiply_add(products[m][lane], scale, sums[m][lane]);
        }
    }
}

/// [`accumulate`] for one row of activations.
#[inline(always)]
pub(super) fn accumulate_one<const N: usize>(
    weight: impl Fn(usize) -> f32,
    x: &[f32; N],
    scale: f32,
    sums: &mut [f32; LANES],
) {
    let mut products = [0.0_f32; LANES];
    for at in (0..N).step_by(LANES) {
        for lane in 0..LANES {
            products[lane] = multiply_add(weight(at + lane), x[at + lane], products[lane]);
        }
    }
    for lane in 0..LANES {
        sums[lane] = multiply_add(products[lane], scale, sums[lane]);
    }
}

#[cfg(test)]
mod tests;
