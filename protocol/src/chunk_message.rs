//! The headers of the `chunk/1` protocol.
//!
//! The asker sends a [`ChunkRequest`] behind an unsigned varint with its length; the answer is a
//! [`ChunkResponse`] likewise and then, for [`Status::Ok`], the bytes of the granted groups one
//! after another with nothing between. Both sides know every length before the first byte.

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, Rules};
use crate::group;
use crate::id::{BlockId, ChunkId};
use crate::limits::{CHUNK_HEADER_LEN, CHUNK_LEN, RANGES_PER_REQUEST, REQUEST_PAYLOAD_LEN};

/// Groups of one chunk: `{chunk, size, first, n}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The chunk.
    pub chunk: ChunkId,
    /// Bytes in the chunk. A peer whose chunk of this name has another size holds something else.
    pub size: u64,
    /// The first group asked for, counted within the chunk.
    pub first: u32,
    /// How many.
    pub n: u32,
}

impl Range {
    /// The lengths of the groups in order.
    pub fn group_lens(&self) -> impl Iterator<Item = u64> + use<> {
        let size = self.size;
        (self.first..self.first.saturating_add(self.n))
            .map(move |index| group::group_len(size, index))
    }

    /// Bytes in all of them.
    pub fn len(&self) -> u64 {
        self.group_lens().sum()
    }

    /// Whether it asks for nothing; no valid range does.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.size == 0 || self.size > CHUNK_LEN {
            return Err(DecodeError::rule(format!("a chunk of {} bytes", self.size)));
        }
        let end = self.first.checked_add(self.n);
        if self.n == 0 || end.is_none_or(|end| end > group::n_groups(self.size)) {
            return Err(DecodeError::rule("groups that the chunk does not have"));
        }
        Ok(())
    }
}

fn check_ranges(ranges: &[Range]) -> Result<(), DecodeError> {
    if ranges.len() > RANGES_PER_REQUEST {
        return Err(DecodeError::rule(format!("over {RANGES_PER_REQUEST} ranges")));
    }
    ranges.iter().try_for_each(Range::check)?;
    if ranges.iter().map(Range::len).sum::<u64>() > REQUEST_PAYLOAD_LEN {
        return Err(DecodeError::rule(format!("over {REQUEST_PAYLOAD_LEN} bytes at once")));
    }
    Ok(())
}

/// Asks for groups: `{v:1, id, ranges}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkRequest {
    v: u64,
    /// The model that they are part of; it decides who may have them.
    pub id: BlockId,
    /// What is wanted, in order.
    pub ranges: Vec<Range>,
}

impl ChunkRequest {
    /// Asks for ranges of a model.
    pub fn new(id: BlockId, ranges: Vec<Range>) -> Self {
        Self { v: 1, id, ranges }
    }

    /// Bytes that follow if all is granted.
    pub fn payload_len(&self) -> u64 {
        self.ranges.iter().map(Range::len).sum()
    }

    /// The canonical bytes, without their length.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a request.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, CHUNK_HEADER_LEN)
    }
}

impl Rules for ChunkRequest {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        if self.ranges.is_empty() {
            return Err(DecodeError::rule("no ranges"));
        }
        check_ranges(&self.ranges)
    }
}

/// How a chunk request was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The granted groups follow.
    Ok,
    /// Come again after `retry_ms`.
    Busy,
    /// Not held, of another size, or not for this peer: the three cannot be told apart.
    NotHeld,
    /// The request is not known here.
    Unsupported,
}

/// Answers a request: `{v:1, status, ranges, have, retry_ms}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkResponse {
    v: u64,
    /// How it was taken.
    pub status: Status,
    /// What follows: ranges that were asked for, whole or their beginnings, in the order asked;
    /// empty unless `Ok`.
    pub ranges: Vec<Range>,
    /// The version of what is held, as in [`crate::message::Have`]: when it grew, ask again.
    pub have: u64,
    /// Milliseconds to wait when busy.
    pub retry_ms: u64,
}

impl ChunkResponse {
    /// Grants ranges.
    pub fn ok(ranges: Vec<Range>, have: u64) -> Self {
        Self { v: 1, status: Status::Ok, ranges, have, retry_ms: 0 }
    }

    /// Grants nothing.
    pub fn refuse(status: Status, retry_ms: u64) -> Self {
        Self { v: 1, status, ranges: Vec::new(), have: 0, retry_ms }
    }

    /// Whether this is an answer to `request`: nothing is granted that was not asked, and each
    /// granted range is the beginning of one asked, in order.
    pub fn answers(&self, request: &ChunkRequest) -> bool {
        if self.status != Status::Ok {
            return self.ranges.is_empty();
        }
        let mut asked = request.ranges.iter();
        !self.ranges.is_empty()
            && self.ranges.iter().all(|granted| {
                asked.any(|asked| {
                    (asked.chunk, asked.size, asked.first)
                        == (granted.chunk, granted.size, granted.first)
                        && granted.n <= asked.n
                })
            })
    }

    /// Bytes that follow.
    pub fn payload_len(&self) -> u64 {
        self.ranges.iter().map(Range::len).sum()
    }

    /// The canonical bytes, without their length.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a response.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, CHUNK_HEADER_LEN)
    }
}

impl Rules for ChunkResponse {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        check_ranges(&self.ranges)
    }
}
