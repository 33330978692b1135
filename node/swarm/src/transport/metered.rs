//! Counts the bytes that a relay carries for each peer.
//!
//! libp2p's relay says when a circuit begins and ends, not what went through it. Here every stream
//! of every connection is looked at until the two sides have agreed on a protocol, and then those of
//! the relay's two protocols are counted: `hop`, on which a peer asks for a circuit and then uses
//! it, and `stop`, on which the relay offers it to the other peer. The first says what a peer
//! costs; the second, of which a circuit has exactly one, says what was relayed.
//!
//! Only relays have this in their connections. Streams of other protocols cost a comparison for
//! each read and write.
//!
//! Invariant: a stream is counted when the side that did not open it has agreed to one of the two
//! protocols, whatever was proposed before; nobody is relayed uncounted.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::Transport;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use libp2p::{Multiaddr, PeerId, relay};

use super::Connections;

/// The first message of each side, which agrees on how to agree.
const MULTISTREAM: &[u8] = b"/multistream/1.0.0\n";

/// The counters of all connections. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Meters(Arc<Mutex<Vec<Arc<Counter>>>>);

/// What went through the circuits of one connection since it was last asked.
#[derive(Debug)]
struct Counter {
    peer: PeerId,
    remote: Multiaddr,
    hop: AtomicU64,
    stop: AtomicU64,
}

/// What a peer's circuits moved on one of its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Who.
    pub peer: PeerId,
    /// From where.
    pub remote: Multiaddr,
    /// Both ways, on circuits that it asked for.
    pub hop: u64,
    /// Both ways, on circuits that it was asked for.
    pub stop: u64,
}

impl Meters {
    /// Counts on all connections of this transport.
    pub fn on(&self, transport: Connections) -> Connections {
        let meters = self.clone();
        let metered = transport.map(move |(peer, inner), point| {
            let counter = meters.counter(peer, point.get_remote_address().clone());
            (peer, StreamMuxerBox::new(Metered { inner, counter }))
        });
        metered.boxed()
    }

    /// What was moved since the last time, wherever anything was.
    pub fn collect(&self) -> Vec<Moved> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut moved = Vec::new();
        counters.retain(|counter| {
            // Before the counts are taken: a connection may end in between.
            let in_use = Arc::strong_count(counter) > 1;
            let hop = counter.hop.swap(0, Ordering::Relaxed);
            let stop = counter.stop.swap(0, Ordering::Relaxed);
            if hop + stop > 0 {
                let (peer, remote) = (counter.peer, counter.remote.clone());
                moved.push(Moved { peer, remote, hop, stop });
            }
            in_use
        });
        moved
    }

    fn counter(&self, peer: PeerId, remote: Multiaddr) -> Arc<Counter> {
        let (hop, stop) = (AtomicU64::new(0), AtomicU64::new(0));
        let counter = Arc::new(Counter { peer, remote, hop, stop });
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counters.push(Arc::clone(&counter));
        counter
    }
}

/// The streams of a connection, counted.
struct Metered {
    inner: StreamMuxerBox,
    counter: Arc<Counter>,
}

impl Metered {
    fn stream(&self, inner: SubstreamBox, agrees: Agrees) -> Stream {
        let counter = Arc::clone(&self.counter);
        Stream { inner, counter, carries: Carries::Unknown(agrees, Answer::new()) }
    }
}

impl StreamMuxer for Metered {
    type Substream = Stream;
    type Error = io::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Self::Substream>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        Poll::Ready(Ok(self.stream(stream, Agrees::Here)))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Self::Substream>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(self.stream(stream, Agrees::There)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// Who agrees to a protocol: whoever did not open the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agrees {
    Here,
    There,
}

/// What a stream carries, as far as that is known.
#[derive(Debug)]
enum Carries {
    Unknown(Agrees, Answer),
    Hop,
    Stop,
    Other,
}

struct Stream {
    inner: SubstreamBox,
    counter: Arc<Counter>,
    carries: Carries,
}

impl Stream {
    /// These bytes went through; `by` is who wrote them.
    fn passed<'a>(&mut self, by: Agrees, pieces: impl Iterator<Item = &'a [u8]>, mut n: usize) {
        match &mut self.carries {
            Carries::Other => {}
            Carries::Hop => drop(self.counter.hop.fetch_add(n as u64, Ordering::Relaxed)),
            Carries::Stop => drop(self.counter.stop.fetch_add(n as u64, Ordering::Relaxed)),
            Carries::Unknown(agrees, answer) if *agrees == by => {
                for piece in pieces {
                    let len = piece.len().min(n);
                    n -= len;
                    if let Some(carries) = answer.read(&piece[..len]) {
                        self.carries = carries;
                        break;
                    }
                }
            }
            Carries::Unknown(..) => {}
        }
    }
}

