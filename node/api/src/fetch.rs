//! Fetching: what is asked, what happens, what is going on.

use serde::{Deserialize, Serialize};

/// Fetches a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FetchRequest {
    /// An id, or a name that the catalog knows once.
    pub model: String,
    /// Ask these peers first: peer ids or addresses that end in one.
    #[serde(default)]
    pub from: Vec<String>,
    /// Also put the files here when whole (reflink, hard link or copy).
    #[serde(default)]
    pub to: Option<std::path::PathBuf>,
    /// Wait for somebody to have it instead of giving up.
    #[serde(default)]
    pub wait: bool,
    /// Bytes of this fetch that may come through relays whose operators allow it; none if absent.
    #[serde(default)]
    pub relay_bulk: Option<u64>,
}

/// What one peer did in a fetch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FetchPeer {
    /// The peer's id.
    pub peer: String,
    /// What it calls itself, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Verified bytes from it.
    pub bytes: u64,
    /// Whether it sent wrong bytes and was banned.
    pub struck: bool,
    /// Bytes a second now; 0 when idle.
    #[serde(default)]
    pub rate: f64,
}

/// What happens during a fetch. `bytes` count verified bytes only and never shrink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum FetchEvent {
    /// Looking for somebody who has it.
    Searching {
        /// The id.
        cid: String,
    },
    /// The manifest is here and checked.
    Manifest {
        /// The id.
        cid: String,
        /// Its name here.
        name: String,
        /// Bytes in all its files.
        size: u64,
        /// Verified bytes that were on this disk already.
        present: u64,
    },
    /// A peer joined the fetch.
    Peer {
        /// Its id.
        peer: String,
        /// What it calls itself, if it says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// A peer sent wrong bytes.
    Struck {
        /// Its id.
        peer: String,
        /// What it calls itself, if it says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// What it did.
        reason: String,
    },
    /// Something that whoever waits should know, and what to do about it.
    Note {
        /// What.
        text: String,
        /// What to do next, when there is something.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// Where it stands; about four a second.
    Progress {
        /// Verified bytes.
        bytes: u64,
        /// Bytes in all.
        size: u64,
        /// Bytes a second.
        rate: f64,
        /// Seconds to go, when known.
        eta: Option<f64>,
        /// Each peer's part.
        peers: Vec<FetchPeer>,
    },
    /// The last event.
    Done {
        /// The id.
        cid: String,
        /// Where the file or the directory is.
        path: std::path::PathBuf,
        /// Bytes in all its files.
        bytes: u64,
        /// Seconds it took.
        seconds: f64,
        /// Each peer's part.
        peers: Vec<FetchPeer>,
    },
}

/// A fetch that is going on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FetchSummary {
    /// The model.
    pub cid: String,
    /// Its name here.
    pub name: String,
    /// Verified bytes.
    pub bytes: u64,
    /// Bytes in all, when known.
    pub size: u64,
    /// Bytes a second.
    pub rate: f64,
    /// Peers that it asks.
    pub peers: u64,
}
