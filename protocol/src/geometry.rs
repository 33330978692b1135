//! How a model divides into groups: the index space of bitmaps, requests and progress.
//!
//! A model's *distinct* chunks stand in the order in which its files first use them, and their
//! groups are numbered through. So a tensor that two files share is fetched once, and bit `i` of a
//! bitmap means the same group to everybody who holds the manifest.

use std::collections::HashMap;
use std::ops::Range;

use crate::codec::DecodeError;
use crate::group;
use crate::id::ChunkId;
use crate::limits::{CHUNKS_PER_MODEL, MODEL_LEN};

/// A chunk and its place in the numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its name.
    pub id: ChunkId,
    /// Its bytes.
    pub size: u64,
    /// The number of its first group.
    pub first_group: u32,
}

impl Placed {
    /// The numbers of its groups.
    pub fn groups(&self) -> Range<u32> {
        self.first_group..self.first_group + group::n_groups(self.size)
    }
}

/// The chunks and groups of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Geometry {
    chunks: Vec<Placed>,
    index: HashMap<ChunkId, u32>,
    n_groups: u32,
    size: u64,
}

impl Geometry {
    /// Numbers the chunks of a model, given file by file; repeated ones count once.
    pub fn new(chunks: impl IntoIterator<Item = (ChunkId, u64)>) -> Self {
        let mut geometry = Self::default();
        for (id, size) in chunks {
            if !geometry.index.contains_key(&id) {
                geometry.push(id, size);
            }
        }
        geometry
    }

    /// Numbers the chunks of a model that a stranger described: refuses what is over the limits of
    /// a model, before it takes memory, and a chunk that has two sizes.
    pub fn checked(chunks: impl IntoIterator<Item = (ChunkId, u64)>) -> Result<Self, DecodeError> {
        let mut geometry = Self::default();
        for (id, size) in chunks {
            if let Some(position) = geometry.position(&id) {
                if geometry.chunks[position].size != size {
                    return Err(DecodeError::rule("one chunk with two sizes"));
                }
                continue;
            }
            if geometry.chunks.len() == CHUNKS_PER_MODEL {
                let rule = format!("a model has at most {CHUNKS_PER_MODEL} distinct chunks");
                return Err(DecodeError::rule(rule));
            }
            if size > MODEL_LEN - geometry.size {
                return Err(DecodeError::rule(format!("a model has at most {MODEL_LEN} bytes")));
            }
            geometry.push(id, size);
        }
        Ok(geometry)
    }

    fn push(&mut self, id: ChunkId, size: u64) {
        self.index.insert(id, self.chunks.len() as u32);
        self.chunks.push(Placed { id, size, first_group: self.n_groups });
        self.n_groups += group::n_groups(size);
        self.size += size;
    }

    /// The distinct chunks in order.
    pub fn chunks(&self) -> &[Placed] {
        &self.chunks
    }

    /// Number of groups.
    pub fn n_groups(&self) -> u32 {
        self.n_groups
    }

    /// Bytes in all distinct chunks.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The place of a chunk in [`Self::chunks`].
    pub fn position(&self, id: &ChunkId) -> Option<usize> {
        self.index.get(id).map(|&index| index as usize)
    }

    /// The place in [`Self::chunks`] of the chunk that holds a group. The group must exist.
    pub fn chunk_of(&self, group: u32) -> usize {
        debug_assert!(group < self.n_groups, "group {group} of {}", self.n_groups);
        self.chunks.partition_point(|chunk| chunk.first_group <= group) - 1
    }

    /// Bytes in a group. The group must exist.
    pub fn group_len(&self, group: u32) -> u64 {
        let chunk = &self.chunks[self.chunk_of(group)];
        group::group_len(chunk.size, group - chunk.first_group)
    }

    /// Bytes in a range of groups.
    pub fn range_len(&self, groups: Range<u32>) -> u64 {
        groups.map(|group| self.group_len(group)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::GROUP_LEN;

    fn id(byte: u8) -> ChunkId {
        ChunkId::of(&[byte])
    }

    #[test]
    fn a_chunk_used_twice_is_numbered_once() {
        let sizes =
            [(id(1), 3 * GROUP_LEN), (id(2), 10), (id(1), 3 * GROUP_LEN), (id(3), GROUP_LEN + 1)];
        let geometry = Geometry::new(sizes);
        let first: Vec<u32> = geometry.chunks().iter().map(|chunk| chunk.first_group).collect();
        assert_eq!(first, [0, 3, 4]);
        assert_eq!(geometry.n_groups(), 6);
        assert_eq!(geometry.size(), 4 * GROUP_LEN + 11);
        assert_eq!((0..6).map(|g| geometry.chunk_of(g)).collect::<Vec<_>>(), [0, 0, 0, 1, 2, 2]);
        assert_eq!(geometry.group_len(3), 10);
        assert_eq!(geometry.group_len(5), 1);
    }
}
