//! Puts weights where tiles have them.

use super::{Bits, LOW, Q4K, ROWS, RUN, Scales, Supers, WORDS};

/// Where some tiles go.
pub(super) struct Room<'a> {
    pub(super) low: &'a mut [[u8; 64]],
    pub(super) high: &'a mut [[u8; 64]],
    pub(super) scales: &'a mut [Scales],
    pub(super) supers: &'a mut [Supers],
}

impl Room<'_> {
    /// Takes away the next runs, as many as there are.
    pub(super) fn take(&mut self, n_runs: usize) -> Self {
        let all = self.scales.len();
        let n_runs = n_runs.min(all);
        // As many for each run as there are of all.
        let share = |len: usize| ..len * n_runs / all.max(1);
        Self {
            low: self.low.split_off_mut(share(self.low.len())).unwrap_or_default(),
            high: self.high.split_off_mut(share(self.high.len())).unwrap_or_default(),
            scales: self.scales.split_off_mut(share(all)).unwrap_or_default(),
            supers: self.supers.split_off_mut(share(self.supers.len())).unwrap_or_default(),
        }
    }

    /// Puts the blocks of up to sixteen rows where a tile has them.
    pub(super) fn lay(self, bits: Bits, n_runs: usize, blocks: &[u8]) {
        let low = self.low.as_chunks_mut::<LOW>().0;
        let row_len = n_runs / bits.block_runs() * bits.block_bytes();
        for (row, blocks) in blocks.chunks_exact(row_len).enumerate() {
            for (index, block) in blocks.chunks_exact(bits.block_bytes()).enumerate() {
                match bits {
                    Bits::Eight => {
                        self.scales[index][2 * row..2 * row + 2].copy_from_slice(&block[..2]);
                        // From -128..128 to 0..256.
                        let word = |at: usize| word(&block[2..], at) ^ 0x8080_8080;
                        for (pair, low) in low[index].iter_mut().enumerate() {
                            let (even, odd) = (word(2 * pair), word(2 * pair + 1));
                            let lows = even & HALVES | (odd & HALVES) << 4;
                            let highs = even >> 4 & HALVES | odd & !HALVES;
                            put(low, row, lows);
                            put(&mut self.high[index * LOW + pair], row, highs);
                        }
                    }
                    Bits::Five => {
                        self.scales[index][2 * row..2 * row + 2].copy_from_slice(&block[..2]);
                        // The first sixteen are the lower halves of its bytes.
                        lay_halves(&block[6..], 0, row, &mut low[index][..2]);
                        lay_halves(&block[6..], 4, row, &mut low[index][2..]);
                        let fifths = word(&block[2..], 0);
                        for group in 0..WORDS {
                            let four = (fifths >> (4 * group) & 0xf) as u8;
                            self.high[index][8 * group + row / 2] |= four << (4 * (row % 2));
                        }
                    }
                    Bits::Six => {
                        let (low_bits, rest) = block.split_at(128);
                        let (high_bits, rest) = rest.split_at(64);
                        self.supers[index][2 * row..2 * row + 2].copy_from_slice(&rest[16..]);
                        for own in 0..bits.block_runs() {
                            let run = index * bits.block_runs() + own;
                            self.scales[run][row] = rest[2 * own];
                            self.scales[run][ROWS + row] = rest[2 * own + 1];
                            // Four runs are a half: two in the lower halves of its bytes, then two in
                            // the upper; two bits of each byte of the others are of each run.
                            let (half, quarter) = (own / 4, own % 4);
                            let bytes = &low_bits[64 * half + 32 * (quarter % 2)..][..RUN];
                            lay_halves(bytes, 4 * (quarter / 2), row, &mut low[run]);
                            let bytes = &high_bits[32 * half..][..RUN];
                            for vector in 0..2 {
                                let two = |group: usize| {
                                    let word = word(bytes, 4 * vector + group);
                                    (word >> (2 * quarter) & 0x0303_0303) << (2 * group)
                                };
                                let four = two(0) | two(1) | two(2) | two(3);
                                put(&mut self.high[2 * run + vector], row, four);
                            }
                        }
                    }
                    Bits::Four => {
                        let shared = &mut self.supers[index];
                        shared[2 * row..2 * row + 2].copy_from_slice(&block[..2]);
                        shared[2 * (ROWS + row)..][..2].copy_from_slice(&block[2..4]);
                        for own in 0..bits.block_runs() {
                            let run = index * bits.block_runs() + own;
                            let (scale, offset) = Q4K::run_bits(block, own);
                            self.scales[run][row] = scale;
                            self.scales[run][ROWS + row] = offset;
                            // Of each 32 bytes the lower halves are a run, and the upper the next.
                            let bytes = &block[16 + own / 2 * RUN..][..RUN];
                            lay_halves(bytes, 4 * (own % 2), row, &mut low[run]);
                        }
                    }
                }
            }
        }
    }
}

/// The lower half of each byte of a word.
const HALVES: u32 = 0x0f0f_0f0f;

/// Four bytes.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|byte| bytes[4 * at + byte]))
}

/// Puts four columns of a row.
fn put(vector: &mut [u8; 64], row: usize, word: u32) {
    vector[4 * row..4 * row + 4].copy_from_slice(&word.to_le_bytes());
}

/// Puts the halves of bytes that begin at bit `shift` of each, eight bytes to a vector.
fn lay_halves(bytes: &[u8], shift: usize, row: usize, low: &mut [[u8; 64]]) {
    for (pair, vector) in low.iter_mut().enumerate() {
        let even = word(bytes, 2 * pair) >> shift & HALVES;
        let odd = word(bytes, 2 * pair + 1) >> shift & HALVES;
        put(vector, row, even | odd << 4);
    }
}
