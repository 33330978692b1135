//! A set of groups in which the next member is found without walking the gaps.
//!
//! [`hive_protocol::Bitfield`] is the wire's bitmap; this one adds a bit for each word of 64, so
//! that a search over a model of a terabyte touches some hundred words, and at worst, against a
//! bitmap made to hurt, 16,000.

use std::ops::Range;

use hive_protocol::Bitfield;

#[derive(Debug, Clone)]
pub(crate) struct GroupSet {
    words: Vec<u64>,
    /// One bit for each word that is not 0.
    busy: Vec<u64>,
    len: u32,
    ones: u32,
}

impl GroupSet {
    pub(crate) fn empty(len: u32) -> Self {
        let n_words = len.div_ceil(64) as usize;
        Self { words: vec![0; n_words], busy: vec![0; n_words.div_ceil(64)], len, ones: 0 }
    }

    pub(crate) fn full(len: u32) -> Self {
        let mut set = Self::empty(len);
        for group in 0..len {
            set.insert(group);
        }
        set
    }

    /// The members of a bitmap that are below `len`.
    pub(crate) fn of(field: &Bitfield, len: u32) -> Self {
        let mut set = Self::empty(len);
        for group in field.iter().take_while(|&group| group < len) {
            set.insert(group);
        }
        set
    }

    pub(crate) fn count(&self) -> u32 {
        self.ones
    }

    pub(crate) fn contains(&self, group: u32) -> bool {
        group < self.len && self.words[(group / 64) as usize] >> (group % 64) & 1 == 1
    }

    /// Puts a group in and says whether it is new. One past the end is not put in.
    pub(crate) fn insert(&mut self, group: u32) -> bool {
        if group >= self.len || self.contains(group) {
            return false;
        }
        let at = (group / 64) as usize;
        self.words[at] |= 1 << (group % 64);
        self.busy[at / 64] |= 1 << (at % 64);
        self.ones += 1;
        true
    }

    /// Takes a group out and says whether it was in.
    pub(crate) fn remove(&mut self, group: u32) -> bool {
        if !self.contains(group) {
            return false;
        }
        let at = (group / 64) as usize;
        self.words[at] &= !(1 << (group % 64));
        if self.words[at] == 0 {
            self.busy[at / 64] &= !(1 << (at % 64));
        }
        self.ones -= 1;
        true
    }

    /// The first member in a range that is also in `with`; no `with` is the set of all groups.
    pub(crate) fn first_common(&self, with: Option<&Self>, range: Range<u32>) -> Option<u32> {
        let range = range.start..range.end.min(self.len);
        if range.is_empty() {
            return None;
        }
        let common = |at: usize| {
            self.words[at]
                & with.map_or(u64::MAX, |other| other.words.get(at).copied().unwrap_or(0))
        };
        let mut at = (range.start / 64) as usize;
        let mut word = common(at) & (u64::MAX << (range.start % 64));
        loop {
            if word != 0 {
                let group = at as u32 * 64 + word.trailing_zeros();
                return (group < range.end).then_some(group);
            }
            at = self.next_busy(at + 1)?;
            if at as u32 * 64 >= range.end {
                return None;
            }
            word = common(at);
        }
    }

    /// The first word from `at` on that is not 0.
    fn next_busy(&self, at: usize) -> Option<usize> {
        let mut block = at / 64;
        let mut bits = self.busy.get(block)? & (u64::MAX << (at % 64));
        while bits == 0 {
            block += 1;
            bits = *self.busy.get(block)?;
        }
        Some(block * 64 + bits.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the simplest set there is.
        #[test]
        fn the_first_common_member_is_the_first_common_member(
            ours in prop::collection::btree_set(0u32..9000, 0..40),
            theirs in prop::collection::btree_set(0u32..9000, 0..400),
            removed in prop::collection::btree_set(0u32..9000, 0..40),
            start in 0u32..9100, len in 0u32..9000,
        ) {
            let mut set = GroupSet::empty(9000);
            let mut other = GroupSet::empty(9000);
            for &group in ours.union(&removed) {
                set.insert(group);
            }
            for &group in &removed {
                set.remove(group);
            }
            for &group in &theirs {
                other.insert(group);
            }
            let ours: BTreeSet<u32> = ours.difference(&removed).copied().collect();

            let range = start..start + len;
            let common = ours.intersection(&theirs).copied().find(|group| range.contains(group));
            prop_assert_eq!(set.first_common(Some(&other), range.clone()), common);
            prop_assert_eq!(set.first_common(None, range.clone()), ours.iter().copied().find(|group| range.contains(group)));
            prop_assert_eq!(set.count() as usize, ours.len());
        }
    }
}
