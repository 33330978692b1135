//! Chats, answered whole.

use hive_api::{Format, Message, Prompt, Role, ToolChoice};
use serde_json::json;

use super::{CHAT, chat};
use crate::Served;
use crate::fake::{CALLER, MIRROR};

#[tokio::test]
async fn an_answer_has_the_shape_of_the_reference() {
    let served = Served::start().await;
    let answer = served.post(CHAT, &chat(MIRROR, json!({"seed": 7}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut said = answer.json();
    assert!(said["id"].as_str().unwrap().starts_with("chatcmpl-"), "{said}");
    assert!(said["created"].as_u64().unwrap() > 1_700_000_000, "{said}");
    said["id"] = json!("id");
    said["created"] = json!(0);
    let fingerprint = format!("fp_hive_{}_abcdefgh", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        said,
        json!({
            "id": "id",
            "object": "chat.completion",
            "created": 0,
            "model": MIRROR,
            "system_fingerprint": fingerprint,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "ä 7 hi", "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "total_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 2},
            },
        }),
    );
}

#[tokio::test]
async fn several_answers_have_seeds_of_their_own_and_one_prompt() {
    let served = Served::start().await;
    let said = served.post(CHAT, &chat(MIRROR, json!({"seed": 40, "n": 3}))).await.json();
    let texts: Vec<_> = (0..3).map(|i| said["choices"][i]["message"]["content"].clone()).collect();
    assert_eq!(texts, ["ä 40 hi", "ä 41 hi", "ä 42 hi"]);
    assert_eq!(said["choices"][2]["index"], 2);
    assert_eq!(said["usage"]["prompt_tokens"], 3, "it is one prompt");
    assert_eq!(said["usage"]["completion_tokens"], 12);
}

#[tokio::test]
async fn every_field_of_sampling_reaches_the_model() {
    let served = Served::start().await;
    let request = json!({
        "temperature": 0.25, "top_p": 0.5, "top_k": 9, "min_p": 0.125, "repeat_penalty": 1.5,
        "presence_penalty": -1, "frequency_penalty": 2, "logit_bias": {"17": -100, "3": 1.5},
        "seed": -1, "stop": ["a", "b"], "max_tokens": 5, "max_completion_tokens": 6,
        "keep_alive": 2.5, "logprobs": true, "top_logprobs": 4,
    });
    assert_eq!(served.post(CHAT, &chat("m", request)).await.status, 200);
    let run = served.hive.last_run();
    let sampling = &run.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (0.25, Some(0.5), Some(9)));
    assert_eq!((sampling.min_p, sampling.repetition_penalty), (Some(0.125), Some(1.5)));
    assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (-1.0, 2.0));
    assert_eq!(sampling.logit_bias, [(3, 1.5), (17, -100.0)].into());
    assert_eq!((sampling.seed, run.max_tokens), (u64::MAX, Some(6)));
    assert_eq!(
        (run.stop, run.logprobs, run.keep_alive),
        (vec!["a".into(), "b".into()], Some(4), Some(2.5))
    );
}

/// What OpenAI's reference says of a request that says nothing.
#[tokio::test]
async fn defaults_are_those_of_the_reference() {
    let served = Served::start().await;
    served.post(CHAT, &chat("m", json!({"stop": null, "n": null, "top_k": -1}))).await;
    let first = served.hive.last_run();
    let sampling = &first.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (1.0, None, None));
    assert_eq!((first.max_tokens, first.logprobs, first.format), (None, None, None));
    served.post(CHAT, &chat("m", json!({}))).await;
    assert_ne!(served.hive.last_run().sampling.seed, sampling.seed, "each is its own");
}

#[tokio::test]
async fn turns_reach_the_model_as_they_were_said() {
    let served = Served::start().await;
    let request = json!({
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            {"role": "assistant", "refusal": "no"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "strict": true}}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": false},
        "chat_template": "{{ messages }}",
    });
    let answer = served.post(CHAT, &chat("m", request)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let Prompt::Chat(chat) = served.hive.last_run().prompt else { panic!("it is a chat") };
    let [system, user, calls, tool, refusal] = &chat.messages[..] else { panic!("five turns") };
    assert_eq!(*system, Message::new(Role::System, "be brief"));
    assert_eq!((user.content.as_str(), user.name.as_deref()), ("ab", Some("ann")));
    assert_eq!((calls.content.as_str(), calls.tool_calls[0].name.as_str()), ("", "weather"));
    assert_eq!((tool.role, tool.name.as_deref()), (Role::Tool, Some("weather")));
    assert_eq!(tool.tool_call_id.as_deref(), Some("c1"));
    assert_eq!(refusal.content, "no");
    assert_eq!(chat.tools[0].parameters, json!({"type": "object", "properties": {}}));
    assert_eq!(chat.tool_choice, ToolChoice::Named("weather".into()));
    assert_eq!(chat.variables["reasoning_effort"], "low");
    assert_eq!(chat.variables["enable_thinking"], false);
    assert_eq!(chat.template.as_deref(), Some("{{ messages }}"));
}

#[tokio::test]
async fn forms_reach_the_model() {
    let served = Served::start().await;
    let schema = json!({"type": "object"});
    for (asked, format) in [
        (json!({"type": "text"}), None),
        (json!({"type": "json_object"}), Some(Format::JsonObject)),
        (
            json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}),
            Some(Format::JsonSchema(schema)),
        ),
        (json!({"type": "regex", "pattern": "a+"}), Some(Format::Regex("a+".into()))),
        (json!({"type": "lark", "grammar": "start: /a/"}), Some(Format::Lark("start: /a/".into()))),
    ] {
        let answer = served.post(CHAT, &chat("m", json!({"response_format": asked}))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(served.hive.last_run().format, format);
    }
}

#[tokio::test]
async fn calls_of_tools_are_told_and_one_alone_if_so_asked() {
    let served = Served::start().await;
    let said = served.post(CHAT, &chat(CALLER, json!({}))).await.json();
    let choice = &said["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], json!(null));
    assert_eq!(
        choice["message"]["tool_calls"],
        json!([
            {"id": "call_1", "type": "function",
             "function": {"name": "weather", "arguments": "{\"city\":\"Bern\"}"}},
            {"id": "call_2", "type": "function",
             "function": {"name": "weather", "arguments": "{}"}},
        ]),
    );
    let one = json!({"parallel_tool_calls": false});
    let said = served.post(CHAT, &chat(CALLER, one)).await.json();
    let calls = said["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["id"], "call_1");
}

/// JSON has no word for minus infinity, which is what a forbidden token has.
#[tokio::test]
async fn logprobs_tell_bytes_and_the_likeliest() {
    let served = Served::start().await;
    let wants = json!({"seed": 1, "logprobs": true, "top_logprobs": 1});
    let said = served.post(CHAT, &chat(MIRROR, wants)).await.json();
    let content = &said["choices"][0]["logprobs"]["content"];
    assert_eq!(content.as_array().unwrap().len(), 2, "{said}");
    assert_eq!(
        content[0],
        json!({
            "token": "ä ", "logprob": -0.5, "bytes": [0xC3, 0xA4, 0x20],
            "top_logprobs": [{"token": "no", "logprob": -9999.0, "bytes": [110, 111]}],
        }),
    );
}
