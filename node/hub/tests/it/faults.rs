//! What a line or a hub can do wrong, and that the right file arrives all the same, or none.

use hive_api::{ErrorKind, PullEvent};
use hive_hub::testing::Fault;

use crate::{REPO, Scene, sample};

const LEN: usize = 3_000_000;
const FILE: &str = "tiny-Q8_0.gguf";

/// The fault happens, the download goes on, and the file is the right one.
async fn survives(fault: Fault) -> Scene {
    let scene = Scene::new(LEN);
    scene.hub.fault(FILE, fault.clone());
    let pulled = scene.pull().await.unwrap();
    assert!(pulled[0].1 == sample(LEN));
    assert_eq!(scene.hub.happened(), [fault]);
    assert_eq!(scene.retries().len(), 1, "{:?}", scene.retries());
    scene
}

/// Where the requests for the file began.
fn ranges(scene: &Scene) -> Vec<Option<String>> {
    let of_file = |path: &str| path.contains("/resolve/") || path.contains("/files/");
    let asked = scene.hub.asked().into_iter().filter(|asked| of_file(&asked.path));
    asked.map(|asked| asked.headers.get("range").cloned()).collect()
}

#[tokio::test]
async fn a_truncated_body_is_gone_on_with() {
    let scene = survives(Fault::Truncate(1_500_000)).await;
    assert_eq!(ranges(&scene), [None, Some("bytes=1500000-".into())]);
}

#[tokio::test]
async fn a_reset_connection_is_gone_on_with() {
    let scene = survives(Fault::Reset(2_000_000)).await;
    assert_eq!(ranges(&scene).len(), 2);
}

#[tokio::test]
async fn a_silent_connection_is_given_up() {
    let scene = survives(Fault::Stall(1_200_000)).await;
    assert_eq!(ranges(&scene), [None, Some("bytes=1200000-".into())]);
}

#[tokio::test]
async fn a_busy_hub_is_asked_again() {
    for status in [500, 502, 503, 504, 408] {
        survives(Fault::Status(status, None)).await;
    }
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let scene = survives(Fault::Status(429, Some(1))).await;
    let events = scene.events.lock().unwrap();
    assert!(events.iter().any(
        |event| matches!(event, PullEvent::Retry { seconds, .. } if (*seconds - 1.0).abs() < 0.001)
    ));
}

#[tokio::test]
async fn listings_are_asked_again_too() {
    let scene = Scene::new(10);
    scene.hub.fault("/revision/", Fault::Status(503, None));
    scene.hub.fault("/tree/", Fault::Truncate(5));
    scene.pull().await.unwrap();
    assert_eq!(scene.hub.happened().len(), 2);
}

#[tokio::test]
async fn a_hub_that_never_recovers_is_given_up() {
    let scene = Scene::new(LEN);
    for _ in 0..10 {
        scene.hub.fault(FILE, Fault::Status(503, None));
    }
    let error = scene.pull().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert_eq!(scene.hub.happened().len(), 5);
}

/// Ten broken answers in a row would be too many; each brought something, so they are not.
#[tokio::test]
async fn progress_starts_the_count_of_failures_again() {
    let scene = Scene::new(LEN);
    for _ in 0..10 {
        scene.hub.fault(FILE, Fault::Truncate(200_000));
    }
    assert!(scene.pull().await.unwrap()[0].1 == sample(LEN));
    assert_eq!(scene.hub.happened().len(), 10);
}

