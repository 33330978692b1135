//! The K-quants Q4_K and Q6_K: 256 weights that share a scale, in runs that have one each of few
//! bits. They stay as they are in the file.

#![expect(clippy::inline_always, reason = "a loop becomes vector code only with its body in view")]

use std::marker::PhantomData;

use super::packed::{Packed, RUN, Row, accumulate, accumulate_one};
use crate::arithmetic::{LANES, half};

/// Weights in a superblock.
pub(super) const LEN: usize = 256;

/// One way to store 256 weights.
pub(crate) trait Format: Send + Sync {
    /// Bytes in a superblock.
    const BYTES: usize;
    /// Whether runs have offsets, so that sums of activations are needed.
    const SUMS: bool;

    /// Multiplies a superblock with one row of activations, given the sum of each run of them. Adds
    /// to the accumulators; what does not go by lanes is returned.
    fn dot(block: &[u8], x: &[f32; LEN], sums: &[f32], out: &mut [f32; LANES]) -> f32;

    /// Does the same for some rows of activations, in the same order of operations for each. What
    /// is unpacked goes through memory here, which pays from two rows on.
    fn dots<const M: usize>(
        block: &[u8],
        x: [&[f32; LEN]; M],
        sums: [&[f32]; M],
        out: &mut [[f32; LANES]; M],
    ) -> [f32; M];

    /// Adds the weights of a superblock to a list.
    fn unpack(block: &[u8], out: &mut Vec<f32>);
}

/// A matrix in superblocks, row after row.
pub(crate) struct Superblocks<F> {
    n_in: usize,
    bytes: Vec<u8>,
    format: PhantomData<F>,
}

impl<F: Format> Superblocks<F> {
    /// Takes superblocks, whole rows of them.
    pub(crate) fn new(n_in: usize, bytes: Vec<u8>) -> Self {
        Self { n_in, bytes, format: PhantomData }
    }

    #[inline(always)]
    fn row(&self, row: usize) -> impl Iterator<Item = &[u8]> {
        let len = self.n_in / LEN * F::BYTES;
        self.bytes[row * len..][..len].chunks_exact(F::BYTES)
    }
}

impl<F: Format> Packed for Superblocks<F> {
    const SUMS: bool = F::SUMS;

    fn n_in(&self) -> usize {
        self.n_in
    }

    fn n_out(&self) -> usize {
        self.bytes.len() / (self.n_in / LEN * F::BYTES)
    }

    fn n_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn dots<const M: usize>(&self, row: usize, x: &[Row<'_>; M]) -> [f32; M] {
        let mut lanes = [[0.0; LANES]; M];
        let mut rest = [0.0; M];
        let n_blocks = self.n_in / LEN;
        let parts = x.map(|x| &x.x.as_chunks::<LEN>().0[..n_blocks]);
        for (index, block) in self.row(row).enumerate() {
            let part = std::array::from_fn(|m| &parts[m][index]);
            let sums: [&[f32]; M] = std::array::from_fn(|m| {
                if F::SUMS { &x[m].sums[index * (LEN / RUN)..][..LEN / RUN] } else { &[] }
            });
            if M == 1 {
                rest[0] += F::dot(block, part[0], sums[0], &mut lanes[0]);
            } else {
                let more = F::dots(block, part, sums, &mut lanes);
                for m in 0..M {
                    rest[m] += more[m];
                }
            }
        }
        std::array::from_fn(|m| rest[m] + lanes[m].iter().sum::<f32>())
    }

    fn unpack(&self, row: usize, out: &mut Vec<f32>) {
        for block in self.row(row) {
            F::unpack(block, out);
        }
    }
}

/// 4 bits, and for each 32 weights a scale and an offset of 6 bits.
///
/// ```text
/// scale f16 | offset f16 | 12 bytes of 8 scales and 8 offsets | 128 bytes: of each 32 the low
/// halves are 32 weights and the high halves the next 32
/// ```
pub(crate) struct Q4K;

impl Q4K {
    /// The scale and the offset of a run.
    #[inline(always)]
    fn run(block: &[u8], index: usize) -> (f32, f32) {
        let (scale, offset) = Self::run_bits(block, index);
        (f32::from(scale), f32::from(offset))
    }

    /// The same as they are in the file, 6 bits each.
    #[inline(always)]
    pub(super) fn run_bits(block: &[u8], index: usize) -> (u8, u8) {
        let packed = &block[4..16];
        if index < 4 {
            (packed[index] & 63, packed[index + 4] & 63)
        } else {
            (
                packed[index + 4] & 0xf | packed[index - 4] >> 6 << 4,
                packed[index + 4] >> 4 | packed[index] >> 6 << 4,
            )
        }
    }
}

impl Format for Q4K {
    const BYTES: usize = 144;
    const SUMS: bool = true;

    #[inline(always)]
    fn dot(block: &[u8], x: &[f32; LEN], sums: &[f32], out: &mut [f32; LANES]) -> f32 {
        let (scale, offset) = (half(block[0], block[1]), half(block[2], block[3]));
        let (pairs, _) = block[16..].as_chunks::<RUN>();
        let (x, _) = x.as_chunks::<RUN>();
        let mut offsets = 0.0;
        for (index, bytes) in pairs.iter().enumerate() {
            let (low, high) = (2 * index, 2 * index + 1);
            let (low_scale, low_offset) = Self::run(block, low);
            let (high_scale, high_offset) = Self::run(block, high);
            accumulate_one(|at| f32::from(bytes[at] & 0xf), &x[low], scale * low_scale, out);
            accumulate_one(|at| f32::from(bytes[at] >> 4), &x[high], scale * high_scale, out);
            offsets += low_offset * sums[low] + high_offset * sums[high];
        }
        -offset * offsets
    }

