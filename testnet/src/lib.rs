//! Many nodes in one process, and peers that lie, to test what no crate shows alone.
//!
//! [`Mesh`] is a network of [`TestNode`]s, each with a home that is gone with it, on the loopback and
//! on any free port; its links are cut, slowed and healed while it runs. [`Liar`] is a peer made of stock libp2p that lies as told and counts what it
//! did. [`attack`] has peers that write bytes by hand. [`Fetch`] follows a fetch event by event. [`wait`] waits for facts: no test sleeps.
//!
//! Owns nothing that a node needs; the tests in `tests/it` are what it is for.

pub mod attack;
mod fetch;
pub mod liar;
mod mesh;
mod node;
pub mod sample;
pub mod wait;

pub use fetch::{Fetch, Fetched, bytes_in};
pub use liar::{Liar, Lie};
pub use mesh::Mesh;
pub use node::{TestNode, config};
pub use sample::Sample;
