//! Models whose files are still arriving.

use std::sync::mpsc;

use hive_api::{EngineOptions, FailureKind, Gate, Need};
use hive_worker::{Cause, Input, Limits, Worker};
use tempfile::TempDir;

use crate::{ask, inputs, process, said, thread};

/// A file of 9 bytes behind a closed gate, and what is wanted of it.
fn arriving() -> (TempDir, Vec<Input>, Gate, mpsc::Receiver<Need>) {
    let (dir, mut inputs) = inputs(&[("model", "all of it")]);
    let (sender, needs) = mpsc::sync_channel(16);
    let gate = Gate::new(9, move |need| drop(sender.try_send(need.clone())));
    inputs[0].gate = Some(gate.clone());
    (dir, inputs, gate, needs)
}

/// Waits for the first thing that is wanted, off this thread.
async fn first(needs: mpsc::Receiver<Need>) -> (Need, mpsc::Receiver<Need>) {
    let waiting = tokio::task::spawn_blocking(move || (needs.recv().unwrap(), needs));
    waiting.await.unwrap()
}

#[tokio::test]
async fn a_model_says_what_it_needs_and_reads_what_has_come() {
    for program in [process(), thread()] {
        let (_dir, inputs, gate, needs) = arriving();
        let loading = tokio::spawn(async move {
            Worker::load(&program, inputs, EngineOptions::default(), Limits::default()).await
        });
        let (need, _needs) = first(needs).await;
        assert!(need.now && need.ranges[0].start == 0, "{need:?}");
        assert!(!loading.is_finished());
        gate.open(5..9);
        gate.open(0..5);
        let worker = loading.await.unwrap().unwrap();
        assert_eq!(worker.info().name.as_deref(), Some("model: all of it"));
        assert_eq!(said(&worker, "say on").await, "on");
        // It has all of it: that nobody gives more is nothing to it.
        drop(gate);
        assert_eq!(said(&worker, "say on").await, "on");
    }
}

#[tokio::test]
async fn a_file_that_does_not_come_ends_the_load_and_says_why() {
    for program in [process(), thread()] {
        let (_dir, inputs, gate, needs) = arriving();
        let loading = tokio::spawn(async move {
            Worker::load(&program, inputs, EngineOptions::default(), Limits::default()).await
        });
        let (_, _needs) = first(needs).await;
        gate.open(0..4);
        gate.fail("everybody left");
        let failure = loading.await.unwrap().unwrap_err();
        assert_eq!(failure.kind, FailureKind::Io, "nothing that the model did: {failure:?}");
        assert!(failure.message.ends_with("everybody left"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_loaded_model_whose_rest_does_not_come_ends_and_is_not_to_blame() {
    let (_dir, inputs, gate, _needs) = arriving();
    gate.open(0..9);
    // What else belongs to it and is never read.
    let (_other, mut more, rest, _more_needs) = arriving();
    more[0].path = "unread".to_owned();
    let inputs = inputs.into_iter().chain(more).collect();
    let worker =
        Worker::load(&process(), inputs, EngineOptions::default(), Limits::default()).await;
    let worker = worker.unwrap();
    let endless = ask(&worker, "endless 1");
    let failing = async {
        rest.fail("the disk is full");
        worker.ended().await
    };
    let (failure, ending) = tokio::join!(endless, failing);
    assert_eq!(failure.unwrap_err().kind, FailureKind::Io);
    assert_eq!(ending.cause, Cause::Missing);
    assert!(!ending.is_crash() && ending.message.ends_with("the disk is full"), "{ending:?}");
}
