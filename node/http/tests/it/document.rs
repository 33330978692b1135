//! The OpenAPI document, held against the server that gives it.

use serde_json::{Value, json};

use crate::Served;
use crate::raw::send;

/// An endpoint, as the document tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// `GET` or `POST`.
    pub(crate) method: String,
    /// With something in the place of each parameter.
    pub(crate) path: String,
    /// Whether it needs no token.
    pub(crate) is_open: bool,
}

/// All endpoints of the document.
pub(crate) async fn endpoints(served: &Served) -> Vec<Endpoint> {
    let document = served.get("/openapi.json").await.json();
    let mut endpoints = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            endpoints.push(Endpoint {
                method: method.to_ascii_uppercase(),
                path: path.replace("{id}", "org/model:x"),
                is_open: operation.get("security") == Some(&json!([])),
            });
        }
    }
    assert!(endpoints.len() >= 35, "{endpoints:?}");
    endpoints
}

/// The other direction, that the router has no path which the document lacks, holds by
/// construction: one function writes both.
#[tokio::test]
async fn every_path_of_the_document_is_served() {
    let served = Served::start().await;
    for Endpoint { method, path, .. } in endpoints(&served).await {
        let open = served.open(method.parse().unwrap(), &path, &[], b"{".to_vec()).await;
        let status = open.response.status().as_u16();
        assert_ne!(status, 405, "{method} {path}");
        // A path that is not there is a 404 of another text.
        if status == 404 {
            let text = open.whole().await.unwrap().text();
            assert!(!text.contains("no such path"), "{method} {path}: {text}");
        }
    }
}

#[tokio::test]
async fn the_document_is_openapi_and_every_reference_leads_somewhere() {
    let served = Served::start().await;
    let document = served.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = Vec::new();
    let mut operations = Vec::new();
    walk(&document, &mut references);
    for reference in &references {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    assert!(references.len() > 60);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 8), "{path}");
            assert_eq!(operation.get("requestBody").is_some(), method == "post", "{method} {path}");
            let content = operation["responses"]["200"]["content"].as_object().unwrap();
            assert!(!content.is_empty(), "{method} {path}");
            operations.push(operation["operationId"].as_str().unwrap().to_owned());
            for name in path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()) {
                let is_it = |p: &Value| p["name"] == name && p["in"] == "path";
                assert!(operation["parameters"].as_array().unwrap().iter().any(is_it), "{path}");
            }
        }
    }
    let n_operations = operations.len();
    operations.sort();
    operations.dedup();
    assert_eq!(operations.len(), n_operations, "ids are unique");
    let fields = &document["components"]["schemas"]["ChatRequest"]["properties"];
    for field in ["messages", "temperature", "response_format", "tools", "logprobs", "top_k"] {
        assert!(fields.get(field).is_some(), "{field}: {fields}");
    }
}

fn walk(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(reference) if name == "$ref" => references.push(reference.to_owned()),
                    _ => walk(value, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_needs_the_token() {
    let served = Served::start().await;
    let port = served.port();
    let request = format!(
        "GET /openapi.json HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(send(port, &request).await.status, 401);
}
