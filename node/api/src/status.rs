//! How a node is, and how it stands in the network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fetch::FetchSummary;
use crate::network::OwnMembership;

/// How a node is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// The network's name; a private one's id.
    pub network: String,
    /// This node's part in the network, if that is a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<OwnMembership>,
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
    /// Whether others reach it, and how.
    #[serde(default)]
    pub reachability: Reachability,
    /// How the router between it and the others maps ports.
    #[serde(default)]
    pub nat: Nat,
    /// Full addresses at which others reach it: checked, or given by its owner.
    #[serde(default)]
    pub external: Vec<String>,
    /// Where others see it; whether anybody can dial it there is another question.
    #[serde(default)]
    pub observed: Vec<String>,
    /// Its part in the DHT.
    #[serde(default)]
    pub dht: DhtPart,
    /// The relays that it uses.
    #[serde(default)]
    pub relays: Vec<RelayUse>,
    /// What the router said to a request to let others in.
    #[serde(default)]
    pub upnp: UpnpState,
    /// What it relays for others, if it is a relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayService>,
    /// Whether no packet of it may leave the private ranges.
    #[serde(default)]
    pub lan_only: bool,
}

/// Whether others reach a node, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reachability {
    /// Nobody has said yet.
    #[default]
    Unknown,
    /// At an address of its own that was checked.
    Direct,
    /// Through relays only; holes may be punched.
    Relayed,
    /// Not at all; it reaches others.
    Unreachable,
}

/// How a router maps ports (RFC 4787 §4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mapping {
    /// Too few have said where they see the node.
    #[default]
    Unknown,
    /// Others see it where it is: no translation.
    None,
    /// One port for all: holes can be punched.
    Cone,
    /// Another port for each: nobody can know where to knock.
    Symmetric,
}

/// What the router between a node and the others does with its ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Nat {
    /// TCP ports.
    pub tcp: Mapping,
    /// UDP ports.
    pub udp: Mapping,
}

/// A node's part in the DHT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DhtPart {
    /// Whether it answers others' questions.
    pub server: bool,
    /// Peers in its routing table.
    pub peers: u64,
}

/// A relay that a node uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RelayUse {
    /// Its id.
    pub peer: String,
    /// Whether it has accepted.
    pub reserved: bool,
    /// Whether its operator lets models through.
    pub allows_bulk: bool,
    /// Why there is no reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What became of asking the router to let others in (UPnP).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum UpnpState {
    /// It was not asked.
    #[default]
    Off,
    /// It has not answered yet.
    Asking,
    /// There is none that speaks UPnP.
    NoGateway,
    /// Its own address is private: there is another router behind it.
    NotRoutable,
    /// It says that others reach the node there.
    Mapped {
        /// Where it says so.
        addresses: Vec<String>,
        /// Whether another node has reached it at one of them.
        confirmed: bool,
    },
}

/// What a relay does for others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RelayService {
    /// Peers that can be reached through it.
    pub reservations: u64,
    /// Circuits that are open.
    pub circuits: u64,
    /// Bytes that went through it since it started, both ways.
    pub bytes: u64,
    /// What it refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Peers that have used up what they may have this hour.
    pub over_budget: u64,
    /// Whether circuits may carry models.
    pub allows_bulk: bool,
}
