//! The groups that nobody was asked for yet, by how few peers have their chunk.
//!
//! Rarity is counted by chunk and among the peers that hold a part only: those that hold all make
//! no chunk rarer than another. Chunks of which something is here or on its way are *begun*; the
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
        let mut missing =
            Self { geometry, groups, chunks, begun: BTreeSet::new(), untouched: BTreeSet::new() };
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

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.count() == 0
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

    /// The group of a chunk that this reader begins with, so that two that fetch the same chunk have
    /// something for each other.
    pub(crate) fn begin(&self, chunk: usize) -> u32 {
        let Chunk { lot, n_groups, .. } = self.chunks[chunk];
        ((u64::from(lot) * u64::from(n_groups)) >> 32) as u32
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
