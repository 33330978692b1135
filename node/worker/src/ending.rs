//! How a worker came to its end, in words for a person.

use std::process::ExitStatus;

use hive_api::{Failure, FailureKind};

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Whoever holds it wanted that.
    Asked,
    /// The process ended by itself.
    Exited,
    /// It worked for too long without a word, and was killed.
    Stalled,
    /// It took more memory than it may, and was killed.
    Memory,
    /// It said what is not in the language, and was killed.
    Garbage,
    /// The rest of its files did not come, and it was killed.
    Missing,
    /// The rest of its files came, and could not be loaded.
    Unusable(FailureKind),
}

/// The end of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub cause: Cause,
    /// What to tell a person.
    pub message: String,
}

impl Ending {
    pub(crate) fn asked() -> Self {
        Self { cause: Cause::Asked, message: "the model was unloaded".to_owned() }
    }

    pub(crate) fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }

    /// The process ended by itself.
    pub(crate) fn exited(status: Option<ExitStatus>) -> Self {
        let how = status.map_or_else(|| "without a word".to_owned(), describe);
        Self::new(Cause::Exited, format!("the model's process ended {how}"))
    }

    /// The rest of it cannot be loaded.
    pub(crate) fn unusable(failure: Failure) -> Self {
        Self::new(Cause::Unusable(failure.kind), failure.message)
    }

    /// Whether the model itself is to blame, and may do the same again.
    pub fn is_crash(&self) -> bool {
        match self.cause {
            Cause::Asked | Cause::Missing => false,
            // As in a load that fails at once.
            Cause::Unusable(kind) => kind == FailureKind::Crashed,
            Cause::Exited | Cause::Stalled | Cause::Memory | Cause::Garbage => true,
        }
    }

    /// What the requests are told that were open.
    pub(crate) fn failure(&self) -> Failure {
        let kind = match self.cause {
            // Nothing that the model did.
            Cause::Missing => FailureKind::Io,
            Cause::Unusable(kind) => kind,
            _ => FailureKind::Crashed,
        };
        Failure { kind, message: self.message.clone() }
    }
}

/// How a process ended.
fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            4 => " (illegal instruction)",
            6 => " (it gave up: a failed allocation or a broken invariant)",
            8 => " (arithmetic fault)",
            9 => " (killed, by somebody or for want of memory)",
            11 => " (it touched memory that it does not have)",
            // SIGBUS and SIGSYS have other numbers on other systems.
            7 if cfg!(target_os = "linux") => " (its file or memory is not there any more)",
            31 if cfg!(target_os = "linux") => " (it tried what its sandbox forbids)",
            _ => "",
        };
        return format!("by signal {signal}{name}");
    }
    match status.code() {
        Some(code) => format!("with code {code}"),
        None => "without a code".to_owned(),
    }
}
