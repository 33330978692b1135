//! Models on disk: adding, fetching, serving, verifying and removing them.
//!
//! Owns a home directory: plain model files under readable names, and an index that says which of
//! their bytes are verified (`docs/disk.md`). Never touches a network and never waits for
//! anything but the disk; every call may block.
//!
//! Invariants: no unverified byte is served or opened to be run; the index never names bytes that
//! the disk does not hold, whatever the moment of a crash.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use hive_store::{AddOptions, Options, Store, Visibility};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let store = Store::open(&dir.path().join("home"), Options::default())?;
//! let file = dir.path().join("weights.bin");
//! std::fs::write(&file, "a model")?;
//!
//! let options = AddOptions { visibility: Some(Visibility::Public), ..AddOptions::default() };
//! let added = store.add(&file, &options, &mut |_| ControlFlow::Continue(()))?;
//!
//! let offer = store.offer(&added.id)?.ok_or("it is public")?;
//! let chunk = offer.geometry().chunks()[0];
//! let mut group = Vec::new();
//! offer.read_group(&chunk.id, chunk.size, 0, &mut group)?;
//! assert_eq!(group, b"a model");
//! # Ok(())
//! # }
//! ```

mod add;
mod arriving;
mod book;
mod dedupe;
mod direct;
mod disk;
mod export;
mod fetch;
mod fingerprint;
mod hash;
mod index;
mod layout;
mod live;
mod lock;
mod model;
mod offer;
mod partial;
mod query;
mod recovery;
mod remove;
mod run;
mod space;
mod stale;
mod store;
mod verify;

#[cfg(test)]
mod tests;

pub use add::{AddError, AddFile, AddOptions, Added};
pub use arriving::Arriving;
pub use book::Peer;
pub use disk::{DiskError, is_full};
pub use fetch::{BeginError, Fetching};
pub use index::IndexError;
pub use layout::file_name_for;
pub use model::{Kind, Model, ModelFile, Progress, State, Storage, Visibility};
pub use offer::{Offer, ReadError};
pub use partial::{CheckpointError, FinishError, Partial, WriteError};
pub use remove::{GcReport, ModelError};
pub use run::{OpenModelError, VerifiedFile};
pub use space::{NoRoom, SpaceError, Usage};
pub use store::{OpenError, Options, Store};
pub use verify::{Damage, VerifyError, VerifyReport};
