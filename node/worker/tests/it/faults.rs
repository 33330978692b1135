//! What goes wrong: each fault is an error for the requests that it hits, and for nobody else.

use std::time::Duration;

use futures::StreamExt as _;
use hive_api::{EngineOptions, FailureKind, GenerateRequest, Output, Quantization};
use hive_worker::{Cause, Limits, Program, Worker};

use crate::{ask, impatient, inputs, load, load_with, process, said, thread};

/// Begins a text without an end, lets a fault happen beside it, and says how the worker ended. The
/// innocent text gets the same failure, and a second worker serves on.
async fn fault(limits: Limits, prompt: &str) -> hive_worker::Ending {
    let other = load(&process()).await;
    let worker = load_with(&process(), limits).await;
    let place = worker.place().await.unwrap();
    let mut innocent = worker.begin(place, GenerateRequest::new("endless")).await.unwrap();
    assert!(matches!(innocent.next().await, Some(Output::Piece(_))));

    let failure = ask(&worker, prompt).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Crashed, "{failure}");
    let mut last = None;
    while let Some(output) = innocent.next().await {
        last = Some(output);
    }
    assert_eq!(last, Some(Output::Failed(failure.clone())));
    let ending = worker.ended().await;
    assert!(ending.is_crash());
    assert_eq!(ending.message, failure.message);
    assert!(is_gone(worker.pid().unwrap()), "not reaped");
    assert_eq!(ask(&worker, "say hello").await.unwrap_err(), failure);
    assert_eq!(said(&other, "say on").await, "on");
    ending
}

/// Whether there is no such process any more, not even as a zombie.
fn is_gone(pid: u32) -> bool {
    if cfg!(target_os = "linux") {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    } else {
        true
    }
}

#[cfg(unix)]
#[tokio::test]
async fn an_abort_ends_its_requests_with_an_error() {
    let ending = fault(Limits::default(), "abort").await;
    assert_eq!(ending.cause, Cause::Exited);
    assert!(ending.message.contains("signal 6"), "{}", ending.message);
}

#[cfg(unix)]
#[tokio::test]
async fn a_wild_write_ends_its_requests_with_an_error() {
    let ending = fault(Limits::default(), "segv").await;
    assert!(ending.message.contains("signal 11"), "{}", ending.message);
}

#[tokio::test]
async fn a_panic_ends_its_requests_with_an_error() {
    let ending = fault(Limits::default(), "panic").await;
    assert!(ending.message.contains("code 101"), "{}", ending.message);
}

#[tokio::test]
async fn an_endless_loop_is_noticed_and_ended() {
    let ending = fault(impatient(), "spin").await;
    assert_eq!(ending.cause, Cause::Stalled);
}

/// One allocation beyond the address space is refused by the kernel, and Rust gives up.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_allocation_beyond_its_memory_ends_it() {
    let limits = Limits { memory: Some(256 << 20), ..Limits::default() };
    let ending = fault(limits, "eat 20000").await;
    assert_eq!(ending.cause, Cause::Exited);
    assert!(ending.message.contains("signal 6"), "{}", ending.message);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_beyond_its_bound_ends_it() {
    let limits = Limits { memory: Some(128 << 20), ..Limits::default() };
    let ending = fault(limits, "hoard").await;
    assert_eq!(ending.cause, Cause::Memory, "{}", ending.message);
}

/// As a load that fails at once: everybody is told why, the model is let go, nothing crashed.
#[tokio::test]
async fn a_model_whose_rest_cannot_be_loaded_ends_and_says_why() {
    for program in [process(), thread()] {
        let worker = load(&program).await;
        let place = worker.place().await.unwrap();
        let mut innocent = worker.begin(place, GenerateRequest::new("endless")).await.unwrap();
        assert!(matches!(innocent.next().await, Some(Output::Piece(_))));
        let failure = ask(&worker, "break").await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid, "{failure}");
        let mut last = None;
        while let Some(output) = innocent.next().await {
            last = Some(output);
        }
        assert_eq!(last, Some(Output::Failed(failure.clone())));
        let ending = worker.ended().await;
        assert_eq!(ending.cause, Cause::Unusable(FailureKind::Invalid));
        assert!(!ending.is_crash() && ending.message == failure.message, "{ending:?}");
        assert_eq!(ask(&worker, "say hello").await.unwrap_err(), failure);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn garbage_in_the_pipe_ends_it() {
    let ending = fault(Limits::default(), "garbage").await;
    assert_eq!(ending.cause, Cause::Garbage);
    assert!(ending.message.contains("at most"), "{}", ending.message);
    let ending = fault(Limits::default(), "nonsense").await;
    assert_eq!(ending.cause, Cause::Garbage);
}

#[cfg(unix)]
#[tokio::test]
async fn a_kill_from_outside_is_noticed_at_once() {
    let worker = load(&process()).await;
    let place = worker.place().await.unwrap();
    let mut answer = worker.begin(place, GenerateRequest::new("endless")).await.unwrap();
    assert!(matches!(answer.next().await, Some(Output::Piece(_))));
    let pid = rustix::process::Pid::from_raw(worker.pid().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let last = answer.fold(None, async |_, output| Some(output)).await;
    let Some(Output::Failed(failure)) = last else { panic!("{last:?}") };
    assert!(failure.message.contains("signal 9"), "{failure}");
}

#[tokio::test]
async fn a_crash_while_loading_is_an_error() {
    let (_dir, inputs) = inputs(&[("model", "abort")]);
    let (program, options) = (process(), EngineOptions::default());
    let failure = Worker::load(&program, inputs, options, Limits::default()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Crashed);
    assert!(failure.message.contains("while it loaded"), "{failure}");
}

#[tokio::test]
async fn loading_for_too_long_is_an_error() {
    let (_dir, inputs) = inputs(&[("model", "spin")]);
    let limits = Limits { load: Duration::from_millis(300), ..Limits::default() };
    let failure = Worker::load(&process(), inputs, EngineOptions::default(), limits).await;
    let failure = failure.unwrap_err();
    assert!(failure.message.contains("within 0.3 seconds"), "{failure}");
}

#[tokio::test]
async fn a_crash_while_quantising_is_an_error() {
    let (dir, inputs) = inputs(&[("model", "abort")]);
    let at = dir.path().join("out");
    let out = (std::fs::File::create_new(&at).unwrap(), at);
    let (program, to, limits) = (process(), Quantization::Q4K, Limits::default());
    let failure = hive_worker::quantize(&program, inputs, to, out, limits, &mut |_, _| {}).await;
    assert_eq!(failure.unwrap_err().kind, FailureKind::Crashed);
}

#[tokio::test]
async fn a_program_that_is_none_is_an_error() {
    let (_dir, inputs) = inputs(&[("model", "fine")]);
    let program = Program::Command { path: "/nowhere/hive".into(), args: Vec::new() };
    let loaded = Worker::load(&program, inputs, EngineOptions::default(), Limits::default()).await;
    assert_eq!(loaded.unwrap_err().kind, FailureKind::Io);
}

#[tokio::test]
async fn a_panic_on_a_thread_ends_its_requests_with_an_error() {
    let worker = load(&thread()).await;
    let failure = ask(&worker, "panic").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Crashed);
}

#[tokio::test]
async fn whoever_is_dropped_leaves_no_process() {
    let worker = load(&process()).await;
    let pid = worker.pid().unwrap();
    worker.kill();
    assert_eq!(worker.ended().await.cause, Cause::Asked);
    assert!(is_gone(pid));
}