    fn dots<const M: usize>(
        block: &[u8],
        x: [&[f32; LEN]; M],
        sums: [&[f32]; M],
        out: &mut [[f32; LANES]; M],
    ) -> [f32; M] {
        let (scale, offset) = (half(block[0], block[1]), half(block[2], block[3]));
        let (pairs, _) = block[16..].as_chunks::<RUN>();
        let mut offsets = [0.0; M];
        for (index, bytes) in pairs.iter().enumerate() {
            let (low, high) = (2 * index, 2 * index + 1);
            let (low_scale, low_offset) = Self::run(block, low);
            let (high_scale, high_offset) = Self::run(block, high);
            let (mut lows, mut highs) = ([0.0; RUN], [0.0; RUN]);
            for at in 0..RUN {
                lows[at] = f32::from(bytes[at] & 0xf);
                highs[at] = f32::from(bytes[at] >> 4);
            }
            accumulate(|at| lows[at], runs::<RUN, M>(x, low), scale * low_scale, out);
            accumulate(|at| highs[at], runs::<RUN, M>(x, high), scale * high_scale, out);
            for m in 0..M {
                offsets[m] += low_offset * sums[m][low] + high_offset * sums[m][high];
            }
        }
        offsets.map(|offsets| -offset * offsets)
    }

    fn unpack(block: &[u8], out: &mut Vec<f32>) {
        let (scale, offset) = (half(block[0], block[1]), half(block[2], block[3]));
        for (index, bytes) in block[16..].chunks_exact(RUN).enumerate() {
            for (run, shift) in [(2 * index, 0), (2 * index + 1, 4)] {
                let (run_scale, run_offset) = Self::run(block, run);
                let (scale, offset) = (scale * run_scale, offset * run_offset);
                out.extend(
                    bytes.iter().map(|byte| f32::from(byte >> shift & 0xf) * scale - offset),
                );
            }
        }
    }
}

/// 6 bits, and for each 16 weights a scale of 8 bits.
///
/// ```text
/// 128 bytes of low 4 bits | 64 bytes of high 2 bits | 16 scales i8 | scale f16
/// ```
pub(crate) struct Q6K;

impl Q6K {
    /// The numbers of a quarter of a half: 32 weights.
    #[inline(always)]
    fn quarter(block: &[u8], half: usize, quarter: usize) -> [i8; RUN] {
        let low: &[u8] = &block[64 * half + 32 * (quarter % 2)..][..RUN];
        let high: &[u8] = &block[128 + 32 * half..][..RUN];
        let (low_shift, high_shift) = (4 * (quarter / 2), 2 * quarter);
        let mut numbers = [0; RUN];
        for at in 0..RUN {
            let low = low[at] >> low_shift & 0xf;
            let high = high[at] >> high_shift & 3;
            numbers[at] = (low | high << 4) as i8 - 32;
        }
        numbers
    }

    #[inline(always)]
    fn scales(block: &[u8], half_index: usize, quarter: usize) -> [f32; 2] {
        let scale = half(block[208], block[209]);
        let at = 192 + 8 * half_index + 2 * quarter;
        [at, at + 1].map(|at| scale * f32::from(block[at] as i8))
    }
}

impl Format for Q6K {
    const BYTES: usize = 210;
    const SUMS: bool = false;

    #[inline(always)]
    fn dot(block: &[u8], x: &[f32; LEN], _: &[f32], out: &mut [f32; LANES]) -> f32 {
        let (x, _) = x.as_chunks::<16>();
        for half in 0..2 {
            for quarter in 0..4 {
                let numbers = Self::quarter(block, half, quarter);
                let [first, second] = Self::scales(block, half, quarter);
                let at = 8 * half + 2 * quarter;
                accumulate_one(|at| f32::from(numbers[at]), &x[at], first, out);
                accumulate_one(|at| f32::from(numbers[16 + at]), &x[at + 1], second, out);
            }
        }
        0.0
    }

    fn dots<const M: usize>(
        block: &[u8],
        x: [&[f32; LEN]; M],
        _: [&[f32]; M],
        out: &mut [[f32; LANES]; M],
    ) -> [f32; M] {
        for half in 0..2 {
            for quarter in 0..4 {
                let numbers = Self::quarter(block, half, quarter).map(f32::from);
                let [first, second] = Self::scales(block, half, quarter);
                let at = 8 * half + 2 * quarter;
                accumulate(|at| numbers[at], runs::<16, M>(x, at), first, out);
                accumulate(|at| numbers[16 + at], runs::<16, M>(x, at + 1), second, out);
            }
        }
        [0.0; M]
    }

    fn unpack(block: &[u8], out: &mut Vec<f32>) {
        for (half, quarter) in (0..2).flat_map(|half| (0..4).map(move |quarter| (half, quarter))) {
            let numbers = Self::quarter(block, half, quarter);
            let scales = Self::scales(block, half, quarter);
            out.extend(numbers.iter().enumerate().map(|(at, &n)| f32::from(n) * scales[at / 16]));
        }
    }
}

/// A run of `N` activations of each of some rows.
#[inline(always)]
fn runs<const N: usize, const M: usize>(x: [&[f32; LEN]; M], index: usize) -> [&[f32; N]; M] {
    std::array::from_fn(|m| &x[m].as_chunks::<N>().0[index])
}
