//! Running models: texts, embeddings, what is loaded.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fetch::FetchEvent;
use crate::generate::{
    Device, Format, Generated, ModelInfo, Prompt, Sampling, TokenLogprob, ToolCall,
};

/// Runs a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// An id, a name, or a file or directory on the node's machine.
    pub model: String,
    /// What to continue.
    pub prompt: Prompt,
    /// At most this many tokens; `None` goes on to the end of the context.
    #[serde(default)]
    pub max_tokens: Option<u32>,
    /// How to draw tokens.
    #[serde(default)]
    pub sampling: Sampling,
    /// End before any of these.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Tell the log-probability of each token, and of so many others that were likeliest.
    #[serde(default)]
    pub logprobs: Option<u32>,
    /// Hold the text to a form.
    #[serde(default)]
    pub format: Option<Format>,
    /// Where to compute.
    #[serde(default)]
    pub device: Device,
    /// Seconds that the model stays loaded afterwards; by default what the configuration says.
    #[serde(default)]
    pub keep_alive: Option<f64>,
    /// Whether to fetch the model if it is not all here, and to answer while it arrives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fetch: bool,
}

impl RunRequest {
    /// A model and a prompt with everything else as it usually is.
    pub fn new(model: impl Into<String>, prompt: impl Into<Prompt>) -> Self {
        Self {
            model: model.into(),
            prompt: prompt.into(),
            max_tokens: None,
            sampling: Sampling::default(),
            stop: Vec::new(),
            logprobs: None,
            format: None,
            device: Device::Cpu,
            keep_alive: None,
            fetch: false,
        }
    }
}

/// What happens while a model runs.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The model is on its way here, because the request said `fetch`. These come until it is whole,
    /// also between pieces of text, and end with the request.
    Fetching {
        /// What happened.
        progress: FetchEvent,
    },
    /// All places of the model are taken; so many requests are before this one.
    Queued {
        /// Requests before this one.
        position: u64,
    },
    /// The model is loaded and has a place for this request.
    Loaded {
        /// Its id, when it is in the store.
        cid: Option<String>,
        /// Seconds it took; 0 when it was loaded before.
        seconds: f64,
        /// What it is.
        info: ModelInfo,
    },
    /// More text.
    Text {
        /// The text.
        text: String,
        /// Its tokens, if log-probabilities were asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tokens: Vec<TokenLogprob>,
    },
    /// A tool is to be called.
    ToolCall(ToolCall),
    /// The last event.
    Done(Generated),
}

impl fmt::Debug for RunEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetching { progress } => progress.fmt(f),
            Self::Queued { position } => write!(f, "Queued({position})"),
            Self::Loaded { cid, .. } => write!(f, "Loaded({cid:?})"),
            Self::Text { text, .. } => write!(f, "Text(<{} hidden>)", text.len()),
            Self::ToolCall(call) => call.fmt(f),
            Self::Done(generated) => generated.fmt(f),
        }
    }
}

/// Makes vectors of texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EmbedRequest {
    /// An id, a name, or a file or directory on the node's machine.
    pub model: String,
    /// The texts, or their tokens.
    pub input: Vec<Prompt>,
    /// Keep so many of each vector's numbers, and bring it back to length 1.
    #[serde(default)]
    pub dimensions: Option<u32>,
    /// Seconds that the model stays loaded afterwards; by default what the configuration says.
    #[serde(default)]
    pub keep_alive: Option<f64>,
}

/// Texts as vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Embeddings {
    /// The model's id, when it is in the store.
    pub cid: Option<String>,
    /// One for each text, each of length 1 (L2).
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that were read for all of them.
    pub tokens: u32,
}

/// A model that is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoadedModel {
    /// Its id, when it is in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cid: Option<String>,
    /// Its name here, or the file's.
    pub name: String,
    /// What it is.
    pub info: ModelInfo,
    /// Where it computes.
    pub device: Device,
    /// The process that it runs in; `None` for one in the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Bytes of memory that it takes, as the system counts them where it does.
    pub memory: u64,
    /// Requests that it works at.
    pub active: u64,
    /// Requests that wait.
    pub queued: u64,
    /// Seconds until it is unloaded if nobody asks; `None` while somebody does, or for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<f64>,
    /// What holds the process back, and what this system lacks of it.
    pub sandbox: Vec<String>,
}