/// A server without ranges that gets less far each time is no progress, whatever it sends.
#[tokio::test]
async fn bytes_that_were_here_before_are_no_progress() {
    let scene = Scene::new(LEN);
    scene.hub.fault(FILE, Fault::Truncate(2_000_000));
    for _ in 0..10 {
        // Another validator at the same address: the part is thrown away.
        scene.hub.fault(FILE, Fault::Status(416, None));
        scene.hub.fault(FILE, Fault::Truncate(1));
    }
    let error = scene.pull().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert_eq!(scene.hub.happened().len(), 5);
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_nothing_of_them_is_kept() {
    let scene = Scene::new(LEN);
    scene.hub.fault(FILE, Fault::OtherBytes);
    let error = scene.pull().await.unwrap_err();
    assert_eq!(scene.hub.happened(), [Fault::OtherBytes]);
    assert_eq!(error.kind, ErrorKind::Verification);
    assert!(error.to_string().contains(FILE), "{error}");
    let left = scene.left();
    assert!(left.iter().all(|path| path.ends_with("source")), "{left:?}");
    assert!(scene.pull().await.unwrap()[0].1 == sample(LEN));
}

#[tokio::test]
async fn wrong_bytes_of_a_small_file_are_refused() {
    let mut scene = Scene::new(10);
    scene.hub.put(REPO, "config.json", b"{\"a\":1}");
    scene.hub.put(REPO, "model.safetensors", b"weights");
    scene.request.source = format!("hf:{REPO}:safetensors");
    scene.hub.fault("config.json", Fault::OtherBytes);
    assert_eq!(scene.pull().await.unwrap_err().kind, ErrorKind::Verification);
    assert_eq!(scene.hub.happened(), [Fault::OtherBytes]);
}

#[tokio::test]
async fn a_body_beyond_its_size_is_cut_off() {
    let scene = Scene::new(LEN);
    scene.hub.fault(FILE, Fault::Endless);
    let error = scene.pull().await.unwrap_err();
    assert_eq!(scene.hub.happened(), [Fault::Endless]);
    assert_eq!(error.kind, ErrorKind::Verification);
    assert!(error.to_string().contains("sends more"), "{error}");
    assert!(scene.left().iter().all(|path| path.ends_with("source")));
}

#[tokio::test]
async fn a_hub_that_contradicts_its_listing_is_not_believed() {
    for (header, value) in [
        ("X-Linked-Etag", format!("\"{}\"", "ab".repeat(32))),
        ("X-Linked-Size", "7".to_owned()),
        ("X-Repo-Commit", "c".repeat(40)),
    ] {
        let scene = Scene::new(LEN);
        scene.hub.fault("/resolve/", Fault::Header(header, value));
        let error = scene.pull().await.unwrap_err();
        assert_eq!(scene.hub.happened().len(), 1);
        assert_eq!(error.kind, ErrorKind::Verification, "{header}: {error}");
    }
}

/// A download that was stopped goes on in another process, after what is there was hashed again.
#[tokio::test]
async fn a_later_run_resumes_and_trusts_nothing_that_it_finds() {
    let scene = Scene::new(LEN);
    for _ in 0..5 {
        scene.hub.fault(FILE, Fault::Status(503, None));
    }
    scene.hub.fault(FILE, Fault::Truncate(1_000_000));
    scene.pull().await.unwrap_err();
    // The next run has a truncated body first and then none at all.
    for _ in 0..5 {
        scene.hub.fault(FILE, Fault::Status(503, None));
    }
    scene.pull().await.unwrap_err();
    let plan = scene.plan().await.unwrap();
    assert_eq!(plan.downloaded(&scene.download_dir(&plan)), 1_000_000);
    assert!(scene.pull().await.unwrap()[0].1 == sample(LEN));
    assert_eq!(ranges(&scene).last().unwrap().as_deref(), Some("bytes=1000000-"));
    assert_eq!(scene.hub.happened().len(), 11);
}

#[tokio::test]
async fn a_damaged_part_costs_a_second_download_and_no_more() {
    let scene = Scene::new(LEN);
    let plan = scene.plan().await.unwrap();
    let parts = scene.download_dir(&plan).join("parts");
    std::fs::create_dir_all(&parts).unwrap();
    let digest = plan.files[0].promise.unwrap().to_string();
    std::fs::write(parts.join(format!("{digest}-0")), vec![7; 1_000_000]).unwrap();
    assert!(scene.pull().await.unwrap()[0].1 == sample(LEN));
    assert_eq!(ranges(&scene), [Some("bytes=1000000-".into()), None]);
    assert!(scene.retries()[0].contains("earlier download"), "{:?}", scene.retries());
}

#[tokio::test]
async fn a_server_without_ranges_starts_over() {
    let scene = Scene::new(LEN);
    scene.hub.fault(FILE, Fault::Truncate(1_500_000));
    scene.hub.fault(FILE, Fault::Whole);
    assert!(scene.pull().await.unwrap()[0].1 == sample(LEN));
    assert_eq!(scene.hub.happened(), [Fault::Truncate(1_500_000), Fault::Whole]);
    assert_eq!(ranges(&scene), [None, Some("bytes=1500000-".into())]);
}
