//! A day in the life of ten thousand nodes, in virtual time.
//!
//! What decides is real: [`hive_fetch`]'s planner, roster, search and upload slots, and the pace of
//! announcements of [`hive_protocol`]. What they decide about is a model: homes that come and go,
//! lines with a rate and a latency, routers, liars, a DHT whose records stand with the twenty nearest
//! nodes that are there, gossip over a mesh. Bytes are counted and not moved: a group is an event.
//!
//! The model, where it is simpler than the world: a line's rate is shared evenly among what goes
//! through it at the moment a group begins; a question takes round trips and no processor; a node
//! answers in the DHT, or is a neighbour in the mesh, from the moment it is online; a routing table
//! always finds the nearest nodes. Nothing here has I/O, a clock, or chance that no seed decides.
//!
//! Invariant: the same [`Config`] gives the same [`Report`], its trace included.

mod config;
mod queue;
mod report;
mod sim;
mod slab;
mod world;

pub use config::{Broken, Config};
pub use report::Report;
pub use sim::run;
