//! The seams of hive: what a front may ask of a node, and what a node asks of a model.
//!
//! [`Hive`] is what the command line, the local API and the tests see of a node; a running node
//! and the client of its local API both implement it, so a front cannot tell which one it has.
//! [`Engine`] is what a node sees of a loaded model.
//!
//! Owns no behaviour. No type here knows libp2p, SQLite or candle. The types that derive `Serialize`
//! are promises to programs: `--json` and the local API print them as they stand.

mod engine;
mod error;
mod hive;

pub use engine::{
    Cancel, Device, Engine, EngineError, Finish, GenerateRequest, Generated, ModelInfo, Piece,
    Sampling,
};
pub use error::{ErrorKind, HiveError};
pub use hive::*;
