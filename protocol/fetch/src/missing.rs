//! The groups that nobody was asked for yet, by how few peers have their chunk.
//!
//! Rarity is counted by chunk and by group, among the peers that hold a part only: those that hold
//! all make nothing rarer than the rest. Chunks of which something is here or on its way are *begun*; the
//! others wait in order of rarity, and by a number drawn at the start where that is equal.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use hive_protocol::{Bitfield, Geometry, group};

use crate::dice::Dice;
use crate::peer::Holds;
use crate::set::GroupSet;

#[derive(Debug, Clone, Copy)]
struct Chunk {
    missing: u32,
    n_groups: u32,
    holders: u32,
    lot: u32,
}

#[derive(Debug)]
pub(crate) struct Missing {
    geometry: Arc<Geometry>,
    groups: GroupSet,
    chunks: Vec<Chunk>,
    /// How many partial holders have each group.
    holders: Vec<u16>,
    begun: BTreeSet<u32>,
    /// By holders, lot and place.
    untouched: BTreeSet<(u32, u32, u32)>,
}

impl Missing {
    /// All groups but those in `present`.
    pub(crate) fn new(geometry: Arc<Geometry>, present: &Bitfield, dice: &mut Dice) -> Self {
        let mut chunks: Vec<Chunk> = geometry
            .chunks()
            .iter()
            .map(|chunk| {
                let n_groups = group::n_groups(chunk.size);
                Chunk { missing: 0, n_groups, holders: 0, lot: dice.roll() as u32 }
            })
            .collect();
        let mut groups = GroupSet::empty(geometry.n_groups());
        for (place, chunk) in geometry.chunks().iter().enumerate() {
            for group in chunk.groups().filter(|&group| !present.contains(group)) {
                groups.insert(group);
                chunks[place].missing += 1;
            }
        }
        let n_chunks = chunks.len();
        let holders = vec![0; geometry.n_groups() as usize];
        let (begun, untouched) = (BTreeSet::new(), BTreeSet::new());
        let mut missing = Self { geometry, groups, chunks, holders, begun, untouched };
        for chunk in 0..n_chunks {
            missing.file(chunk);
        }
        missing
    }

