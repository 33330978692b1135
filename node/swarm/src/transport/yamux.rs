//! Carries many streams over one connection (`/yamux/1.0.0`).
//!
//! This is `libp2p::yamux` with what that one hides: frames of `FRAME` bytes where it sends 16
//! KiB, and a bound on the windows of a connection that a node with hundreds of them can afford.
//! The two talk to each other. The work is the `yamux` crate's.
//!
//! Invariant: at most `MAX_STREAMS` streams, `MAX_WAITING` of them not yet taken, and at most
//! `MAX_WINDOW` bytes in receive windows.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use tokio::time::Sleep;

/// The name that multistream-select agrees on.
const PROTOCOL: &str = "/yamux/1.0.0";

/// Bytes in a data frame that is sent, with its header four TLS records. Longer frames save little
/// more and make a ping wait: this one takes half a second at 1 Mbit/s.
const FRAME: usize = (64 << 10) - 12;

/// Streams of a connection at most, both ways. Opening one more ends the connection, so this is
/// over the sum of what hive's protocols open: `chunk/1` 64, `model/1` 64, kad 64, some for the rest.
const MAX_STREAMS: usize = 256;

/// Bytes in the receive windows of a connection at most. Each stream has 256 KiB for certain; what
/// is over is for streams on long paths, 64 MiB being 5 Gbit/s at 100 ms.
const MAX_WINDOW: usize = 128 << 20;

/// Streams that the peer opened and nobody has taken at most; any more are reset. The swarm takes
/// the first 128 at once; each of these holds up to 256 KiB that nobody reads.
const MAX_WAITING: usize = 64;

/// How long saying goodbye may take. A line that is broken takes nothing any more, and libp2p counts
/// the connection among the living until it is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The `/yamux/1.0.0` upgrade.
#[derive(Debug, Clone)]
pub struct Yamux {
    config: yamux::Config,
}

impl Default for Yamux {
    fn default() -> Self {
        let mut config = yamux::Config::default();
        config
            .set_max_num_streams(MAX_STREAMS)
            .set_max_connection_receive_window(Some(MAX_WINDOW))
            .set_split_send_size(FRAME);
        Self { config }
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(PROTOCOL)
    }
}

impl<C> InboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(socket, self.config, yamux::Mode::Server)))
    }
}

impl<C> OutboundConnectionUpgrade<C> for Yamux
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(socket, self.config, yamux::Mode::Client)))
    }
}

/// The streams of one connection.
#[derive(Debug)]
pub struct Muxer<C> {
    connection: yamux::Connection<C>,
    /// A yamux connection makes progress only when it is asked for the next inbound stream, and
    /// libp2p polls for progress when it may not want one yet. Those wait here.
    waiting: VecDeque<yamux::Stream>,
    on_inbound: Option<Waker>,
    closing: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(socket: C, config: yamux::Config, mode: yamux::Mode) -> Self {
        let connection = yamux::Connection::new(socket, config, mode);
        Self { connection, waiting: VecDeque::new(), on_inbound: None, closing: None }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, YamuxError>> {
        let next = ready!(self.connection.poll_next_inbound(cx));
        Poll::Ready(next.unwrap_or(Err(yamux::ConnectionError::Closed)).map_err(YamuxError))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = YamuxError;

    fn poll_inbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let this = self.get_mut();
        if let Some(stream) = this.waiting.pop_front() {
            return Poll::Ready(Ok(Stream(stream)));
        }
        if let Poll::Ready(result) = this.poll_next(cx) {
            return Poll::Ready(result.map(Stream));
        }
        this.on_inbound = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_outbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        self.get_mut().connection.poll_new_outbound(cx).map_ok(Stream).map_err(YamuxError)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = self.get_mut();
        if let Poll::Ready(closed) = this.connection.poll_close(cx) {
            return Poll::Ready(closed.map_err(YamuxError));
        }
        let patience = || Box::pin(tokio::time::sleep(CLOSE_TIMEOUT));
        this.closing.get_or_insert_with(patience).as_mut().poll(cx).map(Ok)
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        let this = self.get_mut();
        let stream = ready!(this.poll_next(cx))?;
        if this.waiting.len() < MAX_WAITING {
            this.waiting.push_back(stream);
            if let Some(waker) = this.on_inbound.take() {
                waker.wake();
            }
        } else {
            tracing::debug!(%stream, "stream reset, too many wait to be taken");
        }
        // There may be more; others go first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// One stream of a [`Muxer`]. Dropping it before it is closed resets it.
#[derive(Debug)]
pub struct Stream(yamux::Stream);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read_vectored(cx, bufs)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// Why a connection's streams ended.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct YamuxError(yamux::ConnectionError);

impl From<YamuxError> for io::Error {
    fn from(YamuxError(error): YamuxError) -> Self {
        match error {
            yamux::ConnectionError::Io(error) => error,
            error => io::Error::other(error),
        }
    }
}

#[cfg(test)]
mod tests;
