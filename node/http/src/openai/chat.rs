//! `POST /v1/chat/completions`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use hive_api::{Chat, Prompt, RunRequest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::answer::{Answer, Shape};
use super::common::{Common, missing, top_logprobs, wrong};
use super::error::ApiError;
use super::messages::{self, MessageParam, ToolChoiceParam, ToolParam};
use super::{Fields, Refuses, stream};
use crate::control::Control;

/// A chat to go on with. Fields of OpenAI's reference that are not here are taken and ignored, or
/// refused by name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ChatRequest {
    #[serde(flatten)]
    common: Common,
    /// What was said so far.
    messages: Option<Vec<MessageParam>>,
    /// Tell how likely the tokens were.
    logprobs: Option<bool>,
    /// And how likely so many others were, up to 20.
    top_logprobs: Option<u32>,
    /// At most so many tokens.
    max_completion_tokens: Option<u32>,
    /// The older name of `max_completion_tokens`.
    max_tokens: Option<u32>,
    /// `["text"]`.
    modalities: Option<Vec<String>>,
    /// Tools that may be called.
    tools: Option<Vec<ToolParam>>,
    /// Whether one must be.
    tool_choice: Option<ToolChoiceParam>,
    /// Whether several may be called in one turn; by default they may.
    parallel_tool_calls: Option<bool>,
    /// Given to the template, for models that read it.
    reasoning_effort: Option<String>,
    /// More variables for the template, as `{"enable_thinking": false}` (llama.cpp, vLLM).
    chat_template_kwargs: Option<BTreeMap<String, Value>>,
    /// A Jinja template in place of the model's own (vLLM).
    chat_template: Option<String>,
}

/// Why forms are not asked for in other words.
const FORM: &str = "say it with `response_format`, whose types are `json_object`, `json_schema`, `regex` and `lark`";
/// Why functions are not asked for in other words.
const TOOLS: &str = "say it with `tools` and `tool_choice`";

impl Refuses for ChatRequest {
    const REFUSED: &'static [(&'static str, &'static str)] = &[
        ("audio", "hive runs models of text"),
        ("functions", TOOLS),
        ("function_call", TOOLS),
        ("web_search_options", "hive searches no web; give the model a tool that does"),
        ("guided_json", FORM),
        ("guided_regex", FORM),
        ("guided_choice", FORM),
        ("guided_grammar", FORM),
        ("structured_outputs", FORM),
        ("grammar", FORM),
        ("json_schema", FORM),
    ];
}

impl ChatRequest {
    fn chat(&mut self) -> Result<Chat, ApiError> {
        let turns = self.messages.take().ok_or_else(|| missing("messages"))?;
        if turns.is_empty() {
            return Err(wrong("messages", "`messages` is empty"));
        }
        let tools = messages::tools(self.tools.take().unwrap_or_default())?;
        let mut variables = self.chat_template_kwargs.take().unwrap_or_default();
        if let Some(effort) = self.reasoning_effort.take() {
            variables.entry("reasoning_effort".to_owned()).or_insert(effort.into());
        }
        Ok(Chat {
            messages: messages::messages(turns)?,
            tool_choice: messages::tool_choice(self.tool_choice.take(), &tools)?,
            tools,
            template: self.chat_template.take(),
            variables,
        })
    }

    fn logprobs(&self) -> Result<Option<u32>, ApiError> {
        let top = self.top_logprobs.map(|top| top_logprobs("top_logprobs", top)).transpose()?;
        match (self.logprobs, top) {
            (Some(true), top) => Ok(Some(top.unwrap_or(0))),
            (_, None | Some(0)) => Ok(None),
            (_, Some(_)) => Err(wrong("top_logprobs", "`top_logprobs` needs `logprobs`: true")),
        }
    }

    /// What is asked of the model, a request for each answer, and whether log-probabilities are
    /// told.
    pub(crate) fn requests(&mut self) -> Result<(Vec<RunRequest>, bool), ApiError> {
        if self.modalities.iter().flatten().any(|modality| modality != "text") {
            let message = "`modalities` may be [\"text\"]: hive runs models of text";
            return Err(ApiError::unsupported("modalities", message));
        }
        let prompt = Prompt::Chat(self.chat()?);
        let max_tokens = self.max_completion_tokens.or(self.max_tokens);
        let logprobs = self.logprobs()?;
        let requests = self.common.requests(&prompt, max_tokens, logprobs)?;
        Ok((requests, logprobs.is_some()))
    }
}

pub(crate) async fn complete(
    State(control): State<Control>,
    Fields(mut request): Fields<ChatRequest>,
) -> Result<Response, ApiError> {
    let (requests, logprobs) = request.requests()?;
    let shape = Shape::Chat { calls_one: request.parallel_tool_calls == Some(false) };
    let answer = Answer::new(shape, request.common.model()?, requests.len(), logprobs);
    stream::respond(control, requests, answer, request.common.streams()).await
}
