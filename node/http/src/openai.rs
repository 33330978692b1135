//! What OpenAI's clients expect to find under `/v1`.
//!
//! Requests, answers and errors have the shapes of OpenAI's reference, so that an unmodified client
//! works by changing its address. A field that hive cannot honour and that would change what the
//! answer means is refused by its name; one that only concerns OpenAI's own house (`user`, `store`,
//! `service_tier`, …) is taken and ignored, and so is a field that nobody knows, as clients of
//! tomorrow need it.
//!
//! Owns no text: pieces go out as they come, at the reader's pace, and dropping an answer drops what
//! computes it.

mod answer;
pub(crate) mod chat;
mod common;
pub(crate) mod completions;
pub(crate) mod embeddings;
mod error;
mod messages;
mod models;
mod stream;
mod wire;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::control::Control;
use crate::openapi::{Operation, Table};
use crate::sse::EVENT_STREAM;
pub(crate) use error::ApiError;

/// Where these endpoints are.
pub(crate) const PREFIX: &str = "/v1/";
/// What the document files them under.
const TAG: &str = "OpenAI";

/// Adds the endpoints.
pub(crate) fn endpoints(table: Table<Control>) -> Table<Control> {
    table
        .get(
            "/v1/models",
            models::list,
            Operation::new(TAG, "Lists the models that are here").json::<models::ModelList>(),
        )
        .get(
            "/v1/models/{*id}",
            models::retrieve,
            Operation::new(TAG, "Tells of one model, by its name or its id")
                .json::<models::Model>(),
        )
        .post(
            "/v1/chat/completions",
            chat::complete,
            Operation::new(TAG, "Goes on with a chat")
                .body::<chat::ChatRequest>()
                .json::<wire::ChatCompletion>()
                .answers::<wire::ChatChunk>(EVENT_STREAM),
        )
        .post(
            "/v1/completions",
            completions::complete,
            Operation::new(TAG, "Goes on with a text")
                .body::<completions::CompletionRequest>()
                .json::<wire::TextCompletion>()
                .answers::<wire::TextCompletion>(EVENT_STREAM),
        )
        .post(
            "/v1/embeddings",
            embeddings::embed,
            Operation::new(TAG, "Makes vectors of texts")
                .body::<embeddings::EmbeddingRequest>()
                .json::<embeddings::EmbeddingList>(),
        )
}

/// A request's body, as clients of OpenAI write it.
pub(crate) struct Fields<T>(pub(crate) T);

/// A request that has fields which cannot be honoured.
pub(crate) trait Refuses {
    /// Their names, and what to do instead.
    const REFUSED: &'static [(&'static str, &'static str)];
}

impl<T: DeserializeOwned + Refuses> FromRequest<Control> for Fields<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, control: &Control) -> Result<Self, ApiError> {
        let read = Bytes::from_request(request, control);
        let bytes = tokio::time::timeout(control.body_timeout, read)
            .await
            .map_err(|_| ApiError::slow())?
            .map_err(|rejection: BytesRejection| {
                ApiError::status(rejection.status(), rejection.body_text())
            })?;
        parse(&bytes).map(Self)
    }
}

/// Reads a body; an error names the field that is wrong.
pub(crate) fn parse<T: DeserializeOwned + Refuses>(bytes: &[u8]) -> Result<T, ApiError> {
    let fields: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::invalid(None, format!("the body is no JSON object: {error}")))?;
    for (name, why) in T::REFUSED {
        if fields.get(*name).is_some_and(says_something) {
            let message = format!("`{name}` is not supported: {why}");
            return Err(ApiError::unsupported(name, message));
        }
    }
    serde_json::from_value(Value::Object(fields.clone())).map_err(|error| {
        // Every field is optional to the parser, so the one that fails alone is the culprit.
        let wrong = fields.into_iter().find_map(|(name, value)| {
            let alone = Map::from_iter([(name.clone(), value)]);
            let error = serde_json::from_value::<T>(Value::Object(alone)).err()?;
            Some((name, error))
        });
        match wrong {
            Some((name, error)) => {
                let message = format!("`{name}` is wrong: {error}");
                ApiError::invalid(Some(name), message)
            }
            None => ApiError::invalid(None, format!("the request is wrong: {error}")),
        }
    })
}

/// `null`, `false`, and what is empty ask for nothing.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}
