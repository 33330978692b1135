//! Requests that cannot be met: refused by the name of the field, before the node is asked.

use serde_json::{Value, json};

use super::{CHAT, TEXT, chat, text};
use crate::Served;
use crate::fake::{BROKEN, BUSY, MISSING};

async fn refused(served: &Served, path: &str, request: &Value, param: &str) {
    let answer = served.post(path, request).await;
    assert_eq!(answer.status, 400, "{request}: {answer:?}");
    let error = &answer.json()["error"];
    assert_eq!(error["param"], param, "{request}: {error}");
    assert_eq!(error["type"], "invalid_request_error", "{request}: {error}");
    assert!(!error["message"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn fields_that_make_no_sense_are_named() {
    let served = Served::start().await;
    for (more, param) in [
        (json!({"model": null}), "model"),
        (json!({"model": ""}), "model"),
        (json!({"model": 5}), "model"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "hi"}), "messages"),
        (json!({"temperature": 2.5}), "temperature"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"temperature": 1e300}), "temperature"),
        (json!({"top_p": -0.1}), "top_p"),
        (json!({"min_p": 2}), "min_p"),
        (json!({"repetition_penalty": 0}), "repetition_penalty"),
        (json!({"presence_penalty": 3}), "presence_penalty"),
        (json!({"frequency_penalty": -3}), "frequency_penalty"),
        (json!({"logit_bias": {"x": 1}}), "logit_bias"),
        (json!({"logit_bias": {"1": 101}}), "logit_bias"),
        (json!({"n": 0}), "n"),
        (json!({"n": 17}), "n"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"stop": ""}), "stop"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
        (json!({"keep_alive": -1}), "keep_alive"),
        (json!({"response_format": {"type": "xml"}}), "response_format.type"),
        (json!({"response_format": {"type": "regex"}}), "response_format.pattern"),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}),
            "response_format.json_schema.schema",
        ),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tool_choice": "often"}), "tool_choice"),
        (
            json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}),
            "tools[0].function.name",
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "a", "parameters": 1}}]}),
            "tools[0].function.parameters",
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "a"}}],
                "tool_choice": {"type": "function", "function": {"name": "b"}}}),
            "tool_choice",
        ),
        (json!({"messages": [{"content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "robot", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].tool_call_id"),
    ] {
        refused(&served, CHAT, &chat("m", more), param).await;
    }
    for (more, param) in [
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": vec!["a"; 129]}), "prompt"),
        (json!({"prompt": {"a": 1}}), "prompt"),
        (json!({"logprobs": 21}), "logprobs"),
        (json!({"logprobs": true}), "logprobs"),
    ] {
        refused(&served, TEXT, &text("m", more), param).await;
    }
    assert!(served.hive.asked.lock().unwrap().is_empty(), "the node was asked nothing");
}

/// They would change what the answer means, and a model that ignores them would seem to obey.
#[tokio::test]
async fn fields_that_nobody_here_honours_are_refused_by_name() {
    let served = Served::start().await;
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    for (more, param) in [
        (json!({"audio": {"voice": "x", "format": "wav"}}), "audio"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"function_call": "auto"}), "function_call"),
        (json!({"web_search_options": {"search_context_size": "low"}}), "web_search_options"),
        (json!({"guided_json": {"type": "object"}}), "guided_json"),
        (json!({"grammar": "root ::= x"}), "grammar"),
        (
            part(json!({"type": "image_url", "image_url": {"url": "data:,"}})),
            "messages[0].content[0]",
        ),
        (part(json!({"type": "input_audio", "input_audio": {}})), "messages[0].content[0]"),
        (part(json!({"type": "file", "file": {}})), "messages[0].content[0]"),
        (json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}), "tools[0].type"),
        (json!({"tools": [], "tool_choice": {"type": "allowed_tools"}}), "tool_choice"),
    ] {
        let request = chat("m", more);
        refused(&served, CHAT, &request, param).await;
        let code = served.post(CHAT, &request).await.json()["error"]["code"].clone();
        assert_eq!(code, "unsupported_parameter", "{request}");
    }
    for (more, param) in [
        (json!({"suffix": "x"}), "suffix"),
        (json!({"best_of": 2}), "best_of"),
        (json!({"echo": true, "logprobs": 1}), "echo"),
        (json!({"echo": true, "prompt": [1]}), "echo"),
    ] {
        refused(&served, TEXT, &text("m", more), param).await;
    }
    assert!(served.hive.asked.lock().unwrap().is_empty(), "the node was asked nothing");
}

/// They concern OpenAI's house, or are what clients of tomorrow send.
#[tokio::test]
async fn fields_without_meaning_here_are_taken() {
    let served = Served::start().await;
    let fields = json!({
        "user": "u", "metadata": {"a": "b"}, "store": true, "service_tier": "auto",
        "parallel_tool_calls": true, "prediction": {"type": "content", "content": "x"},
        "prompt_cache_key": "k", "safety_identifier": "s", "verbosity": "low",
        "stream_options": null, "modalities": ["text"], "never_heard_of": [1],
        "audio": null, "functions": [], "best_of": 1,
    });
    let answer = served.post(CHAT, &chat("m", fields.clone())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = served.post(TEXT, &text("m", fields)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused_in_the_shape_of_the_reference() {
    let served = Served::start().await;
    for body in ["", "[]", "5", "{\"model\":", "{\"model\": \"\u{0}\"}"] {
        let open = served.open(hyper::Method::POST, CHAT, &[], body.into()).await;
        let answer = open.whole().await.unwrap();
        assert_eq!(answer.status, 400, "{body}");
        let error = &answer.json()["error"];
        assert_eq!(error["type"], "invalid_request_error", "{body}: {error}");
    }
    let nested = format!("{{\"model\": \"m\", \"messages\": {}", "[".repeat(100_000));
    let open = served.open(hyper::Method::POST, CHAT, &[], nested.into()).await;
    assert_eq!(open.whole().await.unwrap().status, 400);
}

#[tokio::test]
async fn failures_of_the_node_have_status_type_and_code() {
    let served = Served::start().await;
    for stream in [false, true] {
        let ask = |model| chat(model, json!({"stream": stream}));
        let answer = served.post(CHAT, &ask(MISSING)).await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["code"]), (404, &json!("model_not_found")));
        assert_eq!(error["param"], "model");
        assert!(error["message"].as_str().unwrap().contains("hive fetch"), "{error}");

        let answer = served.post(CHAT, &ask(BUSY)).await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["code"]), (429, &json!("rate_limit_exceeded")));
        assert_eq!(answer.header("retry-after"), "2");
    }
    let answer = served.post(CHAT, &chat(BROKEN, json!({}))).await;
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status, &error["type"]), (502, &json!("server_error")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("group 3") && message.contains("hive verify"), "{message}");
}

#[tokio::test]
async fn paths_that_are_not_there_answer_in_the_shape_of_the_reference() {
    let served = Served::start().await;
    let answer = served.get("/v1/nothing").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (404, json!(null)));
    assert!(answer.json()["error"]["message"].is_string());
    let answer = served.get(CHAT).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), "POST");
}
