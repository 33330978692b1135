//! How often each group was sent, so that what nobody has yet goes out first.
//!
//! Pure: no clock, no I/O. Counted when a request is taken up, since what is under way needs no
//! second sender. What a peer asks for and nobody has must not be told to it: who counts whatever
//! comes lets anybody fill it with chunks that there are not.

use std::collections::HashMap;

use hive_protocol::ChunkId;
use hive_protocol::chunk_message::Range;
use hive_protocol::limits::GROUPS_PER_CHUNK;

/// Chunks that are counted, 256 GiB; beyond that all is forgotten, which costs bytes sent twice.
const CHUNKS: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub struct Sent {
    chunks: HashMap<ChunkId, [u8; GROUPS_PER_CHUNK]>,
}

impl Sent {
    /// How often the group of these ranges was sent that was sent least.
    pub fn least(&self, ranges: &[Range]) -> u32 {
        let of = |range: &Range| match self.chunks.get(&range.chunk) {
            Some(counts) => groups(range).filter_map(|at| counts.get(at)).min().copied(),
            None => Some(0),
        };
        ranges.iter().filter_map(of).min().map_or(0, u32::from)
    }

    /// These ranges, which were being sent, were not.
    pub fn take_back(&mut self, ranges: &[Range]) {
        for range in ranges {
            let Some(counts) = self.chunks.get_mut(&range.chunk) else { continue };
            for at in groups(range) {
                if let Some(count) = counts.get_mut(at) {
                    *count = count.saturating_sub(1);
                }
            }
        }
    }

    /// These ranges are being sent.
    pub fn note(&mut self, ranges: &[Range]) {
        for range in ranges {
            if self.chunks.len() >= CHUNKS && !self.chunks.contains_key(&range.chunk) {
                self.chunks.clear();
            }
            let counts = self.chunks.entry(range.chunk).or_insert([0; GROUPS_PER_CHUNK]);
            for at in groups(range) {
                if let Some(count) = counts.get_mut(at) {
                    *count = count.saturating_add(1);
                }
            }
        }
    }
}

/// Those that a chunk can have, whatever is asked for.
fn groups(range: &Range) -> std::ops::Range<usize> {
    let end = range.first.saturating_add(range.n) as usize;
    range.first as usize..end.min(GROUPS_PER_CHUNK)
}

#[cfg(test)]
mod tests {
    use hive_protocol::limits::CHUNK_LEN;

    use super::*;

    fn range(chunk: &[u8], first: u32, n: u32) -> Range {
        Range { chunk: ChunkId::of(chunk), size: CHUNK_LEN, first, n }
    }

    #[test]
    fn the_group_that_was_sent_least_counts() {
        let mut sent = Sent::default();
        assert_eq!(sent.least(&[range(b"a", 0, 4)]), 0);
        sent.note(&[range(b"a", 0, 4)]);
        sent.note(&[range(b"a", 0, 2), range(b"b", 63, 9)]);
        assert_eq!(sent.least(&[range(b"a", 0, 2)]), 2);
        assert_eq!(sent.least(&[range(b"a", 0, 4)]), 1);
        assert_eq!(sent.least(&[range(b"a", 3, 2)]), 0);
        assert_eq!(sent.least(&[range(b"b", 63, 1)]), 1);
        sent.take_back(&[range(b"a", 0, 1), range(b"b", 60, 9), range(b"c", 0, 1)]);
        assert_eq!([0, 1, 3].map(|at| sent.least(&[range(b"a", at, 1)])), [1, 2, 1]);
        assert_eq!(sent.least(&[range(b"b", 63, 1)]), 0);
        sent.note(&[range(b"b", 63, 1)]);
        // What no chunk has was never sent, whatever was asked.
        assert_eq!(sent.least(&[range(b"b", 64, u32::MAX)]), 0);
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let mut sent = Sent::default();
        for n in 0..=CHUNKS {
            sent.note(&[range(&n.to_le_bytes(), 0, 1)]);
        }
        assert!(sent.chunks.len() <= CHUNKS);
        assert_eq!(sent.least(&[range(&CHUNKS.to_le_bytes(), 0, 1)]), 1);
    }
}
