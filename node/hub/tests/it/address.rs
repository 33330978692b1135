//! Addresses: one file, whose digest the user brings.

use hive_api::ErrorKind;
use hive_hub::testing::Fault;

use crate::{Scene, sample, sha256};

const LEN: usize = 2_500_000;

fn scene() -> Scene {
    let mut scene = Scene::new(1);
    scene.hub.put_file("tiny%20one.gguf", &sample(LEN));
    scene.hub.put_file("tiny one.gguf", &sample(LEN));
    scene.request.source = format!("{}/files/tiny%20one.gguf?signature=secret", scene.hub.url());
    scene.request.sha256 = Some(sha256(&sample(LEN)));
    scene.token("hf_secret");
    scene
}

#[tokio::test]
async fn an_address_gives_its_file_and_sees_no_token() {
    let scene = scene();
    let plan = scene.plan().await.unwrap();
    assert_eq!((plan.name.as_str(), plan.size()), ("tiny-one", LEN as u64));
    assert!(!plan.source.contains("secret"), "{}", plan.source);
    let pulled = scene.pull().await.unwrap();
    assert_eq!(pulled[0].0, "tiny one.gguf");
    assert!(pulled[0].1 == sample(LEN));
    assert!(scene.hub.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
}

#[tokio::test]
async fn an_address_without_a_digest_says_how_to_get_one() {
    let mut scene = scene();
    scene.request.sha256 = None;
    let error = scene.plan().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
    assert!(error.hint.unwrap().contains("sha256sum"));
    scene.request.sha256 = Some("abc".into());
    assert_eq!(scene.plan().await.unwrap_err().kind, ErrorKind::Usage);
    assert!(scene.hub.asked().is_empty());
}

#[tokio::test]
async fn another_file_than_the_digest_says_is_refused() {
    let mut scene = scene();
    scene.request.sha256 = Some(sha256(b"another"));
    assert_eq!(scene.pull().await.unwrap_err().kind, ErrorKind::Verification);
    assert!(scene.left().iter().all(|path| path.ends_with("source")));
}

/// The file is replaced between two attempts. The old beginning is not joined to the new end.
#[tokio::test]
async fn a_file_that_changes_meanwhile_is_started_over() {
    let mut scene = scene();
    let (old, new) = (sample(LEN), vec![9; LEN]);
    scene.hub.put_file("tiny one.gguf", &old);
    scene.request.sha256 = Some(sha256(&new));
    // The plan's request for the first byte is the first, the truncated one the second.
    scene.hub.fault("/files/", Fault::Header("X-First", "1".into()));
    scene.hub.fault("/files/", Fault::Truncate(1_500_000));
    for _ in 0..5 {
        scene.hub.fault("/files/", Fault::Status(503, None));
    }
    scene.pull().await.unwrap_err();
    assert_eq!(scene.hub.happened().len(), 6, "{:?}", scene.hub.happened());
    scene.hub.put_file("tiny one.gguf", &new);
    // One of the refusals is left for the plan of the second run.
    assert!(scene.pull().await.unwrap()[0].1 == new);
    let last = scene.hub.asked().into_iter().last().unwrap();
    assert_eq!(last.headers["range"], "bytes=1500000-");
    assert_eq!(last.headers["if-range"], format!("\"{}\"", sha256(&old)));
}

#[tokio::test]
async fn a_refused_address_says_which_answer_it_got() {
    let mut scene = scene();
    scene.request.source = format!("{}/files/none", scene.hub.url());
    assert_eq!(scene.plan().await.unwrap_err().kind, ErrorKind::NotFound);
}
