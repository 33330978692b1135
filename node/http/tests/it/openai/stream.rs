//! Answers that are sent as they come.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CHAT, TEXT, chat, chunks, text};
use crate::Served;
use crate::fake::{BROKEN, CALLER, ENDLESS, MIRROR, SLOW};

/// The deltas of one choice.
fn deltas(chunks: &[Value], index: usize) -> Vec<Value> {
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    choices
        .filter(|choice| choice["index"] == index)
        .map(|choice| choice["delta"].clone())
        .collect()
}

#[tokio::test]
async fn a_chat_begins_with_the_role_and_ends_with_a_reason() {
    let served = Served::start().await;
    let chunks = chunks(&served, CHAT, &chat(MIRROR, json!({"seed": 7, "stream": true}))).await;
    assert_eq!(
        deltas(&chunks, 0),
        [
            json!({"role": "assistant", "content": ""}),
            json!({"content": "ä "}),
            json!({"content": "7 hi"}),
            json!({}),
        ],
    );
    let reasons: Vec<_> = chunks.iter().map(|c| c["choices"][0]["finish_reason"].clone()).collect();
    assert_eq!(reasons, [json!(null), json!(null), json!(null), json!("stop")]);
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], chunks[0]["id"]);
        assert_eq!(chunk["system_fingerprint"], chunks[0]["system_fingerprint"]);
        assert!(chunk.get("usage").is_none(), "nobody asked for it: {chunk}");
    }
}

#[tokio::test]
async fn choices_are_told_apart_by_their_index_and_usage_comes_last() {
    let served = Served::start().await;
    let request =
        json!({"seed": 7, "n": 3, "stream": true, "stream_options": {"include_usage": true}});
    let mut chunks = chunks(&served, CHAT, &chat(MIRROR, request)).await;
    let last = chunks.pop().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        (&last["usage"]["prompt_tokens"], &last["usage"]["total_tokens"]),
        (&json!(3), &json!(15))
    );
    for chunk in &chunks {
        assert_eq!(chunk["usage"], json!(null));
        assert!(chunk.as_object().unwrap().contains_key("usage"));
    }
    for index in 0..3 {
        let deltas = deltas(&chunks, index);
        assert_eq!(deltas[0]["role"], "assistant");
        assert_eq!(deltas[2]["content"], format!("{} hi", 7 + index));
    }
}

#[tokio::test]
async fn calls_of_tools_come_in_pieces_that_fit_together() {
    let served = Served::start().await;
    let chunks = chunks(&served, CHAT, &chat(CALLER, json!({"stream": true}))).await;
    let deltas = deltas(&chunks, 0);
    let calls: Vec<_> = deltas.iter().filter_map(|delta| delta.get("tool_calls")).collect();
    assert_eq!(
        calls,
        [
            &json!([{"index": 0, "id": "call_1", "type": "function",
                "function": {"name": "weather", "arguments": ""}}]),
            &json!([{"index": 0, "function": {"arguments": "{\"city\":\"Bern\"}"}}]),
            &json!([{"index": 1, "id": "call_2", "type": "function",
                "function": {"name": "weather", "arguments": ""}}]),
            &json!([{"index": 1, "function": {"arguments": "{}"}}]),
        ],
    );
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn a_text_is_streamed_with_its_echo_and_offsets() {
    let served = Served::start().await;
    let streamed =
        chunks(&served, TEXT, &text(MIRROR, json!({"seed": 7, "stream": true, "echo": true})))
            .await;
    let texts: Vec<_> = streamed.iter().map(|c| c["choices"][0]["text"].clone()).collect();
    assert_eq!(texts, ["hi", "ä ", "7 hi", ""]);
    let scored = chunks(&served, TEXT, &text(MIRROR, json!({"stream": true, "logprobs": 1}))).await;
    let offsets: Vec<_> =
        scored.iter().map(|c| c["choices"][0]["logprobs"]["text_offset"].clone()).collect();
    assert_eq!(offsets, [json!([0]), json!([2]), json!(null)]);
}

/// The status line has gone out by then, so the last event has to say it, and no `[DONE]` may
/// make it look whole.
#[tokio::test]
async fn a_failure_in_the_middle_is_told_in_the_stream() {
    let served = Served::start().await;
    let open = served.open_post(CHAT, &chat(BROKEN, json!({"stream": true}))).await;
    assert_eq!(open.response.status(), 200);
    let events = open.events().await;
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["type"], "server_error");
    assert!(events[1].contains("half"));
    assert!(!events.iter().any(|event| event == "[DONE]"), "{events:?}");
}

#[tokio::test]
async fn a_stream_that_waits_says_that_it_is_alive() {
    let served = Served::with(|options| options.keep_alive = Duration::from_millis(20)).await;
    // While a model loads, before anything is said,
    let mut open = served.open_post(CHAT, &chat(ENDLESS, json!({"stream": true}))).await;
    assert_eq!(open.response.status(), 200);
    for _ in 0..3 {
        assert_eq!(open.event().await.as_deref(), Some(": keep-alive"));
    }
    // and in the middle.
    let mut open = served.open_post(CHAT, &chat(SLOW, json!({"stream": true}))).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event| event != ": keep-alive") {
        seen.push(open.event().await.unwrap());
    }
    assert!(seen.iter().any(|event| event.contains("wait")), "{seen:?}");
}

#[tokio::test]
async fn a_client_that_goes_takes_its_answer_with_it() {
    let served = Served::start().await;
    let mut open = served.open_post(CHAT, &chat(SLOW, json!({"stream": true}))).await;
    while !open.event().await.unwrap().contains("wait") {}
    drop(open);
    served.hive.dropped.notified().await;

    // One that waits for the whole answer, too.
    let waits = chat(SLOW, json!({"n": 1}));
    let call = served.open_post(CHAT, &waits);
    tokio::select! {
        _ = call => panic!("it never ends"),
        () = async {
            while served.hive.runs.lock().unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    served.hive.dropped.notified().await;
}

#[tokio::test]
async fn a_stopping_node_says_so_in_the_stream() {
    let served = Served::start().await;
    let mut open = served.open_post(CHAT, &chat(SLOW, json!({"stream": true}))).await;
    while !open.event().await.unwrap().contains("wait") {}
    let (last, ()) = tokio::join!(open.event(), served.server.shutdown());
    let last = last.unwrap();
    assert!(last.contains("stopping") && last.contains("error"), "{last}");
}
