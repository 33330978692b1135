//! What a swarm promises, over TCP and QUIC on this machine.

mod dht;
mod gossip;
mod lifecycle;
mod model;
mod stock;
mod support;
