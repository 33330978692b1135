//! The server's side of a stream.
//!
//! A [`Responder`] becomes a [`Sending`] when it grants something. Both own their stream and do its
//! writing in the caller's task; dropped before the end they reset it.

use std::collections::VecDeque;
use std::io;
use std::task::Poll;

use bytes::Bytes;
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Range, Status};
use libp2p::Stream;
use tokio::sync::OwnedSemaphorePermit;

use super::limits::{REQUEST_TIMEOUT, STALL_TIMEOUT};
use super::wire::{self, Timed, WireError};

/// Bytes that are paced together.
const SLICE_LEN: usize = 64 << 10;

/// Why an answer did not go out whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The asker took nothing for too long.
    #[error("nothing moved for {STALL_TIMEOUT:?}")]
    Stalled,
    /// The asker reset the stream, or the connection broke.
    #[error("the asker is gone")]
    Gone(#[source] io::Error),
    /// The answer grants what was not asked.
    #[error("the answer is not one to the request")]
    NotAnAnswer,
    /// The groups are not those that were granted.
    #[error("a group of {len} bytes where {expected:?} were granted")]
    WrongGroup {
        /// Bytes in the group, 0 at the end.
        len: usize,
        /// Bytes granted next.
        expected: Option<u64>,
    },
}

impl From<WireError> for SendError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Stalled => Self::Stalled,
            WireError::Io(error) => Self::Gone(error),
            WireError::Ended | WireError::Length => Self::Gone(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Answers one request. Dropping it resets the stream.
#[derive(Debug)]
pub struct Responder {
    stream: Timed<Stream>,
    slot: Option<OwnedSemaphorePermit>,
    /// Whether the asker has closed its side and waits.
    half_closed: bool,
}

impl Responder {
    pub(super) fn new(stream: Stream, slot: Option<OwnedSemaphorePermit>) -> Self {
        Self { stream: Timed::new(stream, REQUEST_TIMEOUT), slot, half_closed: false }
    }

    /// Reads the request. An unreadable one comes as `None`.
    pub(super) async fn request(&mut self) -> Result<Option<ChunkRequest>, SendError> {
        match self.stream.header().await {
            Ok(body) => Ok(ChunkRequest::decode(&body).ok()),
            Err(WireError::Length) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the asker has dropped its request. Of one that closed its side, as it should not, that
    /// is not known any more.
    pub fn is_dropped(&mut self) -> bool {
        if self.half_closed {
            return false;
        }
        match self.stream.try_read(&mut [0]) {
            // A stream of yamux that was reset reads as one whose other side is closed.
            Poll::Ready(Ok(0)) => {
                let is_reset = self.stream.is_closed_to_writes();
                self.half_closed = !is_reset;
                is_reset
            }
            Poll::Ready(Err(_)) => true,
            Poll::Ready(Ok(_)) | Poll::Pending => false,
        }
    }

    /// Grants what `response` says; its groups have to follow.
    pub async fn accept(
        mut self,
        request: &ChunkRequest,
        response: &ChunkResponse,
    ) -> Result<Sending, SendError> {
        if response.status != Status::Ok || !response.answers(request) {
            return Err(SendError::NotAnAnswer);
        }
        self.stream.set_limit(STALL_TIMEOUT);
        self.stream.write(&wire::header(&response.encode())).await?;
        let left = response.ranges.iter().flat_map(Range::group_lens).collect();
        Ok(Sending { stream: self.stream, left, _slot: self.slot })
    }

    /// Grants nothing and says why.
    pub async fn refuse(mut self, status: Status, retry_ms: u64) -> Result<(), SendError> {
        let response = ChunkResponse::refuse(status, retry_ms);
        self.stream.set_limit(STALL_TIMEOUT);
        self.stream.write(&wire::header(&response.encode())).await?;
        Ok(self.stream.close().await?)
    }
}

/// Sends the groups that were granted. Dropping it resets the stream.
#[derive(Debug)]
pub struct Sending {
    stream: Timed<Stream>,
    /// Lengths of the groups that have to follow; at most 256, by what one request may ask.
    left: VecDeque<u64>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Sending {
    /// Sends the next group, as fast as the asker takes it. Not cancel safe: a group that was
    /// begun has to be ended.
    pub async fn send_group(&mut self, group: &Bytes) -> Result<(), SendError> {
        let expected = self.left.pop_front();
        if expected != Some(group.len() as u64) {
            return Err(SendError::WrongGroup { len: group.len(), expected });
        }
        Ok(self.stream.write(group).await?)
    }

    /// Sends the next group in slices of 64 KiB, each after `pace` has let its length go: so a limit
    /// on the rate never leaves the asker without a byte for long. Not cancel safe.
    pub async fn send_group_paced<F: Future<Output = ()>>(
        &mut self,
        group: &Bytes,
        pace: impl Fn(u64) -> F,
    ) -> Result<(), SendError> {
        let expected = self.left.pop_front();
        if expected != Some(group.len() as u64) {
            return Err(SendError::WrongGroup { len: group.len(), expected });
        }
        for slice in group.chunks(SLICE_LEN) {
            pace(slice.len() as u64).await;
            self.stream.write(slice).await?;
        }
        Ok(())
    }

    /// Ends the answer after the last group.
    pub async fn finish(mut self) -> Result<(), SendError> {
        if let Some(&expected) = self.left.front() {
            return Err(SendError::WrongGroup { len: 0, expected: Some(expected) });
        }
        Ok(self.stream.close().await?)
    }
}
