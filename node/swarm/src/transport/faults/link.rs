//! One connection over a link that may be cut or slow.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use tokio::time::{Instant, Sleep};

use super::tally::Carries;
use super::{Faults, Pace, Way};

/// Bytes that are read or written at a time over a slow link.
const PIECE: usize = 16 << 10;

/// Bytes of a stream that may be on their way over a slow link at least, and at most.
const ON_THE_WAY: std::ops::RangeInclusive<usize> = (64 << 10)..=(4 << 20);

/// How far a slow link may be ahead of the clock before it takes no more.
const AHEAD: Duration = Duration::from_millis(20);

/// The streams of a connection, behind its link.
pub(super) struct Link {
    inner: StreamMuxerBox,
    way: Way,
}

impl Link {
    pub(super) fn new(inner: StreamMuxerBox, faults: Faults, peer: PeerId) -> Self {
        Self { inner, way: Way::new(faults, peer) }
    }

    /// The link's connection, while it is whole. What the connection does beside its streams needs
    /// no count.
    fn poll_way(&mut self, cx: &mut Context<'_>) -> Poll<Pin<&mut StreamMuxerBox>> {
        ready!(self.way.poll_open(cx, |_| {}));
        Poll::Ready(Pin::new(&mut self.inner))
    }

    fn stream(&self, inner: SubstreamBox) -> Stream {
        let way = || Way::new(self.way.faults.clone(), self.way.peer);
        Stream {
            inner,
            reading: way(),
            writing: way(),
            arriving: VecDeque::new(),
            n_arriving: 0,
            end: None,
            arrives: None,
            leaves: None,
            carries: Carries::default(),
        }
    }
}

impl StreamMuxer for Link {
    type Substream = Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let inner = ready!(ready!(self.poll_way(cx)).poll_inbound(cx))?;
        Poll::Ready(Ok(self.stream(inner)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        // A stream is opened without a word to the other side; the first word on it waits.
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(self.stream(inner)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Goodbyes wait in the sockets. The other side reads none of them while the link is cut.
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        ready!(self.poll_way(cx)).poll(cx)
    }
}

/// One stream of a [`Link`].
pub(super) struct Stream {
    inner: SubstreamBox,
    reading: Way,
    writing: Way,
    /// What came over a slow link, and when it comes out.
    arriving: VecDeque<(Instant, Bytes)>,
    n_arriving: usize,
    /// How it ended, once all is out.
    end: Option<io::Result<()>>,
    arrives: Option<Pin<Box<Sleep>>>,
    leaves: Option<Pin<Box<Sleep>>>,
    carries: Carries,
}

impl Stream {
    fn wrote(&mut self, bytes: &[u8]) {
        self.carries.wrote(bytes, &self.writing.faults.shared.written);
    }

    /// Takes what is there onto the slow link.
    fn take_in(&mut self, cx: &mut Context<'_>, pace: Pace) {
        let on_the_way = pace.bytes_per_second as f64 * pace.delay.as_secs_f64();
        let most = (on_the_way as usize).clamp(*ON_THE_WAY.start(), *ON_THE_WAY.end());
        let mut piece = [0; PIECE];
        while self.end.is_none() && self.n_arriving < most {
            match Pin::new(&mut self.inner).poll_read(cx, &mut piece) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => self.end = Some(Ok(())),
                Poll::Ready(Err(error)) => self.end = Some(Err(error)),
                Poll::Ready(Ok(n)) => {
                    let faults = &self.reading.faults;
                    faults.count(|counts| counts.late += n as u64);
                    let out = faults.arrives(n, pace);
                    self.arriving.push_back((out, Bytes::copy_from_slice(&piece[..n])));
                    self.n_arriving += n;
                }
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.carries.end(&self.writing.faults.shared.written);
    }
}

/// Waits for a moment, with one timer that is used again.
fn poll_until(
    timer: &mut Option<Pin<Box<Sleep>>>,
    moment: Instant,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if moment <= Instant::now() {
        return Poll::Ready(());
    }
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(moment)));
    if timer.deadline() != moment {
        timer.as_mut().reset(moment);
    }
    timer.as_mut().poll(cx)
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.reading.poll_open(cx, |counts| counts.silenced += 1));
        match this.reading.faults.pace() {
            Some(pace) => this.take_in(cx, pace),
            None if this.arriving.is_empty() && this.end.is_none() => {
                return Pin::new(&mut this.inner).poll_read(cx, buf);
            }
            None => {}
        }
        let Some((out, bytes)) = this.arriving.front_mut() else {
            return match &mut this.end {
                // An error is told once.
                Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).map(|()| 0)),
                None => Poll::Pending,
            };
        };
        ready!(poll_until(&mut this.arrives, *out, cx));
        let n = bytes.len().min(buf.len());
        bytes.copy_to_slice(&mut buf[..n]);
        this.n_arriving -= n;
        if bytes.is_empty() {
            this.arriving.pop_front();
        }
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.writing.poll_open(cx, |counts| counts.withheld += buf.len() as u64));
        let Some(pace) = this.writing.faults.pace() else {
            let n = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
            this.wrote(&buf[..n]);
            return Poll::Ready(Ok(n));
        };
        let free = this.writing.faults.leaves(0, pace);
        if let Some(begin) = free.checked_sub(AHEAD) {
            ready!(poll_until(&mut this.leaves, begin, cx));
        }
        let piece = &buf[..buf.len().min(PIECE)];
        let n = ready!(Pin::new(&mut this.inner).poll_write(cx, piece))?;
        this.writing.faults.leaves(n, pace);
        this.wrote(&piece[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.writing.poll_open(cx, |_| {}));
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.writing.poll_open(cx, |_| {}));
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
