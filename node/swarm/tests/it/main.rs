//! What a swarm promises, over TCP and QUIC on this machine.

mod dht;
mod faults;
mod gossip;
mod lifecycle;
mod membership;
mod model;
mod relay;
mod relayed;
mod stock;
mod support;
mod websocket;
