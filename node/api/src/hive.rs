//! What a front may ask of a node.

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::engine::{Device, Generated, Sampling};
use crate::error::HiveError;

/// The result of a call.
pub type Result<T> = std::result::Result<T, HiveError>;

/// Things that happen while a call runs. The last item of a stream says how it ended; dropping a
/// stream stops what it reports, except where a method says otherwise.
pub type Events<T> = BoxStream<'static, Result<T>>;

/// Who may have a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Came from peers.
    Fetched,
    /// Was there before.
    Present,
}

/// Adds files or directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Fetches a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// What one peer did in a fetch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FetchPeer {
    /// The peer's id.
    pub peer: String,
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
    },
    /// A peer sent wrong bytes.
    Struck {
        /// Its id.
        peer: String,
        /// What it did.
        reason: String,
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

/// Runs a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// An id, a name, or a file on the node's machine.
    pub model: String,
    /// Text to continue.
    pub prompt: String,
    /// At most this many tokens.
    pub max_tokens: u32,
    /// How to draw tokens.
    #[serde(default)]
    pub sampling: Sampling,
    /// End before any of these.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Where to compute.
    #[serde(default)]
    pub device: Device,
}

/// What happens while a model runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The model is loaded.
    Loaded {
        /// Its id, when it is in the store.
        cid: Option<String>,
        /// Seconds it took.
        seconds: f64,
    },
    /// More text.
    Text {
        /// The text.
        text: String,
    },
    /// The last event.
    Done(Generated),
}

/// A model in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A model that the network offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    pub peers: Vec<String>,
    /// Whether it is in the store, whole.
    pub here: bool,
}

/// What can be removed, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    /// Models without a pin, their ids.
    pub models: Vec<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether they were removed, or would be.
    pub removed: bool,
}

/// What happens while models are verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum VerifyEvent {
    /// Bytes hashed so far.
    Progress {
        /// Bytes hashed.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A group on disk is not what it should be. It was quarantined.
    Damaged {
        /// The model.
        cid: String,
        /// The file.
        path: String,
        /// First wrong byte's group, from the start of the file.
        offset: u64,
        /// Bytes in the group.
        len: u64,
        /// What is the matter.
        reason: String,
    },
    /// A damaged model was made whole again from peers.
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
        /// Damaged groups found.
        damaged: u64,
        /// Damaged groups repaired.
        repaired: u64,
    },
}

/// A peer that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
pub struct Identity {
    /// Its peer id.
    pub peer: String,
    /// Full addresses that others can dial; none when no node runs.
    pub addresses: Vec<String>,
}

/// A fetch that is going on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// How a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its peer id.
    pub peer: String,
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

/// A hive node, here or behind its local API.
#[async_trait]
pub trait Hive: Send + Sync {
    /// Adds a file or a directory. Dropping the stream stops it.
    async fn add(&self, request: AddRequest) -> Result<Events<AddEvent>>;
    /// Fetches a model, or joins the fetch of it that is going on. Dropping the stream leaves a
    /// fetch that others follow and stops one that nobody follows; what is verified stays.
    async fn fetch(&self, request: FetchRequest) -> Result<Events<FetchEvent>>;
    /// Continues a prompt with a model of the store or a file. Dropping the stream stops it.
    async fn run(&self, request: RunRequest) -> Result<Events<RunEvent>>;
    /// The models in the store, by name.
    async fn list(&self) -> Result<Vec<ModelSummary>>;
    /// All that is known of a model in the store: an id, an unambiguous name or prefix of an id.
    async fn show(&self, model: &str) -> Result<ModelDetails>;
    /// The bytes of a manifest, from the store or from peers, checked.
    async fn block(&self, cid: &str) -> Result<Vec<u8>>;
    /// Models that the network offers whose name, id or architecture contains the text.
    async fn search(&self, text: &str) -> Result<Vec<Offer>>;
    /// Changes who may have a model.
    async fn share(&self, model: &str, visibility: Visibility) -> Result<ModelSummary>;
    /// Removes a model from the store and says how many bytes that freed.
    async fn remove(&self, model: &str) -> Result<u64>;
    /// Pins or unpins a model.
    async fn pin(&self, model: &str, pinned: bool) -> Result<ModelSummary>;
    /// Stops the fetch of a model; what is verified stays.
    async fn cancel(&self, model: &str) -> Result<()>;
    /// Removes all models without a pin, or says what that would remove.
    async fn gc(&self, dry_run: bool) -> Result<GcReport>;
    /// Hashes one model or all, quarantines what is damaged and, if asked, fetches it again.
    async fn verify(&self, model: Option<&str>, repair: bool) -> Result<Events<VerifyEvent>>;
    /// Connects to an address that ends in a peer id.
    async fn connect(&self, address: &str) -> Result<()>;
    /// The peers that are known, connected ones first.
    async fn peers(&self) -> Result<Vec<PeerSummary>>;
    /// Who the node is.
    async fn identity(&self) -> Result<Identity>;
    /// How the node is.
    async fn status(&self) -> Result<Status>;
    /// Ends the node in good order.
    async fn shutdown(&self) -> Result<()>;
}
