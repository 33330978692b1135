//! What a scenario is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a scenario runs with.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// What decides where the faults fall.
    pub(crate) seed: u64,
    /// How often.
    pub(crate) rounds: u32,
    /// Whether everything is as large as the promise says, not only as often.
    pub(crate) full: bool,
    /// The program `hive`.
    pub(crate) hive: PathBuf,
    /// Where homes and disk images go.
    pub(crate) dir: PathBuf,
    /// Faults so far, of all that share this context.
    pub(crate) injected: Arc<AtomicU64>,
}

impl Context {
    /// A context in which nothing has been injected yet.
    pub(crate) fn new(seed: u64, rounds: u32, full: bool, hive: PathBuf, dir: PathBuf) -> Self {
        Self { seed, rounds, full, hive, dir, injected: Arc::default() }
    }

    /// The same, counting anew.
    pub(crate) fn anew(&self) -> Self {
        Self { injected: Arc::default(), ..self.clone() }
    }

    /// The same with so many rounds at most: one is enough for a twin to be caught.
    pub(crate) fn few(&self, rounds: u32) -> Self {
        Self { rounds: self.rounds.min(rounds), ..self.clone() }
    }

    /// Counts faults where they are injected, so that those of a run that fails count too.
    pub(crate) fn inject(&self, faults: u64) {
        self.injected.fetch_add(faults, Ordering::Relaxed);
    }

    /// Faults so far.
    pub(crate) fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }
}

/// How a scenario is run; blocking, with whatever runtime it needs of its own. It says what was
/// found, in a few words with figures. An error instead is a promise that was broken.
pub(crate) type Run = fn(&Context) -> anyhow::Result<String>;

/// A fault, the promise that it must not break, and the twin that breaks it.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The promise, as a sentence.
    pub(crate) claim: &'static str,
    /// Rounds in CI.
    pub(crate) few: u32,
    /// Rounds that the promise speaks of.
    pub(crate) full: u32,
    /// Faults that so many rounds have to inject at least: fewer show nothing.
    pub(crate) least: fn(u64) -> u64,
    pub(crate) run: Run,
    /// The same checks over something broken on purpose: it has to end with an error.
    pub(crate) twin: Run,
    /// What that error says: one of these. A twin that fails for another reason shows nothing.
    pub(crate) caught: &'static [&'static str],
}
