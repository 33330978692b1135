//! What a child cannot do, tried from inside it.

use crate::{ask, load, process, said};

/// The same attempts go well on a thread, so what fails in the child is the sandbox's work.
#[tokio::test]
async fn without_a_sandbox_the_attempts_succeed() {
    let worker = load(&crate::thread()).await;
    for attempt in ["open /etc/passwd", "list /", "socket", "spawn", "thread", "kill"] {
        assert_eq!(said(&worker, attempt).await, "done", "{attempt}");
    }
}

#[tokio::test]
async fn a_child_opens_lists_and_writes_no_file() {
    let worker = load(&process()).await;
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    for attempt in ["open /etc/passwd", "open /proc/self/maps", "list /", "stat /etc/passwd"] {
        assert_eq!(said(&worker, attempt).await, "PermissionDenied 1", "{attempt}");
    }
    let attempt = format!("create {}", new.display());
    assert_eq!(said(&worker, &attempt).await, "PermissionDenied 1");
    assert!(!new.exists());
}

#[tokio::test]
async fn a_child_starts_threads_and_no_processes() {
    let worker = load(&process()).await;
    assert_eq!(said(&worker, "thread").await, "done");
    assert_eq!(said(&worker, "spawn").await, "PermissionDenied 1");
    assert_eq!(said(&worker, "fork").await, "PermissionDenied 1");
    assert_eq!(said(&worker, "kill").await, "PermissionDenied 1");
    assert_eq!(said(&worker, "mprotect").await, "PermissionDenied 1");
}

#[tokio::test]
async fn a_child_that_reaches_for_the_network_or_another_program_is_ended() {
    for attempt in ["socket", "connect", "exec", "ptrace"] {
        let worker = load(&process()).await;
        let failure = ask(&worker, attempt).await.unwrap_err();
        assert!(failure.message.contains("signal 31"), "{attempt}: {failure}");
    }
}

#[tokio::test]
async fn a_child_says_what_holds_it() {
    let worker = load(&process()).await;
    let told = worker.sandbox().join("; ");
    for part in ["limits: core dumps, files", "ends with its parent", "seccomp: "] {
        assert!(told.contains(part), "{told}");
    }
    assert!(told.contains("landlock"), "{told}");
}

/// Tokens and addresses in the environment are none of a model's business.
#[tokio::test]
async fn a_child_has_no_environment_but_what_it_computes_with() {
    let worker = load(&process()).await;
    let names = said(&worker, "env").await;
    let known = ["CANDLE_", "RAYON_", "MISTRALRS_", "LD_LIBRARY_PATH", "SystemRoot"];
    let unknown: Vec<_> = (names.split_whitespace())
        .filter(|name| !known.iter().any(|known| name.starts_with(known)))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(names.contains("RAYON_NUM_THREADS"));
}
