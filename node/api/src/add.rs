//! How models come in: from this disk, from a hub, from an address, from another model.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Who may have a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Announced, and served to whoever asks.
    Public,
    /// Served to whoever knows the id, never announced.
    Unlisted,
    /// As if it were not there.
    Local,
}

/// How a model came to be under the store's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// Shares its blocks with the original (copy on write).
    Reflink,
    /// Is the original under a second name.
    Hardlink,
    /// Stays where it is; the store remembers the place.
    Reference,
    /// A copy.
    Copy,
    /// Came from peers or from a hub.
    Fetched,
    /// Was there before.
    Present,
}

/// Adds files or directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// Absolute path of a file or a directory on the node's machine.
    pub path: std::path::PathBuf,
    /// What to call it; by default its file name.
    #[serde(default)]
    pub name: Option<String>,
    /// Who may have it; by default what the configuration says, which says local.
    #[serde(default)]
    pub visibility: Option<Visibility>,
    /// Leave the file where it is and remember the place.
    #[serde(default)]
    pub link: bool,
    /// Licence to put on the card.
    #[serde(default)]
    pub license: Option<String>,
}

/// What happens while a path is added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AddEvent {
    /// Bytes hashed so far.
    Progress {
        /// Bytes hashed.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The last event.
    Done(Added),
}

/// A model that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Added {
    /// Its id.
    pub cid: String,
    /// Its name here.
    pub name: String,
    /// Bytes in all its files.
    pub size: u64,
    /// Distinct chunks.
    pub chunks: u64,
    /// How it is stored; the least shared way when files differ.
    pub storage: Storage,
    /// What may not have been meant, in words: hidden files, what was left out, what cannot be run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where a model comes from that is neither a path nor in the swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// `hf:owner/repo[@revision][:file]`, `ollama:name[:tag]` or an `https:` address.
    pub source: String,
    /// The SHA-256 that the bytes of an address must have, in hexadecimal.
    #[serde(default)]
    pub sha256: Option<String>,
    /// What to call it; by default what the source does.
    #[serde(default)]
    pub name: Option<String>,
    /// Who may have it; by default what the configuration says, which says local.
    #[serde(default)]
    pub visibility: Option<Visibility>,
    /// Leave a file that is on this disk already where it is and remember the place.
    #[serde(default)]
    pub link: bool,
    /// Licence to put on the card, in place of what the source says.
    #[serde(default)]
    pub license: Option<String>,
    /// The hub to ask (`HF_ENDPOINT`).
    #[serde(default)]
    pub endpoint: Option<String>,
    /// What shows the hub who asks (`HF_TOKEN`). It is sent to the endpoint's own host only.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Ask no hub, and take what is on this disk (`HF_HUB_OFFLINE`).
    #[serde(default)]
    pub offline: bool,
    /// Where the program that the source names keeps its models (`HF_HUB_CACHE`, `OLLAMA_MODELS`),
    /// if not where it usually does.
    #[serde(default)]
    pub cache: Option<std::path::PathBuf>,
}

/// What a source offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Listing {
    /// The source with its revision resolved: `hf:owner/repo@<commit>`.
    pub source: String,
    /// The licence that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What can be had, best known first. One of them needs no choice.
    pub choices: Vec<Choice>,
}

/// One model of a source: a GGUF file (all parts of it), or a directory of safetensors with what
/// belongs to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Choice {
    /// What to write after the source to have this one: `hf:owner/repo:<file>`.
    pub file: String,
    /// Its quantisation, or `safetensors`, as far as names tell.
    pub label: String,
    /// Bytes in all its files.
    pub size: u64,
    /// Its files.
    pub files: Vec<String>,
    /// Where it is on this disk already, checked by size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<std::path::PathBuf>,
    /// Whether the memory of the node's machine can hold it, by its size alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<bool>,
}

/// What happens while a model is pulled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PullEvent {
    /// It is known what will come.
    Found {
        /// The source with its revision resolved.
        source: String,
        /// Files that will be added.
        files: u64,
        /// Bytes in all of them.
        size: u64,
        /// Bytes of them on this disk: downloaded earlier, or in another program's cache.
        present: u64,
        /// What a person may want to know: where it is already, what is left behind.
        #[serde(default)]
        notes: Vec<String>,
    },
    /// Where the download stands; about four a second.
    Progress {
        /// Bytes here.
        bytes: u64,
        /// Bytes in all.
        size: u64,
        /// Bytes a second.
        rate: f64,
        /// Seconds to go, when known.
        eta: Option<f64>,
    },
    /// A request failed and is made again after a pause.
    Retry {
        /// Why.
        reason: String,
        /// Seconds of pause.
        seconds: f64,
    },
    /// Everything is here with the digests that were promised; it is being added.
    Adding {
        /// Bytes hashed.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The last event.
    Done(Added),
}

/// A model that another program keeps on this disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Discovered {
    /// What to give to `hive add`: `ollama:llama3.2:latest`, `hf:owner/repo:file`.
    pub source: String,
    /// Where it is.
    pub path: std::path::PathBuf,
    /// Bytes.
    pub size: u64,
}

/// Quantisations that a model can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Quantization {
    /// 8 bits in blocks of 32 with a scale.
    Q8_0,
    /// 4 bits in blocks of 32 with a scale.
    Q4_0,
    /// 4 bits in superblocks of 256; where rows are no multiple of 256, and for the embedding and
    /// the head, what llama.cpp takes.
    Q4K,
}

/// Makes a smaller model of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QuantizeRequest {
    /// An id, a name, or a file or directory on the node's machine.
    pub model: String,
    /// What it becomes.
    pub to: Quantization,
    /// What to call it; by default the old name and the quantisation.
    #[serde(default)]
    pub name: Option<String>,
}

/// What happens while a model is quantised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum QuantizeEvent {
    /// Weights written so far.
    Progress {
        /// Weights written.
        done: u64,
        /// Weights in all.
        total: u64,
    },
    /// The last event.
    Done(Added),
}
