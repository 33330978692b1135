//! What is said to which question, and where it is not the truth.

use bytes::Bytes;
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Range, Status};
use hive_protocol::message::{Groups, Have, Request, Response};
use serde_bytes::ByteBuf;

use super::Lie;
use super::script::{Counters, Part, Script, framed};
use crate::sample::{Sample, bytes as random_bytes};

/// A liar's memory: what it has, what it lies about, how far it has come.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) lie: Lie,
    pub(super) samples: Vec<Sample>,
    /// Blocks that are given out as they are.
    pub(super) blocks: Vec<Vec<u8>>,
    /// Groups granted so far, over all requests.
    pub(super) granted: u32,
}

impl Answers {
    fn sample(&self, id: hive_protocol::BlockId) -> Option<&Sample> {
        self.samples.iter().find(|sample| sample.id() == id)
    }

    fn block(&self, id: hive_protocol::BlockId) -> Option<&[u8]> {
        self.blocks.iter().find(|block| id.names(block)).map(Vec::as_slice)
    }

    /// Answers a question of `model/1`.
    pub(super) fn question(&self, body: &[u8], counters: &Counters) -> Script {
        counters.question();
        let Ok(request) = Request::decode(body) else {
            return vec![Part::Head(framed(&Response::Unsupported.encode()))];
        };
        let response = match request {
            Request::Block(id) if let Some(block) = self.block(id) => {
                counters.lie();
                Response::Block(ByteBuf::from(block.to_vec()))
            }
            Request::Block(id) => self.sample(id).map_or(Response::NotHeld, |sample| {
                let mut bytes = sample.manifest().encode();
                if self.lie == Lie::Manifest {
                    counters.lie();
                    let last = bytes.len() - 1;
                    bytes[last] ^= 1;
                }
                Response::Block(ByteBuf::from(bytes))
            }),
            Request::Have { id, .. } => match self.sample(id) {
                Some(_) => Response::Have(Have { version: 1, groups: Groups::All }),
                None => Response::NotHeld,
            },
            Request::GroupHashes(chunks) => {
                let hashes = chunks.iter().map(|chunk| {
                    let proof = self.samples.iter().find_map(|sample| sample.proof(chunk));
                    let mut hashes = proof.map(|proof| proof.hashes().concat()).unwrap_or_default();
                    if self.lie == Lie::Hashes && !hashes.is_empty() {
                        counters.lie();
                        hashes[0] ^= 1;
                    }
                    ByteBuf::from(hashes)
                });
                Response::GroupHashes(hashes.collect())
            }
            Request::HaveChunks(chunks) => {
                let mut bits = vec![0u8; chunks.len().div_ceil(8)];
                for (at, chunk) in chunks.iter().enumerate() {
                    let held = self.samples.iter().any(|sample| sample.proof(chunk).is_some());
                    bits[at / 8] |= u8::from(held) << (at % 8);
                }
                Response::HaveChunks(ByteBuf::from(bits))
            }
            Request::Hello { .. } => {
                Response::Hello { features: Vec::new(), agent: "liar/1".to_owned() }
            }
            Request::Redeem(_) => Response::Unsupported,
        };
        vec![Part::Head(framed(&response.encode()))]
    }

    /// Answers a request of `chunk/1`.
    pub(super) fn chunks(&mut self, body: &[u8], counters: &Counters) -> Script {
        counters.request();
        let refusal = |status| vec![Part::Head(framed(&ChunkResponse::refuse(status, 0).encode()))];
        let Ok(request) = ChunkRequest::decode(body) else { return refusal(Status::Unsupported) };
        let Some(sample) = self.sample(request.id).cloned() else {
            return refusal(Status::NotHeld);
        };
        let mut groups = Vec::new();
        for range in &request.ranges {
            for index in range.first..range.first + range.n {
                let Some(group) = sample.group(&range.chunk, index) else {
                    return refusal(Status::NotHeld);
                };
                groups.push(group);
            }
        }
        let before = self.granted;
        self.granted += groups.len() as u32;
        let granted = ChunkResponse::ok(request.ranges.clone(), 1);
        let head = Part::Head(framed(&granted.encode()));
        let honest = groups.iter().cloned().map(Part::True);
        match &self.lie {
            Lie::None | Lie::Manifest | Lie::Hashes => [head].into_iter().chain(honest).collect(),
            Lie::Bytes(wrong) => {
                let wrong = groups.iter().map(|group| Part::False(wrong.of(group)));
                [head].into_iter().chain(wrong).collect()
            }
            Lie::After { groups: after } => {
                let turned = groups.iter().zip(before..).map(|(group, number)| match number {
                    number if number < *after => Part::True(group.clone()),
                    _ => Part::False(Wrong::FirstByte.of(group)),
                });
                [head].into_iter().chain(turned).collect()
            }
            Lie::Short => vec![head, Part::False(groups[0].slice(..groups[0].len() / 2))],
            Lie::Extra => {
                let extra = Part::False(Bytes::from_static(&[0]));
                [head].into_iter().chain(honest).chain([extra]).collect()
            }
            Lie::Trickle => {
                [head].into_iter().chain(groups.into_iter().map(Part::Slowly)).collect()
            }
            Lie::AlmostAll => {
                let Some(last) = groups.pop() else { return vec![head] };
                let most = last.slice(..last.len() - last.len().div_ceil(100));
                let parts = groups.into_iter().chain([most]).map(Part::True);
                [head].into_iter().chain(parts).chain([Part::Hang]).collect()
            }
            Lie::Endless => [head].into_iter().chain(honest).chain([Part::Forever]).collect(),
            Lie::OneByte => vec![head, Part::True(groups[0].slice(..1)), Part::Hang],
            Lie::Silent => vec![Part::Hang],
            Lie::Header => {
                counters.lie();
                // A length of 2 MiB, and the beginning of it.
                vec![Part::Head(vec![0x80, 0x80, 0x80, 0x01]), Part::False(vec![0; 1 << 10].into())]
            }
            Lie::Unasked => {
                counters.lie();
                let other = |range: &Range| match range.first {
                    0 => Range { first: 1, n: 1, ..*range },
                    _ => Range { first: 0, n: 1, ..*range },
                };
                let granted = ChunkResponse::ok(request.ranges.iter().map(other).collect(), 1);
                vec![Part::Head(framed(&granted.encode())), Part::False(groups[0].clone())]
            }
            Lie::Empty => {
                counters.lie();
                refusal(Status::NotHeld)
            }
        }
    }
}

/// How a group is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// One bit of its first byte.
    FirstByte,
    /// One bit of its last byte.
    LastByte,
    /// All of it.
    Random,
    /// All of it, with zeros.
    Zeros,
}

impl Wrong {
    fn of(self, group: &Bytes) -> Bytes {
        match self {
            Self::FirstByte => flipped(group, 0),
            Self::LastByte => flipped(group, group.len() - 1),
            Self::Random => random_bytes(0xbad, group.len()).into(),
            Self::Zeros => vec![0; group.len()].into(),
        }
    }
}

fn flipped(group: &Bytes, at: usize) -> Bytes {
    let mut bytes = group.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}
