//! The asker's side of a stream.

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Status};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use super::buffers::Buffers;
use super::limits::{FIRST_BYTE_TIMEOUT, REQUEST_TIMEOUT, STALL_TIMEOUT};
use super::traffic::Running;
use super::wire::{self, Timed, WireError};
use super::{ExchangeEvent, Failure};

/// Bytes that are counted together.
const COUNTED: usize = 64 << 10;
/// How often it is told that a part of a group has come.
const TOLD: Duration = Duration::from_millis(250);

/// A request on its way to a stream. Dropped before its end, it tells the asker that the
/// connection closed, as far as the channel has room.
#[derive(Debug)]
pub struct Ask {
    request: ChunkRequest,
    events: mpsc::Sender<ExchangeEvent>,
    buffers: Arc<Buffers>,
    running: Running,
    ended: bool,
    _slot: OwnedSemaphorePermit,
}

impl Ask {
    pub(super) fn new(
        request: ChunkRequest,
        events: mpsc::Sender<ExchangeEvent>,
        buffers: Arc<Buffers>,
        running: Running,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        Self { request, events, buffers, running, ended: false, _slot: slot }
    }

    /// Whether nobody waits any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.events.is_closed()
    }

    /// Carries the request out. When the receiver is dropped, so is the stream.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) {
        let outcome = tokio::select! {
            () = self.events.closed() => None,
            () = self.running.withdrawn() => Some(Err(Failure::Withdrawn)),
            outcome = self.exchange(stream) => Some(outcome),
        };
        match outcome {
            Some(Ok(())) => self.end(ExchangeEvent::End).await,
            Some(Err(failure)) => self.fail(failure).await,
            None => {}
        }
    }

    /// Ends the request without a stream.
    pub(super) async fn fail(self, failure: Failure) {
        tracing::debug!(%failure, "exchange failed");
        self.end(ExchangeEvent::Failed(failure)).await;
    }

    async fn end(mut self, last: ExchangeEvent) {
        // Nobody to tell is no failure.
        let _ = self.events.send(last).await;
        self.ended = true;
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<(), Failure> {
        let mut stream = Timed::new(stream, REQUEST_TIMEOUT);
        stream.write(&wire::header(&self.request.encode())).await?;
        stream.flush().await?;

        stream.set_limit(FIRST_BYTE_TIMEOUT);
        let body = stream.header().await.map_err(|error| match error {
            WireError::Stalled => Failure::FirstByteTimeout,
            error => error.into(),
        })?;
        let response = ChunkResponse::decode(&body).map_err(Failure::Malformed)?;
        if !response.answers(&self.request) {
            return Err(Failure::NotAsked);
        }
        // A refusal says nothing of the line.
        if response.status == Status::Ok {
            self.running.answered();
        }
        let ranges = response.ranges.clone();
        self.tell(ExchangeEvent::Header(response)).await;

        stream.set_limit(STALL_TIMEOUT);
        let mut told_at = Instant::now();
        for range in ranges {
            for (index, len) in (range.first..).zip(range.group_lens()) {
                let mut buffer = self.buffers.take(len as usize);
                let (mut come, mut told) = (0, 0);
                for piece in buffer.as_mut().chunks_mut(COUNTED) {
                    stream.fill(piece).await?;
                    self.running.moved(piece.len() as u64);
                    come += piece.len() as u64;
                    if come < len && told_at.elapsed() >= TOLD {
                        self.tell(ExchangeEvent::Part(come - told)).await;
                        (told, told_at) = (come, Instant::now());
                    }
                }
                told_at = Instant::now();
                let bytes = buffer.freeze();
                self.tell(ExchangeEvent::Group { chunk: range.chunk, index, bytes }).await;
            }
        }
        match stream.fill(&mut [0]).await {
            Err(WireError::Ended) => Ok(()),
            Ok(()) => Err(Failure::Excess),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the asker has room. If it has left, [`run`](Self::run) ends this.
    async fn tell(&self, event: ExchangeEvent) {
        let _ = self.events.send(event).await;
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.events.try_send(ExchangeEvent::Failed(Failure::ConnectionClosed));
        }
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Length => Self::Length,
            WireError::Ended => Self::Short,
            WireError::Stalled => Self::Stalled,
            WireError::Io(error) => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests;
