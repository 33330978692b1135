//! A hive node: the store, the swarm and the engines, wired together; one file per use case.
//!
//! [`Node`] is what a binary starts and stops; [`hive_api::Hive`] is what a front sees of it. Owns
//! every task and ends them in reverse order. Never parses a command line, never prints.
//!
//! Invariant: nothing from a peer reaches the store or a front before `hive-protocol` has checked it.

mod add;
mod announce;
mod book;
mod catalog;
mod clock;
mod config;
mod describe;
mod dnssd;
mod doctor;
mod engines;
mod errors;
mod fetch;
mod fit;
mod goodput;
mod keys;
mod library;
mod listen;
mod local;
mod machine;
mod metrics;
mod names;
mod network;
mod networks;
mod pull;
mod quantize;
mod reach;
mod read;
mod run;
mod serve;
mod start;

pub use config::{Config, DhtServer, FaultCounts, Faults, NetworkState, Peer, Relay, Tally};
pub use doctor::{doctor, public_hosts};
pub use start::Node;

/// The first argument that makes a program a model's process: it then calls [`infer`] and nothing
/// else.
pub const INFER: &str = "infer";

/// Runs a model for the node that started this process. Call it first thing, before there is any
/// thread.
pub fn infer() -> std::process::ExitCode {
    hive_worker::child(&engines::backend())
}

/// The software and its version, as peers see it.
pub const AGENT: &str = concat!("hive/", env!("CARGO_PKG_VERSION"));

/// The small model inside the binary, for `hive demo`: GGUF.
pub static TINY_MODEL: &[u8] = include_bytes!("../inference/assets/tiny-hive.gguf");
