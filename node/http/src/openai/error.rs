//! Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hive_api::{ErrorKind, HiveError};
use schemars::JsonSchema;
use serde::Serialize;

use crate::problem::{Problem, RETRY_AFTER, status};

/// An error's body.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ApiErrorBody {
    /// What went wrong.
    pub(crate) error: Detail,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Detail {
    /// For a person: what, why, and what to do.
    message: String,
    /// `invalid_request_error`, `rate_limit_error`, `server_error`, …
    r#type: &'static str,
    /// The field that is wrong.
    param: Option<String>,
    /// `model_not_found`, `rate_limit_exceeded`, …
    code: Option<&'static str>,
}

/// An error on its way to a client of OpenAI.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    detail: Detail,
}

impl ApiError {
    /// A request with a field that makes no sense.
    pub(crate) fn invalid(param: Option<String>, message: impl Into<String>) -> Self {
        let mut error = Self::status(StatusCode::BAD_REQUEST, message);
        error.detail.param = param;
        error
    }

    /// A request with a field that nobody here can honour.
    pub(crate) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        let mut error = Self::invalid(Some(param.to_owned()), message);
        error.detail.code = Some("unsupported_parameter");
        error
    }

    /// A body that does not come.
    pub(crate) fn slow() -> Self {
        Self::status(StatusCode::REQUEST_TIMEOUT, "the request's body took too long to come")
    }

    /// An error that is told by its status.
    pub(crate) fn status(status: StatusCode, message: impl Into<String>) -> Self {
        let (r#type, code) = match status {
            StatusCode::UNAUTHORIZED => ("invalid_request_error", Some("invalid_api_key")),
            StatusCode::FORBIDDEN => ("permission_error", None),
            StatusCode::TOO_MANY_REQUESTS => ("rate_limit_error", Some("rate_limit_exceeded")),
            status if status.is_server_error() => ("server_error", None),
            _ => ("invalid_request_error", None),
        };
        let detail = Detail { message: message.into(), r#type, param: None, code };
        Self { status, detail }
    }

    /// An error of a call that ran a model.
    pub(crate) fn of_model(error: HiveError) -> Self {
        let is_missing = error.kind == ErrorKind::NotFound;
        let mut error = Self::from(error);
        if is_missing {
            if !error.detail.message.contains("hive fetch") {
                error.detail.message.push_str("; `hive fetch` gets a model from the network");
            }
            error.detail.param = Some("model".to_owned());
            error.detail.code = Some("model_not_found");
        }
        error
    }

    /// The body.
    pub(crate) fn body(self) -> ApiErrorBody {
        ApiErrorBody { error: self.detail }
    }
}

impl From<HiveError> for ApiError {
    fn from(error: HiveError) -> Self {
        let mut message = error.to_string();
        if let Some(hint) = &error.hint {
            message.push_str("; ");
            message.push_str(hint);
        }
        Self::status(status(error.kind), message)
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        let (status, error) = problem.into_parts();
        Self { status, ..Self::status(status, Self::from(error).detail.message) }
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::status(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self.body())).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
