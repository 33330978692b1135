//! What a planner says and what it is told about requests.

use std::time::Duration;

use crate::peer::PeerIx;

/// Names a request of one planner. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Groups of one chunk, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The chunk's place in [`hive_protocol::Geometry::chunks`].
    pub chunk: usize,
    /// The first group, counted within the chunk.
    pub first: u32,
    /// How many.
    pub n: u32,
}

/// What the planner wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask a peer for groups.
    Request {
        /// What the answer is to be reported under.
        id: RequestId,
        /// Whom to ask.
        peer: PeerIx,
        /// What to ask for, in this order.
        ranges: Vec<Asked>,
    },
    /// Drop a request: its groups are wanted of somebody else, or no more. For the planner it is
    /// over; nothing has to be reported, and what still arrives may be.
    Cancel {
        /// The request.
        id: RequestId,
    },
    /// Read a request up to and including one group and then drop it: what follows was given to
    /// somebody else. It may come again for the same request with an earlier group.
    Truncate {
        /// The request.
        id: RequestId,
        /// The last group that is still wanted of it, in the model's numbering.
        last: u32,
    },
    /// Nothing to do before `until`, unless something happens first.
    Wait {
        /// When to ask again; always later than now.
        until: Duration,
    },
    /// Every group is present.
    Done,
    /// Groups are missing, nothing is in flight, and no peer that may be asked has any of them.
    /// Goes on when a peer joins or gets more.
    Stuck,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All that was granted came.
    Done,
    /// The peer asks to come again later.
    Busy {
        /// Milliseconds that it wants to be left alone.
        retry_ms: u64,
    },
    /// The peer does not hold these groups.
    NotHeld,
    /// The connection or the stream broke, or nothing came in time.
    Failed,
    /// The caller dropped it for reasons of its own.
    Cancelled,
    /// The peer does not speak the protocol.
    Unsupported,
}

/// What a bad group means for its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// The first: the peer begins anew, with one group.
    First,
    /// The second: it is not asked for an hour. Reset its streams.
    Banned,
}
