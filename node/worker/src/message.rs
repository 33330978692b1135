//! What parent and child say to each other. Each message stands in a frame with a ticket.

use std::ops::Range;
use std::path::PathBuf;

use hive_api::{
    Embedded, EngineOptions, Failure, GenerateRequest, ModelInfo, Need, Output, Prompt,
    Quantization,
};
use serde::{Deserialize, Serialize};

/// The version of this language. Both ends are the same program, except after an upgrade that
/// replaced the file under a running node.
pub(crate) const VERSION: u32 = 2;

/// From the parent. The ticket of a frame says which text is meant, where one is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The first: what to be.
    Start(Box<Start>),
    /// Takes in a text.
    Begin(Box<GenerateRequest>),
    /// Drops a text.
    Cancel,
    /// Makes vectors.
    Embed(Vec<Prompt>),
    /// Lets the child at more of a file that is still arriving.
    Arrived { part: u32, ranges: Vec<Range<u64>> },
    /// What the child makes of an order that it cannot read; never sent.
    #[serde(skip)]
    Unreadable(String),
}

/// What a child is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) version: u32,
    pub(crate) job: Job,
    /// The files, in the order of their descriptors, which begin at [`FIRST_FD`].
    pub(crate) parts: Vec<PartAt>,
    /// Where the result goes, if there is one and no descriptor after those of the files.
    pub(crate) output_at: Option<PathBuf>,
    /// Bytes of memory that it may take.
    pub(crate) memory: Option<u64>,
}

/// The number of the first descriptor that a child inherits beside the three that all have.
#[cfg(unix)]
pub(crate) const FIRST_FD: i32 = 3;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Job {
    Serve(EngineOptions),
    Quantize(Quantization),
}

/// A file's name, and its place where descriptors cannot be inherited.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartAt {
    pub(crate) path: String,
    pub(crate) at: Option<PathBuf>,
    /// Bytes of the whole file, if it is still arriving.
    pub(crate) arriving: Option<u64>,
}

/// From the child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The model is ready.
    Loaded(Box<Loaded>),
    /// What it wants of a file that is still arriving.
    Need { part: u32, need: Need },
    /// It works and has nothing to show for it yet.
    Beat,
    /// What a text has come to.
    Output(Output),
    /// The vectors that an order asked for.
    Embedded(Embedded),
    /// An order cannot be met; with ticket 0, the job.
    Failed(Failure),
    /// Weights written.
    Progress { done: u64, total: u64 },
    /// The smaller model is written.
    Quantized,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Loaded {
    pub(crate) version: u32,
    pub(crate) info: ModelInfo,
    /// Places of the engine.
    pub(crate) places: u64,
    pub(crate) seconds: f64,
    /// What holds the process back.
    pub(crate) sandbox: Vec<String>,
}
