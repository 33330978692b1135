//! What a worker is made of: the program, the engine behind it, its files, its bounds.

use std::ffi::OsString;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hive_api::{Engine, EngineError, EngineOptions, Gate, Part, Quantization};

use crate::limits;

/// Loads a model.
pub type Load =
    dyn Fn(Vec<Part>, &EngineOptions) -> Result<Box<dyn Engine>, EngineError> + Send + Sync;

/// Writes a smaller model; told how many weights are done of how many, and may be asked to stop.
pub type Quantize = dyn Fn(
        Vec<Part>,
        Quantization,
        &mut File,
        &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<(), EngineError>
    + Send
    + Sync;

/// Where engines come from.
#[derive(Clone)]
pub struct Backend {
    /// Loads a model.
    pub load: Arc<Load>,
    /// Makes a smaller one.
    pub quantize: Arc<Quantize>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

/// What runs a model.
#[derive(Debug, Clone)]
pub enum Program {
    /// A thread of this process. Nothing holds it back: a model that crashes takes the process with
    /// it.
    InThisProcess(Backend),
    /// A process of a program that calls [`child`](crate::child).
    Command {
        /// The program.
        path: PathBuf,
        /// What makes it a child.
        args: Vec<OsString>,
    },
}

/// A file of a model, for a worker.
#[derive(Debug)]
pub struct Input {
    /// Its path in the model's tree; the file's name if the model is one file.
    pub path: String,
    /// The file, open for reading.
    pub file: File,
    /// Where it is, for systems where an open file cannot be handed to another process (Windows).
    pub at: PathBuf,
    /// What of it may be read, if it is still arriving. The model ends when that fails.
    pub gate: Option<Gate>,
}

/// How far a worker may go.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of memory; beyond that it is killed. No bound if `None`.
    pub memory: Option<u64>,
    /// How long it may work without a word.
    pub stall: Duration,
    /// How long loading may take.
    pub load: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: None, stall: limits::STALL, load: limits::LOAD }
    }
}
