//! Models from hubs, addresses and the caches of other programs.
//!
//! [`Hub`] turns what a user wrote into a [`Plan`], and a plan downloads what is missing. The only
//! crate that speaks HTTP to strangers. Never adds anything to a store, and reads no setting of
//! the user's but where other programs keep their models and which proxy there is: endpoint and
//! token come with each request.
//!
//! Invariants: a file that [`Plan::download`] put in place has the digest that was promised; a
//! token goes to the endpoint's own origin and nowhere else; a public source never sends us into a
//! private network.

mod address;
mod caches;
mod choices;
mod digest;
mod download;
mod hub;
mod limits;
mod options;
mod plan;
mod proxy;
mod repo;
mod resolver;
mod retry;
mod sink;
mod source;
mod web;

#[cfg(feature = "testing")]
pub mod testing;

pub use caches::Places;
pub use digest::Promise;
pub use hub::Hub;
pub use options::{Lookup, Options, SystemLookup};
pub use plan::{Plan, PlannedFile, ReadyFile};
pub use repo::PUBLIC_HUB;
pub use retry::Tell;
pub use source::{OllamaName, Repo, Source, SourceError};
