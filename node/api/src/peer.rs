//! Peers, and who a node is.

use serde::{Deserialize, Serialize};

/// A peer, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PeerName {
    /// Its id.
    pub peer: String,
    /// What it calls itself, if it says. Anybody may call himself anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A peer that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PeerSummary {
    /// Its id.
    pub peer: String,
    /// What it calls itself, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The software it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Whether there is a connection.
    pub connected: bool,
    /// Addresses, the one in use first.
    pub addresses: Vec<String>,
    /// `tcp`, `quic`; several when there are several connections.
    pub transports: Vec<String>,
    /// How bytes go to it; `null` when none do.
    #[serde(default)]
    pub path: Option<PeerPath>,
    /// The connections, direct ones first.
    #[serde(default)]
    pub links: Vec<PeerLink>,
    /// Bytes a second of chunks that came from it and went to it in the last minute, counting only
    /// the seconds in which any did; `null` when none did.
    #[serde(default)]
    pub goodput: Option<f64>,
    /// Why it is direct or relayed, in one sentence; `null` when there is no connection.
    #[serde(default)]
    pub why: Option<String>,
    /// Round-trip time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Banned until then (seconds from now), for wrong bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub banned_secs: Option<u64>,
    /// What it can do, when it announced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<CapabilitySummary>,
}

/// How bytes go to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PeerPath {
    /// From machine to machine.
    Direct,
    /// Through another node, the relay.
    Relayed,
}

/// One connection with a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PeerLink {
    /// `tcp`, `quic`, `websocket`, `relay`.
    pub transport: String,
    /// Where the other side is.
    pub address: String,
    /// The relay's id, if it goes through one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// Of a relayed one: whether the relay's operator lets models through.
    pub allows_bulk: bool,
    /// Seconds that it has been there.
    pub age: f64,
    /// Whether this node began it.
    pub outbound: bool,
}

/// What a peer announced that it can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CapabilitySummary {
    /// Architectures it runs.
    pub runs: Vec<String>,
    /// Models it holds.
    pub models: u64,
    /// Memory of the machine in bytes.
    pub memory: u64,
    /// Free memory in bytes.
    pub memory_free: u64,
    /// Processor cores.
    pub cores: u64,
    /// Load of the machine: 1000 is all cores busy.
    pub load: u64,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Identity {
    /// Its peer id.
    pub peer: String,
    /// Full addresses that others can dial; none when no node runs.
    pub addresses: Vec<String>,
}
