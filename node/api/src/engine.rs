//! A loaded model, as the node sees it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

/// How the next token is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token every time.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens; `None` keeps all.
    pub top_k: Option<u32>,
    /// Keeps the smallest set of tokens whose probabilities reach this sum; `None` keeps all.
    pub top_p: Option<f32>,
    /// The same seed, model and prompt give the same tokens on the same machine.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.7, top_k: Some(64), top_p: Some(0.95), seed: 0 }
    }
}

/// A prompt and how to continue it.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// Text that the model continues.
    pub prompt: String,
    /// At most this many tokens are generated.
    pub max_tokens: u32,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Generation ends before any of these strings; none of them is part of the output.
    pub stop: Vec<String>,
}

/// A piece of generated text: whole characters, often one token's worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The text.
    pub text: String,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its text, or a stop string appeared.
    Stop,
    /// `max_tokens` or the model's context was reached.
    Length,
    /// The caller cancelled.
    Cancelled,
}

/// What a generation cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// Why it ended.
    pub finish: Finish,
    /// Tokens in the prompt, with those that the tokenizer adds.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub generated_tokens: u32,
    /// Seconds spent reading the prompt.
    pub prompt_seconds: f64,
    /// Seconds spent generating.
    pub generate_seconds: f64,
}

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// `general.architecture` of the file: `llama`, `gemma3`, …
    pub architecture: String,
    /// The name in the file, if it has one.
    pub name: Option<String>,
    /// Number of weights.
    pub parameters: u64,
    /// Longest sequence in tokens.
    pub context_length: u32,
    /// Number of tokens in the vocabulary.
    pub vocab_size: u32,
    /// Bytes of weights held in memory after loading.
    pub weight_bytes: u64,
}

/// Where a model computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU; needs a build with the feature `cuda`.
    Cuda,
    /// An Apple GPU; needs a build with the feature `metal`.
    Metal,
}

/// A flag that ends a generation early. Cheap to clone; all clones are one flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the generation to end before its next token.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A loaded model. Blocking: give it a thread of its own.
pub trait Engine: Send {
    /// What is loaded.
    fn info(&self) -> &ModelInfo;

    /// Continues a prompt, handing each piece of text to `sink` as it is made; `Break` from the
    /// sink, or `cancel`, ends it.
    fn generate(
        &mut self,
        request: &GenerateRequest,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Piece) -> ControlFlow<()>,
    ) -> Result<Generated, EngineError>;
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
    /// A well-formed model of a kind that this build cannot run.
    #[error("cannot run this model: {reason}")]
    Unsupported {
        /// What is missing, and what is supported.
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
