//! Arithmetic on slices, written so that the compiler makes vector code of it.
//!
//! No `unsafe`: threads write their results through atomics, which costs what plain stores do.

#![expect(clippy::inline_always, reason = "a loop becomes vector code only with its body in view")]

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use candle_core::utils::barrier_pool;

/// Lanes of the accumulators: a vector of AVX, two of NEON.
pub(crate) const LANES: usize = 8;

/// Numbers that several threads fill in, each its own.
#[derive(Debug)]
pub(crate) struct Cells<'a>(&'a [AtomicU32]);

impl Cells<'_> {
    /// Writes a number.
    #[inline(always)]
    pub(crate) fn set(&self, at: usize, number: f32) {
        self.0[at].store(number.to_bits(), Ordering::Relaxed);
    }
}

/// Returns `n` numbers that candle's threads fill in, sharing `n_parts` parts of the work.
pub(crate) fn fill(
    n: usize,
    n_parts: usize,
    work: impl Fn(Range<usize>, &Cells<'_>) + Sync,
) -> Vec<f32> {
    let cells: Vec<AtomicU32> = (0..n).map(|_| AtomicU32::new(0)).collect();
    if n_parts == 1 {
        work(0..1, &Cells(&cells));
    } else {
        barrier_pool().execute_chunked(n_parts, |parts| work(parts, &Cells(&cells)));
    }
    cells.into_iter().map(|bits| f32::from_bits(bits.into_inner())).collect()
}

/// `a * b + c`, in one instruction where there is one: without it, `mul_add` is a function call.
#[inline(always)]
pub(crate) fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// The sum of the products of two slices of one length.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const WIDE: usize = 4 * LANES;
    let (a_wide, a_rest) = a.as_chunks::<WIDE>();
    let (b_wide, b_rest) = b.as_chunks::<WIDE>();
    let mut sums = [0.0_f32; WIDE];
    for (a, b) in a_wide.iter().zip(b_wide) {
        for lane in 0..WIDE {
            sums[lane] = multiply_add(a[lane], b[lane], sums[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Adds `scale` times a slice to another.
#[inline(always)]
pub(crate) fn add_scaled(scale: f32, x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = multiply_add(scale, x, *out);
    }
}

/// e to the `x`, to some 3e-7 of it; `x` is clamped to what an `f32` can hold.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // x = n ln 2 + r with |r| at most ln 2 / 2; ln 2 in two parts, so that r is exact.
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let tail = 1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0)));
    let power = 1.0 + r + r * r * (0.5 + r * tail);
    power * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

/// Makes weights that sum to 1 of scores.
pub(crate) fn softmax(scores: &mut [f32]) {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.iter_mut() {
        *score = exp(*score - top);
    }
    let scale = 1.0 / scores.iter().sum::<f32>();
    for score in scores.iter_mut() {
        *score *= scale;
    }
}

/// A 16-bit floating-point number.
pub(crate) fn half(low: u8, high: u8) -> f32 {
    let bits = u32::from(u16::from_le_bytes([low, high]));
    let (sign, exponent, mantissa) = (bits >> 15, bits >> 10 & 0x1f, bits & 0x3ff);
    let magnitude = match exponent {
        0 => mantissa as f32 * 2.0_f32.powi(-24),
        0x1f if mantissa == 0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => f32::from_bits((exponent + 112) << 23 | mantissa << 13),
    };
    if sign == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_e_are_right_to_a_few_units_in_the_last_place() {
        for step in -8_600..8_700 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 5e-7, "e to the {x}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn halves_are_what_ieee_says() {
        for (bits, expected) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65_504.0),
            (0x0001, 2.0_f32.powi(-24)),
            (0x0400, 2.0_f32.powi(-14)),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            let [low, high] = u16::to_le_bytes(bits);
            assert_eq!(half(low, high).to_bits(), f32::to_bits(expected));
        }
        assert!(half(0x01, 0x7c).is_nan());
    }

    #[test]
    fn a_product_counts_what_is_left_over() {
        let a: Vec<f32> = (0..77).map(|x| x as f32).collect();
        let expected: f32 = (0..77).map(|x| (x * x) as f32).sum();
        assert!((dot(&a, &a) - expected).abs() < 0.1);
    }

    #[test]
    fn all_parts_of_the_work_are_done_once() {
        let numbers = fill(1_000, 100, |parts, cells| {
            for part in parts {
                (10 * part..10 * part + 10).for_each(|at| cells.set(at, at as f32));
            }
        });
        assert!(numbers.iter().enumerate().all(|(at, &number)| number as usize == at));
    }
}
