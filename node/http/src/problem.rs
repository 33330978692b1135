//! Errors as HTTP answers: `{"error": HiveError}`, with a status read from the kind.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hive_api::{ErrorKind, HiveError};
use serde::{Deserialize, Serialize};

/// The body of every answer that is an error, and the last line of a stream that ends with one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: HiveError,
}

/// An error on its way to a caller.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    error: HiveError,
}

impl Problem {
    /// An error whose status says more than its kind does.
    pub(crate) fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { status, error: HiveError::new(kind, message) }
    }

    /// A request that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        HiveError::new(ErrorKind::Usage, message).into()
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.error = self.error.hint(hint);
        self
    }
}

impl From<HiveError> for Problem {
    fn from(error: HiveError) -> Self {
        Self { status: status(error.kind), error }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.error })).into_response()
    }
}

/// The status of a kind, for programs that look no further. Ours read the kind in the body.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Usage => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Verification => StatusCode::BAD_GATEWAY,
        ErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Refused => StatusCode::FORBIDDEN,
        ErrorKind::Interrupted => StatusCode::CONFLICT,
    }
}
