//! What hive's peers say to each other and how bytes get their names.
//!
//! Ids, the chunker, group hashes, manifests, cards, messages, signatures, membership of private
//! networks and every limit on what a peer may send. `docs/wire.md` describes the same for somebody
//! who writes it in another language.
//!
//! Pure: no file, no socket, no clock, no randomness. Time and dice are arguments. No input can
//! make it panic or allocate more than the limits in [`limits`] allow.

pub mod bitfield;
pub mod card;
pub mod catalog;
pub mod chunk_message;
pub mod chunker;
pub mod codec;
pub mod geometry;
pub mod gguf;
pub mod group;
pub mod id;
pub mod limits;
pub mod manifest;
pub mod membership;
pub mod message;
pub mod name;
pub mod path;
pub mod safetensors;
pub mod signed;

pub use bitfield::Bitfield;
pub use geometry::Geometry;
pub use id::{BlockId, ChunkId, Digest, NodeKey};
pub use manifest::{FileBlock, Manifest, Tree};
pub use name::Name;
pub use path::TreePath;
