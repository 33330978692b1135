//! The NAT lab: real networks with real address translation, on one machine, in namespaces.
//!
//! `hive-natlab` builds what a topology file says out of network namespaces, routers of nftables and
//! lines that delay and lose, runs `hive` (or plain sockets) in it, and ends each scenario in a table
//! and an exit code. It needs Linux, root, iproute2 and nftables, and installs nothing.
//!
//! It never joins the networks it makes to the machine's own, and leaves nothing behind
//! (the module `janitor`).
//!
//! As a library it is the networks alone: whoever measures something in them builds a [`Lab`] of a
//! [`Topology`], starts programs with [`Namespace::command`], and answers to the orders of [`Helper`],
//! since lines and programs are processes of whatever program built the lab.

#![cfg(target_os = "linux")]

mod cable;
mod cli;
mod dice;
mod janitor;
mod kind;
mod lab;
mod limits;
mod link;
mod netns;
mod node;
mod pcap;
mod probe;
mod process;
mod scenario;
mod stage;
mod table;
mod tap;
mod topology;
mod view;
mod wait;

pub use cable::{Cable, CableArgs, Told};
pub use cli::main;
pub use janitor::Janitor;
pub use lab::Lab;
pub use link::{Counts, Shape};
pub use netns::{Namespace, check};
pub use process::Helper;
pub use topology::Topology;
