//! What chats and texts have in common: sampling, stop strings, forms, how to stream.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use hive_api::{Format, Prompt, RunRequest, Sampling};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::error::ApiError;

/// Answers to one prompt at most; each holds a copy of the prompt.
pub(crate) const CHOICES: u32 = 16;
/// Stop strings at most, as OpenAI has it.
const STOPS: usize = 4;
/// Likeliest tokens that are told at most, as OpenAI has it.
pub(crate) const TOP_LOGPROBS: u32 = 20;

/// Fields that both kinds of request have.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Common {
    /// A name or an id of a model that is here.
    pub(crate) model: Option<String>,
    /// Taken from the logit of a token for each time that it was generated, -2 to 2.
    frequency_penalty: Option<f32>,
    /// Taken from the logit of a token that was generated, -2 to 2.
    presence_penalty: Option<f32>,
    /// Added to the logits of tokens, by id, -100 to 100.
    logit_bias: Option<BTreeMap<String, f32>>,
    /// How many answers, 1 to 16.
    n: Option<u32>,
    /// The same seed gives the same answer; the i-th answer has the seed + i.
    seed: Option<i64>,
    /// Up to 4 strings before which the text ends.
    stop: Option<Stop>,
    /// Send the text as it comes.
    pub(crate) stream: Option<bool>,
    /// How to stream.
    pub(crate) stream_options: Option<StreamOptions>,
    /// Divides the logits, 0 to 2; by default 1.
    temperature: Option<f32>,
    /// Keeps the likeliest tokens that together have this probability; by default 1, all.
    top_p: Option<f32>,
    /// The form of the text. Besides OpenAI's `text`, `json_object` and `json_schema`:
    /// `{"type": "regex", "pattern": …}` and `{"type": "lark", "grammar": …}`.
    response_format: Option<ResponseFormat>,
    /// Keeps the k likeliest tokens; 0 or -1 keeps all (llama.cpp, vLLM).
    top_k: Option<i64>,
    /// Keeps tokens at least this likely, relative to the likeliest (llama.cpp, vLLM).
    min_p: Option<f32>,
    /// Divides the logits of tokens that occurred (llama.cpp's `repeat_penalty`).
    #[serde(alias = "repeat_penalty")]
    repetition_penalty: Option<f32>,
    /// Seconds that the model stays loaded afterwards.
    keep_alive: Option<f64>,
}

/// One string or a few.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

/// How to stream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct StreamOptions {
    /// Tell the tokens used in a last chunk.
    pub(crate) include_usage: Option<bool>,
}

/// The form of a text.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct ResponseFormat {
    /// `text`, `json_object`, `json_schema`, `regex`, `lark`.
    r#type: String,
    /// For `json_schema`.
    json_schema: Option<NamedSchema>,
    /// For `regex`.
    pattern: Option<String>,
    /// For `lark`.
    grammar: Option<String>,
}

/// A schema with its name; the name is for people.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct NamedSchema {
    name: Option<String>,
    schema: Option<Value>,
}

impl Common {
    /// The model that is asked for.
    pub(crate) fn model(&self) -> Result<&str, ApiError> {
        match self.model.as_deref() {
            Some(model) if !model.is_empty() => Ok(model),
            _ => Err(missing("model")),
        }
    }

    /// Answers to each prompt.
    pub(crate) fn n(&self) -> Result<u32, ApiError> {
        let n = self.n.unwrap_or(1);
        if (1..=CHOICES).contains(&n) {
            return Ok(n);
        }
        Err(wrong("n", format!("`n` is {n}, it must be 1 to {CHOICES}")))
    }

    /// Whether to stream, and whether to tell the tokens used at its end.
    pub(crate) fn streams(&self) -> Option<bool> {
        let told = self.stream_options.as_ref().and_then(|options| options.include_usage);
        (self.stream == Some(true)).then_some(told == Some(true))
    }

    /// A request for each answer to a prompt.
    pub(crate) fn requests(
        &self,
        prompt: &Prompt,
        max_tokens: Option<u32>,
        logprobs: Option<u32>,
    ) -> Result<Vec<RunRequest>, ApiError> {
        if max_tokens == Some(0) {
            return Err(wrong("max_tokens", "`max_tokens` is 0, it must be at least 1"));
        }
        let request = RunRequest {
            max_tokens,
            sampling: self.sampling()?,
            stop: self.stops()?,
            logprobs,
            format: self.format()?,
            keep_alive: self.keep_alive()?,
            ..RunRequest::new(self.model()?, prompt.clone())
        };
        let requests = (0..self.n()?).map(|i| {
            let mut request = request.clone();
            request.sampling.seed = request.sampling.seed.wrapping_add(u64::from(i));
            request
        });
        Ok(requests.collect())
    }

