//! Weights of 8, 6, 5 and 4 bits (Q8_0, Q6_K, Q5_0, Q4_K) sixteen rows beside each other, for
//! processors that multiply bytes 64 at a time.
//!
//! Activations are not rounded to bytes: each is three of them, the digits of a number to the base
//! 256 that is right to 23 bits of the largest in its run of 32. So the products are as good as those
//! of `f32`, at a quarter of its instructions, and decoding waits for memory alone.
//!
//! The halves of each 8-bit weight lie apart. The upper ones and a digit already say what a row is
//! worth, and how wrong that can be ([`Score`]): of a head, only rows that could still be the best are
//! multiplied exactly. That reads little more than half of the largest matrix of a small model, and
//! finds what reading all of it would find.
//!
//! Invariant: what comes out for a row of activations depends, to the last bit, on nothing else.

mod digits;
#[cfg_attr(not(target_arch = "x86_64"), path = "tiles/none.rs")]
mod kernels;
mod largest;
mod lay;

use std::fmt;

use candle_core::{Device, Storage, Tensor, bail};

use self::digits::Digits;
use self::kernels::Vnni;
use self::largest::Score;
use self::lay::Room;
use super::Linear;
use super::octets::{MUCH, n_threads};
use super::packed::RUN;
use super::pages::Pages;
use super::superblocks::{self, Q4K};
use crate::arithmetic::{Cells, fill, half};

/// Rows of a tile: as many as a vector has lanes.
const ROWS: usize = 16;
/// Groups of four columns in a run: each has one byte of each in a lane.
const WORDS: usize = RUN / 4;
/// Rows of activations that share one reading of a tile: their accumulators fit the registers.
const GROUP: usize = 6;
/// Bytes of the lower halves of 16 runs, in vectors.
const LOW: usize = 4;
/// Columns at most for [`Score`]: its bound allows for that many roundings.
const MAX_SCORED: usize = 32_768;
/// Of each row what a run has of its own: a scale of 16 bits; or of [`Bits::Four`] a scale of 6 bits
/// in the first sixteen, and an offset of 6 bits in the others; or of [`Bits::Six`] a scale of 8 bits
/// for each half of the run.
type Scales = [u8; 2 * ROWS];
/// What eight runs of [`Bits::Four`] and [`Bits::Six`] share: of each row a scale of 16 bits; then of
/// each, with four, an offset.
type Supers = [u8; 4 * ROWS];

/// How many bits a weight has, and how a file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bits {
    /// Q4_K.
    Four,
    /// Q5_0.
    Five,
    /// Q6_K.
    Six,
    /// Q8_0.
    Eight,
}

impl Bits {
    /// What was added to a number so that it is not negative.
    const fn offset(self) -> i32 {
        match self {
            Self::Four => 0,
            Self::Five => 16,
            Self::Six => 32,
            Self::Eight => 128,
        }
    }

    /// Vectors of what the lower halves lack, in a run.
    const fn high(self) -> usize {
        match self {
            Self::Four => 0,
            Self::Five => 1,
            Self::Six => 2,
            Self::Eight => LOW,
        }
    }

    /// Runs in a block of the file.
    const fn block_runs(self) -> usize {
        match self {
            Self::Four | Self::Six => superblocks::LEN / RUN,
            Self::Five | Self::Eight => 1,
        }
    }

    /// Parts of a run that have scales of their own.
    const fn parts(self) -> usize {
        if matches!(self, Self::Six) { 2 } else { 1 }
    }

    /// Bytes in a block of the file; as many are in memory.
    pub(crate) const fn block_bytes(self) -> usize {
        match self {
            Self::Four => 144,
            Self::Five => 22,
            Self::Six => 210,
            Self::Eight => 34,
        }
    }

    /// Bytes of a row in the file.
    pub(crate) const fn row_bytes(self, n_in: usize) -> usize {
        n_in / RUN / self.block_runs() * self.block_bytes()
    }
}

/// A matrix in tiles of sixteen rows; the last is filled up with zeros.
pub(crate) struct Tiles {
    n_in: usize,
    n_out: usize,
    bits: Bits,
    vnni: Vnni,
    /// Of each run of columns, four vectors: byte `4 row + column` holds in its lower half a number
    /// of an even group of four columns, in its upper half one of the next.
    low: Pages,
    /// The upper halves, in the same order; or of each group of columns a bit for each byte.
    high: Pages,
    /// [`Scales`] of each run of columns.
    scales: Pages,
    /// [`Supers`] of each eight runs.
    supers: Pages,
}

