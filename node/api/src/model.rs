//! Models: what is here, what others offer, whether it is sound.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::add::{Storage, Visibility};
use crate::hive::Events;
use crate::peer::PeerName;

/// A model in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelSummary {
    /// Its id.
    pub cid: String,
    /// Its name here.
    pub name: String,
    /// Bytes in all its files.
    pub size: u64,
    /// Verified bytes on disk.
    pub present: u64,
    /// Who may have it.
    pub visibility: Visibility,
    /// Whether `gc` leaves it.
    pub pinned: bool,
    /// How it is stored.
    pub storage: Storage,
    /// Where it is.
    pub path: std::path::PathBuf,
    /// What is wrong with it, if something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelFile {
    /// Its path in the tree; the file's name for a single file.
    pub path: String,
    /// Its id.
    pub cid: String,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// All that is known of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelDetails {
    /// What `ls` says; `None` when it is not in the store.
    #[serde(flatten)]
    pub summary: ModelSummary,
    /// Its files.
    pub files: Vec<ModelFile>,
    /// Distinct chunks.
    pub chunks: u64,
    /// `gguf`, `safetensors`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// `llama`, `gemma3`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// `Q4_K_M`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// Number of weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Tokens that it can see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// The licence that the card or the file names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What running it takes; `None` if it is nothing that can be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
    /// Seconds that fetching the rest of it takes at the rate of the latest fetch, when both are
    /// known and something is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch_seconds: Option<f64>,
    /// Who has it, as far as the catalog knows; this node is not in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<PeerName>,
}

/// What running a model takes of this machine. Estimates, but for what is measured by then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fit {
    /// Bytes of memory that it needs with a context of `context` tokens.
    pub needed: u64,
    /// Tokens of context counted in.
    pub context: u64,
    /// Bytes of memory that are free, those of idle models included.
    pub free: u64,
    /// Bytes of memory that the machine has.
    pub total: u64,
    /// Whether it fits what the machine has, with what the system needs left over.
    pub fits: bool,
    /// Seconds until it is loaded from a disk cache that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<f64>,
    /// Tokens a second that it generates alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Whether the two were measured with this very model; else they follow from what others did.
    pub measured: bool,
}

/// Which models of the network are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SearchRequest {
    /// Part of a name, an id, an architecture or a peer's name; empty for all.
    pub text: String,
    /// Only this kind: `model`, `adapter`, …
    pub kind: Option<String>,
    /// Only of so many bytes at most.
    pub max_size: Option<u64>,
    /// Only what this machine has the memory for.
    pub fits: bool,
    /// Ask the peers for their lists first, instead of waiting for the next announcement.
    pub refresh: bool,
}

/// Bytes of a file of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReadRequest {
    /// An id or a name.
    pub model: String,
    /// The file's path in the tree; needed only where there are several.
    #[serde(default)]
    pub file: Option<String>,
    /// The first byte.
    #[serde(default)]
    pub start: u64,
    /// How many; `None` for the rest.
    #[serde(default)]
    pub len: Option<u64>,
}

/// A file of a model that is being read. The store vouched for it when it was opened.
pub struct Reading {
    /// The file.
    pub file: ModelFile,
    /// The first byte that comes.
    pub start: u64,
    /// How many come.
    pub len: u64,
    /// The bytes, in pieces. A piece that is not what it was is an error, and the last item.
    pub bytes: Events<Bytes>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("file", &self.file).field("start", &self.start).finish()
    }
}

/// A model that the network offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Offer {
    /// Its id.
    pub cid: String,
    /// What its publisher calls it.
    pub name: String,
    /// `model`, `adapter`, …
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// Format, architecture and quantisation, as far as known.
    pub description: String,
    /// The licence, if the card names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Who says so.
    pub publisher: String,
    /// Who has it.
    pub peers: Vec<PeerName>,
    /// Whether it is in the store, whole.
    pub here: bool,
    /// Number of weights, when the publisher says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Whether this machine has the memory to run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<bool>,
}

/// What can be removed, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GcReport {
    /// Models without a pin, their ids.
    pub models: Vec<String>,
    /// Downloads that nobody went on with for a week, by their source.
    #[serde(default)]
    pub downloads: Vec<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether they were removed, or would be.
    pub removed: bool,
}

/// What happens while models are verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum VerifyEvent {
    /// Bytes hashed so far.
    Progress {
        /// Bytes hashed.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Groups on disk that lie together are not what they should be. They were quarantined.
    Damaged {
        /// The model.
        cid: String,
        /// The file.
        path: String,
        /// Where the first of them begins, from the start of the file.
        offset: u64,
        /// Bytes in them.
        len: u64,
        /// What is the matter.
        reason: String,
    },
    /// A damaged model is whole again: from peers, or because its files are what they should be.
    Repaired {
        /// The model.
        cid: String,
        /// Bytes fetched.
        bytes: u64,
    },
    /// The last event.
    Done {
        /// Models looked at.
        models: u64,
        /// Bytes hashed.
        bytes: u64,
        /// Damaged places found.
        damaged: u64,
        /// Damaged places repaired.
        repaired: u64,
    },
}
