//! Errors as HTTP answers: `{"error": HiveError}`, with a status read from the kind.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hive_api::{ErrorKind, HiveError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Seconds after which it is worth asking a busy node again.
pub(crate) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// The body of every answer that is an error, and the last line of a stream that ends with one.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ErrorBody {
    /// What failed.
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

    /// The status and the error.
    pub(crate) fn into_parts(self) -> (StatusCode, HiveError) {
        (self.status, self.error)
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
        let status = self.status;
        let mut response = (status, Json(ErrorBody { error: self.error })).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// The status of a kind, for programs that look no further. Ours read the kind in the body.
pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Usage => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Verification => StatusCode::BAD_GATEWAY,
        ErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Refused => StatusCode::FORBIDDEN,
        ErrorKind::Interrupted => StatusCode::CONFLICT,
        ErrorKind::Busy => StatusCode::TOO_MANY_REQUESTS,
    }
}
