//! A child as `hive infer` is one, with an engine that misbehaves when it is asked to.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "../engine.rs"]
mod engine;

use std::process::ExitCode;

fn main() -> ExitCode {
    hive_worker::child(&engine::backend())
}
