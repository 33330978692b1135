//! Short ways to say what is wrong.

use hive_api::EngineError;

/// The file is broken or hostile.
pub(crate) fn invalid(reason: impl Into<String>) -> EngineError {
    EngineError::Invalid { reason: reason.into() }
}

/// The file is fine, and not for us.
pub(crate) fn unsupported(reason: impl Into<String>) -> EngineError {
    EngineError::Unsupported { reason: reason.into() }
}

/// The backend failed. No type of candle leaves this crate, its words do.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn compute(error: candle_core::Error) -> EngineError {
    EngineError::Compute { reason: error.to_string() }
}

/// The computation failed for a reason of our own.
pub(crate) fn compute_failed(reason: &str) -> EngineError {
    EngineError::Compute { reason: reason.to_owned() }
}

/// What was asked for makes no sense.
pub(crate) fn request(reason: impl Into<String>) -> EngineError {
    EngineError::Request { reason: reason.into() }
}
