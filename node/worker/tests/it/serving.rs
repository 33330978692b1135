//! What goes well.

use futures::{StreamExt as _, future};
use hive_api::{EngineOptions, FailureKind, Finish, GenerateRequest, Output, Prompt, Quantization};
use hive_worker::{Cause, Limits, Worker};

use crate::{ask, inputs, load, process, said, thread};

#[tokio::test]
async fn a_process_answers_and_says_what_it_is() {
    let (_dir, inputs) = inputs(&[("a.gguf", "one "), ("b/c.json", "two")]);
    let worker =
        Worker::load(&process(), inputs, EngineOptions::default(), Limits::default()).await;
    let worker = worker.unwrap();
    assert_eq!(worker.info().name.as_deref(), Some("a.gguf+b/c.json: one two"));
    assert_eq!(worker.n_places(), 4);
    assert!(worker.pid().is_some() && worker.pid() != Some(std::process::id()));
    let (text, done) = ask(&worker, "say once upon a time").await.unwrap();
    assert_eq!((text.as_str(), done.generated_tokens), ("once upon a time", 4));
}

#[tokio::test]
async fn a_thread_answers_as_a_process_does() {
    let worker = load(&thread()).await;
    assert_eq!(said(&worker, "say once upon a time").await, "once upon a time");
    assert_eq!(worker.pid(), None);
    worker.kill();
    assert_eq!(worker.ended().await.cause, Cause::Asked);
    assert_eq!(ask(&worker, "say no").await.unwrap_err().kind, FailureKind::Crashed);
}

#[tokio::test]
async fn more_than_there_are_places_wait_their_turn_and_keep_their_words_apart() {
    for program in [process(), thread()] {
        let worker = load(&program).await;
        let asks = (0..32).map(|n| {
            let worker = &worker;
            async move { said(worker, &format!("say {n} {n} {n} {n}")).await }
        });
        let texts = future::join_all(asks).await;
        for (n, text) in texts.iter().enumerate() {
            assert_eq!(*text, format!("{n} {n} {n} {n}"));
        }
        assert_eq!(worker.n_open(), 0);
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_met_fails_alone() {
    let worker = load(&process()).await;
    assert_eq!(ask(&worker, "refuse").await.unwrap_err().kind, FailureKind::Request);
    assert_eq!(said(&worker, "say on").await, "on");
}

#[tokio::test]
async fn a_prompt_too_long_for_a_message_is_refused_and_nothing_else() {
    let worker = load(&process()).await;
    let failure = ask(&worker, &"x".repeat(hive_worker::limits::FRAME_LEN)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Request);
    assert_eq!(said(&worker, "say on").await, "on");
}

#[tokio::test]
async fn a_reader_who_leaves_frees_the_place() {
    for program in [process(), thread()] {
        let worker = load(&program).await;
        for _ in 0..2 * worker.n_places() {
            let place = worker.place().await.unwrap();
            let mut answer = worker.begin(place, GenerateRequest::new("endless")).await.unwrap();
            assert!(matches!(answer.next().await, Some(Output::Piece(_))));
        }
        // Every place was taken twice by a text without an end, so they came back.
        assert_eq!(said(&worker, "say on").await, "on");
    }
}

#[tokio::test]
async fn a_reader_who_never_reads_is_cancelled_and_holds_nobody_up() {
    let worker = load(&process()).await;
    let place = worker.place().await.unwrap();
    let lazy = worker.begin(place, GenerateRequest::new("endless 65536")).await.unwrap();
    // The others go on all the while.
    while worker.n_open() > 0 {
        assert_eq!(said(&worker, "say on and on").await, "on and on");
    }
    let mut outputs: Vec<_> = lazy.collect().await;
    let Some(Output::Done(done)) = outputs.pop() else { panic!("{outputs:?}") };
    assert_eq!(done.finish, Finish::Cancelled);
    let unread: usize = (outputs.iter())
        .map(|output| match output {
            Output::Piece(piece) => piece.text.len(),
            _ => panic!("{output:?}"),
        })
        .sum();
    assert!(unread > 0 && unread <= hive_worker::limits::UNREAD_LEN, "{unread}");
}

#[tokio::test]
async fn vectors_come_in_order_and_keep_their_infinities() {
    let worker = load(&process()).await;
    let texts: Vec<_> = (0..100).map(|n| Prompt::Text("x".repeat(n))).collect();
    let embedded = worker.embed(worker.place().await.unwrap(), texts).await.unwrap();
    let expected: Vec<_> = (0..100).map(|n| vec![n as f32, f32::NEG_INFINITY]).collect();
    assert_eq!((embedded.vectors, embedded.tokens), (expected, 100));
    let tokens = vec![Prompt::Tokens(vec![1])];
    let failure = worker.embed(worker.place().await.unwrap(), tokens).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Request);
}

#[tokio::test]
async fn an_order_that_was_dropped_before_it_was_sent_never_begins() {
    let worker = load(&process()).await;
    for _ in 0..100 {
        let place = worker.place().await.unwrap();
        drop(worker.begin(place, GenerateRequest::new("endless")).await.unwrap());
    }
    assert_eq!(said(&worker, "say on").await, "on");
}

#[tokio::test]
async fn a_smaller_model_is_written_by_a_process() {
    for program in [process(), thread()] {
        let (dir, inputs) = inputs(&[("model", "weights")]);
        let at = dir.path().join("out");
        let out = std::fs::File::create_new(&at).unwrap();
        let mut seen = Vec::new();
        let mut progress = |done, total| seen.push((done, total));
        let to = Quantization::Q8_0;
        let limits = Limits::default();
        let result = (out, at.clone());
        hive_worker::quantize(&program, inputs, to, result, limits, &mut progress).await.unwrap();
        assert_eq!(std::fs::read_to_string(at).unwrap(), "weights as Q8_0");
        assert_eq!(seen.last(), Some(&(4, 4)));
    }
}

#[tokio::test]
async fn a_file_that_is_no_model_is_refused_with_its_reason() {
    for program in [process(), thread()] {
        let (_dir, inputs) = inputs(&[("model", "invalid")]);
        let loaded =
            Worker::load(&program, inputs, EngineOptions::default(), Limits::default()).await;
        let failure = loaded.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid);
        assert!(failure.message.contains("it says so"), "{failure}");
    }
}
