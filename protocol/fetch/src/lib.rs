//! Decides which groups of a model to ask of which peer.
//!
//! A [`Planner`] is told what happened (a peer came, a group was verified, a request failed) and
//! says what to do next ([`Step`]). It owns the knowledge of who has what and who may be trusted
//! how far; it never does I/O, reads no clock and rolls no dice of its own: time is a [`Duration`]
//! since a start that the caller chose, and all chance comes from the seed. So a test is a list of
//! events and a list of steps, and the same seed and events give the same steps.
//!
//! Policy (DESIGN.md §7): what is demanded comes first and in order; the rest rarest first,
//! finishing chunks that are begun, of which some are open at a time where other readers have parts;
//! a request is as large as a peer's rate makes it; a new peer gets one group until one has verified;
//! what waits in a queue is asked of whoever has it too; at the tail the slow peer's rest is split; a
//! stalled peer loses its ranges; the second bad group ends a peer for an hour.
//!
//! Invariant: every group is in exactly one of *missing*, *in flight*, *present*; a group in flight
//! is asked of one peer, at the tail of at most two.
//!
//! Beside it stand the other decisions of a transfer, as pure: whom to look for and when again
//! ([`Search`]), whom to ask what they have and whom to suspect ([`Roster`]), and, on the other side,
//! whom to serve next ([`slots`]).
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use hive_fetch::{Config, Has, PeerIx, Planner, Quality, Step};
//! use hive_protocol::{Bitfield, ChunkId, Geometry};
//!
//! let geometry = Arc::new(Geometry::new([(ChunkId::of(b"a chunk"), 7)]));
//! let mut planner = Planner::new(geometry, Bitfield::empty(1), Config::default(), 1);
//! let now = Duration::ZERO;
//! assert_eq!(planner.next(now), Step::Stuck);
//!
//! planner.peer_joined(PeerIx(1), Quality::default(), now);
//! planner.peer_has(PeerIx(1), Has::All);
//! let Step::Request { id, ranges, .. } = planner.next(now) else { panic!("a peer has it") };
//! assert_eq!((ranges[0].chunk, ranges[0].first, ranges[0].n), (0, 0, 1));
//!
//! planner.group_verified(id, 0, now);
//! assert_eq!(planner.next(now), Step::Done);
//! ```
//!
//! [`Duration`]: std::time::Duration

mod config;
mod demand;
mod dice;
mod missing;
mod peer;
mod planner;
mod rate;
mod roster;
mod search;
pub mod sent;
mod set;
pub mod slots;
mod step;

pub use config::Config;
pub use demand::{Demand, Priority};
pub use dice::Dice;
pub use peer::{Has, PeerIx, PeerStats, Quality};
pub use planner::Planner;
pub use roster::{Met, Roster};
pub use search::Search;
pub use step::{Asked, End, RequestId, Step, Strike};