    fn sampling(&self) -> Result<Sampling, ApiError> {
        let top_p = within("top_p", self.top_p, 0.0..=1.0)?;
        let penalty = within("repetition_penalty", self.repetition_penalty, 0.01..=10.0)?;
        Ok(Sampling {
            temperature: within("temperature", self.temperature, 0.0..=2.0)?.unwrap_or(1.0),
            top_k: self.top_k.filter(|&k| k > 0).map(|k| u32::try_from(k).unwrap_or(u32::MAX)),
            top_p: top_p.filter(|&p| p < 1.0),
            min_p: within("min_p", self.min_p, 0.0..=1.0)?.filter(|&p| p > 0.0),
            repetition_penalty: penalty,
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0..=2.0)?
                .unwrap_or(0.0),
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0..=2.0)?
                .unwrap_or(0.0),
            logit_bias: self.logit_bias()?,
            seed: self.seed.map_or_else(rand::random, |seed| seed as u64),
        })
    }

    fn logit_bias(&self) -> Result<BTreeMap<u32, f32>, ApiError> {
        let biases = self.logit_bias.iter().flatten().map(|(token, &bias)| {
            let id = token.parse().map_err(|_| {
                wrong("logit_bias", format!("`logit_bias` has the key `{token}`, no id of a token"))
            })?;
            within("logit_bias", Some(bias), -100.0..=100.0)?;
            Ok((id, bias))
        });
        biases.collect()
    }

    fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops = match self.stop.clone() {
            None => return Ok(Vec::new()),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Many(stops)) => stops,
        };
        if stops.len() > STOPS {
            return Err(wrong("stop", format!("`stop` has more than {STOPS} strings")));
        }
        if stops.iter().any(String::is_empty) {
            return Err(wrong("stop", "`stop` has an empty string"));
        }
        Ok(stops)
    }

    fn keep_alive(&self) -> Result<Option<f64>, ApiError> {
        match self.keep_alive {
            Some(seconds) if !(0.0..=1e9).contains(&seconds) => {
                Err(wrong("keep_alive", "`keep_alive` must be seconds, 0 or more"))
            }
            seconds => Ok(seconds),
        }
    }

    fn format(&self) -> Result<Option<Format>, ApiError> {
        let Some(format) = &self.response_format else { return Ok(None) };
        let needs = |field: &str| {
            let message = format!("`response_format` of type `{}` needs `{field}`", format.r#type);
            ApiError::invalid(Some(format!("response_format.{field}")), message)
        };
        Ok(match format.r#type.as_str() {
            "text" => None,
            "json_object" => Some(Format::JsonObject),
            "json_schema" => {
                let named = format.json_schema.as_ref().and_then(|named| named.schema.clone());
                Some(Format::JsonSchema(named.ok_or_else(|| needs("json_schema.schema"))?))
            }
            "regex" => Some(Format::Regex(format.pattern.clone().ok_or_else(|| needs("pattern"))?)),
            "lark" => Some(Format::Lark(format.grammar.clone().ok_or_else(|| needs("grammar"))?)),
            _ => {
                let message = "`response_format.type` must be `text`, `json_object`, \
                    `json_schema`, `regex` or `lark`";
                return Err(ApiError::invalid(Some("response_format.type".to_owned()), message));
            }
        })
    }
}

/// A field that must be there.
pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::invalid(Some(name.to_owned()), format!("the request needs `{name}`"))
}

/// A field with a value that makes no sense.
pub(crate) fn wrong(name: &str, message: impl Into<String>) -> ApiError {
    ApiError::invalid(Some(name.to_owned()), message)
}

/// Likeliest tokens to be told.
pub(crate) fn top_logprobs(name: &str, top: u32) -> Result<u32, ApiError> {
    if top <= TOP_LOGPROBS {
        return Ok(top);
    }
    Err(wrong(name, format!("`{name}` is {top}, it must be 0 to {TOP_LOGPROBS}")))
}

fn within(
    name: &str,
    value: Option<f32>,
    range: RangeInclusive<f32>,
) -> Result<Option<f32>, ApiError> {
    match value {
        Some(value) if !range.contains(&value) => {
            let (low, high) = range.into_inner();
            Err(wrong(name, format!("`{name}` is {value}, it must be {low} to {high}")))
        }
        value => Ok(value),
    }
}
