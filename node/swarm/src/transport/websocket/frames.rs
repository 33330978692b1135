//! Bytes in WebSocket frames (RFC 6455 §5).
//!
//! What libp2p sends over a WebSocket is a stream of bytes, so where its frames begin and end means
//! nothing: they are read through, whatever their length, and never gathered.
//!
//! Invariant: of the peer's bytes at most a frame's header and a control frame's 125 bytes are
//! kept, of ours at most one frame of [`FRAME`] and one pong.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

/// Bytes in a frame that is sent: what yamux writes at once, and few enough for any reader.
const FRAME: usize = 64 << 10;

/// Bytes in a header at most: two, eight of length, four of mask.
const HEADER: usize = 14;

/// Bytes in a control frame at most.
const CONTROL: usize = 125;

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Which side of a connection. The client hides its bytes from naive caches between; both insist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// A stream of bytes over WebSocket.
#[derive(Debug)]
pub struct Frames<S> {
    socket: S,
    role: Role,
    header: [u8; HEADER],
    header_len: usize,
    /// Bytes of the frame under way that were not read yet.
    left: u64,
    mask: Mask,
    /// The control frame under way.
    control: Option<Control>,
    /// The peer sends no more.
    ended: bool,
    sending: Vec<u8>,
    sent: usize,
    pong: Option<Control>,
    /// We send no more.
    closed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Control {
    opcode: u8,
    bytes: [u8; CONTROL],
    len: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Mask {
    key: [u8; 4],
    at: usize,
}

impl Mask {
    fn apply(&mut self, bytes: &mut [u8]) {
        let mut key = self.key;
        key.rotate_left(self.at);
        for four in bytes.chunks_mut(4) {
            for (byte, key) in four.iter_mut().zip(key) {
                *byte ^= key;
            }
        }
        self.at = (self.at + bytes.len()) % 4;
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("WebSocket: {what}"))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    pub(crate) fn new(socket: S, role: Role) -> Self {
        Self {
            socket,
            role,
            header: [0; HEADER],
            header_len: 0,
            left: 0,
            mask: Mask::default(),
            control: None,
            ended: false,
            sending: Vec::new(),
            sent: 0,
            pong: None,
            closed: false,
        }
    }

    /// Reads bytes of the frame under way.
    fn poll_payload(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let len = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf[..len]))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.mask.apply(&mut buf[..n]);
        self.left -= n as u64;
        Poll::Ready(Ok(n))
    }

    /// Reads the header of the next frame; `false` if there is none.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let len = header_len(&self.header[..self.header_len]);
            if self.header_len == len {
                self.header_len = 0;
                return Poll::Ready(self.begin(len).map(|()| true));
            }
            let rest = &mut self.header[self.header_len..len];
            let n = ready!(Pin::new(&mut self.socket).poll_read(cx, rest))?;
            match n {
                0 if self.header_len == 0 => return Poll::Ready(Ok(false)),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                n => self.header_len += n,
            }
        }
    }

    fn begin(&mut self, header_len: usize) -> io::Result<()> {
        let header = &self.header[..header_len];
        let (opcode, is_masked) = (header[0] & 0x0f, header[1] & 0x80 != 0);
        if header[0] & 0x70 != 0 {
            return Err(malformed("an extension that was not agreed on"));
        }
        if is_masked != (self.role == Role::Server) {
            return Err(malformed("masked by the wrong side"));
        }
        let length = match header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
            127 => header[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            short => u64::from(short),
        };
        let mut key = [0; 4];
        if is_masked {
            key.copy_from_slice(&header[header_len - 4..]);
        }
        let is_whole = header[0] & 0x80 != 0;
        match opcode {
            0 | BINARY => {}
            CLOSE | PING | PONG if is_whole && length <= CONTROL as u64 => {
                self.control = Some(Control { opcode, bytes: [0; CONTROL], len: 0 });
            }
            _ => return Err(malformed("neither bytes nor a control frame")),
        }
        (self.left, self.mask) = (length, Mask { key, at: 0 });
        Ok(())
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, mut control: Control) -> Poll<io::Result<()>> {
        while self.left > 0 {
            let rest = control.len..CONTROL;
            let Poll::Ready(n) = self.poll_payload(cx, &mut control.bytes[rest]) else {
                self.control = Some(control);
                return Poll::Pending;
            };
            control.len += n?;
        }
        self.control = None;
        match control.opcode {
            PING => self.pong = Some(Control { opcode: PONG, ..control }),
            CLOSE => {
                self.ended = true;
                // The answer, if we have not said so first.
                self.pong = Some(Control { opcode: CLOSE, ..control }).filter(|_| !self.closed);
            }
            _ => return Poll::Ready(Ok(())),
        }
        // Nobody may be writing. If the socket is full, the next write or flush sends it.
        match self.poll_sent(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn queue(&mut self, opcode: u8, payload: &[u8]) {
        let masked = if self.role == Role::Client { 0x80 } else { 0 };
        self.sending.push(0x80 | opcode);
        let len = payload.len();
        if len < 126 {
            self.sending.push(masked | len as u8);
        } else if let Ok(len) = u16::try_from(len) {
            self.sending.push(masked | 0x7e);
            self.sending.extend_from_slice(&len.to_be_bytes());
        } else {
            self.sending.push(masked | 0x7f);
            self.sending.extend_from_slice(&(len as u64).to_be_bytes());
        }
        if self.role == Role::Server {
            return self.sending.extend_from_slice(payload);
        }
        let key: [u8; 4] = rand::random();
        self.sending.extend_from_slice(&key);
        let start = self.sending.len();
        self.sending.extend_from_slice(payload);
        Mask { key, at: 0 }.apply(&mut self.sending[start..]);
    }

    /// Hands what is queued to the socket.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.sent < self.sending.len() {
                let rest = &self.sending[self.sent..];
                match ready!(Pin::new(&mut self.socket).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    n => self.sent += n,
                }
            }
            self.sending.clear();
            self.sent = 0;
            let Some(pong) = self.pong.take() else { return Poll::Ready(Ok(())) };
            self.queue(pong.opcode, &pong.bytes[..pong.len]);
            self.closed |= pong.opcode == CLOSE;
        }
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drained(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }
}

/// How long the header is that begins so.
fn header_len(begun: &[u8]) -> usize {
    let [_, second, ..] = begun else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 == 0 { 0 } else { 4 }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while !this.ended && !buf.is_empty() {
            if let Some(control) = this.control {
                ready!(this.poll_control(cx, control))?;
            } else if this.left > 0 {
                return this.poll_payload(cx, buf);
            } else if !ready!(this.poll_header(cx))? {
                this.ended = true;
            }
        }
        Poll::Ready(Ok(0))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drained(cx))?;
        if this.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let n = buf.len().min(FRAME);
        this.queue(BINARY, &buf[..n]);
        // What the socket does not take now it takes before the next frame.
        match this.poll_drained(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(n)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sent(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drained(cx))?;
        if !this.closed {
            this.closed = true;
            // 1000: all is well.
            this.queue(CLOSE, &1000_u16.to_be_bytes());
        }
        ready!(this.poll_sent(cx))?;
        Pin::new(&mut this.socket).poll_close(cx)
    }
}

#[cfg(test)]
mod tests;
