//! What happens when, and a hash of everything that did.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hive_fetch::{PeerIx, RequestId};

/// A moment, in microseconds since the beginning.
pub(crate) type Moment = u64;

/// Something that will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A home comes online.
    Join { node: u32 },
    /// A session ends.
    Leave { node: u32, session: u32 },
    /// That a node went without a word is noticed.
    Lost { node: u32 },
    /// Somebody wishes for a model.
    Wish { node: u32, session: u32 },
    /// A node tells the DHT of a model.
    Provide { node: u32, session: u32, model: u16 },
    /// A node's head is due.
    Announce { node: u32, session: u32 },
    /// A fetch looks for providers again.
    Round { fetch: u32 },
    /// The DHT answers a fetch.
    Found { fetch: u32, tries: u8 },
    /// A peer says what it has, or cannot be asked.
    Have { fetch: u32, peer: u32, reached: bool },
    /// The planner is to be asked again.
    Wake { fetch: u32 },
    /// Partial holders are polled.
    Poll { fetch: u32 },
    /// A request is at its provider.
    Asked { transfer: u64 },
    /// A group is at its reader.
    Group { transfer: u64 },
    /// Bytes of a slow group are at its reader.
    Slice { transfer: u64 },
    /// A request may have been silent for too long.
    Watch { transfer: u64 },
    /// A request may have waited too long for a slot.
    Waited { transfer: u64 },
    /// A refusal is at its reader.
    Refused { fetch: u32, request: u64, how: Refusal },
}

/// Why a request ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    Busy,
    NotHeld,
}

/// Events in the order of time; of one moment, in the order in which they were scheduled.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    n_scheduled: u64,
    n_happened: u64,
    trace: Trace,
}

impl Queue {
    pub(crate) fn at(&mut self, moment: Moment, event: Event) {
        self.n_scheduled += 1;
        self.heap.push(Reverse((moment, self.n_scheduled, event)));
    }

    pub(crate) fn next(&mut self) -> Option<(Moment, Event)> {
        let Reverse((moment, _, event)) = self.heap.pop()?;
        self.n_happened += 1;
        self.trace.add(moment);
        let [kind, one, other] = event.words();
        self.trace.add(kind);
        self.trace.add(one);
        self.trace.add(other);
        Some((moment, event))
    }

    /// Takes into the trace what a decision was.
    pub(crate) fn note(&mut self, peer: PeerIx, request: RequestId, first: usize) {
        self.trace.add(u64::from(peer.0) << 32 ^ request.0);
        self.trace.add(first as u64);
    }

    pub(crate) fn n_happened(&self) -> u64 {
        self.n_happened
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace.0
    }
}

impl Event {
    fn words(self) -> [u64; 3] {
        let (n, pair) = (u64::from, |one: u32, other: u32| u64::from(one) << 32 | u64::from(other));
        match self {
            Self::Join { node } => [1, n(node), 0],
            Self::Leave { node, session } => [2, n(node), n(session)],
            Self::Wish { node, session } => [3, n(node), n(session)],
            Self::Provide { node, session, model } => [4, pair(node, session), u64::from(model)],
            Self::Announce { node, session } => [5, n(node), n(session)],
            Self::Round { fetch } => [6, n(fetch), 0],
            Self::Found { fetch, tries } => [7, n(fetch), u64::from(tries)],
            Self::Have { fetch, peer, reached } => [8, pair(fetch, peer), u64::from(reached)],
            Self::Wake { fetch } => [9, n(fetch), 0],
            Self::Poll { fetch } => [10, n(fetch), 0],
            Self::Asked { transfer } => [11, transfer, 0],
            Self::Group { transfer } => [12, transfer, 0],
            Self::Slice { transfer } => [13, transfer, 0],
            Self::Waited { transfer } => [14, transfer, 0],
            Self::Lost { node } => [15, n(node), 0],
            Self::Watch { transfer } => [16, transfer, 0],
            Self::Refused { fetch, request, how } => [17 + how as u64, n(fetch), request],
        }
    }
}

/// FNV-1a over words: a change anywhere changes all that follows, which is all that is wanted here.
#[derive(Debug)]
struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }
}
