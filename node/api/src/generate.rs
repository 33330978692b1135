//! What is asked of a model and what it answers: prompts, chats, sampling, tokens, embeddings.
//!
//! Prompts are the user's own words: their `Debug` says how long they are and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::number::finite;

/// How the next token is drawn.
///
/// The order is that of llama.cpp's default chain: bias and penalties change the logits, then
/// `top_k`, `top_p` and `min_p` choose who stays, then the temperature divides what is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token every time.
    #[serde(deserialize_with = "finite")]
    pub temperature: f32,
    /// Keeps the `k` most likely tokens; `None` keeps all.
    pub top_k: Option<u32>,
    /// Keeps the smallest set of tokens whose probabilities reach this sum; `None` keeps all.
    #[serde(deserialize_with = "finite")]
    pub top_p: Option<f32>,
    /// Keeps tokens at least this probable relative to the most likely one; `None` keeps all.
    #[serde(deserialize_with = "finite")]
    pub min_p: Option<f32>,
    /// Divides the positive and multiplies the negative logits of tokens that occurred (Keskar et
    /// al. 2019, arXiv 1909.05858); `None` and 1 change nothing.
    #[serde(deserialize_with = "finite")]
    pub repetition_penalty: Option<f32>,
    /// Taken from the logit of each token that was generated, once (OpenAI), -2 to 2.
    #[serde(deserialize_with = "finite")]
    pub presence_penalty: f32,
    /// Taken from the logit of each token for each time it was generated (OpenAI), -2 to 2.
    #[serde(deserialize_with = "finite")]
    pub frequency_penalty: f32,
    /// Added to the logits of tokens, by id; -100 forbids one, 100 all others.
    #[serde(deserialize_with = "finite")]
    pub logit_bias: BTreeMap<u32, f32>,
    /// The same seed, model and prompt give the same tokens on the same machine.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.7,
            top_k: Some(64),
            top_p: Some(0.95),
            min_p: None,
            repetition_penalty: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: 0,
        }
    }
}

/// Who says something in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whoever set the chat up.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

/// One turn of a chat.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said; may be empty beside tool calls.
    #[serde(default)]
    pub content: String,
    /// The speaker's name, where a template shows one; the tool's name in a tool's turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Calls that the assistant made in this turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool's turn answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A turn of text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        let content = content.into();
        Self { role, content, name: None, tool_calls: Vec::new(), tool_call_id: None }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("role", &self.role)
            .field("content", &Hidden(self.content.len()))
            .field("tool_calls", &self.tool_calls.len())
            .finish()
    }
}

/// A call of a tool, as a model made it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Names the call in the answer to it.
    pub id: String,
    /// Which tool.
    pub name: String,
    /// The arguments: the text of a JSON object.
    pub arguments: String,
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall")
            .field("name", &self.name)
            .field("arguments", &Hidden(self.arguments.len()))
            .finish()
    }
}

/// A tool that a model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON schema of its arguments.
    #[serde(default)]
    pub parameters: Value,
}

/// Whether the model has to call a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// It decides.
    #[default]
    Auto,
    /// It must not.
    None,
    /// It must call one, whichever.
    Required,
    /// It must call this one.
    Named(String),
}

/// A chat that a model goes on with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// What was said so far.
    pub messages: Vec<Message>,
    /// Tools that may be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Whether one must be.
    #[serde(default)]
    pub tool_choice: ToolChoice,
    /// A Jinja template in place of the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// More variables for the template, as `enable_thinking`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Value>,
}

/// What a model is to continue.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Text, continued as it stands. What looks like a special token in it is one.
    Text(String),
    /// Tokens of the model's vocabulary, taken as they are.
    Tokens(Vec<u32>),
    /// A chat, written out by the model's template.
    Chat(Chat),
}

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.debug_tuple("Text").field(&Hidden(text.len())).finish(),
            Self::Tokens(tokens) => f.debug_tuple("Tokens").field(&Hidden(tokens.len())).finish(),
            Self::Chat(chat) => f.debug_tuple("Chat").field(&Hidden(chat.messages.len())).finish(),
        }
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The length of what is not shown.
struct Hidden(usize);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} hidden>", self.0)
    }
}

