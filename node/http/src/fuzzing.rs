//! What stands in requests, as `hive-fuzz` sees it: bytes in, and what was read.

use hive_api::RunRequest;

use crate::download::range::{self, Asked};
use crate::openai::chat::ChatRequest;
use crate::openai::completions::CompletionRequest;
use crate::openai::embeddings::EmbeddingRequest;
use crate::openai::parse;

/// Reads the body of a chat as OpenAI's clients write it; none if it is refused.
pub fn chat(body: &[u8]) -> Option<Vec<RunRequest>> {
    let mut request = parse::<ChatRequest>(body).ok()?;
    Some(request.requests().ok()?.0)
}

/// Reads the body of a text to be continued; whether it was read.
pub fn completion(body: &[u8]) -> bool {
    parse::<CompletionRequest>(body).is_ok()
}

/// Reads the body of texts to be made vectors of; whether it was read.
pub fn embeddings(body: &[u8]) -> bool {
    parse::<EmbeddingRequest>(body).is_ok()
}

/// The first byte and the number of bytes that a `Range` header asks of a file of `size`; none if
/// it asks for all of it, or for nothing.
pub fn range(header: &str, size: u64) -> Option<(u64, u64)> {
    match range::parse(header, size) {
        Asked::Part { start, len } => Some((start, len)),
        Asked::Whole | Asked::Nothing => None,
    }
}
