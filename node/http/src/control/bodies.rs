//! Bodies and queries that are no types of `hive-api`. Server and client share them.

use hive_api::{ModelFile, SearchRequest, Visibility};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The id or name of a model.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelParam {
    /// An id or a name.
    pub(crate) model: String,
}

/// A block's id.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CidParam {
    /// The block's id.
    pub(crate) cid: String,
}

/// Query of `search`.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SearchParams {
    /// Part of a name, an id, an architecture or a peer's name; empty for all.
    pub(crate) text: String,
    /// Only this kind: `model`, `adapter`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// Only of so many bytes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_size: Option<u64>,
    /// Only what this machine has the memory for.
    pub(crate) fits: bool,
    /// Ask the peers for their lists first.
    pub(crate) refresh: bool,
}

impl From<SearchParams> for SearchRequest {
    fn from(params: SearchParams) -> Self {
        let SearchParams { text, kind, max_size, fits, refresh } = params;
        Self { text, kind, max_size, fits, refresh }
    }
}

impl From<SearchRequest> for SearchParams {
    fn from(request: SearchRequest) -> Self {
        let SearchRequest { text, kind, max_size, fits, refresh } = request;
        Self { text, kind, max_size, fits, refresh }
    }
}

/// Query of `read`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadParams {
    /// An id or a name.
    pub(crate) model: String,
    /// The file's path in the tree; needed only where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The first byte.
    #[serde(default)]
    pub(crate) start: u64,
    /// How many; all the rest if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) len: Option<u64>,
}

/// First line of the answer to `read`; the bytes follow it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ReadHead {
    /// The file.
    pub(crate) file: ModelFile,
    /// The first byte that comes.
    pub(crate) start: u64,
    /// How many come.
    pub(crate) len: u64,
}

/// Body of `share`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShareBody {
    /// An id or a name.
    pub(crate) model: String,
    /// Who may have it.
    pub(crate) visibility: Visibility,
}

/// Body of `pin`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinBody {
    /// An id or a name.
    pub(crate) model: String,
    /// Whether `gc` is to leave it.
    pub(crate) pinned: bool,
}

/// Body of `gc`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GcBody {
    /// Only say what would be removed.
    pub(crate) dry_run: bool,
}

/// Body of `verify`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyBody {
    /// An id or a name; all models if it is not said.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// Fetch again what is damaged.
    #[serde(default)]
    pub(crate) repair: bool,
}

/// Body of `connect`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectBody {
    /// An address that ends in a peer id.
    pub(crate) address: String,
}

/// Body or answer that says nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Empty {}

/// Answer of `remove`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Freed {
    /// Bytes that removing it freed.
    pub(crate) freed: u64,
}

/// Answer of `health`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Health {
    /// `hive`.
    pub(crate) service: String,
    /// The version of the software.
    pub(crate) version: String,
    /// What only a holder of the token can say to the query's `nonce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<String>,
}

/// Query of `health`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct HealthParams {
    /// Up to 64 characters that the proof is to be made for.
    pub(crate) nonce: Option<String>,
}
