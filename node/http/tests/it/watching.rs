//! Watching fetches, as a page or `curl -N` does, and counting requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::Served;
use crate::fake::{BROKEN, ENDLESS};

#[tokio::test]
async fn the_list_of_fetches_is_told_again_when_it_changes_and_not_before() {
    let served = Served::start().await;
    assert_eq!(served.get("/hive/v1/fetches").await.json()[0]["bytes"], 0);
    let mut open = served.open(Method::GET, "/hive/v1/fetches/events", &[], vec![]).await;
    assert_eq!(open.response.headers()["content-type"], "text/event-stream");
    // The fake's list changes with every second look at it.
    for bytes in [0, 1, 2] {
        let event = open.event().await.unwrap();
        let list: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(list[0]["bytes"], bytes);
    }
}

#[tokio::test]
async fn a_fetch_is_followed_as_events_or_as_lines() {
    let served = Served::start().await;
    let path = "/hive/v1/follow?model=m";
    let events = served.open(Method::GET, path, &[], vec![]).await.events().await;
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(first, json!({"event": "searching", "cid": "c"}));
    assert_eq!(events.len(), 7);
    let lines = served.open(Method::GET, path, &[("accept", "application/x-ndjson")], vec![]).await;
    assert_eq!(lines.whole().await.unwrap().text().lines().count(), 7);

    let path = format!("/hive/v1/follow?model={BROKEN}");
    let events = served.open(Method::GET, &path, &[], vec![]).await.events().await;
    assert!(events[0].starts_with("event: error\ndata: {\"error\":"), "{events:?}");
}

#[tokio::test]
async fn whoever_stops_following_is_let_go_and_kept_alive_until_then() {
    let served = Served::with(|options| options.keep_alive = Duration::from_millis(20)).await;
    let path = format!("/hive/v1/follow?model={ENDLESS}");
    let mut open = served.open(Method::GET, &path, &[], vec![]).await;
    assert!(open.event().await.unwrap().contains("searching"));
    assert_eq!(open.event().await.as_deref(), Some(": keep-alive"));
    drop(open);
    served.hive.dropped.notified().await;
}

/// Figures that had a row for every path would be filled by whoever asks for random ones.
#[tokio::test]
async fn requests_are_counted_by_their_place_in_the_table() {
    let counted = Arc::new(Mutex::new(Vec::new()));
    let served = Served::with(|options| {
        let counted = Arc::clone(&counted);
        options.observer = Some(Arc::new(move |served: &hive_http::Served<'_>| {
            assert!(served.seconds >= 0.0);
            counted
                .lock()
                .unwrap()
                .push(format!("{} {} {}", served.method, served.route, served.status));
        }));
    })
    .await;
    served.get("/v1/models/some/model:x").await;
    served.get("/hive/v1/model?model=broken").await;
    served.get("/nothing/a").await;
    served.post("/v1/models", &json!({})).await;
    served.open(Method::PUT, "/health", &[("origin", "null")], vec![]).await;
    assert_eq!(
        *counted.lock().unwrap(),
        [
            "GET /v1/models/{*id} 200",
            "GET /hive/v1/model 502",
            "GET none 404",
            "POST none 405",
            "other none 403",
        ],
    );
}

#[tokio::test]
async fn figures_are_those_of_the_node() {
    let served = Served::start().await;
    let answer = served.get("/metrics").await;
    assert_eq!(answer.text(), crate::fake::FIGURES);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
}
