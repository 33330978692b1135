//! The local API: a node behind HTTP on the loopback interface, and the client that talks to it.
//!
//! [`Server`] puts any `dyn Hive` behind `/hive/v1/…`, and behind what other tools look for: OpenAI's
//! API under `/v1`, figures for Prometheus under `/metrics`, all of it described by `/openapi.json`.
//! [`Remote`] is a `Hive` again, so a front cannot tell which one it has. `server → client` is the
//! identity: equal results, and errors keep their kind, messages and hint.
//!
//! [`Scrape`] is a listener of its own for figures alone, which an owner may open to the network.
//!
//! Owns two files in the home: `api.token` (0600, who may call) and `api.addr` (0600, where the
//! node listens; gone when it does not run). The API never listens beyond loopback, never answers a page of
//! another origin, never changes anything on `GET`, never logs a token, a prompt or a query.
//!
//! Invariant: nothing behind `guard` runs before host, origin, token and content type are checked.

mod access;
mod client;
mod control;
mod download;
mod extract;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod ndjson;
mod openai;
mod openapi;
mod problem;
mod scrape;
mod server;
mod sse;

pub use access::{AccessError, Token};
pub use client::Remote;
pub use scrape::Scrape;
pub use server::{Observer, Options, ServeError, Served, Server};
