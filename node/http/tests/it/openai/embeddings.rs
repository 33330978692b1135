//! Embeddings.

use base64::Engine as _;
use serde_json::json;

use crate::Served;
use crate::fake::MISSING;

const PATH: &str = "/v1/embeddings";

#[tokio::test]
async fn vectors_come_in_the_order_of_their_texts() {
    let served = Served::start().await;
    let request = json!({"model": "m", "input": ["a", "b"], "dimensions": 3, "user": "u"});
    let answer = served.post(PATH, &request).await;
    assert_eq!(
        answer.json(),
        json!({
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [0.0, 0.5, -1.0]},
                {"object": "embedding", "index": 1, "embedding": [1.0, 0.5, -1.0]},
            ],
            "model": "m",
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        }),
    );
    assert!(served.hive.last_asked().contains("dimensions: Some(3)"));
}

/// What OpenAI's own client asks for unless it is told otherwise.
#[tokio::test]
async fn base64_is_little_endian_floats() {
    let served = Served::start().await;
    let request = json!({"model": "m", "input": [1, 2], "encoding_format": "base64"});
    let said = served.post(PATH, &request).await.json();
    let text = said["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let numbers: Vec<f32> =
        bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(numbers, [0.0, 0.5, -1.0]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let served = Served::start().await;
    for (request, param) in [
        (json!({"input": "a"}), "model"),
        (json!({"model": "m"}), "input"),
        (json!({"model": "m", "input": []}), "input"),
        (json!({"model": "m", "input": ["a", ""]}), "input"),
        (json!({"model": "m", "input": {"a": 1}}), "input"),
        (json!({"model": "m", "input": vec!["a"; 2049]}), "input"),
        (json!({"model": "m", "input": "a", "encoding_format": "hex"}), "encoding_format"),
        (json!({"model": "m", "input": "a", "dimensions": 0}), "dimensions"),
    ] {
        let answer = served.post(PATH, &request).await;
        assert_eq!(answer.status, 400, "{request}");
        assert_eq!(answer.json()["error"]["param"], param, "{request}");
    }
    assert!(served.hive.asked.lock().unwrap().is_empty());
    let answer = served.post(PATH, &json!({"model": MISSING, "input": "a"})).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].clone()),
        (404, json!("model_not_found"))
    );
}
