//! Running models through a node: the small model, in the node's own process.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt as _, future};
use hive_api::{
    AddEvent, AddRequest, EmbedRequest, ErrorKind, Hive, Prompt, RunEvent, RunRequest, Sampling,
};
use hive_node::{Config, Node, TINY_MODEL};
use tempfile::TempDir;

/// A node without a network, and a place for files.
async fn node() -> (Node, Arc<dyn Hive>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let config = Config { home, online: false, reserve: Some(0), ..Config::default() };
    let node = Node::start(config).await.unwrap();
    let hive = node.hive();
    (node, hive, dir)
}

fn tiny(dir: &Path) -> String {
    let path = dir.join("tiny.gguf");
    std::fs::write(&path, TINY_MODEL).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Adds the small model; returns its id.
async fn add_tiny(hive: &dyn Hive, dir: &Path) -> String {
    let path = tiny(dir).into();
    let request = AddRequest {
        path,
        name: Some("tiny".into()),
        visibility: None,
        link: false,
        license: None,
    };
    let mut events = hive.add(request).await.unwrap();
    while let Some(event) = events.next().await {
        if let AddEvent::Done(added) = event.unwrap() {
            return added.cid;
        }
    }
    panic!("not added");
}

fn greedy(model: &str, max_tokens: u32) -> RunRequest {
    RunRequest {
        max_tokens: Some(max_tokens),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ..RunRequest::new(model, "Once upon a time")
    }
}

/// Runs to the end; checks the order of what happens, and returns the text.
async fn text(hive: &dyn Hive, request: RunRequest) -> String {
    let events: Vec<_> =
        hive.run(request).await.unwrap().map(|event| event.unwrap()).collect().await;
    let mut events: std::collections::VecDeque<_> = events.into();
    if let Some(RunEvent::Queued { .. }) = events.front() {
        events.pop_front();
    }
    let first = events.pop_front();
    assert!(matches!(first, Some(RunEvent::Loaded { .. })), "{first:?}");
    let Some(RunEvent::Done(done)) = events.pop_back() else { panic!("{events:?}") };
    assert!(done.generated_tokens > 0);
    let texts = events.into_iter().map(|event| match event {
        RunEvent::Text { text, .. } => text,
        other => panic!("{other:?}"),
    });
    texts.collect()
}

#[tokio::test]
async fn eight_runs_at_once_complete_and_each_has_the_text_that_it_has_alone() {
    let (node, hive, dir) = node().await;
    let id = add_tiny(&*hive, dir.path()).await;
    let alone = text(&*hive, greedy("tiny", 12)).await;
    assert!(!alone.is_empty());
    // By name, by id and by path: the first two are one model, the file is another.
    let models = ["tiny".to_owned(), id.clone(), tiny(dir.path())];
    let runs = (0..8).map(|n| text(&*hive, greedy(&models[n % 3], 12)));
    assert!(future::join_all(runs).await.iter().all(|text| *text == alone));
    let loaded = hive.loaded().await.unwrap();
    assert_eq!(loaded.len(), 2);
    let stored = loaded.iter().find(|model| model.cid.is_some()).unwrap();
    assert_eq!((stored.cid.as_deref(), stored.name.as_str()), (Some(id.as_str()), "tiny"));
    assert_eq!((stored.active, stored.queued, stored.pid), (0, 0, None));
    assert!(stored.memory > 0 && !stored.sandbox.is_empty());
    node.shutdown().await;
}

#[tokio::test]
async fn a_client_who_leaves_frees_the_place() {
    let (node, hive, dir) = node().await;
    add_tiny(&*hive, dir.path()).await;
    for _ in 0..6 {
        let mut events =
            hive.run(RunRequest { max_tokens: None, ..greedy("tiny", 1) }).await.unwrap();
        assert!(events.next().await.unwrap().is_ok());
    }
    assert!(!text(&*hive, greedy("tiny", 4)).await.is_empty());
    node.shutdown().await;
}

#[tokio::test]
async fn a_model_is_unloaded_when_asked_and_loaded_anew() {
    let (node, hive, dir) = node().await;
    let id = add_tiny(&*hive, dir.path()).await;
    assert_eq!(hive.unload("tiny").await.unwrap_err().kind, ErrorKind::NotFound);
    text(&*hive, greedy("tiny", 1)).await;
    hive.unload(&id).await.unwrap();
    assert_eq!(hive.loaded().await.unwrap(), []);
    text(&*hive, greedy("tiny", 1)).await;
    node.shutdown().await;
}

#[tokio::test]
async fn what_a_model_cannot_do_is_an_error_and_leaves_it_at_work() {
    let (node, hive, dir) = node().await;
    add_tiny(&*hive, dir.path()).await;
    let input = vec![Prompt::from("text")];
    let embed = EmbedRequest { model: "tiny".into(), input, dimensions: None, keep_alive: None };
    let error = hive.embed(embed).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage, "{error}");
    let long = RunRequest::new("tiny", "once upon a time ".repeat(20_000).as_str());
    let last = hive.run(long).await.unwrap().fold(None, async |_, event| Some(event)).await;
    let error = last.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage, "{error}");
    assert!(!text(&*hive, greedy("tiny", 1)).await.is_empty());
    node.shutdown().await;
}

#[tokio::test]
async fn a_file_that_is_no_model_and_one_that_is_not_there_are_told_apart() {
    let (node, hive, dir) = node().await;
    let path = dir.path().join("not.gguf");
    std::fs::write(&path, "not a model at all").unwrap();
    let run = hive.run(RunRequest::new(path.to_str().unwrap(), "x")).await.unwrap();
    let error = run.fold(None, async |_, event| Some(event)).await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.to_string().contains("cannot load"), "{error}");
    let missing = hive.run(RunRequest::new("/nowhere/m.gguf", "x")).await.err().unwrap();
    assert_eq!(missing.kind, ErrorKind::Usage);
    assert_eq!(
        hive.run(RunRequest::new("nobody", "x")).await.err().unwrap().kind,
        ErrorKind::NotFound
    );
    node.shutdown().await;
}
