//! What is written on a stream, word for word, and the codec that writes it.
//!
//! A stock request-response codec believes in messages; a liar has to break off inside one, or never
//! to end it. So a response is a [`Script`], and the codec counts what the connection took.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};
use tokio::sync::watch;

/// Bytes of an answer that an asker reads at most.
const ANSWER_LEN: u64 = 32 << 20;

/// What a peer of this kind did, counted where it did it.
#[derive(Debug, Default)]
pub struct Counters {
    questions: AtomicU64,
    requests: AtomicU64,
    lies: watch::Sender<u64>,
    sent: AtomicU64,
    first_lie: OnceLock<u64>,
}

impl Counters {
    /// Questions of `model/1` that came.
    pub fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }

    /// Requests of `chunk/1` that came.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Lies that were told, silence where an answer was owed included.
    pub fn lies(&self) -> u64 {
        *self.lies.borrow()
    }

    /// The same, as it grows.
    pub fn lying(&self) -> watch::Receiver<u64> {
        self.lies.subscribe()
    }

    /// Bytes of groups, or in their place, that connections took from this peer.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes as [`Self::sent`] counts them from the first lie on: what the lying cost.
    pub fn wasted(&self) -> u64 {
        self.first_lie.get().map_or(0, |before| self.sent() - before)
    }

    pub(super) fn question(&self) {
        self.questions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lie(&self) {
        self.first_lie.get_or_init(|| self.sent());
        self.lies.send_modify(|lies| *lies += 1);
    }
}

/// A part of a response.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// A header or a message: not counted.
    Head(Vec<u8>),
    /// A group as it is.
    True(Bytes),
    /// Something in a group's place.
    False(Bytes),
    /// A group as it is, a byte a second.
    Slowly(Bytes),
    /// Bytes without an end.
    Forever,
    /// Nothing more, and no end either.
    Hang,
}

/// A response, part by part; the stream is closed after the last.
pub(super) type Script = Vec<Part>;

/// Puts an unsigned varint with its length before a body.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 4);
    let mut len = body.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(body);
    bytes
}

/// Splits what [`framed`] put together from what follows it.
pub(crate) fn unframed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut len, mut at) = (0, 0);
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * at);
        at += 1;
        if byte & 0x80 == 0 {
            return bytes.get(at..)?.split_at_checked(len);
        }
        if at == 4 {
            return None;
        }
    }
}

/// The stream adapter of both protocols.
#[derive(Debug, Clone)]
pub(super) struct Codec {
    pub(super) counters: Arc<Counters>,
}

/// What an asker got: all bytes of the stream. A responder writes a script instead.
#[derive(Debug)]
pub(super) enum Answer {
    Script(Script),
    Bytes(Vec<u8>),
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        loop {
            let mut byte = [0];
            io.read_exact(&mut byte).await?;
            bytes.push(byte[0]);
            if let Some((body, _)) = unframed(&bytes) {
                return Ok(body.to_vec());
            }
            if bytes.len() > 1 << 20 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        io.take(ANSWER_LEN).read_to_end(&mut bytes).await?;
        Ok(Answer::Bytes(bytes))
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        body: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&framed(&body)).await?;
        io.flush().await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        answer: Answer,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let Answer::Script(script) = answer else { return Err(io::ErrorKind::InvalidInput.into()) };
        for part in script {
            match part {
                Part::Head(bytes) => io.write_all(&bytes).await?,
                Part::True(bytes) => self.write_counted(io, &bytes).await?,
                Part::False(bytes) => {
                    self.counters.lie();
                    self.write_counted(io, &bytes).await?;
                }
                Part::Slowly(bytes) => {
                    self.counters.lie();
                    let mut seconds = tokio::time::interval(Duration::from_secs(1));
                    for byte in bytes.chunks(1) {
                        seconds.tick().await;
                        self.write_counted(io, byte).await?;
                        io.flush().await?;
                    }
                }
                Part::Forever => {
                    self.counters.lie();
                    loop {
                        self.write_counted(io, &[0; 4 << 10]).await?;
                    }
                }
                Part::Hang => {
                    self.counters.lie();
                    io.flush().await?;
                    // Until the other side, or the time for requests, ends the stream.
                    std::future::pending::<()>().await;
                }
            }
        }
        io.flush().await
    }
}

impl Codec {
    async fn write_counted<T>(&self, io: &mut T, mut bytes: &[u8]) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        while !bytes.is_empty() {
            match io.write(bytes).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => {
                    self.counters.sent.fetch_add(n as u64, Ordering::Relaxed);
                    bytes = &bytes[n..];
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_with_what_follows() {
        for len in [0, 1, 127, 128, 20_000] {
            let body = vec![7; len];
            let mut bytes = framed(&body);
            assert!(unframed(&bytes[..bytes.len() - 1]).is_none(), "cut, {len} bytes");
            bytes.extend_from_slice(b"rest");
            assert_eq!(unframed(&bytes), Some((&body[..], &b"rest"[..])));
        }
    }
}
