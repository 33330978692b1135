//! 8-bit weights (Q8_0), and 5-bit ones (Q5_0), whose numbers, -16 to 15 times a scale, are
//! numbers of Q8_0 as they stand.
//!
//! Numbers and scales are apart, the scales in 32 bits: a row is then read straight through.

#![expect(clippy::inline_always, reason = "a loop becomes vector code only with its body in view")]

use super::packed::{Packed, RUN, Row, accumulate, accumulate_one};
use crate::arithmetic::{LANES, half};

/// Bytes in a block of Q8_0 and of Q5_0; there are [`RUN`] weights in each.
const Q8_0_LEN: usize = 34;
const Q5_0_LEN: usize = 22;

/// Blocks that are worth a thread.
pub(super) const MUCH: usize = 16_384;

pub(super) fn n_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(8)
}

/// A matrix of 8-bit weights, row after row.
pub(crate) struct Octets {
    n_in: usize,
    numbers: Vec<i8>,
    scales: Vec<f32>,
}

/// How a file has such weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocks {
    Q8_0,
    Q5_0,
}

impl Blocks {
    /// Bytes in a block.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Q8_0 => Q8_0_LEN,
            Self::Q5_0 => Q5_0_LEN,
        }
    }

    fn unpack(self, blocks: &[u8], numbers: &mut [[i8; RUN]], scales: &mut [f32]) {
        let out = numbers.iter_mut().zip(scales);
        match self {
            Self::Q8_0 => {
                for (block, (numbers, scale)) in blocks.as_chunks::<Q8_0_LEN>().0.iter().zip(out) {
                    *scale = half(block[0], block[1]);
                    for at in 0..RUN {
                        numbers[at] = block[2 + at] as i8;
                    }
                }
            }
            Self::Q5_0 => {
                for (block, (numbers, scale)) in blocks.as_chunks::<Q5_0_LEN>().0.iter().zip(out) {
                    *scale = half(block[0], block[1]);
                    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
                    for at in 0..RUN / 2 {
                        let low = u32::from(block[6 + at]);
                        numbers[at] = (low & 0xf | (high >> at & 1) << 4) as i8 - 16;
                        numbers[at + RUN / 2] =
                            (low >> 4 | (high >> (at + RUN / 2) & 1) << 4) as i8 - 16;
                    }
                }
            }
        }
    }
}

impl Octets {
    /// Bytes that a run takes: its numbers and the scale.
    pub(crate) const RUN_BYTES: u64 = RUN as u64 + 4;

    /// Room for `n_blocks` runs of weights, all 0, in rows of `n_in`.
    pub(crate) fn zero(n_in: usize, n_blocks: usize) -> Self {
        Self { n_in, numbers: vec![0; n_blocks * RUN], scales: vec![0.0; n_blocks] }
    }

    /// Takes blocks as they are in the file, the first of them for run `first`. Several threads
    /// share the work when there is much.
    pub(crate) fn put(&mut self, first: usize, kind: Blocks, blocks: &[u8]) {
        let n = blocks.len() / kind.len();
        let numbers = &mut self.numbers.as_chunks_mut::<RUN>().0[first..first + n];
        let scales = &mut self.scales[first..first + n];
        let share = if n < MUCH { n.max(1) } else { n.div_ceil(n_threads()) };
        std::thread::scope(|scope| {
            let parts = numbers.chunks_mut(share).zip(scales.chunks_mut(share));
            let mut parts = blocks.chunks(share * kind.len()).zip(parts);
            // The first is for this thread, which would only wait.
            let own = parts.next();
            for (blocks, (numbers, scales)) in parts {
                scope.spawn(move || kind.unpack(blocks, numbers, scales));
            }
            if let Some((blocks, (numbers, scales))) = own {
                kind.unpack(blocks, numbers, scales);
            }
        });
    }

    /// Takes blocks of Q8_0, whole rows of them.
    pub(crate) fn from_q8_0(n_in: usize, blocks: &[u8]) -> Self {
        Self::from_blocks(n_in, Blocks::Q8_0, blocks)
    }

    /// Takes blocks, whole rows of them.
    pub(crate) fn from_blocks(n_in: usize, kind: Blocks, blocks: &[u8]) -> Self {
        let mut octets = Self::zero(n_in, blocks.len() / kind.len());
        octets.put(0, kind, blocks);
        octets
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
    fn dots<const M: usize>(&self, row: usize, x: &[Row<'_>; M]) -> [f32; M] {
        let (numbers, scales) = self.row(row);
        if let [x] = &x[..] {
            let mut sums = [0.0; LANES];
            for ((block, x), &scale) in numbers.iter().zip(x.x.as_chunks::<RUN>().0).zip(scales) {
                accumulate_one(|at| f32::from(block[at]), x, scale, &mut sums);
            }
            return [sums.iter().sum(); M];
        }
        let x = x.map(|x| &x.x.as_chunks::<RUN>().0[..numbers.len()]);
        let mut sums = [[0.0; LANES]; M];
        for (at, (block, &scale)) in numbers.iter().zip(scales).enumerate() {
            let x = std::array::from_fn(|m| &x[m][at]);
            accumulate(|at| f32::from(block[at]), x, scale, &mut sums);
        }
        sums.map(|sums| sums.iter().sum())
    }

    fn unpack(&self, row: usize, out: &mut Vec<f32>) {
        let (numbers, scales) = self.row(row);
        for (block, scale) in numbers.iter().zip(scales) {
            out.extend(block.iter().map(|&number| f32::from(number) * scale));
        }
    }
}
