//! The NAT lab: real networks with real address translation, on one machine, in namespaces.
//!
//! `hive-natlab` builds what a topology file says out of network namespaces, routers of nftables and
//! lines that delay and lose, runs `hive` (or plain sockets) in it, and ends each scenario in a table
//! and an exit code. It needs Linux, root, iproute2 and nftables, and installs nothing.
//!
//! It never joins the networks it makes to the machine's own, and leaves nothing behind
//! (the module `janitor`).

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
mod scenario;
mod stage;
mod table;
mod tap;
mod topology;
mod view;
mod wait;

pub use cli::main;
