//! Texts, answered whole.

use hive_api::Prompt;
use serde_json::json;

use super::{TEXT, text};
use crate::Served;
use crate::fake::MIRROR;

#[tokio::test]
async fn an_answer_has_the_shape_of_the_reference() {
    let served = Served::start().await;
    let answer = served.post(TEXT, &text(MIRROR, json!({"seed": 7, "logprobs": 1}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json();
    assert!(said["id"].as_str().unwrap().starts_with("cmpl-"), "{said}");
    assert_eq!(said["object"], "text_completion");
    assert_eq!(
        said["choices"],
        json!([{
            "text": "ä 7 hi",
            "index": 0,
            "logprobs": {
                "tokens": ["ä ", "x"],
                "token_logprobs": [-0.5, -0.5],
                "top_logprobs": [{"no": -9999.0}, {"no": -9999.0}],
                "text_offset": [0, 2],
            },
            "finish_reason": "stop",
        }]),
    );
    assert_eq!(said["usage"]["total_tokens"], 7);
    assert_eq!(served.hive.last_run().max_tokens, Some(16), "as the reference has it");
}

#[tokio::test]
async fn prompts_are_answered_in_their_order_n_times_each() {
    let served = Served::start().await;
    let request =
        json!({"prompt": ["one", "two"], "n": 2, "seed": 5, "echo": true, "max_tokens": 3});
    let said = served.post(TEXT, &text(MIRROR, request)).await.json();
    let texts: Vec<_> =
        said["choices"].as_array().unwrap().iter().map(|choice| choice["text"].clone()).collect();
    assert_eq!(texts, ["oneä 5 one", "oneä 6 one", "twoä 5 two", "twoä 6 two"]);
    assert_eq!(said["usage"]["prompt_tokens"], 6, "two prompts, each counted once");
    assert_eq!(said["usage"]["completion_tokens"], 16);
}

#[tokio::test]
async fn prompts_may_be_tokens() {
    let served = Served::start().await;
    for (prompt, count) in [(json!([1, 2]), 1), (json!([[1, 2], [3]]), 2)] {
        let said = served.post(TEXT, &text(MIRROR, json!({"prompt": prompt}))).await.json();
        assert_eq!(said["choices"].as_array().unwrap().len(), count);
    }
    let runs = served.hive.runs.lock().unwrap();
    assert_eq!(runs[0].prompt, Prompt::Tokens(vec![1, 2]));
    assert!(runs[1..].iter().any(|run| run.prompt == Prompt::Tokens(vec![3])));
}
