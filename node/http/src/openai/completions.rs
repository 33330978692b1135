//! `POST /v1/completions`.

use axum::extract::State;
use axum::response::Response;
use hive_api::Prompt;
use schemars::JsonSchema;
use serde::Deserialize;

use super::answer::{Answer, Shape};
use super::common::{Common, missing, top_logprobs, wrong};
use super::error::ApiError;
use super::{Fields, Refuses, stream};
use crate::control::Control;

/// Answers to one request at most.
const ANSWERS: usize = 128;
/// Tokens of an answer if the request does not say, as OpenAI has it.
const MAX_TOKENS: u32 = 16;

/// A text to go on with. Fields of OpenAI's reference that are not here are taken and ignored, or
/// refused by name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct CompletionRequest {
    #[serde(flatten)]
    common: Common,
    /// A text, texts, a text as tokens, or several of those.
    prompt: Option<Prompts>,
    /// Begin the answer with the prompt.
    echo: Option<bool>,
    /// Tell how likely the tokens and so many others were, up to 20.
    logprobs: Option<u32>,
    /// At most so many tokens; by default 16.
    max_tokens: Option<u32>,
    /// Answers to choose from. Only what is chosen is made here, so it may be no more than `n`.
    best_of: Option<u32>,
}

/// One text or several, as words or tokens.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Prompts {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    Batch(Vec<Vec<u32>>),
}

impl Prompts {
    /// Each of them.
    pub(super) fn into_list(self) -> Vec<Prompt> {
        match self {
            Self::Text(text) => vec![Prompt::Text(text)],
            Self::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
            Self::Tokens(tokens) => vec![Prompt::Tokens(tokens)],
            Self::Batch(batch) => batch.into_iter().map(Prompt::Tokens).collect(),
        }
    }
}

impl Refuses for CompletionRequest {
    const REFUSED: &'static [(&'static str, &'static str)] =
        &[("suffix", "hive's models continue a text and do not fill a gap in one")];
}

/// What an answer to `prompt` begins with.
fn echoed(prompt: &Prompt) -> Result<String, ApiError> {
    match prompt {
        Prompt::Text(text) => Ok(text.clone()),
        Prompt::Tokens(_) | Prompt::Chat(_) => {
            Err(ApiError::unsupported("echo", "`echo` needs a `prompt` of text, not of tokens"))
        }
    }
}

pub(crate) async fn complete(
    State(control): State<Control>,
    Fields(request): Fields<CompletionRequest>,
) -> Result<Response, ApiError> {
    let n = request.common.n()?;
    if request.best_of.is_some_and(|best_of| best_of > n) {
        let message = "`best_of` is more than `n`: hive makes no answers that it throws away";
        return Err(ApiError::unsupported("best_of", message));
    }
    let echo = request.echo == Some(true);
    let logprobs = request.logprobs.map(|top| top_logprobs("logprobs", top)).transpose()?;
    if echo && logprobs.is_some() {
        let message = "`echo` with `logprobs` is not supported: prompts are not scored";
        return Err(ApiError::unsupported("echo", message));
    }
    let prompts = request.prompt.ok_or_else(|| missing("prompt"))?.into_list();
    if prompts.is_empty() || prompts.len() * n as usize > ANSWERS {
        let message = format!("`prompt` must be 1 to {ANSWERS} prompts, counted `n` times");
        return Err(wrong("prompt", message));
    }
    let (mut requests, mut echoes) = (Vec::new(), Vec::new());
    for prompt in &prompts {
        let max_tokens = Some(request.max_tokens.unwrap_or(MAX_TOKENS));
        let answers = request.common.requests(prompt, max_tokens, logprobs)?;
        if echo {
            echoes.extend(std::iter::repeat_n(echoed(prompt)?, answers.len()));
        }
        requests.extend(answers);
    }
    let shape = Shape::Text { echoes, per_prompt: n as usize };
    let model = request.common.model()?;
    let answer = Answer::new(shape, model, requests.len(), logprobs.is_some());
    stream::respond(control, requests, answer, request.common.streams()).await
}
