//! The list of models.

use serde_json::json;

use crate::Served;
use crate::fake::{BROKEN, MISSING};

/// Two models of one name: their ids tell them apart. Those that are not whole are not in the list.
#[tokio::test]
async fn models_are_told_by_name_and_found_by_name_and_id() {
    let served = Served::start().await;
    let list = served.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    assert_eq!(ids, ["org/tiny:q4", "bafyr4ibbb", "bafyr4iccc"]);
    assert_eq!(list["data"][0]["cid"], "bafyr4iaaa");
    assert_eq!(list["data"][0]["loaded"], false);

    for id in ["gemma3:270m", "org/model:q4@v1", "bafyr4iabc"] {
        let answer = served.get(&format!("/v1/models/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(served.hive.asked.lock().unwrap().contains(&format!("show {id}")));
        let model = answer.json();
        assert_eq!((&model["object"], &model["owned_by"]), (&json!("model"), &json!("hive")));
        assert_eq!(model["id"], id);
        assert_eq!(model["cid"], "bafyr4iabc");
        assert_eq!(model["sha256"]["a/b.gguf"], "ab".repeat(32));
        assert_eq!(model["holders"], json!(["12D3KooWx"]));
        assert_eq!((&model["quantization"], &model["loaded"]), (&json!("Q4_K_M"), &json!(true)));
        assert_eq!(model["context_length"], 32_768);
    }
}

#[tokio::test]
async fn a_model_that_is_not_here_says_how_to_get_it() {
    let served = Served::start().await;
    let answer = served.get(&format!("/v1/models/{MISSING}")).await;
    assert_eq!(answer.status, 404);
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "model_not_found");
    assert_eq!(error["type"], "invalid_request_error");
    assert!(error["message"].as_str().unwrap().contains("hive fetch"), "{error}");
    let answer = served.get(&format!("/v1/models/{BROKEN}")).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["type"].clone()),
        (502, json!("server_error"))
    );
}

/// Also what is no text is refused in the words of the rest.
#[tokio::test]
async fn an_id_that_is_no_text_is_an_error_in_openais_shape() {
    let served = Served::start().await;
    for path in ["/v1/models/%ff", "/v1/models/download/%ff"] {
        let answer = served.get(path).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
}