/// Sixteen rows.
#[derive(Debug, Clone, Copy)]
struct Tile<'a> {
    low: &'a [[u8; 64]],
    high: &'a [[u8; 64]],
    scales: &'a [Scales],
    supers: &'a [Supers],
    /// Those that are not filling.
    n_rows: usize,
}

impl Tiles {
    /// Room for a matrix, all of it 0; none on a processor that has no use for it.
    pub(crate) fn zero(n_in: usize, n_out: usize, bits: Bits) -> Option<Self> {
        let vnni = Vnni::detect()?;
        let n_runs = n_out.div_ceil(ROWS) * (n_in / RUN);
        let n_supers = if bits.block_runs() == 1 { 0 } else { n_runs / bits.block_runs() };
        Some(Self {
            n_in,
            n_out,
            bits,
            vnni,
            low: Pages::zeroed(64 * LOW * n_runs),
            high: Pages::zeroed(64 * bits.high() * n_runs),
            scales: Pages::zeroed(size_of::<Scales>() * n_runs),
            supers: Pages::zeroed(size_of::<Supers>() * n_supers),
        })
    }

    /// Takes blocks, whole rows of them; nothing on a processor that has no use for it.
    pub(crate) fn from_blocks(n_in: usize, bits: Bits, blocks: &[u8]) -> Option<Self> {
        let mut tiles = Self::zero(n_in, blocks.len() / bits.row_bytes(n_in).max(1), bits)?;
        tiles.put(0, blocks);
        Some(tiles)
    }

    /// Whether this processor has a use for it.
    pub(crate) fn are_of_use() -> bool {
        Vnni::detect().is_some()
    }

    /// Rows that [`put`](Self::put) takes at a time, the last time perhaps fewer.
    pub(crate) const ROWS: usize = ROWS;

