//! Proof of a chunk in pieces of 1 MiB.
//!
//! BLAKE3 is a tree: a chunk's digest is folded from the chaining values of its 1 MiB subtrees. So
//! those values (the *group hashes*, at most 64 × 32 bytes) can come from anyone: if they fold to
//! the digest in the chunk's id they are true, and then each group can be checked alone, in any
//! order, from anyone. A chunk of one group or less has no list: its id is its only hash.
//! Source: the BLAKE3 paper §2.1 and §5.1.2, and `blake3::hazmat`.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::id::{ChunkId, Digest};
use crate::limits::{CHUNK_LEN, GROUP_LEN};

/// Number of groups in a chunk of `len` bytes.
pub fn n_groups(len: u64) -> u32 {
    len.div_ceil(GROUP_LEN) as u32
}

/// Bytes in group `index` of a chunk of `len` bytes; 0 past the end.
pub fn group_len(len: u64, index: u32) -> u64 {
    len.saturating_sub(u64::from(index) * GROUP_LEN).min(GROUP_LEN)
}

/// The chaining value of group `index` of a chunk of more than one group.
pub fn group_hash(index: u32, group: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(u64::from(index) * GROUP_LEN);
    hasher.update(group);
    hasher.finalize_non_root()
}

/// Why group hashes are not those of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// A chunk has between 1 byte and 64 MiB.
    #[error("no chunk has {len} bytes")]
    Length {
        /// The claimed length.
        len: u64,
    },
    /// Too many or too few hashes for the chunk's length.
    #[error("{n_hashes} group hashes, a chunk of this length has {wanted}")]
    Count {
        /// Hashes given.
        n_hashes: usize,
        /// Hashes wanted.
        wanted: usize,
    },
    /// The hashes are of other bytes.
    #[error("the group hashes do not fold to the chunk's digest")]
    Mismatch,
}

/// The group hashes of one chunk, known to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupProof {
    chunk: ChunkId,
    len: u64,
    hashes: Vec<[u8; 32]>,
}

impl GroupProof {
    /// Proves hashes that somebody sent for `chunk`. A chunk of one group needs none.
    pub fn verify(chunk: ChunkId, len: u64, hashes: Vec<[u8; 32]>) -> Result<Self, ProofError> {
        if len == 0 || len > CHUNK_LEN {
            return Err(ProofError::Length { len });
        }
        let wanted = if len <= GROUP_LEN { 0 } else { n_groups(len) as usize };
        if hashes.len() != wanted {
            return Err(ProofError::Count { n_hashes: hashes.len(), wanted });
        }
        if wanted > 0 && fold_root(&hashes, len) != chunk.0 {
            return Err(ProofError::Mismatch);
        }
        Ok(Self { chunk, len, hashes })
    }

    /// Whether `bytes` are group `index` of the chunk.
    pub fn holds(&self, index: u32, bytes: &[u8]) -> bool {
        if index >= n_groups(self.len) || bytes.len() as u64 != group_len(self.len, index) {
            return false;
        }
        match self.hashes.get(index as usize) {
            Some(hash) => group_hash(index, bytes) == *hash,
            None => self.chunk.names(bytes),
        }
    }

    /// The chunk that this is about.
    pub fn chunk(&self) -> ChunkId {
        self.chunk
    }

    /// Bytes in the chunk.
    pub fn chunk_len(&self) -> u64 {
        self.len
    }

    /// The hashes, empty for a chunk of one group.
    pub fn hashes(&self) -> &[[u8; 32]] {
        &self.hashes
    }
}

/// Hashes a chunk that arrives piece by piece, giving its id and its group hashes in one pass.
#[derive(Debug)]
pub struct ChunkHasher {
    group: blake3::Hasher,
    in_group: u64,
    len: u64,
    hashes: Vec<[u8; 32]>,
}

impl Default for ChunkHasher {
    fn default() -> Self {
        Self { group: blake3::Hasher::new(), in_group: 0, len: 0, hashes: Vec::new() }
    }
}

impl ChunkHasher {
    /// Starts a chunk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the chunk.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // A full group is closed only when more follows: a lone one is the root itself.
            if self.in_group == GROUP_LEN {
                self.close_group();
            }
            let (now, rest) = bytes.split_at(bytes.len().min((GROUP_LEN - self.in_group) as usize));
            self.group.update(now);
            self.in_group += now.len() as u64;
            self.len += now.len() as u64;
            bytes = rest;
        }
    }

    fn close_group(&mut self) {
        self.hashes.push(self.group.finalize_non_root());
        self.group = blake3::Hasher::new();
        self.group.set_input_offset(self.len);
        self.in_group = 0;
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ends the chunk.
    pub fn finish(mut self) -> GroupProof {
        if self.hashes.is_empty() {
            let chunk = ChunkId(Digest(*self.group.finalize().as_bytes()));
            return GroupProof { chunk, len: self.len, hashes: self.hashes };
        }
        // Not `close_group`: no group follows, and none could where this one ends.
        self.hashes.push(self.group.finalize_non_root());
        let chunk = ChunkId(fold_root(&self.hashes, self.len));
        GroupProof { chunk, len: self.len, hashes: self.hashes }
    }
}

/// Folds at least two group hashes to the digest of a chunk of `len` bytes.
fn fold_root(hashes: &[[u8; 32]], len: u64) -> Digest {
    let (left, right) = split(hashes, len);
    Digest(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

fn split(hashes: &[[u8; 32]], len: u64) -> (ChainingValue, ChainingValue) {
    let left_len = blake3::hazmat::left_subtree_len(len);
    let (left, right) = hashes.split_at((left_len / GROUP_LEN) as usize);
    (fold(left, left_len), fold(right, len - left_len))
}

fn fold(hashes: &[[u8; 32]], len: u64) -> ChainingValue {
    if let [only] = hashes {
        return *only;
    }
    let (left, right) = split(hashes, len);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests;
