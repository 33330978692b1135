//! Nodes: this one and others.

use serde::{Deserialize, Serialize};

use crate::fetch::FetchSummary;

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

/// How a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// Its peer id.
    pub peer: String,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Full addresses that others can dial.
    pub addresses: Vec<String>,
    /// Peers connected.
    pub connected: u64,
    /// Models in the store.
    pub models: u64,
    /// Fetches that are going on.
    pub fetches: Vec<FetchSummary>,
    /// The network's name.
    pub network: String,
    /// Its home directory.
    pub home: std::path::PathBuf,
    /// The version of the software.
    pub version: String,
    /// Seconds since it started.
    pub uptime: f64,
    /// Bytes served to peers since it started.
    pub uploaded: u64,
    /// Bytes that the store takes.
    pub disk_used: u64,
    /// Bytes that fetches may still take (free space, reserve and quota considered).
    pub disk_free: u64,
}
