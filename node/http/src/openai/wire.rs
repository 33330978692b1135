//! Answers as OpenAI's reference writes them.

use std::collections::BTreeMap;

use hive_api::{Generated, TokenLogprob};
use schemars::JsonSchema;
use serde::Serialize;

/// An answer to a chat.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatCompletion {
    pub(super) id: String,
    /// `chat.completion`.
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: String,
    /// The same fingerprint, seed and request give the same answer on the same machine.
    pub(super) system_fingerprint: String,
    pub(super) choices: Vec<ChatChoice>,
    pub(super) usage: Usage,
}

/// One answer of several.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatChoice {
    pub(super) index: usize,
    pub(super) message: ChatMessage,
    pub(super) logprobs: Option<ChatLogprobs>,
    /// `stop`, `length`, `tool_calls`.
    pub(super) finish_reason: &'static str,
}

/// What the model said.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatMessage {
    /// `assistant`.
    pub(super) role: &'static str,
    pub(super) content: Option<String>,
    pub(super) refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<Call>,
}

/// A piece of an answer to a chat.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatChunk {
    pub(super) id: String,
    /// `chat.completion.chunk`.
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) system_fingerprint: String,
    pub(super) choices: Vec<ChatPiece>,
    /// With `stream_options.include_usage`: `null`, and in the last chunk the usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Tally>,
}

/// A piece of one answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatPiece {
    pub(super) index: usize,
    pub(super) delta: Delta,
    pub(super) logprobs: Option<ChatLogprobs>,
    pub(super) finish_reason: Option<&'static str>,
}

/// What is new.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<Call>,
}

/// A call of a tool, or a piece of one.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Call {
    /// Which call a piece belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// `function`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) r#type: Option<&'static str>,
    pub(super) function: Function,
}

/// Which tool, and what with.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Function {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) arguments: String,
}

/// How likely the tokens of a chat's answer were.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatLogprobs {
    pub(super) content: Vec<ChatLogprob>,
    pub(super) refusal: Option<Vec<ChatLogprob>>,
}

/// How likely a token was.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChatLogprob {
    #[serde(flatten)]
    token: Token,
    top_logprobs: Vec<Token>,
}

/// A token.
#[derive(Debug, Serialize, JsonSchema)]
struct Token {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

/// An answer to a text, or a piece of one.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TextCompletion {
    pub(super) id: String,
    /// `text_completion`.
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: String,
    /// The same fingerprint, seed and request give the same answer on the same machine.
    pub(super) system_fingerprint: String,
    pub(super) choices: Vec<TextChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Tally>,
}

/// One answer of several.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TextChoice {
    pub(super) text: String,
    pub(super) index: usize,
    pub(super) logprobs: Option<TextLogprobs>,
    /// `stop`, `length`.
    pub(super) finish_reason: Option<&'static str>,
}

/// How likely the tokens of a text were.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<BTreeMap<String, f32>>,
    /// Where each token begins in the answer, in characters.
    text_offset: Vec<usize>,
}

/// Tokens that were used, or `null` in a chunk that more of them follow.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Tally(pub(super) Option<Usage>);

/// Tokens that were used.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub(crate) struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
}

/// What became of the prompt's tokens.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
struct PromptDetails {
    /// Remembered from earlier prompts and not read again.
    cached_tokens: u32,
}

impl Usage {
    /// Counts an answer; its prompt too, unless another answer to it was counted.
    pub(super) fn count(&mut self, generated: &Generated, with_prompt: bool) {
        if with_prompt {
            self.prompt_tokens = self.prompt_tokens.saturating_add(generated.prompt_tokens);
            let cached = &mut self.prompt_tokens_details.cached_tokens;
            *cached = cached.saturating_add(generated.cached_tokens);
        }
        self.completion_tokens = self.completion_tokens.saturating_add(generated.generated_tokens);
        self.total_tokens = self.prompt_tokens.saturating_add(self.completion_tokens);
    }
}

impl ChatLogprobs {
    /// Of these tokens.
    pub(super) fn new(tokens: &[TokenLogprob]) -> Self {
        Self { content: tokens.iter().map(ChatLogprob::new).collect(), refusal: None }
    }
}

impl ChatLogprob {
    fn new(token: &TokenLogprob) -> Self {
        Self { token: Token::new(token), top_logprobs: token.top.iter().map(Token::new).collect() }
    }
}

impl Token {
    fn new(token: &TokenLogprob) -> Self {
        Self { token: spelled(token), logprob: told(token), bytes: token.bytes.clone() }
    }
}

impl TextLogprobs {
    /// Of these tokens, the first of which begins at `offset`; returns where the next one begins.
    pub(super) fn new(tokens: &[TokenLogprob], mut offset: usize) -> (Self, usize) {
        let mut logprobs = Self::default();
        for token in tokens {
            logprobs.tokens.push(spelled(token));
            logprobs.token_logprobs.push(told(token));
            let top = token.top.iter().map(|token| (spelled(token), told(token)));
            logprobs.top_logprobs.push(top.collect());
            logprobs.text_offset.push(offset);
            // A character that takes several tokens counts with the first of them.
            offset += token.bytes.iter().filter(|&byte| byte & 0xC0 != 0x80).count();
        }
        (logprobs, offset)
    }
}

/// A token as text; half a character is shown as one that stands for none.
fn spelled(token: &TokenLogprob) -> String {
    String::from_utf8_lossy(&token.bytes).into_owned()
}

/// A token that a form or a bias forbade has no chance at all; JSON has no word for that, and
/// OpenAI writes -9999.
fn told(token: &TokenLogprob) -> f32 {
    if token.logprob.is_finite() { token.logprob } else { -9999.0 }
}
