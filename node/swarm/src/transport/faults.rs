//! Links that break as real ones do: for tests and testnets, which turn them on with
//! `Config::faults`. Everybody else's connections do not pass through here.
//!
//! [`Faults`] is what one node's links suffer, told while it runs. A cut is silent: what was on its
//! way arrives after the healing, if there is still somebody to take it; no socket is closed and no
//! error told; a new dial hangs until it is healed or given up. So whoever notices, notices by
//! his own patience, as on a real network. A slow link has a rate each way, for all peers
//! together, and all that arrives over it is late.
//!
//! The fault lies above security and streams, where it is known who the peer is. Below it the
//! sockets stay open, unread while the link is cut: even an end that the other side made is seen
//! only after the healing.
//!
//! Invariant: no byte, stream or connection passes a link that is cut, either way, and what was held
//! back is counted ([`Faults::counts`]).

mod link;
mod tally;

use std::collections::HashSet;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::watch;
use tokio::time::Instant;

use self::link::Link;
pub use self::tally::{Tally, Written};
use super::{Connections, UPGRADE_TIMEOUT};
use crate::address::peer_of;
use crate::identity::Peer;

/// What the links of one node suffer. Clones say the same.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

/// Faults are equal if they are the same.
impl PartialEq for Faults {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Faults {}

/// What faults did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Bytes that this node wanted to send when the link was cut, and which had to wait.
    pub withheld: u64,
    /// Streams over which nothing came since the link was cut.
    pub silenced: u64,
    /// Dials, and connections that others began, that hung.
    pub hung: u64,
    /// Bytes that came over a slow link, late.
    pub late: u64,
}

#[derive(Debug, Default)]
struct Shared {
    rules: watch::Sender<Rules>,
    counts: watch::Sender<FaultCounts>,
    /// When a slow link will have carried all that it was given.
    arriving: Mutex<Option<Instant>>,
    leaving: Mutex<Option<Instant>>,
    written: tally::Counts,
}

#[derive(Debug, Default)]
struct Rules {
    cut: HashSet<PeerId>,
    pace: Option<Pace>,
}

/// How slow a link is.
#[derive(Debug, Clone, Copy)]
struct Pace {
    bytes_per_second: u64,
    delay: Duration,
}

impl Faults {
    /// Faults that are none yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the link with a peer, on this node's side: nothing passes either way. A testnet cuts the
    /// other side too, whose dials hang then.
    pub fn cut(&self, peer: Peer) {
        self.shared.rules.send_modify(|rules| {
            rules.cut.insert(peer.0);
        });
    }

    /// Slows this node's link: so many bytes a second each way, and what arrives does so that much
    /// later.
    pub fn slow(&self, bytes_per_second: u64, delay: Duration) {
        let bytes_per_second = bytes_per_second.max(1);
        self.shared.rules.send_modify(|rules| rules.pace = Some(Pace { bytes_per_second, delay }));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.shared.rules.send_replace(Rules::default());
    }

    /// What the faults did. The receiver also tells of each change.
    pub fn counts(&self) -> watch::Receiver<FaultCounts> {
        self.shared.counts.subscribe()
    }

    /// What the node has sent since it started, but for what streams say that have just begun.
    pub fn tally(&self) -> Tally {
        self.shared.written.tally()
    }

    fn is_cut(&self, peer: &PeerId) -> bool {
        self.shared.rules.borrow().cut.contains(peer)
    }

    fn pace(&self) -> Option<Pace> {
        self.shared.rules.borrow().pace
    }

    /// Waits until the link with a peer is whole.
    fn healed(&self, peer: PeerId) -> BoxFuture<'static, ()> {
        let mut rules = self.shared.rules.subscribe();
        // While the rules cannot change any more, a cut stays.
        let shared = self.shared.clone();
        Box::pin(async move {
            let _ = rules.wait_for(|rules| !rules.cut.contains(&peer)).await;
            drop(shared);
        })
    }

    fn count(&self, change: impl FnOnce(&mut FaultCounts)) {
        self.shared.counts.send_modify(change);
    }

    /// When the link will have carried so many bytes more, after all that it carries already.
    fn carried(of: &Mutex<Option<Instant>>, n: usize, pace: Pace) -> Instant {
        let mut free = of.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = free.map_or_else(Instant::now, |free| free.max(Instant::now()));
        let end = begin + Duration::from_secs_f64(n as f64 / pace.bytes_per_second as f64);
        *free = Some(end);
        end
    }

    /// When bytes that reach the link now come out of it.
    fn arrives(&self, n: usize, pace: Pace) -> Instant {
        Self::carried(&self.shared.arriving, n, pace) + pace.delay
    }

    /// When the next bytes may be sent, these having been.
    fn leaves(&self, n: usize, pace: Pace) -> Instant {
        Self::carried(&self.shared.leaving, n, pace)
    }

    /// Makes a connection pass over its link; `peer` is who is dialed, if that is known before.
    async fn connect<F>(self, peer: Option<PeerId>, making: F) -> io::Result<Connection>
    where
        F: Future<Output = io::Result<Connection>>,
    {
        let work = async {
            let mut making = pin!(making);
            let mut known = peer.map(|peer| Way::new(self.clone(), peer));
            let made = std::future::poll_fn(|cx| {
                if let Some(way) = &mut known {
                    ready!(way.poll_open(cx, |counts| counts.hung += 1));
                }
                making.as_mut().poll(cx)
            });
            let (peer, muxer) = made.await?;
            // Who it is may have come out only now.
            let mut way = Way::new(self.clone(), peer);
            std::future::poll_fn(|cx| way.poll_open(cx, |counts| counts.hung += 1)).await;
            Ok((peer, StreamMuxerBox::new(Link::new(muxer, self.clone(), peer))))
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "nothing came back");
        tokio::time::timeout(UPGRADE_TIMEOUT, work).await.map_err(|_| late())?
    }
}

/// The way to a peer as one poller sees it: open, or waited for.
struct Way {
    faults: Faults,
    peer: PeerId,
    waiting: Option<BoxFuture<'static, ()>>,
}

impl Way {
    fn new(faults: Faults, peer: PeerId) -> Self {
        Self { faults, peer, waiting: None }
    }

    /// Ready while the link is whole. `held` counts what begins to wait now.
    fn poll_open(&mut self, cx: &mut Context<'_>, held: impl Fn(&mut FaultCounts)) -> Poll<()> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.poll_unpin(cx));
                self.waiting = None;
            }
            // It may have been cut again meanwhile.
            if !self.faults.is_cut(&self.peer) {
                return Poll::Ready(());
            }
            self.faults.count(&held);
            self.waiting = Some(self.faults.healed(self.peer));
        }
    }
}

type Connection = (PeerId, StreamMuxerBox);

/// Puts the faults under the connections, if there shall be any.
pub fn on(connections: Connections, faults: Option<Faults>) -> Connections {
    match faults {
        Some(faults) => Faulty { connections, faults }.boxed(),
        None => connections,
    }
}

struct Faulty {
    connections: Connections,
    faults: Faults,
}

impl Transport for Faulty {
    type Output = Connection;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<Connection>>;
    type Dial = BoxFuture<'static, io::Result<Connection>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.connections.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.connections.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        let peer = peer_of(&address);
        let dial = self.connections.dial(address, opts)?;
        Ok(Box::pin(self.faults.clone().connect(peer, dial)))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let event = ready!(Pin::new(&mut self.connections).poll(cx));
        let faults = self.faults.clone();
        Poll::Ready(event.map_upgrade(|upgrade| -> Self::ListenerUpgrade {
            Box::pin(faults.connect(None, upgrade))
        }))
    }
}
