//! The endpoints of a node: its own under [`PREFIX`], one for each method of [`Hive`], and those
//! that other tools expect to find.
//!
//! `GET` reads, `POST` changes or computes. Streams are lines of JSON, or server-sent events where
//! a browser would follow them. Dropping an answer drops the call.

mod bodies;
mod events;
mod models;
mod network;
pub(crate) mod networks;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use hive_api::{ErrorKind, Hive};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::access::Token;
use crate::download;
use crate::extract::Body;
use crate::guard::HEALTH;
use crate::openai::{self, ApiError};
use crate::openapi::{Document, Operation, Table};
use crate::problem::{ErrorBody, Problem};
use crate::server;
pub(crate) use bodies::*;

/// Where the node's own endpoints are; the rest of the port belongs to what other tools expect.
pub(crate) const PREFIX: &str = "/hive/v1";
/// Where the figures are.
pub(crate) const METRICS: &str = "/metrics";
/// Characters in a nonce at most, so that nobody has the node hash much before it knows him.
const NONCE_LEN: usize = 64;
/// The media type of what `Hive::metrics` says.
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What the document files these under.
const TAG: &str = "node";

/// What the endpoints share.
#[derive(Clone)]
pub(crate) struct Control {
    /// The node.
    pub(crate) hive: Arc<dyn Hive>,
    /// Proves to callers that this is the node whose token they hold.
    pub(crate) token: Token,
    /// Cancelled when the server stops: streams end then.
    pub(crate) stop: CancellationToken,
    /// How long a request's body may take to come.
    pub(crate) body_timeout: Duration,
    /// How long a stream of events says nothing before it says that it is alive.
    pub(crate) keep_alive: Duration,
}

/// All endpoints of a node. They expect the guard around them.
pub(crate) fn router(control: Control) -> Router {
    let table = Table::new()
        .get(
            HEALTH,
            health,
            Operation::new(TAG, "Says that a node is here")
                .query::<HealthParams>()
                .json::<Health>()
                .open(),
        )
        .get(METRICS, metrics, Operation::new(TAG, "Figures for Prometheus").bytes(OPENMETRICS))
        .get("/openapi.json", openapi, Operation::new(TAG, "This document").json::<Value>())
        .post(
            &own("/shutdown"),
            shutdown,
            Operation::new(TAG, "Ends the node in good order").body::<Empty>().json::<Empty>(),
        );
    let table = openai::endpoints(download::endpoints(table));
    let table = network::endpoints(events::endpoints(models::endpoints(table)));
    let table = networks::endpoints(table);
    let (router, document) = table.finish::<ErrorBody>();
    router
        .route_layer(middleware::from_fn(server::mark))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(Extension(document))
        .with_state(control)
}

/// The path of an endpoint of the node's own.
fn own(path: &str) -> String {
    format!("{PREFIX}{path}")
}

type Answer<T> = Result<Json<T>, Problem>;

/// An error in the words that callers of a path understand.
fn told(uri: &Uri, problem: Problem) -> Response {
    if uri.path().starts_with(openai::PREFIX) {
        return ApiError::from(problem).into_response();
    }
    problem.into_response()
}

async fn no_such_path(uri: Uri) -> Response {
    let message = "the local API has no such path";
    let problem = Problem::new(StatusCode::NOT_FOUND, ErrorKind::Usage, message);
    told(&uri, problem.hint("`/openapi.json` lists the paths"))
}

async fn no_such_method(uri: Uri) -> Response {
    let message = "this path takes another method: `GET` reads, `POST` changes";
    told(&uri, Problem::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Usage, message))
}

async fn health(
    State(control): State<Control>,
    Query(params): Query<HealthParams>,
) -> Json<Health> {
    let nonce = params.nonce.filter(|nonce| nonce.len() <= NONCE_LEN);
    Json(Health {
        service: "hive".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        proof: nonce.map(|nonce| control.token.proof(&nonce)),
    })
}

async fn metrics(State(control): State<Control>) -> Result<Response, Problem> {
    let text = control.hive.metrics().await?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

async fn openapi(Extension(Document(document)): Extension<Document>) -> Json<Value> {
    Json(Value::clone(&document))
}

async fn shutdown(State(control): State<Control>, Body(Empty {}): Body<Empty>) -> Answer<Empty> {
    // A task of its own, and one that outlives this answer: on its way down the node stops this
    // server, which waits for its answers.
    let hive = Arc::clone(&control.hive);
    let ending = tokio::spawn(async move { hive.shutdown().await });
    tokio::select! {
        ended = ending => match ended {
            Ok(result) => result?,
            Err(_) => return Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Failed, "the node fell over as it stopped",
            )),
        },
        () = control.stop.cancelled() => {}
    }
    Ok(Json(Empty {}))
}
