//! A loaded model, as the node sees it.

use std::fs::File;

use serde::{Deserialize, Serialize};

use crate::gate::{Gate, Gated};
use crate::generate::{
    Device, Embedded, GenerateRequest, Generated, ModelInfo, Piece, Prompt, ToolCall,
};

/// A file of a model, open for reading.
#[derive(Debug)]
pub struct Part {
    /// Its path in the model's tree; the file's name if the model is one file.
    pub path: String,
    /// The file. Whoever loads it reads it through; later changes to it do not matter.
    pub file: File,
    /// What of it may be read, if it is still arriving.
    pub gate: Option<Gate>,
}

impl Part {
    /// A reader of what may be read.
    pub fn reader(self) -> Gated {
        Gated::new(self.file, self.gate)
    }
}

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct EngineOptions {
    /// Where it computes.
    pub device: Device,
    /// Texts that it works at together.
    pub places: u32,
    /// Bytes of keys and values of earlier prompts that are kept for the next one.
    pub prefix_bytes: u64,
    /// Tokens of context at most; `None` takes what the model can.
    pub context: Option<u32>,
    /// Threads that compute; `None` takes all cores.
    pub threads: Option<u32>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            places: 4,
            prefix_bytes: 256 << 20,
            context: None,
            threads: None,
        }
    }
}

/// Names a text that an engine works at. Chosen by the caller, never used twice.
pub type Ticket = u64;

/// What a text has come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// More text.
    Piece(Piece),
    /// A tool is to be called.
    ToolCall(ToolCall),
    /// The last output.
    Done(Generated),
    /// The last output of a text that cannot go on.
    Failed(Failure),
}

/// A loaded model: it works at a few texts at once, one step after another. Blocking; one thread
/// drives it.
pub trait Engine: Send {
    /// What is loaded.
    fn info(&self) -> &ModelInfo;

    /// Places that are free: [`begin`](Self::begin) takes a text for each.
    fn free(&self) -> usize;

    /// Takes in a text. Its tokens are counted and checked here; nothing is computed.
    ///
    /// # Errors
    ///
    /// No place is free, or the request cannot be met: the prompt is too long, the template or the
    /// form is broken, the model does not generate. The engine is as it was before.
    fn begin(&mut self, ticket: Ticket, request: GenerateRequest) -> Result<(), EngineError>;

    /// Drops a text; its last output comes from the next step and says `Cancelled`. Keys and values
    /// that are complete are kept for the next prompt. A ticket that ended is ignored.
    fn cancel(&mut self, ticket: Ticket);

    /// Goes on with every text: one token each, or a stretch of a prompt. Appends what each has
    /// come to; a text that ended frees its place. Does nothing when there are none.
    fn step(&mut self, outputs: &mut Vec<(Ticket, Output)>);

    /// Makes vectors of texts.
    ///
    /// # Errors
    ///
    /// The model does not embed, or a text cannot be read.
    fn embed(&mut self, texts: &[Prompt]) -> Result<Embedded, EngineError>;

    /// Why it can do nothing more, if it cannot: the rest of a model that began while it was loaded
    /// could not be. Whoever drives it tells its texts and lets it go.
    fn failure(&self) -> Option<Failure> {
        None
    }
}

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The file is not a model, or a broken or hostile one. Nothing of it was loaded.
    #[error("not a usable model: {reason}")]
    Invalid {
        /// What is wrong, naming the field or tensor.
        reason: String,
    },
    /// A well-formed model of a kind that this build cannot run, or a request that this model
    /// cannot meet.
    #[error("cannot run this model: {reason}")]
    Unsupported {
        /// What is missing, and what is supported.
        reason: String,
    },
    /// The request makes no sense: a broken template, schema or sampling value.
    #[error("{reason}")]
    Request {
        /// What is wrong with it.
        reason: String,
    },
    /// The prompt does not fit the context.
    #[error("the prompt has {tokens} tokens, the model's context holds {context}")]
    PromptTooLong {
        /// Tokens in the prompt.
        tokens: usize,
        /// Tokens the model can see.
        context: usize,
    },
    /// The file cannot be read.
    #[error("cannot read the model")]
    Io(#[source] std::io::Error),
    /// The computation failed.
    #[error("the computation failed: {reason}")]
    Compute {
        /// What the backend said.
        reason: String,
    },
}

/// What kind of failure an engine had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// [`EngineError::Invalid`].
    Invalid,
    /// [`EngineError::Unsupported`].
    Unsupported,
    /// [`EngineError::Request`] and [`EngineError::PromptTooLong`].
    Request,
    /// [`EngineError::Io`].
    Io,
    /// [`EngineError::Compute`].
    Compute,
    /// The engine's process ended, or did something that only a broken one does.
    Crashed,
}

/// A failure of an engine that can be sent to another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[error("{message}")]
pub struct Failure {
    /// What kind it was.
    pub kind: FailureKind,
    /// What to tell a person.
    pub message: String,
}

impl From<&EngineError> for Failure {
    fn from(error: &EngineError) -> Self {
        let kind = match error {
            EngineError::Invalid { .. } => FailureKind::Invalid,
            EngineError::Unsupported { .. } => FailureKind::Unsupported,
            EngineError::Request { .. } | EngineError::PromptTooLong { .. } => FailureKind::Request,
            EngineError::Io(_) => FailureKind::Io,
            EngineError::Compute { .. } => FailureKind::Compute,
        };
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
        let message = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Self { kind, message }
    }
}