    /// Takes blocks as they are in the file, whole rows of them from row `first` on, which begins a
    /// tile.
    pub(crate) fn put(&mut self, first: usize, blocks: &[u8]) {
        let (bits, n_runs) = (self.bits, self.n_in / RUN);
        let tile_len = ROWS * bits.row_bytes(self.n_in);
        let mut rest = Room {
            low: self.low.pieces_mut(),
            high: self.high.pieces_mut(),
            scales: self.scales.pieces_mut(),
            supers: self.supers.pieces_mut(),
        };
        let _ = rest.take(first / ROWS * n_runs);
        let n_tiles = blocks.len().div_ceil(tile_len.max(1));
        let much = MUCH * bits.block_bytes() <= blocks.len();
        let share = n_tiles.div_ceil(if much { n_threads() } else { 1 }).max(1);
        let work = |mut room: Room<'_>, blocks: &[u8]| {
            for blocks in blocks.chunks(tile_len) {
                room.take(n_runs).lay(bits, n_runs, blocks);
            }
        };
        std::thread::scope(|scope| {
            let mut parts = blocks.chunks(share * tile_len);
            // The first is for this thread, which would only wait.
            let own = parts.next().map(|blocks| (rest.take(share * n_runs), blocks));
            for blocks in parts {
                let room = rest.take(share * n_runs);
                scope.spawn(move || work(room, blocks));
            }
            if let Some((room, blocks)) = own {
                work(room, blocks);
            }
        });
    }

    pub(crate) fn n_in(&self) -> usize {
        self.n_in
    }

    pub(crate) fn n_out(&self) -> usize {
        self.n_out
    }

    /// Bytes that the weights take, without what fills up the last tile.
    pub(crate) fn n_bytes(&self) -> u64 {
        (self.n_out * self.bits.row_bytes(self.n_in)) as u64
    }

    fn n_tiles(&self) -> usize {
        self.n_out.div_ceil(ROWS)
    }

    fn tile(&self, tile: usize) -> Tile<'_> {
        let n_runs = self.n_in / RUN;
        let high = n_runs * self.bits.high();
        Tile {
            low: &self.low.pieces()[tile * n_runs * LOW..][..n_runs * LOW],
            high: &self.high.pieces()[tile * high..][..high],
            scales: &self.scales.pieces()[tile * n_runs..][..n_runs],
            supers: match self.bits.block_runs() {
                1 => &[],
                runs => &self.supers.pieces()[tile * n_runs / runs..][..n_runs / runs],
            },
            n_rows: ROWS.min(self.n_out - tile * ROWS),
        }
    }

    /// Adds the weights of a row to a list.
    pub(crate) fn unpack(&self, row: usize, out: &mut Vec<f32>) {
        let tile = self.tile(row / ROWS);
        let row = row % ROWS;
        for (run, own) in tile.scales.iter().enumerate() {
            let shared = tile.supers.get(run / self.bits.block_runs());
            let shared = |at: usize| shared.map_or(0.0, |shared| half(shared[at], shared[at + 1]));
            let (scales, offset) = match self.bits {
                Bits::Four => {
                    let offset = shared(2 * (ROWS + row)) * f32::from(own[ROWS + row]);
                    ([shared(2 * row) * f32::from(own[row]); 2], offset)
                }
                Bits::Six => {
                    let scale = |part: usize| f32::from(own[ROWS * part + row] as i8);
                    ([0, 1].map(|part| shared(2 * row) * scale(part)), 0.0)
                }
                Bits::Five | Bits::Eight => ([half(own[2 * row], own[2 * row + 1]); 2], 0.0),
            };
            for column in 0..RUN {
                let (group, byte) = (column / 4, 4 * row + column % 4);
                let shift = 4 * (group % 2);
                let low = tile.low[run * LOW + group / 2][byte] >> shift & 0xf;
                let high = match self.bits {
                    Bits::Eight => tile.high[run * LOW + group / 2][byte] >> shift & 0xf,
                    Bits::Six => tile.high[2 * run + group / 4][byte] >> (2 * (group % 4)) & 3,
                    Bits::Five => tile.high[run][8 * group + byte / 8] >> (byte % 8) & 1,
                    Bits::Four => 0,
                };
                let number = i32::from(low | high << 4) - self.bits.offset();
                out.push(number as f32 * scales[2 * column / RUN] - offset);
            }
        }
    }

    /// Multiplies the matrix with rows of activations.
    fn multiply(&self, x: &[f32]) -> Vec<f32> {
        let x: Vec<Digits> = x.chunks_exact(self.n_in).map(|x| Digits::new(x, self.bits)).collect();
        fill(x.len() * self.n_out, self.n_tiles(), |tiles, out| {
            for at in tiles {
                let mut first = 0;
                while first < x.len() {
                    let rest = &x[first..];
                    first += match rest.len() {
                        1 => self.products::<1>(at, rest, first, out),
                        2 | 3 => self.products::<2>(at, rest, first, out),
                        4 | 5 => self.products::<4>(at, rest, first, out),
                        _ => self.products::<GROUP>(at, rest, first, out),
                    };
                }
            }
        })
    }

    /// Multiplies a tile with the first of some rows, of which there are `first` others before.
    /// Returns how many it took.
    fn products<const M: usize>(
        &self,
        at: usize,
        x: &[Digits],
        first: usize,
        out: &Cells<'_>,
    ) -> usize {
        let tile = self.tile(at);
        let products = self.vnni.products::<M>(self.bits, tile, &std::array::from_fn(|m| &x[m]));
        for (m, products) in products.iter().enumerate() {
            let start = (first + m) * self.n_out + at * ROWS;
            for (row, &product) in products[..tile.n_rows].iter().enumerate() {
                out.set(start + row, product);
            }
        }
        M
    }

    /// The rows of a tensor, which must be as long as the matrix is wide.
    fn with_rows<T>(&self, x: &Tensor, work: impl FnOnce(&[f32]) -> T) -> candle_core::Result<T> {
        let (n, n_in) = x.dims2()?;
        if n_in != self.n_in {
            bail!("rows of {n_in} for weights of {}", self.n_in)
        }
        let x = x.contiguous()?;
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("rows are not on the processor") };
        Ok(work(&storage.as_slice::<f32>()?[layout.start_offset()..][..n * n_in]))
    }
}

impl fmt::Debug for Tiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tiles({:?} bits, {} to {})", self.bits, self.n_in, self.n_out)
    }
}

impl Linear for Tiles {
    fn forward(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        let n = rows.dim(0)?;
        Tensor::from_vec(self.with_rows(rows, |x| self.multiply(x))?, (n, self.n_out), &Device::Cpu)
    }

    fn likeliest(&self, rows: &Tensor) -> candle_core::Result<Option<Vec<u32>>> {
        self.with_rows(rows, |x| self.largest(x))
    }
}

#[cfg(test)]
mod tests;
