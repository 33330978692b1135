//! Runs a model in a process of its own.
//!
//! A model is a file that strangers wrote, read by a great deal of arithmetic. Here it gets a
//! process that has that file open and nothing else: no other file, no socket, no program to start
//! (`sandbox`). If it crashes, runs wild or eats the memory, its requests end with an error that
//! says so, and the node lives on.
//!
//! [`Worker`] is the parent's handle, [`child`] what the other process does, `frame` and `message`
//! what the two say to each other, `serve` the loop that drives an [`Engine`](hive_api::Engine).
//! The same loop can run on a thread ([`Program::InThisProcess`]), for tests and for those who
//! embed hive.
//!
//! Knows nothing of stores, names or candle: files come open, engines come from a [`Backend`].
//! Never writes a prompt or an answer to a log.
//!
//! Invariants: the parent never waits for a reader and never for the child without a limit; what a
//! child can make it hold is bounded by [`limits`]; every request gets a last output, whatever the
//! child does; no child outlives its parent.

mod answer;
mod backend;
mod child;
mod driver;
mod ending;
mod feed;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
mod message;
mod process;
mod quantize;
mod sandbox;
mod serve;
mod worker;

pub use answer::Answer;
pub use backend::{Backend, Input, Limits, Load, Program, Quantize};
pub use child::child;
pub use ending::{Cause, Ending};
pub use quantize::quantize;
pub use worker::{Place, Worker};
