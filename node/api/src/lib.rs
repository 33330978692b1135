//! The seams of hive: what a front may ask of a node, and what a node asks of a model.
//!
//! [`Hive`] is what the command line, the local API and the tests see of a node; a running node
//! and the client of its local API both implement it, so a front cannot tell which one it has.
//! [`Engine`] is what a node sees of a loaded model.
//!
//! Owns no behaviour but that of a [`Gate`], which a node and a model share. No type here knows
//! libp2p, SQLite or candle. The types that derive `Serialize` are promises to programs: `--json`
//! and the local API print them as they stand.

mod add;
mod doctor;
mod engine;
mod error;
mod fetch;
mod gate;
mod generate;
mod hive;
mod model;
mod network;
mod number;
mod peer;
mod run;
mod secret;
mod status;

pub use add::*;
pub use doctor::{Check, Diagnosis, Level};
pub use engine::{Engine, EngineError, EngineOptions, Failure, FailureKind, Output, Part, Ticket};
pub use error::{ErrorKind, HiveError};
pub use fetch::*;
pub use gate::{Gate, Gated, Leave, Need};
pub use generate::*;
pub use hive::*;
pub use model::*;
pub use network::*;
pub use peer::*;
pub use run::*;
pub use secret::Secret;
pub use status::*;
