//! A set of small numbers: the groups of a model that somebody holds.

use std::ops::Range;

/// A set of numbers below a fixed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitfield {
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

impl Bitfield {
    /// The empty set of numbers below `len`.
    pub fn empty(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len, ones: 0 }
    }

    /// All numbers below `len`.
    pub fn full(len: u32) -> Self {
        let mut field = Self::empty(len);
        field.insert_range(0..len);
        field
    }

    /// Reads a bitmap of `len` bits, the first in the lowest bit of the first byte. `None` unless it
    /// has exactly the bytes that `len` needs and no bit past the end.
    pub fn from_bytes(bytes: &[u8], len: u32) -> Option<Self> {
        if bytes.len() != len.div_ceil(8) as usize {
            return None;
        }
        let mut field = Self::empty(len);
        for (word, bytes) in field.words.iter_mut().zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(padded);
            field.ones += word.count_ones();
        }
        let past_end = field
            .words
            .last()
            .is_some_and(|word| !len.is_multiple_of(64) && word >> (len % 64) != 0);
        (!past_end).then_some(field)
    }

    /// The bitmap that [`Self::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = self.words.iter().flat_map(|word| word.to_le_bytes());
        bytes.take(self.len.div_ceil(8) as usize).collect()
    }

    /// Numbers that could be in the set.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no number can be in the set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Numbers in the set.
    pub fn count(&self) -> u32 {
        self.ones
    }

    /// Whether every number is in the set.
    pub fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// Whether a number is in the set; none past the end is.
    pub fn contains(&self, number: u32) -> bool {
        number < self.len && self.words[(number / 64) as usize] >> (number % 64) & 1 == 1
    }

    /// Puts a number in and says whether it is new. The number must be below the length.
    pub fn insert(&mut self, number: u32) -> bool {
        assert!(number < self.len, "{number} in a set of numbers below {}", self.len);
        let word = &mut self.words[(number / 64) as usize];
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.ones += u32::from(new);
        new
    }

    /// Takes a number out and says whether it was in.
    pub fn remove(&mut self, number: u32) -> bool {
        let was_in = self.contains(number);
        if was_in {
            self.words[(number / 64) as usize] &= !(1 << (number % 64));
            self.ones -= 1;
        }
        was_in
    }

    /// Puts a range of numbers in.
    pub fn insert_range(&mut self, numbers: Range<u32>) {
        for number in numbers {
            self.insert(number);
        }
    }

    /// Puts all numbers of another set of the same length in.
    pub fn union(&mut self, other: &Self) {
        assert_eq!(self.len, other.len, "sets of different lengths");
        self.ones = 0;
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
            self.ones += word.count_ones();
        }
    }

    /// The numbers in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                (left != 0).then(|| {
                    let bit = left.trailing_zeros();
                    left &= left - 1;
                    at as u32 * 64 + bit
                })
            })
        })
    }

    /// The numbers that are not in the set, ascending.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.len).filter(|&number| !self.contains(number))
    }

    /// The set as ranges, ascending and not touching.
    pub fn ranges(&self) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for number in self.iter() {
            match ranges.last_mut() {
                Some(last) if last.end == number => last.end += 1,
                _ => ranges.push(number..number + 1),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bitmap_reads_back(len in 0u32..300, seed in any::<u64>()) {
            let mut field = Bitfield::empty(len);
            for number in 0..len {
                if seed.rotate_left(number % 64) & 1 == 1 {
                    field.insert(number);
                }
            }
            prop_assert_eq!(Bitfield::from_bytes(&field.to_bytes(), len), Some(field.clone()));
            prop_assert_eq!(field.count() as usize, field.iter().count());
            prop_assert_eq!(field.ranges().into_iter().flatten().collect::<Vec<_>>(), field.iter().collect::<Vec<_>>());
            prop_assert_eq!(field.missing().count() as u32, len - field.count());
        }

        #[test]
        fn no_bytes_make_a_bitmap_with_bits_past_its_end(bytes in prop::collection::vec(any::<u8>(), 0..40), len in 0u32..300) {
            if let Some(field) = Bitfield::from_bytes(&bytes, len) {
                prop_assert!(field.iter().all(|number| number < len));
                prop_assert_eq!(field.to_bytes(), bytes);
            }
        }
    }
}