/// Reads what the agreeing side of a multistream-select negotiation says: messages of a length and
/// as many bytes, until one is a protocol's name.
#[derive(Debug)]
struct Answer {
    /// The length of the message under way, and how many bits of it have come if it has not.
    len: usize,
    bits: Option<u32>,
    is_begun: bool,
    read: usize,
    /// The beginning of the message under way: enough to tell the names apart.
    start: [u8; 40],
}

impl Answer {
    const fn new() -> Self {
        Self { len: 0, bits: None, is_begun: false, read: 0, start: [0; 40] }
    }

    fn read(&mut self, bytes: &[u8]) -> Option<Carries> {
        bytes.iter().find_map(|byte| self.read_byte(*byte))
    }

    fn read_byte(&mut self, byte: u8) -> Option<Carries> {
        if self.is_begun {
            if let Some(slot) = self.start.get_mut(self.read) {
                *slot = byte;
            }
            self.read += 1;
        } else {
            let bits = self.bits.unwrap_or(0);
            // Lengths of multistream-select have two bytes. Whatever has more is none of ours.
            if bits > 7 {
                return Some(Carries::Other);
            }
            self.len |= usize::from(byte & 0x7f) << bits;
            self.bits = Some(bits + 7);
            self.is_begun = byte & 0x80 == 0;
        }
        if self.is_begun && self.read == self.len {
            let (len, start) = (self.len, self.start);
            *self = Self::new();
            return carried(start.get(..len).unwrap_or(&start));
        }
        None
    }
}

/// What a message of the agreeing side agrees to, if to anything.
fn carried(message: &[u8]) -> Option<Carries> {
    let name = message.strip_suffix(b"\n").unwrap_or(message);
    match name {
        // Not this one, or a list of those that there are.
        _ if message == MULTISTREAM || name.first() != Some(&b'/') => None,
        _ if name == relay::HOP_PROTOCOL_NAME.as_ref().as_bytes() => Some(Carries::Hop),
        _ if name == relay::STOP_PROTOCOL_NAME.as_ref().as_bytes() => Some(Carries::Stop),
        _ => Some(Carries::Other),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.passed(Agrees::There, std::iter::once(&*buf), n);
        Poll::Ready(Ok(n))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_read_vectored(cx, bufs))?;
        self.passed(Agrees::There, bufs.iter().map(|buf| &**buf), n);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.passed(Agrees::Here, std::iter::once(buf), n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.passed(Agrees::Here, bufs.iter().map(|buf| &**buf), n);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the answers say, in pieces of `size`.
    fn read(messages: &[&[u8]], size: usize) -> Option<Carries> {
        let mut bytes = Vec::new();
        for message in messages {
            let len = message.len();
            if len < 128 {
                bytes.push(len as u8);
            } else {
                bytes.extend([(len & 0x7f) as u8 | 0x80, (len >> 7) as u8]);
            }
            bytes.extend_from_slice(message);
        }
        let mut answer = Answer::new();
        bytes.chunks(size).find_map(|piece| answer.read(piece))
    }

    #[test]
    fn a_stream_is_known_by_what_was_agreed_to() {
        let hop = b"/libp2p/circuit/relay/0.2.0/hop\n";
        let stop = b"/libp2p/circuit/relay/0.2.0/stop\n";
        for size in [1, 2, 7, 1_000] {
            assert!(matches!(read(&[MULTISTREAM, hop], size), Some(Carries::Hop)));
            assert!(matches!(read(&[MULTISTREAM, stop], size), Some(Carries::Stop)));
            assert!(matches!(
                read(&[MULTISTREAM, b"/ipfs/id/1.0.0\n"], size),
                Some(Carries::Other)
            ));
            assert!(read(&[MULTISTREAM], size).is_none());
        }
    }

    /// The relay says no to each of them, so there is no hiding behind many.
    #[test]
    fn many_refused_proposals_hide_no_circuit() {
        let mut messages: Vec<&[u8]> = vec![MULTISTREAM];
        messages.extend([b"na\n".as_slice(); 500]);
        let listed = [&[30; 200], b"/ipfs/id/1.0.0\n".as_slice()].concat();
        messages.push(&listed);
        messages.push(b"/libp2p/circuit/relay/0.2.0/hop\n");
        assert!(matches!(read(&messages, 11), Some(Carries::Hop)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..512), size in 1_usize..64) {
            let mut answer = Answer::new();
            for piece in bytes.chunks(size) {
                let _ = answer.read(piece);
            }
        }
    }

    #[test]
    fn what_ended_connections_moved_is_told_once() {
        let meters = Meters::default();
        let (peer, remote) = (PeerId::random(), Multiaddr::empty());
        let counter = meters.counter(peer, remote.clone());
        counter.hop.fetch_add(7, Ordering::Relaxed);
        drop(counter);
        assert_eq!(meters.collect(), [Moved { peer, remote, hop: 7, stop: 0 }]);
        assert_eq!(meters.collect(), []);
        assert!(meters.0.lock().unwrap().is_empty());
    }
}
