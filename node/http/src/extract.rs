//! Bodies and queries of requests, with errors that a person can read.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use hive_api::ErrorKind;
use serde::de::DeserializeOwned;

use crate::control::Control;
use crate::problem::Problem;

/// A request's JSON body. The guard has seen its content type.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Control> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, control: &Control) -> Result<Self, Problem> {
        let read = Bytes::from_request(request, control);
        let bytes = tokio::time::timeout(control.body_timeout, read).await.map_err(|_| {
            let message = "the request's body took too long to come";
            Problem::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Usage, message)
        })?;
        let bytes = bytes.map_err(|rejection| {
            Problem::new(rejection.status(), ErrorKind::Usage, rejection.body_text())
        })?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::usage(format!("the request's body is wrong: {error}")))?;
        Ok(Self(value))
    }
}

/// A request's query.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        let Query(value) = query.map_err(|error| {
            Problem::usage(format!("the query is wrong: {}", error.body_text()))
        })?;
        Ok(Self(value))
    }
}
