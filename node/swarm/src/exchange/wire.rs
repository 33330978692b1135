//! Reads and writes headers and payloads on a stream, each with its deadline.
//!
//! A header is an unsigned varint with its length, in the fewest bytes, and then so many bytes. It
//! sees streams only as readers and writers, so the tests need no swarm.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use hive_protocol::limits::CHUNK_HEADER_LEN;
use tokio::time::{Duration, Instant, Sleep, sleep_until};

/// Why a header or payload did not come, or could not go.
#[derive(Debug)]
pub(crate) enum WireError {
    /// The length is too long, or not in its shortest form.
    Length,
    /// The stream ended inside.
    Ended,
    /// Nothing moved for too long.
    Stalled,
    /// The stream broke.
    Io(io::Error),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Ended,
            _ => Self::Io(error),
        }
    }
}

/// Encodes a header's length and body.
pub(crate) fn header(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 3);
    let mut len = body.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(body);
    bytes
}

/// An unsigned varint that is being read, one byte after another.
#[derive(Debug, Default)]
pub(crate) struct Length {
    value: usize,
    n_bytes: u32,
}

impl Length {
    /// Takes a byte; says the length after the last.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<usize>, WireError> {
        self.value |= usize::from(byte & 0x7f) << (7 * self.n_bytes);
        self.n_bytes += 1;
        let shortest = byte != 0 || self.n_bytes == 1;
        if self.value > CHUNK_HEADER_LEN || !shortest {
            return Err(WireError::Length);
        }
        match byte & 0x80 {
            0 => Ok(Some(self.value)),
            _ if self.n_bytes < 3 => Ok(None),
            _ => Err(WireError::Length),
        }
    }
}

/// A stream that has to move.
#[derive(Debug)]
pub(super) struct Timed<S> {
    stream: S,
    limit: Duration,
    /// The stream has until then. `alarm` is set to this or an earlier time, since moving an alarm
    /// costs more than letting it ring for nothing.
    due: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl<S: Unpin> Timed<S> {
    /// Every operation on `stream` fails when nothing moves for `limit`.
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        let due = Instant::now() + limit;
        Self { stream, limit, due, alarm: Box::pin(sleep_until(due)) }
    }

    /// Gives what follows another limit.
    pub(super) fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
        self.due = Instant::now() + limit;
        self.alarm.as_mut().reset(self.due);
    }

    #[cfg(test)]
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Waits for `operation` until it is overdue. `operation` says how many bytes moved, 0 when
    /// the stream has ended.
    fn poll<F>(&mut self, cx: &mut Context<'_>, operation: F) -> Poll<Result<usize, WireError>>
    where
        F: FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    {
        if let Poll::Ready(result) = operation(Pin::new(&mut self.stream), cx) {
            self.due = Instant::now() + self.limit;
            return Poll::Ready(Ok(result?));
        }
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            if self.due <= self.alarm.deadline() {
                return Poll::Ready(Err(WireError::Stalled));
            }
            self.alarm.as_mut().reset(self.due);
        }
    }
}

impl<S: AsyncRead + Unpin> Timed<S> {
    /// What a read says without waiting; nobody is woken when that changes.
    pub(super) fn try_read(&mut self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        Pin::new(&mut self.stream).poll_read(&mut cx, buf)
    }

    /// Reads some bytes; 0 at the end of the stream.
    pub(super) async fn read(&mut self, buf: &mut [u8]) -> Result<usize, WireError> {
        poll_fn(|cx| self.poll(cx, |stream, cx| stream.poll_read(cx, buf))).await
    }

    /// Fills `buf`. The time before the call, in which nobody read, does not count.
    pub(super) async fn fill(&mut self, buf: &mut [u8]) -> Result<(), WireError> {
        self.due = Instant::now() + self.limit;
        let mut n_read = 0;
        while n_read < buf.len() {
            match self.read(&mut buf[n_read..]).await? {
                0 => return Err(WireError::Ended),
                n => n_read += n,
            }
        }
        Ok(())
    }

    /// Reads a header's body.
    pub(super) async fn header(&mut self) -> Result<Vec<u8>, WireError> {
        let mut length = Length::default();
        let len = loop {
            let mut byte = [0];
            self.fill(&mut byte).await?;
            if let Some(len) = length.push(byte[0])? {
                break len;
            }
        };
        let mut body = vec![0; len];
        self.fill(&mut body).await?;
        Ok(body)
    }
}

impl<S: AsyncWrite + Unpin> Timed<S> {
    /// Whether a write would fail now, seen by a write of nothing.
    pub(super) fn is_closed_to_writes(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        matches!(Pin::new(&mut self.stream).poll_write(&mut cx, &[]), Poll::Ready(Err(_)))
    }

    /// Writes all of `bytes`. The time before the call, in which nobody wrote, does not count.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        self.due = Instant::now() + self.limit;
        while !bytes.is_empty() {
            let write = poll_fn(|cx| self.poll(cx, |stream, cx| stream.poll_write(cx, bytes)));
            match write.await? {
                0 => return Err(WireError::Io(io::ErrorKind::WriteZero.into())),
                n => bytes = &bytes[n..],
            }
        }
        Ok(())
    }

    /// Hands what was written to the connection.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        let flush = tokio::time::timeout(self.limit, self.stream.flush());
        Ok(flush.await.map_err(|_| WireError::Stalled)??)
    }

    /// Says that nothing more is written.
    pub(super) async fn close(&mut self) -> Result<(), WireError> {
        let close = tokio::time::timeout(self.limit, self.stream.close());
        Ok(close.await.map_err(|_| WireError::Stalled)??)
    }
}

#[cfg(test)]
mod tests;
