//! 8-bit weights (Q8_0), and 5-bit ones (Q5_0), whose numbers, -16 to 15 times a scale, are
//! numbers of Q8_0 as they stand.
//!
//! Numbers and scales are apart, the scales in 32 bits: a row is then read straight through.

#![expect(clippy::inline_always, reason = "a loop becomes vector code only with its body in view")]

use super::packed::{Packed, RUN, Row, accumulate};
use crate::arithmetic::{LANES, half};

/// Bytes in a block of Q8_0 and of Q5_0; there are [`RUN`] weights in each.
const Q8_0_LEN: usize = 34;
const Q5_0_LEN: usize = 22;

/// A matrix of 8-bit weights, row after row.
pub(crate) struct Octets {
    n_in: usize,
    numbers: Vec<i8>,
    scales: Vec<f32>,
}

impl Octets {
    /// Takes blocks of Q8_0, whole rows of them.
    pub(crate) fn from_q8_0(n_in: usize, blocks: &[u8]) -> Self {
        let (blocks, _) = blocks.as_chunks::<Q8_0_LEN>();
        let mut octets = Self::with_capacity(n_in, blocks.len());
        for block in blocks {
            octets.scales.push(half(block[0], block[1]));
            octets.numbers.extend(block[2..].iter().map(|&byte| byte as i8));
        }
        octets
    }

    /// Takes blocks of Q5_0, whole rows of them.
    pub(crate) fn from_q5_0(n_in: usize, blocks: &[u8]) -> Self {
        let (blocks, _) = blocks.as_chunks::<Q5_0_LEN>();
        let mut octets = Self::with_capacity(n_in, blocks.len());
        for block in blocks {
            octets.scales.push(half(block[0], block[1]));
            let (high, low) = block[2..].split_at(4);
            octets.numbers.extend((0..RUN).map(|index| {
                let low = low[index % 16] >> (4 * (index / 16)) & 0xf;
                let high = high[index / 8] >> (index % 8) & 1;
                (low | high << 4) as i8 - 16
            }));
        }
        octets
    }

    fn with_capacity(n_in: usize, n_blocks: usize) -> Self {
        let numbers = Vec::with_capacity(n_blocks * RUN);
        Self { n_in, numbers, scales: Vec::with_capacity(n_blocks) }
    }

    #[inline(always)]
    fn row(&self, row: usize) -> (&[[i8; RUN]], &[f32]) {
        let numbers = &self.numbers[row * self.n_in..][..self.n_in];
        let n_blocks = self.n_in / RUN;
        (numbers.as_chunks().0, &self.scales[row * n_blocks..][..n_blocks])
    }
}

impl Packed for Octets {
    const SUMS: bool = false;

    fn n_in(&self) -> usize {
        self.n_in
    }

    fn n_out(&self) -> usize {
        self.numbers.len() / self.n_in
    }

    fn n_bytes(&self) -> u64 {
        (self.numbers.len() + 4 * self.scales.len()) as u64
    }

    #[inline(always)]
    fn dot(&self, row: usize, x: Row<'_>) -> f32 {
        let (numbers, scales) = self.row(row);
        let mut sums = [0.0; LANES];
        for ((block, x), &scale) in numbers.iter().zip(x.x.as_chunks::<RUN>().0).zip(scales) {
            accumulate(|at| f32::from(block[at]), x, scale, &mut sums);
        }
        sums.iter().sum()
    }

    fn unpack(&self, row: usize, out: &mut Vec<f32>) {
        let (numbers, scales) = self.row(row);
        for (block, scale) in numbers.iter().zip(scales) {
            out.extend(block.iter().map(|&number| f32::from(number) * scale));
        }
    }
}
