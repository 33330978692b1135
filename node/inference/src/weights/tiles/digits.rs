//! Activations as numbers of three digits.

use super::{Bits, RUN, WORDS};
use crate::arithmetic::LANES;

/// Digits that a [`Score`](super::Score) is made of.
pub(super) const DIGITS: usize = 2;
/// The largest number that three digits are made of: none of them leaves its byte.
const LARGEST: f32 = 8_000_000.0;

/// A row of activations in digits.
#[derive(Debug)]
pub(super) struct Digits {
    /// Of each run, the first, second and third digits, four to a word.
    pub(super) words: Vec<[[i32; WORDS]; 3]>,
    /// The sum of each digit over each part of a run, times what was added to the weights, taken off.
    pub(super) starts: Vec<[i32; 3]>,
    /// What the third digit counts.
    pub(super) scales: Vec<f32>,
    /// The sum of each run of activations; only for [`Bits::Four`].
    pub(super) sums: Vec<f32>,
    /// Only for a [`Score`](super::Score).
    pub(super) coarse: Vec<Coarse>,
}

/// What turns the products of upper halves and first digits into an estimate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coarse {
    pub(super) scale: f32,
    pub(super) start: f32,
    /// How wrong it can be for a scale of 1.
    pub(super) error: f32,
}

impl Digits {
    /// Takes a row, to be multiplied with such weights.
    pub(super) fn new(x: &[f32], bits: Bits) -> Self {
        let (runs, _) = x.as_chunks::<RUN>();
        let n = runs.len();
        let mut digits = Self {
            words: Vec::with_capacity(n),
            starts: Vec::with_capacity(n * bits.parts()),
            scales: Vec::with_capacity(n),
            sums: Vec::new(),
            coarse: Vec::new(),
        };
        for run in runs {
            digits.push(run, bits);
        }
        if bits == Bits::Four {
            digits.sums.extend(runs.iter().map(|run| lane_sum(|at| run[at])));
        }
        digits
    }

    /// The same, to be scored as well.
    pub(super) fn scored(x: &[f32], bits: Bits) -> Self {
        let mut digits = Self::new(x, bits);
        let (runs, _) = x.as_chunks::<RUN>();
        let of_run = |(at, run)| digits.coarse(at, run, runs.len());
        digits.coarse = runs.iter().enumerate().map(of_run).collect();
        digits
    }

    fn push(&mut self, run: &[f32; RUN], weights: Bits) {
        // Of numbers that are not negative, the bits are in the same order; those of an infinity
        // and of what is no number come last.
        let bits = run.iter().fold(0, |most, x| (x.to_bits() & 0x7fff_ffff).max(most));
        let most = f32::from_bits(bits);
        // Below that nothing is left to say; what is no number goes through the scale.
        let inverse = if (1e-30..f32::INFINITY).contains(&most) { LARGEST / most } else { 0.0 };
        let scale = if most < f32::INFINITY { most / LARGEST } else { f32::NAN };
        let mut bytes = [[0_i8; RUN]; 3];
        for at in 0..RUN {
            let number = (run[at] * inverse).round_ties_even() as i32;
            let third = number as i8;
            let rest = (number - i32::from(third)) >> 8;
            let second = rest as i8;
            bytes[0][at] = ((rest - i32::from(second)) >> 8) as i8;
            bytes[1][at] = second;
            bytes[2][at] = third;
        }
        let offset = -weights.offset();
        let sum = |bytes: &[i8]| offset * bytes.iter().map(|&byte| i32::from(byte)).sum::<i32>();
        let word = |four: &[i8; 4]| i32::from_le_bytes(four.map(|byte| byte as u8));
        let words = |bytes: &[i8; RUN]| {
            let (words, _) = bytes.as_chunks();
            std::array::from_fn(|at| word(&words[at]))
        };
        self.words.push([words(&bytes[0]), words(&bytes[1]), words(&bytes[2])]);
        let len = RUN / weights.parts();
        for at in (0..RUN).step_by(len) {
            self.starts.push([0, 1, 2].map(|digit: usize| sum(&bytes[digit][at..at + len])));
        }
        self.scales.push(scale);
    }

    fn coarse(&self, at: usize, run: &[f32; RUN], n_runs: usize) -> Coarse {
        let scale = self.scales[at] * 256.0_f32.powi(3 - DIGITS as i32);
        let upper = |digit: &dyn Fn(usize) -> i32| {
            (0..DIGITS).fold(0, |number, at| 256 * number + digit(at))
        };
        let digit = |digit: usize, column: usize| {
            i32::from(self.words[at][digit][column / 4].to_le_bytes()[column % 4] as i8)
        };
        let size = lane_sum(|column| run[column].abs());
        let missed = lane_sum(|column| {
            let number = upper(&|at| digit(at, column)) as f32;
            (run[column] - number * scale).abs()
        });
        let sum = upper(&|at| (0..RUN).map(|column| digit(at, column)).sum());
        // A weight is 16 h + l - 128 with h and l from 0 to 15, and l is guessed to be 7.5. So the
        // guess is wrong by 7.5 at most, and what is missed of an activation is multiplied by 120.5
        // at most. Then there is the rounding of each sum, of the exact one and of this one.
        let rounding = (n_runs + 64) as f32 * 2.0_f32.powi(-23);
        Coarse {
            scale: 16.0 * scale,
            start: -120.5 * sum as f32 * scale,
            error: (7.5 + 256.0 * rounding) * size + 120.5 * missed,
        }
    }
}

/// The sum over a run, in an order that becomes vector code.
fn lane_sum(of: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for at in (0..RUN).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += of(at + lane);
        }
    }
    sums.iter().sum()
}
