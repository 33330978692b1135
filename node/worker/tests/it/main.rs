//! A worker as its parent sees it: in a process of its own, and on a thread.

#![expect(clippy::unwrap_used, reason = "a test")]

mod arriving;
#[path = "../engine.rs"]
mod engine;
mod faults;
#[cfg(target_os = "linux")]
mod sandbox;
mod serving;

use std::fs::File;
use std::time::Duration;

use futures::StreamExt as _;
use hive_api::{EngineOptions, Failure, GenerateRequest, Generated, Output};
use hive_worker::{Input, Limits, Program, Worker};
use tempfile::TempDir;

/// The child of these tests.
fn process() -> Program {
    Program::Command { path: env!("CARGO_BIN_EXE_hive-worker-test-child").into(), args: Vec::new() }
}

/// The same engine on a thread of this process.
fn thread() -> Program {
    Program::InThisProcess(engine::backend())
}

/// Files of a model, each with a text.
fn inputs(files: &[(&str, &str)]) -> (TempDir, Vec<Input>) {
    let dir = tempfile::tempdir().unwrap();
    let inputs = (files.iter())
        .map(|(name, text)| {
            let at = dir.path().join(name.replace('/', "_"));
            std::fs::write(&at, text).unwrap();
            Input { path: (*name).to_owned(), file: File::open(&at).unwrap(), at, gate: None }
        })
        .collect();
    (dir, inputs)
}

async fn load_with(program: &Program, limits: Limits) -> Worker {
    let (_dir, inputs) = inputs(&[("model", "fine")]);
    Worker::load(program, inputs, EngineOptions::default(), limits).await.unwrap()
}

async fn load(program: &Program) -> Worker {
    load_with(program, Limits::default()).await
}

/// Limits under which silence is noticed soon.
fn impatient() -> Limits {
    Limits { stall: Duration::from_millis(300), ..Limits::default() }
}

/// Runs a prompt to its end.
async fn ask(worker: &Worker, prompt: &str) -> Result<(String, Generated), Failure> {
    let place = worker.place().await?;
    let mut answer = worker.begin(place, GenerateRequest::new(prompt)).await?;
    let mut text = String::new();
    while let Some(output) = answer.next().await {
        match output {
            Output::Piece(piece) => text.push_str(&piece.text),
            Output::ToolCall(_) => panic!("no tools"),
            Output::Done(done) => return Ok((text, done)),
            Output::Failed(failure) => return Err(failure),
        }
    }
    panic!("an answer without a last output");
}

async fn said(worker: &Worker, prompt: &str) -> String {
    ask(worker, prompt).await.unwrap().0
}
