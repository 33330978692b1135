//! 16-bit weights, as the Python tools store them.
//!
//! They stay at 16 bits in memory and are widened in registers; activations are not rounded to
//! them, which is what candle would do.

#![expect(clippy::inline_always, reason = "a loop becomes vector code only with its body in view")]

use std::marker::PhantomData;

use super::packed::{Packed, Row};
use crate::arithmetic::{LANES, multiply_add};

/// One of the two ways to store a number in 16 bits.
pub(crate) trait Width: Send + Sync {
    /// The number.
    fn widen(bits: u16) -> f32;
}

/// IEEE's half precision.
pub(crate) struct F16;

impl Width for F16 {
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        // The exponent's bias differs by 112. A multiplication moves it, and is right for the
        // numbers below the normal ones, too; infinities and NaN are put right behind it.
        let bits = u32::from(bits);
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((112 + 127) << 23);
        let magnitude = magnitude.to_bits();
        let special = if 0x477f_ffff < magnitude { 0x7f80_0000 } else { 0 };
        f32::from_bits(magnitude | special | (bits & 0x8000) << 16)
    }
}

/// The upper half of an `f32`.
pub(crate) struct BF16;

impl Width for BF16 {
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }
}

/// A matrix of 16-bit numbers, row after row.
pub(crate) struct Halves<W> {
    n_in: usize,
    bits: Vec<u16>,
    width: PhantomData<W>,
}

impl<W: Width> Halves<W> {
    /// Takes the bytes of whole rows.
    pub(crate) fn new(n_in: usize, bytes: &[u8]) -> Self {
        let bits = bytes.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
        Self { n_in, bits, width: PhantomData }
    }

    /// Multiplies a row, read once, with some of activations.
    #[inline(always)]
    fn products<const M: usize>(&self, row: usize, x: &[Row<'_>; M]) -> [f32; M] {
        const WIDE: usize = 2 * LANES;
        let (blocks, rest) = self.bits[row * self.n_in..][..self.n_in].as_chunks::<WIDE>();
        let x_blocks = x.map(|x| &x.x.as_chunks::<WIDE>().0[..blocks.len()]);
        let mut sums = [[0.0_f32; WIDE]; M];
        for (at, block) in blocks.iter().enumerate() {
            let weights: [f32; WIDE] = std::array::from_fn(|lane| W::widen(block[lane]));
            for (sums, x) in sums.iter_mut().zip(x_blocks) {
                for lane in 0..WIDE {
                    sums[lane] = multiply_add(weights[lane], x[at][lane], sums[lane]);
                }
            }
        }
        let mut products = sums.map(|sums| sums.iter().sum());
        for (product, x) in products.iter_mut().zip(x) {
            let x_rest = &x.x[self.n_in - rest.len()..];
            *product += rest.iter().zip(x_rest).map(|(&bits, x)| W::widen(bits) * x).sum::<f32>();
        }
        products
    }
}

impl<W: Width> Packed for Halves<W> {
    const SUMS: bool = false;

    fn n_in(&self) -> usize {
        self.n_in
    }

    fn n_out(&self) -> usize {
        self.bits.len() / self.n_in
    }

    fn n_bytes(&self) -> u64 {
        2 * self.bits.len() as u64
    }

    #[inline(always)]
    fn dots<const M: usize>(&self, row: usize, x: &[Row<'_>; M]) -> [f32; M] {
        self.products(row, x)
    }

    fn unpack(&self, row: usize, out: &mut Vec<f32>) {
        out.extend(self.bits[row * self.n_in..][..self.n_in].iter().map(|&bits| W::widen(bits)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arithmetic::half;

    #[test]
    fn every_half_is_widened_to_what_ieee_says() {
        for bits in 0..=u16::MAX {
            let [low, high] = bits.to_le_bytes();
            let (ours, expected) = (F16::widen(bits), half(low, high));
            assert!(ours.to_bits() == expected.to_bits() || (ours.is_nan() && expected.is_nan()));
        }
    }

    #[test]
    fn a_row_of_any_length_is_multiplied() {
        for n_in in [1, 15, 16, 40, 77] {
            let weights: Vec<f32> = (0..3 * n_in).map(|n| (n % 19) as f32 - 9.0).collect();
            let bytes: Vec<u8> =
                weights.iter().flat_map(|x| x.to_le_bytes()[2..].to_vec()).collect();
            let matrix = Halves::<BF16>::new(n_in, &bytes);
            let x: Vec<f32> = (0..n_in).map(|n| (n % 7) as f32).collect();
            for row in 0..3 {
                let expected: f32 = weights[row * n_in..].iter().zip(&x).map(|(w, x)| w * x).sum();
                let [ours] = matrix.dots(row, &[Row { x: &x, sums: &[] }]);
                assert!((ours - expected).abs() < 1e-3, "{ours} {expected}");
            }
        }
    }
}
