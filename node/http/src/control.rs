//! The control endpoints: one for each method of [`Hive`].
//!
//! `GET` reads, `POST` changes. Streams are lines of JSON. Dropping an answer drops the call.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hive_api::{
    AddRequest, ErrorKind, FetchRequest, GcReport, Hive, Identity, ModelDetails, ModelSummary,
    Offer, PeerSummary, RunRequest, Status, Visibility,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::access::Token;
use crate::extract::{Body, Params};
use crate::guard::HEALTH;
use crate::ndjson;
use crate::problem::Problem;

/// Where the endpoints are; the rest of the port belongs to what other tools expect to find.
pub(crate) const PREFIX: &str = "/hive/v1";
/// Characters in a nonce at most, so that nobody has the node hash much before it knows him.
const NONCE_LEN: usize = 64;

/// What the endpoints share.
#[derive(Clone)]
pub(crate) struct Control {
    /// The node.
    pub(crate) hive: Arc<dyn Hive>,
    /// Proves to callers that this is the node whose token they hold.
    pub(crate) token: Token,
    /// Cancelled when the server stops: streams end then.
    pub(crate) stop: CancellationToken,
}

/// The id or name of a model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelParam {
    pub(crate) model: String,
}

/// A block's id.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CidParam {
    cid: String,
}

/// What to search for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TextParam {
    text: String,
}

/// Body of `share`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShareBody {
    pub(crate) model: String,
    pub(crate) visibility: Visibility,
}

/// Body of `pin`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinBody {
    pub(crate) model: String,
    pub(crate) pinned: bool,
}

/// Body of `gc`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GcBody {
    pub(crate) dry_run: bool,
}

/// Body of `verify`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyBody {
    #[serde(default)]
    pub(crate) model: Option<String>,
    #[serde(default)]
    pub(crate) repair: bool,
}

/// Body of `connect`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectBody {
    pub(crate) address: String,
}

/// Body or answer that says nothing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Empty {}

/// Answer of `remove`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Freed {
    pub(crate) freed: u64,
}

/// Answer of `health`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Health {
    /// `hive`.
    pub(crate) service: String,
    /// The version of the software.
    pub(crate) version: String,
    /// What only a holder of the token can say to the query's `nonce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<String>,
}

/// Query of `health`.
#[derive(Debug, Deserialize)]
struct HealthParams {
    nonce: Option<String>,
}

/// All endpoints of a node. They expect the guard around them.
pub(crate) fn router(control: Control) -> Router {
    let endpoints = Router::new()
        .route("/add", post(add))
        .route("/fetch", post(fetch))
        .route("/run", post(run))
        .route("/models", get(list))
        .route("/model", get(show))
        .route("/block", get(block))
        .route("/search", get(search))
        .route("/share", post(share))
        .route("/remove", post(remove))
        .route("/pin", post(pin))
        .route("/cancel", post(cancel))
        .route("/gc", post(gc))
        .route("/verify", post(verify))
        .route("/connect", post(connect))
        .route("/peers", get(peers))
        .route("/identity", get(identity))
        .route("/status", get(status))
        .route("/shutdown", post(shutdown));
    Router::new()
        .nest(PREFIX, endpoints)
        .route(HEALTH, get(health))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(control)
}

type Answer<T> = Result<Json<T>, Problem>;

async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, ErrorKind::Usage, "the local API has no such path")
}

async fn no_such_method() -> Problem {
    let message = "this path takes another method: `GET` reads, `POST` changes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Usage, message)
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

async fn add(
    State(control): State<Control>,
    Body(request): Body<AddRequest>,
) -> Result<Response, Problem> {
    let events = control.hive.add(request).await?;
    Ok(ndjson::response(events, control.stop))
}

async fn fetch(
    State(control): State<Control>,
    Body(request): Body<FetchRequest>,
) -> Result<Response, Problem> {
    let events = control.hive.fetch(request).await?;
    Ok(ndjson::response(events, control.stop))
}

async fn run(
    State(control): State<Control>,
    Body(request): Body<RunRequest>,
) -> Result<Response, Problem> {
    let events = control.hive.run(request).await?;
    Ok(ndjson::response(events, control.stop))
}

async fn list(State(control): State<Control>) -> Answer<Vec<ModelSummary>> {
    Ok(Json(control.hive.list().await?))
}

async fn show(
    State(control): State<Control>,
    Params(ModelParam { model }): Params<ModelParam>,
) -> Answer<ModelDetails> {
    Ok(Json(control.hive.show(&model).await?))
}

async fn block(
    State(control): State<Control>,
    Params(CidParam { cid }): Params<CidParam>,
) -> Result<Response, Problem> {
    let bytes = control.hive.block(&cid).await?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.ipld.dag-cbor")], bytes).into_response())
}

async fn search(
    State(control): State<Control>,
    Params(TextParam { text }): Params<TextParam>,
) -> Answer<Vec<Offer>> {
    Ok(Json(control.hive.search(&text).await?))
}

async fn share(
    State(control): State<Control>,
    Body(body): Body<ShareBody>,
) -> Answer<ModelSummary> {
    Ok(Json(control.hive.share(&body.model, body.visibility).await?))
}

async fn remove(
    State(control): State<Control>,
    Body(ModelParam { model }): Body<ModelParam>,
) -> Answer<Freed> {
    Ok(Json(Freed { freed: control.hive.remove(&model).await? }))
}

async fn pin(State(control): State<Control>, Body(body): Body<PinBody>) -> Answer<ModelSummary> {
    Ok(Json(control.hive.pin(&body.model, body.pinned).await?))
}

async fn cancel(
    State(control): State<Control>,
    Body(ModelParam { model }): Body<ModelParam>,
) -> Answer<Empty> {
    control.hive.cancel(&model).await?;
    Ok(Json(Empty {}))
}

async fn gc(
    State(control): State<Control>,
    Body(GcBody { dry_run }): Body<GcBody>,
) -> Answer<GcReport> {
    Ok(Json(control.hive.gc(dry_run).await?))
}

async fn verify(
    State(control): State<Control>,
    Body(body): Body<VerifyBody>,
) -> Result<Response, Problem> {
    let events = control.hive.verify(body.model.as_deref(), body.repair).await?;
    Ok(ndjson::response(events, control.stop))
}

async fn connect(
    State(control): State<Control>,
    Body(ConnectBody { address }): Body<ConnectBody>,
) -> Answer<Empty> {
    control.hive.connect(&address).await?;
    Ok(Json(Empty {}))
}

async fn peers(State(control): State<Control>) -> Answer<Vec<PeerSummary>> {
    Ok(Json(control.hive.peers().await?))
}

async fn identity(State(control): State<Control>) -> Answer<Identity> {
    Ok(Json(control.hive.identity().await?))
}

async fn status(State(control): State<Control>) -> Answer<Status> {
    Ok(Json(control.hive.status().await?))
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
