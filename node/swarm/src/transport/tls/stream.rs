//! Carries bytes over a finished TLS handshake.
//!
//! It owns the socket and the session. `futures-rustls` hands every write to the socket at once
//! and reads the socket 4 KiB at a time, while yamux writes 12 bytes of header before every frame
//! and flushes after it. So here a write only encrypts, records go out together on flush or when
//! they are many, and a read takes what the socket has into one buffer.
//!
//! Invariant: no more than [`SEND_BUFFER`] and one write wait here for the socket.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

/// Bytes read from the socket at once: two yamux frames of ours.
const READ_BUFFER: usize = 128 << 10;

/// Encrypted bytes that may wait for the socket before a write has to: two yamux frames of ours.
const SEND_BUFFER: usize = 128 << 10;

/// A connection secured by [`Tls`](super::Tls).
#[derive(Debug)]
pub struct TlsStream<C> {
    socket: C,
    session: rustls::Connection,
    /// Bytes from the socket that the session has not seen are at `start..end`.
    received: Box<[u8]>,
    start: usize,
    end: usize,
    socket_ended: bool,
    /// Bytes encrypted since the socket had taken everything.
    n_waiting: usize,
    closing: bool,
}

impl<C> TlsStream<C> {
    pub(in crate::transport) fn new(socket: C, mut session: rustls::Connection) -> Self {
        session.set_buffer_limit(Some(2 * SEND_BUFFER));
        Self {
            socket,
            session,
            received: vec![0; READ_BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            socket_ended: false,
            n_waiting: 0,
            closing: false,
        }
    }

    #[cfg(test)]
    pub(super) fn handshake_kind(&self) -> Option<rustls::HandshakeKind> {
        self.session.handshake_kind()
    }

    #[cfg(test)]
    pub(super) fn cipher_suite(&self) -> Option<rustls::CipherSuite> {
        self.session.negotiated_cipher_suite().map(|suite| suite.suite())
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> TlsStream<C> {
    /// Gives the session bytes from the socket, or tells it that the socket has ended.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.start == self.end && !self.socket_ended {
            let n = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut self.received))?;
            (self.start, self.end) = (0, n);
            self.socket_ended = n == 0;
        }
        let mut unseen = &self.received[self.start..self.end];
        self.session.read_tls(&mut unseen)?;
        self.start = self.end - unseen.len();
        if let Err(error) = self.session.process_new_packets() {
            // Tries to send the alert that says why; the connection is lost either way.
            let _ = self.poll_send(cx);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(()))
    }

    /// Writes records to the socket until none is left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Socket { socket: &mut self.socket, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.n_waiting = 0;
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            match this.session.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(this.poll_receive(cx))?;
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            if this.n_waiting >= SEND_BUFFER {
                ready!(this.poll_send(cx))?;
            }
            let n = this.session.writer().write(buf)?;
            if n > 0 || buf.is_empty() {
                this.n_waiting += n;
                return Poll::Ready(Ok(n));
            }
            // The session took nothing, since a message of its own (a key update) is in the way.
            this.n_waiting = SEND_BUFFER;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            this.closing = true;
            this.session.send_close_notify();
        }
        ready!(this.poll_send(cx))?;
        match ready!(Pin::new(&mut this.socket).poll_close(cx)) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

/// Lets the session write to a socket that may have to wait.
struct Socket<'a, 'b, C> {
    socket: &'a mut C,
    cx: &'a mut Context<'b>,
}

impl<C: AsyncWrite + Unpin> Socket<'_, '_, C> {
    fn or_would_block<T>(result: Poll<io::Result<T>>) -> io::Result<T> {
        match result {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<C: AsyncWrite + Unpin> Write for Socket<'_, '_, C> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Self::or_would_block(Pin::new(&mut self.socket).poll_write(self.cx, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::or_would_block(Pin::new(&mut self.socket).poll_write_vectored(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::or_would_block(Pin::new(&mut self.socket).poll_flush(self.cx))
    }
}
