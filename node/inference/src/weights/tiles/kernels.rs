//! The inner loops of [`Tiles`](super::Tiles) in AVX-512 with VNNI, found when the program runs.
//!
//! What is `unsafe` here: loads from arrays of the right size, and calls of functions
//! that need instructions which a [`Vnni`] proves to be there.

#![expect(unsafe_code, reason = "vector instructions beyond the build's own have no safe door")]

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _mm_loadu_si128, _mm256_loadu_si256, _mm512_abs_ps, _mm512_add_epi32,
    _mm512_and_si512, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
    _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_si512,
    _mm512_maskz_mov_epi8, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi16, _mm512_slli_epi32, _mm512_srli_epi16,
    _mm512_storeu_ps, _mm512_ternarylogic_epi32,
};

use super::digits::DIGITS;
use super::{Bits, Digits, ROWS, Score, Tile};

/// Proof that this processor multiplies bytes 64 at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vnni(());

#[expect(clippy::unused_self, reason = "whoever calls has the proof")]
impl Vnni {
    /// The proof, if it is so.
    pub(super) fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        all.then_some(Self(()))
    }

    /// Multiplies the rows of a tile with some rows of activations.
    pub(super) fn products<const M: usize>(
        self,
        bits: Bits,
        tile: Tile<'_>,
        x: &[&Digits; M],
    ) -> [[f32; ROWS]; M] {
        // SAFETY: `self` exists, so the processor has all three features.
        unsafe {
            match bits {
                Bits::Four => products::<4, M>(tile, x),
                Bits::Five => products::<5, M>(tile, x),
                Bits::Six => products::<6, M>(tile, x),
                Bits::Eight => products::<8, M>(tile, x),
            }
        }
    }

    /// Says what the rows of a tile of 8 bits can be worth at most, from the upper half of each
    /// weight and the first digits of each activation.
    pub(super) fn scores<const M: usize>(self, tile: Tile<'_>, x: &[&Digits; M]) -> [Score; M] {
        // SAFETY: `self` exists, so the processor has all three features.
        unsafe { scores(tile, x) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are read, wherever they begin.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn halves(numbers: &[u8; 2 * ROWS]) -> __m512 {
    // SAFETY: 32 bytes are read, wherever they begin.
    let bits: __m256i = unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) };
    _mm512_cvtph_ps(bits)
}