/// The form that generated text is held to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A JSON object, any.
    JsonObject,
    /// JSON that a schema describes.
    JsonSchema(Value),
    /// Text that a regular expression matches as a whole.
    Regex(String),
    /// Text of a grammar in llguidance's Lark.
    Lark(String),
}

/// A prompt and how to continue it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    /// What the model continues.
    pub prompt: Prompt,
    /// At most this many tokens are generated; `None` goes on to the end of the context.
    #[serde(default)]
    pub max_tokens: Option<u32>,
    /// How the next token is drawn.
    #[serde(default)]
    pub sampling: Sampling,
    /// Generation ends before any of these strings; none of them is part of the output.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Tell the log-probability of each token, and of so many others that were likeliest.
    #[serde(default)]
    pub logprobs: Option<u32>,
    /// Hold the text to a form.
    #[serde(default)]
    pub format: Option<Format>,
}

impl GenerateRequest {
    /// A prompt with everything else as it usually is.
    pub fn new(prompt: impl Into<Prompt>) -> Self {
        Self {
            prompt: prompt.into(),
            max_tokens: None,
            sampling: Sampling::default(),
            stop: Vec::new(),
            logprobs: None,
            format: None,
        }
    }
}

/// A token and how likely it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenLogprob {
    /// Its id.
    pub token: u32,
    /// The bytes that it stands for; a character may take several tokens.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability, before sampling changed anything.
    pub logprob: f32,
    /// The likeliest at this place, most likely first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TokenLogprob>,
}

/// A piece of generated text: whole characters, often one token's worth.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Piece {
    /// The text.
    pub text: String,
    /// The tokens whose text it is, if log-probabilities were asked for. Text that is held back
    /// (half a character, the beginning of a stop string) comes with the tokens that free it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenLogprob>,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece").field("text", &Hidden(self.text.len())).finish()
    }
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended its text, or a stop string appeared.
    Stop,
    /// `max_tokens` or the model's context was reached.
    Length,
    /// The model called tools and waits for their answers.
    ToolCalls,
    /// The caller cancelled.
    Cancelled,
}

/// What a generation cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Generated {
    /// Why it ended.
    pub finish: Finish,
    /// Tokens in the prompt, with those that the tokenizer and the template add.
    pub prompt_tokens: u32,
    /// Of those, how many were remembered from earlier prompts and not read again.
    #[serde(default)]
    pub cached_tokens: u32,
    /// Tokens generated.
    pub generated_tokens: u32,
    /// Seconds spent reading the prompt.
    pub prompt_seconds: f64,
    /// Seconds spent generating.
    pub generate_seconds: f64,
}

/// Where a model's chat template comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TemplateSource {
    /// The model's file.
    File,
    /// A file beside it (`chat_template.jinja`, `tokenizer_config.json`).
    Sidecar,
    /// Neither has one: the form that models of the architecture were tuned with. The model itself
    /// is most likely a base model, which continues text and was never taught to answer.
    Architecture,
}

/// What a model is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// It continues text.
    #[default]
    Generate,
    /// It makes a vector of a text.
    Embed,
}

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelInfo {
    /// `general.architecture` of the file: `llama`, `gemma3`, …
    pub architecture: String,
    /// The name in the file, if it has one.
    pub name: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub kind: ModelKind,
    /// Where its chat template comes from; `None` for what cannot chat at all.
    #[serde(default)]
    pub template: Option<TemplateSource>,
    /// Number of weights.
    pub parameters: u64,
    /// Longest sequence in tokens.
    pub context_length: u32,
    /// Numbers in a row of its hidden state, and in an embedding.
    #[serde(default)]
    pub width: u32,
    /// Number of tokens in the vocabulary.
    pub vocab_size: u32,
    /// Bytes of weights held in memory after loading.
    pub weight_bytes: u64,
    /// Bytes of keys and values that each token of a text takes; 0 for what keeps none.
    #[serde(default)]
    pub bytes_per_token: u64,
}

/// Where a model computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// Texts as vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Embedded {
    /// One for each text, each of length 1 (L2) and of the model's width.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that were read for all of them.
    pub tokens: u32,
}
