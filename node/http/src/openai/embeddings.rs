//! `POST /v1/embeddings`.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hive_api::{EmbedRequest, Prompt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{missing, wrong};
use super::completions::Prompts;
use super::error::ApiError;
use super::{Fields, Refuses};
use crate::control::Control;

/// Texts in one request at most, as OpenAI has it.
const TEXTS: usize = 2048;

/// Texts to make vectors of.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct EmbeddingRequest {
    /// A name or an id of an embedding model that is here.
    model: Option<String>,
    /// A text, texts, a text as tokens, or several of those.
    input: Option<Prompts>,
    /// `float`, or `base64` of little-endian 32-bit floats.
    encoding_format: Option<String>,
    /// Keep so many of each vector's numbers.
    dimensions: Option<u32>,
    /// Seconds that the model stays loaded afterwards.
    keep_alive: Option<f64>,
}

impl Refuses for EmbeddingRequest {
    const REFUSED: &'static [(&'static str, &'static str)] = &[];
}

/// The vectors.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EmbeddingList {
    /// `list`.
    object: &'static str,
    data: Vec<Embedding>,
    /// The model that was asked for.
    model: String,
    usage: EmbeddingUsage,
}

/// A vector.
#[derive(Debug, Serialize, JsonSchema)]
struct Embedding {
    /// `embedding`.
    object: &'static str,
    /// Which text it is of.
    index: usize,
    embedding: Vector,
}

/// The numbers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

/// What it took.
#[derive(Debug, Serialize, JsonSchema)]
struct EmbeddingUsage {
    prompt_tokens: u32,
    total_tokens: u32,
}

pub(crate) async fn embed(
    State(control): State<Control>,
    Fields(request): Fields<EmbeddingRequest>,
) -> Result<Json<EmbeddingList>, ApiError> {
    let model = request.model.filter(|model| !model.is_empty()).ok_or_else(|| missing("model"))?;
    let input = request.input.ok_or_else(|| missing("input"))?.into_list();
    if input.is_empty() || input.len() > TEXTS {
        return Err(wrong("input", format!("`input` must be 1 to {TEXTS} texts")));
    }
    let is_empty = |text: &Prompt| match text {
        Prompt::Text(text) => text.is_empty(),
        Prompt::Tokens(tokens) => tokens.is_empty(),
        Prompt::Chat(_) => false,
    };
    if input.iter().any(is_empty) {
        return Err(wrong("input", "`input` has an empty text"));
    }
    let as_base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(wrong("encoding_format", "`encoding_format` must be `float` or `base64`"));
        }
    };
    if request.dimensions == Some(0) {
        return Err(wrong("dimensions", "`dimensions` is 0, it must be at least 1"));
    }
    if request.keep_alive.is_some_and(|seconds| !(0.0..=1e9).contains(&seconds)) {
        return Err(wrong("keep_alive", "`keep_alive` must be seconds, 0 or more"));
    }
    let request = EmbedRequest {
        model: model.clone(),
        input,
        dimensions: request.dimensions,
        keep_alive: request.keep_alive,
    };
    let embeddings = control.hive.embed(request).await.map_err(ApiError::of_model)?;
    let vector = |numbers: Vec<f32>| {
        if as_base64 { Vector::Base64(packed(&numbers)) } else { Vector::Floats(numbers) }
    };
    let data = embeddings.vectors.into_iter().enumerate().map(|(index, numbers)| Embedding {
        object: "embedding",
        index,
        embedding: vector(numbers),
    });
    Ok(Json(EmbeddingList {
        object: "list",
        data: data.collect(),
        model,
        usage: EmbeddingUsage { prompt_tokens: embeddings.tokens, total_tokens: embeddings.tokens },
    }))
}

fn packed(numbers: &[f32]) -> String {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}