/// Numbers of a byte.
#[inline]
#[target_feature(enable = "avx512f")]
fn small<const SIGNED: bool>(bytes: &[u8]) -> __m512 {
    let bytes: &[u8; ROWS] = &bytes.as_chunks().0[0];
    // SAFETY: 16 bytes are read, wherever they begin.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let numbers = if SIGNED { _mm512_cvtepi8_epi32(bytes) } else { _mm512_cvtepu8_epi32(bytes) };
    _mm512_cvtepi32_ps(numbers)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(numbers: __m512) -> [f32; ROWS] {
    let mut out = [0.0; ROWS];
    // SAFETY: 64 bytes are written to an array of 64.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), numbers) };
    out
}

/// Bits of `a` where the mask is set, of `b` elsewhere.
const SELECT: i32 = 0xca;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn products<const BITS: u32, const M: usize>(tile: Tile<'_>, x: &[&Digits; M]) -> [[f32; ROWS]; M] {
    let digit = _mm512_set1_ps(256.0);
    // Parts of a run that have scales of their own.
    let n_parts = if BITS == 6 { 2 } else { 1 };
    let mut sums = [_mm512_setzero_ps(); M];
    let (mut super_scales, mut super_offsets) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    let low = tile.low.as_chunks::<4>().0;
    for (block, (low, own)) in low.iter().zip(tile.scales).enumerate() {
        let high = match BITS {
            8 => &tile.high[4 * block..][..4],
            6 => &tile.high[2 * block..][..2],
            5 => &tile.high[block..][..1],
            _ => &[],
        };
        if (BITS == 4 || BITS == 6) && block % 8 == 0 {
            let (scales, offsets) = tile.supers[block / 8].split_at(2 * ROWS);
            super_scales = halves(&scales.as_chunks().0[0]);
            super_offsets = halves(&offsets.as_chunks().0[0]);
        }
        for part in 0..n_parts {
            let mut dots = [[_mm512_set1_epi32(0); 3]; M];
            for m in 0..M {
                let starts = &x[m].starts[n_parts * block + part];
                for d in 0..3 {
                    dots[m][d] = _mm512_set1_epi32(starts[d]);
                }
            }
            for pair in 4 / n_parts * part..4 / n_parts * (part + 1) {
                let numbers = unpacked::<BITS>(&low[pair], high, pair);
                for (at, numbers) in numbers.into_iter().enumerate() {
                    for m in 0..M {
                        let words = &x[m].words[block];
                        for d in 0..3 {
                            let word = _mm512_set1_epi32(words[d][2 * pair + at]);
                            dots[m][d] = _mm512_dpbusd_epi32(dots[m][d], numbers, word);
                        }
                    }
                }
            }
            let (first_own, second_own) = own.split_at(ROWS);
            let scales = match BITS {
                4 => _mm512_mul_ps(super_scales, small::<false>(first_own)),
                6 if part == 0 => _mm512_mul_ps(super_scales, small::<true>(first_own)),
                6 => _mm512_mul_ps(super_scales, small::<true>(second_own)),
                _ => halves(own),
            };
            for m in 0..M {
                let [first, second, third] = dots[m];
                // No more than 2^28: it fits.
                let upper = _mm512_add_epi32(_mm512_slli_epi32(first, 8), second);
                let upper = _mm512_cvtepi32_ps(upper);
                let dot = _mm512_fmadd_ps(upper, digit, _mm512_cvtepi32_ps(third));
                let scales = _mm512_mul_ps(scales, _mm512_set1_ps(x[m].scales[block]));
                sums[m] = _mm512_fmadd_ps(dot, scales, sums[m]);
            }
            if BITS == 4 {
                let offsets = _mm512_mul_ps(super_offsets, small::<false>(second_own));
                for m in 0..M {
                    let sum = _mm512_set1_ps(x[m].sums[block]);
                    sums[m] = _mm512_fnmadd_ps(offsets, sum, sums[m]);
                }
            }
        }
    }
    let mut out = [[0.0; ROWS]; M];
    for m in 0..M {
        out[m] = store(sums[m]);
    }
    out
}

/// The numbers of an even group of four columns and of the next, none of them negative.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unpacked<const BITS: u32>(low: &[u8; 64], high: &[[u8; 64]], pair: usize) -> [__m512i; 2] {
    let low_half = _mm512_set1_epi8(0x0f);
    let low = load(low);
    let (even, odd) = (low, _mm512_srli_epi16(low, 4));
    match BITS {
        8 => {
            let high = load(&high[pair]);
            [
                _mm512_ternarylogic_epi32::<SELECT>(low_half, even, _mm512_slli_epi16(high, 4)),
                _mm512_ternarylogic_epi32::<SELECT>(low_half, odd, high),
            ]
        }
        6 => {
            let bits = _mm512_set1_epi8(0x30);
            let high = load(&high[pair / 2]);
            let high = if pair.is_multiple_of(2) {
                [_mm512_slli_epi16(high, 4), _mm512_slli_epi16(high, 2)]
            } else {
                [high, _mm512_srli_epi16(high, 2)]
            };
            let (even, odd) = (_mm512_and_si512(even, low_half), _mm512_and_si512(odd, low_half));
            [
                _mm512_ternarylogic_epi32::<SELECT>(bits, high[0], even),
                _mm512_ternarylogic_epi32::<SELECT>(bits, high[1], odd),
            ]
        }
        5 => {
            let fifth = _mm512_set1_epi8(0x10);
            let masks = high[0].as_chunks::<8>().0;
            let even_mask = u64::from_le_bytes(masks[2 * pair]);
            let odd_mask = u64::from_le_bytes(masks[2 * pair + 1]);
            let (even, odd) = (_mm512_and_si512(even, low_half), _mm512_and_si512(odd, low_half));
            [
                _mm512_or_si512(even, _mm512_maskz_mov_epi8(even_mask, fifth)),
                _mm512_or_si512(odd, _mm512_maskz_mov_epi8(odd_mask, fifth)),
            ]
        }
        _ => [_mm512_and_si512(even, low_half), _mm512_and_si512(odd, low_half)],
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn scores<const M: usize>(tile: Tile<'_>, x: &[&Digits; M]) -> [Score; M] {
    let low_half = _mm512_set1_epi8(0x0f);
    let mut sums = [_mm512_setzero_ps(); M];
    let mut errors = [_mm512_setzero_ps(); M];
    let high = tile.high.as_chunks::<4>().0;
    for (block, (high, scales)) in high.iter().zip(tile.scales).enumerate() {
        let mut dots = [[_mm512_set1_epi32(0); DIGITS]; M];
        for pair in 0..4 {
            let high = load(&high[pair]);
            for (at, numbers) in [high, _mm512_srli_epi16(high, 4)].into_iter().enumerate() {
                let numbers = _mm512_and_si512(numbers, low_half);
                for m in 0..M {
                    let words = &x[m].words[block];
                    for d in 0..DIGITS {
                        let word = _mm512_set1_epi32(words[d][2 * pair + at]);
                        dots[m][d] = _mm512_dpbusd_epi32(dots[m][d], numbers, word);
                    }
                }
            }
        }
        let scales = halves(scales);
        let sizes = _mm512_abs_ps(scales);
        for m in 0..M {
            let coarse = &x[m].coarse[block];
            let mut dot = dots[m][0];
            for &next in &dots[m][1..] {
                dot = _mm512_add_epi32(_mm512_slli_epi32(dot, 8), next);
            }
            let dot = _mm512_fmadd_ps(
                _mm512_cvtepi32_ps(dot),
                _mm512_set1_ps(coarse.scale),
                _mm512_set1_ps(coarse.start),
            );
            sums[m] = _mm512_fmadd_ps(dot, scales, sums[m]);
            errors[m] = _mm512_fmadd_ps(sizes, _mm512_set1_ps(coarse.error), errors[m]);
        }
    }
    let mut out = [Score::NONE; M];
    for m in 0..M {
        let (sums, errors) = (store(sums[m]), store(errors[m]));
        for row in 0..tile.n_rows {
            out[m].add(sums[row], errors[row]);
        }
    }
    out
}
