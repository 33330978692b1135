//! OpenAI's API, by the shapes of its reference.

mod chat;
mod embeddings;
mod models;
mod refusals;
mod stream;
mod text;

use serde_json::{Value, json};

use crate::Served;

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A chat with a model, and more fields.
fn chat(model: &str, more: Value) -> Value {
    let mut request = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    merge(&mut request, more);
    request
}

/// A text for a model, and more fields.
fn text(model: &str, more: Value) -> Value {
    let mut request = json!({"model": model, "prompt": "hi"});
    merge(&mut request, more);
    request
}

fn merge(request: &mut Value, more: Value) {
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
}

/// The chunks of a stream, without `[DONE]`, which must be its last event.
async fn chunks(served: &Served, path: &str, request: &Value) -> Vec<Value> {
    let open = served.open_post(path, request).await;
    assert_eq!(open.response.status(), 200);
    assert_eq!(open.response.headers()["content-type"], "text/event-stream");
    let mut events = open.events().await;
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}
