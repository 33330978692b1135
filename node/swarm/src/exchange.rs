//! Moves groups of chunks between peers: the `chunk/1` protocol.
//!
//! One stream is one request: a [`ChunkRequest`], a [`ChunkResponse`], then the granted groups with
//! nothing between. The asker names the connection ([`Behaviour::request`]) and gets each group as
//! an [`ExchangeEvent`]; the server takes [`Inbound`] requests from a queue and answers through a
//! [`Responder`]. Streams live in the connection's own task (`handler`) or with the responder's
//! owner, so no byte passes through the swarm's loop. Nothing here knows what a group should be:
//! verifying is the caller's.
//!
//! An asker that drops its receiver resets the stream at once, wherever the request is. The asker
//! never closes its side before that: yamux resets only a stream that is open both ways, and a
//! server that is not told goes on until its windows are full.
//!
//! Invariant: every request that was accepted ends with one [`ExchangeEvent::End`] or
//! [`ExchangeEvent::Failed`], or its channel closes since the connection did.

mod ask;
mod behaviour;
mod buffers;
mod handler;
mod serve;
mod traffic;
pub(crate) mod wire;

use bytes::Bytes;
use hive_protocol::ChunkId;
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse};
use hive_protocol::codec::DecodeError;
use libp2p::PeerId;
use libp2p::swarm::ConnectionId;

pub use self::behaviour::{Behaviour, ConnectionInfo, RequestError, TransportKind};
pub use self::serve::{Responder, SendError, Sending};
pub use self::traffic::Carried;

/// Every bound of this protocol that the wire format does not set.
pub mod limits {
    use std::time::Duration;

    /// Requests of one peer's connection that are served or wait to be, at most. More would only
    /// share the same upload slots.
    pub const INBOUND_PER_CONNECTION: usize = 32;

    /// Requests beyond that which are being told so at once; the rest is reset.
    pub const REFUSALS_PER_CONNECTION: usize = 32;

    /// Requests to one connection at most, as many as the other side serves.
    pub const OUTBOUND_PER_CONNECTION: usize = 32;

    /// Requests of all peers that wait to be taken from the queue, at most.
    pub const INBOUND_QUEUE: usize = 64;

    /// When a peer that was refused for want of room may ask again.
    pub const RETRY_MS: u64 = 500;

    /// How long the peer may take to agree to a stream.
    pub const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long a request's bytes may take, on either side.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long the first byte of a response may take: a server's disk may have to spin up.
    pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(15);

    /// How long no byte may move in a transfer. There is no limit on the whole.
    pub const STALL_TIMEOUT: Duration = Duration::from_secs(15);

    /// Group buffers that are kept for reuse while requests run. More than are ever in flight
    /// would be waste.
    pub const IDLE_BUFFERS: usize = 64;
}

/// What an asker hears of its request, in this order.
#[derive(Debug)]
pub enum ExchangeEvent {
    /// The peer's answer. It grants nothing that was not asked.
    Header(ChunkResponse),
    /// A group, of the length that its place in the chunk gives it. Unverified.
    Group {
        /// The chunk.
        chunk: ChunkId,
        /// Which group of the chunk.
        index: u32,
        /// Its bytes.
        bytes: Bytes,
    },
    /// Bytes of the next group, which is not whole, that came since the last event: told of a few
    /// times a second, so that a slow peer is known before its first group is here.
    Part(u64),
    /// All that the header granted has come.
    End,
    /// Nothing more comes. The groups before this are as good as any.
    Failed(Failure),
}

/// Why a request ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The peer does not speak this protocol.
    #[error("the peer does not exchange chunks")]
    Unsupported,
    /// The peer did not agree to a stream in time.
    #[error("no stream within {:?}", limits::OPEN_TIMEOUT)]
    OpenTimeout,
    /// The peer did not answer in time.
    #[error("no answer within {:?}", limits::FIRST_BYTE_TIMEOUT)]
    FirstByteTimeout,
    /// The peer stopped sending, or reading.
    #[error("nothing moved for {:?}", limits::STALL_TIMEOUT)]
    Stalled,
    /// Another connection with the peer brings more: what has not come is to be asked again.
    #[error("another connection is faster")]
    Withdrawn,
    /// The peer ended the stream before all it granted had come.
    #[error("the stream ended early")]
    Short,
    /// The peer sent more than it granted.
    #[error("more bytes than were granted")]
    Excess,
    /// The answer's length is not one.
    #[error("the answer has no valid length")]
    Length,
    /// The answer is not one.
    #[error("the answer cannot be read")]
    Malformed(#[source] DecodeError),
    /// The answer grants what was not asked.
    #[error("the answer grants what was not asked")]
    NotAsked,
    /// The stream broke.
    #[error("the stream broke")]
    Io(#[source] std::io::Error),
    /// The connection closed.
    #[error("the connection closed")]
    ConnectionClosed,
}

impl Failure {
    /// Whether no honest peer would have caused this.
    pub fn is_forged(&self) -> bool {
        matches!(self, Self::Excess | Self::Length | Self::Malformed(_) | Self::NotAsked)
    }
}

/// A request of a peer, to be answered.
#[derive(Debug)]
pub struct Inbound {
    /// Who asks.
    pub peer: PeerId,
    /// Over which connection.
    pub connection: ConnectionId,
    /// What for.
    pub request: ChunkRequest,
    /// Takes the answer. Dropping it resets the stream.
    pub responder: Responder,
}

#[cfg(test)]
mod tests;
