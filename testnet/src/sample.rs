//! Models to test with: bytes that follow from a seed, and what the wire says of them.

use bytes::Bytes;
use hive_protocol::chunker::{self, Sniff};
use hive_protocol::group::{self, GroupProof};
use hive_protocol::{BlockId, ChunkId, FileBlock, Geometry, Manifest};

/// Bytes that look random and follow from `seed`.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    // SplitMix64, whose every seed is a good one.
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A file in memory with its manifest and its group hashes.
///
/// Computed here from the bytes, by another way than the store's, so that the two check each other.
#[derive(Debug, Clone)]
pub struct Sample {
    bytes: Bytes,
    block: FileBlock,
    geometry: Geometry,
    proofs: Vec<GroupProof>,
    /// Where each distinct chunk begins in the file.
    starts: Vec<u64>,
}

impl Sample {
    /// A sample of random bytes.
    pub fn random(seed: u64, len: usize) -> Self {
        Self::new(bytes(seed, len))
    }

    /// Describes a file.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes: Bytes = bytes.into();
        let len = bytes.len() as u64;
        let Sniff::Cuts(cuts) = chunker::sniff(&bytes, len) else {
            unreachable!("the whole file is enough to say where to cut");
        };
        let (mut chunks, mut all_starts, mut start) = (Vec::new(), Vec::new(), 0);
        for size in cuts {
            let chunk = &bytes[start as usize..(start + size) as usize];
            chunks.push((ChunkId::of(chunk), size));
            all_starts.push(start);
            start += size;
        }
        let geometry = Geometry::new(chunks.iter().copied());
        let mut starts = vec![0; geometry.chunks().len()];
        // Backwards, so that the first use of a repeated chunk stays.
        for ((id, _), start) in chunks.iter().zip(&all_starts).rev() {
            starts[geometry.position(id).expect("made of these chunks")] = *start;
        }
        let proofs = geometry.chunks().iter().zip(&starts).map(|(chunk, start)| {
            let groups = match group::n_groups(chunk.size) {
                1 => 0..0,
                n => 0..n,
            };
            let hashes = groups.map(|index| {
                let begin = start + u64::from(index) * hive_protocol::limits::GROUP_LEN;
                let end = begin + group::group_len(chunk.size, index);
                group::group_hash(index, &bytes[begin as usize..end as usize])
            });
            GroupProof::verify(chunk.id, chunk.size, hashes.collect()).expect("hashed just now")
        });
        let proofs = proofs.collect();
        let block = FileBlock::new(chunks).expect("cut by the rules");
        Self { bytes, block, geometry, proofs, starts }
    }

    /// The file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its length.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether it is an empty file.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The id that people fetch.
    pub fn id(&self) -> BlockId {
        self.manifest().id()
    }

    /// What the id names.
    pub fn manifest(&self) -> Manifest {
        Manifest::File(self.block.clone())
    }

    /// Its chunks and groups.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The group hashes of a chunk; `None` for a chunk of another file.
    pub fn proof(&self, chunk: &ChunkId) -> Option<&GroupProof> {
        self.geometry.position(chunk).map(|position| &self.proofs[position])
    }

    /// A group of a chunk; `None` for one of another file.
    pub fn group(&self, chunk: &ChunkId, index: u32) -> Option<Bytes> {
        let position = self.geometry.position(chunk)?;
        let begin = self.starts[position] + u64::from(index) * hive_protocol::limits::GROUP_LEN;
        let end = begin + group::group_len(self.geometry.chunks()[position].size, index);
        Some(self.bytes.slice(begin as usize..end as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hive_protocol::limits::{CHUNK_LEN, GROUP_LEN};

    #[test]
    fn a_sample_follows_from_its_seed() {
        assert_eq!(bytes(1, 1_001), bytes(1, 1_001));
        assert_ne!(bytes(1, 1_001), bytes(2, 1_001));
        assert_eq!(bytes(1, 1_001).len(), 1_001);
    }

    #[test]
    fn every_group_of_a_sample_passes_its_proof() {
        let sample = Sample::random(7, (CHUNK_LEN + 2 * GROUP_LEN + 5) as usize);
        assert_eq!(sample.geometry().chunks().len(), 2);
        for chunk in sample.geometry().chunks() {
            let proof = sample.proof(&chunk.id).expect("a chunk of the sample");
            for index in 0..group::n_groups(chunk.size) {
                let group = sample.group(&chunk.id, index).expect("a group of the sample");
                assert!(proof.holds(index, &group), "group {index} of {:?}", chunk.id);
            }
        }
    }
}
