//! Errors as a front shows them: what, why, and what to do next.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it was. The exit code and the HTTP status are read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Anything that has no better name here.
    Failed,
    /// The request makes no sense: a bad name, a bad flag, a file that is no model.
    Usage,
    /// Nobody that can be reached has it.
    NotFound,
    /// Bytes on disk or from peers are not what they should be.
    Verification,
    /// No space, or over quota.
    NoSpace,
    /// No peer can be reached.
    Unreachable,
    /// A policy forbids it.
    Refused,
    /// The user stopped it. What was done so far is kept.
    Interrupted,
    /// Too much is asked at once; the same request will do later.
    Busy,
}

impl ErrorKind {
    /// The exit code of the command that ends with it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed | Self::Busy => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Verification => 4,
            Self::NoSpace => 5,
            Self::Unreachable => 6,
            Self::Refused => 7,
            Self::Interrupted => 130,
        }
    }
}

/// A failure, told to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HiveError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What failed, naming the thing; then its causes, the nearest first.
    pub messages: Vec<String>,
    /// What to do next, when there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl HiveError {
    /// A failure without a cause of its own.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, messages: vec![message.into()], hint: None }
    }

    /// A failure with the error that caused it and that one's causes.
    pub fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        cause: &(dyn std::error::Error + 'static),
    ) -> Self {
        let causes = std::iter::successors(Some(cause), |error| error.source());
        let mut messages = vec![message.into()];
        messages.extend(causes.map(ToString::to_string));
        Self { kind, messages, hint: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for HiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join(": "))
    }
}

impl std::error::Error for HiveError {}
