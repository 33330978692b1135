//! The `model/1` protocol: small questions about models, one request and one reply a stream.
//!
//! Each is a DAG-CBOR map `{v:1, req|res: …}` behind an unsigned varint with its length. What a
//! peer cannot read it answers with [`Response::Unsupported`], never with a dropped connection.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::codec::{self, DecodeError, Rules};
use crate::id::{BlockId, ChunkId};
use crate::limits::{
    CERTIFICATE_LEN, CHUNKS_PER_HASH_REQUEST, CHUNKS_PER_HAVE_REQUEST, GROUPS_PER_CHUNK,
    REDEMPTION_LEN, REQUEST_LEN, RESPONSE_LEN, TEXT_LEN,
};
use crate::membership::Refusal;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The bytes of a block: file block, tree, or catalog list.
    Block(BlockId),
    /// Which groups of a model are held, if that changed since `since`.
    Have {
        /// The model.
        id: BlockId,
        /// The version that the asker knows; 0 for none.
        since: u64,
    },
    /// The group hashes of chunks.
    GroupHashes(Vec<ChunkId>),
    /// Which of these chunks are held whole.
    HaveChunks(Vec<ChunkId>),
    /// What the other side speaks.
    Hello {
        /// What the asker speaks.
        features: Vec<String>,
    },
    /// In a private network: a redemption that a member carries to an admin, as
    /// [`crate::membership::InviteSecret::redeem`] has made it.
    Redeem(ByteBuf),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Response {
    /// The block's bytes. The asker checks them against the id.
    Block(ByteBuf),
    /// Which groups are held.
    Have(Have),
    /// The hashes of each chunk asked for, 32 bytes each, one after another; empty for a chunk that
    /// is not held or has one group only.
    GroupHashes(Vec<ByteBuf>),
    /// One bit a chunk asked for, the first in the lowest bit of the first byte.
    HaveChunks(ByteBuf),
    /// What this side speaks.
    Hello {
        /// Names of optional behaviour.
        features: Vec<String>,
        /// The software and its version.
        agent: String,
    },
    /// An invite was redeemed.
    Redeemed {
        /// The certificate of the node that the redemption names.
        certificate: ByteBuf,
    },
    /// An invite was not redeemed.
    RedeemRefused {
        /// Why, for whoever wants to redeem it.
        reason: Refusal,
    },
    /// Not held, or not for this peer: the two cannot be told apart.
    NotHeld,
    /// Come again later.
    Busy {
        /// Milliseconds to wait.
        retry_ms: u64,
    },
    /// The question is not known here.
    Unsupported,
}

/// Which groups of a model a peer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Have {
    /// Grows with every change; to be given as `since` the next time.
    pub version: u64,
    /// What is held.
    pub groups: Groups,
}

/// A set of groups, in the numbering of [`crate::Geometry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// All of them.
    All,
    /// Those whose bit is set, the first in the lowest bit of the first byte.
    Bitmap(ByteBuf),
    /// Those known from before and these `[first, count]` more.
    Added(Vec<(u32, u32)>),
    /// No change since the version asked for.
    Same,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestEnvelope {
    v: u64,
    req: Request,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseEnvelope {
    v: u64,
    res: Response,
}

impl Rules for RequestEnvelope {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        match &self.req {
            Request::GroupHashes(chunks) if chunks.len() > CHUNKS_PER_HASH_REQUEST => Err(
                DecodeError::rule(format!("hashes of over {CHUNKS_PER_HASH_REQUEST} chunks asked")),
            ),
            Request::HaveChunks(chunks) if chunks.len() > CHUNKS_PER_HAVE_REQUEST => {
                Err(DecodeError::rule(format!("over {CHUNKS_PER_HAVE_REQUEST} chunks asked")))
            }
            Request::Hello { features } => check_features(features),
            Request::Redeem(bytes) if bytes.len() > REDEMPTION_LEN => {
                Err(DecodeError::TooLong { len: bytes.len(), max: REDEMPTION_LEN })
            }
            _ => Ok(()),
        }
    }
}

impl Rules for ResponseEnvelope {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        match &self.res {
            Response::GroupHashes(lists) => {
                let fits = |list: &ByteBuf| {
                    list.len().is_multiple_of(32) && list.len() / 32 <= GROUPS_PER_CHUNK
                };
                if lists.len() > CHUNKS_PER_HASH_REQUEST || !lists.iter().all(fits) {
                    return Err(DecodeError::rule("group hashes of no chunk's length"));
                }
                Ok(())
            }
            Response::Have(Have { groups: Groups::Added(ranges), .. }) => {
                let fits = |&(first, n): &(u32, u32)| n > 0 && first.checked_add(n).is_some();
                if ranges.iter().all(fits) {
                    Ok(())
                } else {
                    Err(DecodeError::rule("added groups of no model"))
                }
            }
            Response::Hello { features, agent } => {
                check_features(features)?;
                if agent.len() > TEXT_LEN {
                    return Err(DecodeError::rule(format!("an agent of over {TEXT_LEN} bytes")));
                }
                Ok(())
            }
            Response::Redeemed { certificate } if certificate.len() > CERTIFICATE_LEN => {
                Err(DecodeError::TooLong { len: certificate.len(), max: CERTIFICATE_LEN })
            }
            _ => Ok(()),
        }
    }
}

fn check_features(features: &[String]) -> Result<(), DecodeError> {
    if features.len() > 64 || features.iter().any(|feature| feature.len() > 64) {
        return Err(DecodeError::rule("over 64 features, or one of over 64 bytes"));
    }
    Ok(())
}

impl Request {
    /// The canonical bytes, without their length.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&RequestEnvelope { v: 1, req: self.clone() })
    }

    /// Reads a request.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, REQUEST_LEN).map(|envelope: RequestEnvelope| envelope.req)
    }
}

impl Response {
    /// The canonical bytes, without their length.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&ResponseEnvelope { v: 1, res: self.clone() })
    }

    /// Reads a response.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, RESPONSE_LEN).map(|envelope: ResponseEnvelope| envelope.res)
    }
}