    /// The chunk's place among the begun, the untouched, or neither.
    fn file(&mut self, at: usize) {
        let chunk = self.chunks[at];
        if chunk.missing == chunk.n_groups {
            self.untouched.insert((chunk.holders, chunk.lot, at as u32));
        } else if chunk.missing > 0 {
            self.begun.insert(at as u32);
        }
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Chunk)) {
        let old = self.chunks[at];
        self.begun.remove(&(at as u32));
        self.untouched.remove(&(old.holders, old.lot, at as u32));
        change(&mut self.chunks[at]);
        self.file(at);
    }

    /// A group is asked for or present. Says whether it was missing.
    pub(crate) fn take(&mut self, group: u32) -> bool {
        let was_missing = self.groups.remove(group);
        if was_missing {
            self.change(self.geometry.chunk_of(group), |chunk| chunk.missing -= 1);
        }
        was_missing
    }

    /// A group is missing again.
    pub(crate) fn put(&mut self, group: u32) {
        if self.groups.insert(group) {
            self.change(self.geometry.chunk_of(group), |chunk| chunk.missing += 1);
        }
    }

    /// One partial holder more, or one less, has something of a chunk.
    pub(crate) fn count_holder(&mut self, chunk: usize, more: bool) {
        self.change(chunk, |chunk| {
            chunk.holders = if more { chunk.holders + 1 } else { chunk.holders.saturating_sub(1) };
        });
    }

    /// One partial holder more, or one less, has a group.
    pub(crate) fn count_group(&mut self, group: u32, more: bool) {
        if let Some(holders) = self.holders.get_mut(group as usize) {
            *holders = if more { holders.saturating_add(1) } else { holders.saturating_sub(1) };
        }
    }

    /// Adds ranges to what a partial holder has, and counts what of them is new.
    pub(crate) fn add_held(&mut self, held: &mut Holds, mut ranges: Vec<Range<u32>>) {
        if ranges.is_empty() {
            return;
        }
        let n_groups = self.geometry.n_groups();
        let groups = match held {
            // Nothing is missing of all.
            Holds::All => return,
            Holds::Some(groups) => groups,
            Holds::None => {
                *held = Holds::Some(GroupSet::empty(n_groups));
                let Holds::Some(groups) = held else { return };
                groups
            }
        };
        // Each group once, however often the ranges name it.
        ranges.sort_unstable_by_key(|range| range.start);
        let mut from = 0;
        for range in ranges {
            for group in range.start.max(from)..range.end.min(n_groups) {
                if groups.contains(group) {
                    continue;
                }
                let chunk = self.geometry.chunk_of(group);
                let of_chunk = self.geometry.chunks()[chunk].groups();
                if groups.first_common(None, of_chunk).is_none() {
                    self.count_holder(chunk, true);
                }
                groups.insert(group);
                self.count_group(group, true);
            }
            from = from.max(range.end);
        }
    }

    /// How many partial holders have a group.
    pub(crate) fn holders(&self, group: u32) -> u16 {
        self.holders.get(group as usize).copied().unwrap_or(0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.count() == 0
    }

    pub(crate) fn count(&self) -> u32 {
        self.groups.count()
    }

    pub(crate) fn contains(&self, group: u32) -> bool {
        self.groups.contains(group)
    }

    /// The first missing group in a range that a peer holds.
    pub(crate) fn first(&self, held: &Holds, range: Range<u32>) -> Option<u32> {
        match held {
            Holds::All => self.groups.first_common(None, range),
            Holds::Some(groups) => self.groups.first_common(Some(groups), range),
            Holds::None => None,
        }
    }

    /// The missing group of a chunk that a peer holds and the fewest others do, and how many those
    /// are. Of several it is the first from `begin` on, and then from the chunk's start.
    pub(crate) fn rarest_of(&self, chunk: usize, held: &Holds, begin: u32) -> Option<(u16, u32)> {
        let groups = self.geometry.chunks()[chunk].groups();
        let mut rarest: Option<(u16, u32)> = None;
        for range in [begin..groups.end, groups.start..begin] {
            let mut from = range.start;
            while let Some(group) = self.first(held, from..range.end) {
                let holders = self.holders(group);
                if rarest.is_none_or(|(least, _)| holders < least) {
                    rarest = Some((holders, group));
                }
                if holders == 0 {
                    return rarest;
                }
                from = group + 1;
            }
        }
        rarest
    }

    /// The group of a chunk from which on this reader looks for the next, so that two that fetch the
    /// same chunk have something for each other. While nobody else has a part that is always the same
    /// one, since what lies together is read together; readers that know of each other take `chance`,
    /// or one of them goes on where the other is and asks for what that one has asked for.
    pub(crate) fn begin(&self, chunk: usize, chance: u32) -> u32 {
        let Chunk { lot, n_groups, holders, .. } = self.chunks[chunk];
        let lot = if holders > 0 { chance } else { lot };
        ((u64::from(lot) * u64::from(n_groups)) >> 32) as u32
    }

    /// Whether somebody has a part of the model and something of this chunk.
    pub(crate) fn is_shared(&self, chunk: usize) -> bool {
        self.chunks[chunk].holders > 0
    }

    /// Chunks of which something is here or on its way.
    pub(crate) fn begun(&self) -> impl Iterator<Item = usize> + '_ {
        self.begun.iter().map(|&chunk| chunk as usize)
    }

    /// The other chunks with missing groups, the rarest first.
    pub(crate) fn rarest(&self) -> impl Iterator<Item = usize> + '_ {
        self.untouched.iter().map(|&(_, _, chunk)| chunk as usize)
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use hive_protocol::ChunkId;
    use hive_protocol::limits::GROUP_LEN;

    use super::*;

    /// Three chunks of four groups.
    fn missing() -> Missing {
        let chunk = |n: u8| (ChunkId::of(&[n]), 4 * GROUP_LEN);
        let geometry = Arc::new(Geometry::new((0..3).map(chunk)));
        Missing::new(geometry, &Bitfield::empty(12), &mut Dice::new(1))
    }

    fn counts(missing: &Missing) -> (Vec<u32>, Vec<u16>) {
        (missing.chunks.iter().map(|chunk| chunk.holders).collect(), missing.holders.clone())
    }

    #[test]
    fn a_holder_counts_once_for_each_group_however_often_it_tells() {
        let (mut missing, mut held) = (missing(), Holds::None);
        for ranges in [vec![1..3], vec![2..5, 2..3], vec![], vec![1..5], vec![11..99]] {
            missing.add_held(&mut held, ranges);
        }
        let groups = vec![0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(counts(&missing), (vec![1, 1, 1], groups));
        let mut other = Holds::None;
        missing.add_held(&mut other, vec![8..12]);
        assert_eq!(counts(&missing).0, [1, 1, 2]);
        let before = counts(&missing);
        missing.add_held(&mut Holds::All, vec![0..12]);
        assert_eq!(counts(&missing), before, "who has all makes nothing rarer or less rare");
    }
}
