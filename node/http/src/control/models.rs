//! Models: how they come in, what is here, what becomes of them, and running them.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hive_api::{
    AddEvent, AddRequest, Discovered, EmbedRequest, Embeddings, GcReport, Listing, LoadedModel,
    ModelDetails, ModelSummary, PullEvent, PullRequest, QuantizeEvent, QuantizeRequest,
    ReadRequest, RunEvent, RunRequest, VerifyEvent,
};

use super::{
    Answer, Control, Empty, Freed, GcBody, ModelParam, PinBody, ReadHead, ReadParams, ShareBody,
    VerifyBody, own,
};
use crate::download;
use crate::extract::{Body, Params};
use crate::ndjson::{self, NDJSON};
use crate::openapi::{Operation, Table};
use crate::problem::Problem;

/// What the document files these under.
const TAG: &str = "models";

/// Adds the endpoints.
pub(super) fn endpoints(table: Table<Control>) -> Table<Control> {
    let does = |summary| Operation::new(TAG, summary);
    table
        .post(
            &own("/add"),
            add,
            does("Adds files of this machine").body::<AddRequest>().answers::<AddEvent>(NDJSON),
        )
        .post(
            &own("/look"),
            look,
            does("Looks what a hub or an address offers").body::<PullRequest>().json::<Listing>(),
        )
        .post(
            &own("/pull"),
            pull,
            does("Adds a model from a hub, an address or another program's cache")
                .body::<PullRequest>()
                .answers::<PullEvent>(NDJSON),
        )
        .get(
            &own("/discover"),
            discover,
            does("Lists models that other programs keep on this disk").json::<Vec<Discovered>>(),
        )
        .post(
            &own("/quantize"),
            quantize,
            does("Makes a smaller model of one")
                .body::<QuantizeRequest>()
                .answers::<QuantizeEvent>(NDJSON),
        )
        .get(
            &own("/models"),
            list,
            does("Lists the models that are here").json::<Vec<ModelSummary>>(),
        )
        .get(
            &own("/model"),
            show,
            does("Tells all that is known of a model").query::<ModelParam>().json::<ModelDetails>(),
        )
        .get(
            &own("/read"),
            read,
            does("Reads bytes of a model's file: a line of JSON, then the bytes")
                .query::<ReadParams>()
                .bytes("application/octet-stream"),
        )
        .post(
            &own("/share"),
            share,
            does("Changes who may have a model").body::<ShareBody>().json::<ModelSummary>(),
        )
        .post(&own("/remove"), remove, does("Removes a model").body::<ModelParam>().json::<Freed>())
        .post(
            &own("/pin"),
            pin,
            does("Keeps a model from `gc`, or no longer").body::<PinBody>().json::<ModelSummary>(),
        )
        .post(
            &own("/gc"),
            gc,
            does("Removes models without a pin").body::<GcBody>().json::<GcReport>(),
        )
        .post(
            &own("/verify"),
            verify,
            does("Hashes models again").body::<VerifyBody>().answers::<VerifyEvent>(NDJSON),
        )
        .post(
            &own("/run"),
            run,
            does("Goes on with a text or a chat").body::<RunRequest>().answers::<RunEvent>(NDJSON),
        )
        .post(
            &own("/embed"),
            embed,
            does("Makes vectors of texts").body::<EmbedRequest>().json::<Embeddings>(),
        )
        .get(
            &own("/loaded"),
            loaded,
            does("Lists the models that are loaded").json::<Vec<LoadedModel>>(),
        )
        .post(
            &own("/unload"),
            unload,
            does("Unloads a model; what it works at fails").body::<ModelParam>().json::<Empty>(),
        )
}

async fn add(
    State(control): State<Control>,
    Body(request): Body<AddRequest>,
) -> Result<Response, Problem> {
    let events = control.hive.add(request).await?;
    Ok(ndjson::response(events, control.stop))
}

async fn look(State(control): State<Control>, Body(request): Body<PullRequest>) -> Answer<Listing> {
    Ok(Json(control.hive.look(request).await?))
}

async fn pull(
    State(control): State<Control>,
    Body(request): Body<PullRequest>,
) -> Result<Response, Problem> {
    let events = control.hive.pull(request).await?;
    Ok(ndjson::response(events, control.stop))
}

async fn discover(State(control): State<Control>) -> Answer<Vec<Discovered>> {
    Ok(Json(control.hive.discover().await?))
}

async fn quantize(
    State(control): State<Control>,
    Body(request): Body<QuantizeRequest>,
) -> Result<Response, Problem> {
    let events = control.hive.quantize(request).await?;
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

async fn read(
    State(control): State<Control>,
    Params(ReadParams { model, file, start, len }): Params<ReadParams>,
) -> Result<Response, Problem> {
    let reading = control.hive.read(ReadRequest { model, file, start, len }).await?;
    let head = ReadHead { file: reading.file, start: reading.start, len: reading.len };
    let mut line = serde_json::to_vec(&head).expect("a file's description has text for keys");
    line.push(b'\n');
    let bytes = stream::iter([Ok(Bytes::from(line))]).chain(reading.bytes).boxed();
    let media = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((media, download::body(bytes, control.stop)).into_response())
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

async fn run(
    State(control): State<Control>,
    Body(request): Body<RunRequest>,
) -> Result<Response, Problem> {
    let events = control.hive.run(request).await?;
    Ok(ndjson::response(events, control.stop))
}

async fn embed(
    State(control): State<Control>,
    Body(request): Body<EmbedRequest>,
) -> Answer<Embeddings> {
    Ok(Json(control.hive.embed(request).await?))
}

async fn loaded(State(control): State<Control>) -> Answer<Vec<LoadedModel>> {
    Ok(Json(control.hive.loaded().await?))
}

async fn unload(
    State(control): State<Control>,
    Body(ModelParam { model }): Body<ModelParam>,
) -> Answer<Empty> {
    control.hive.unload(&model).await?;
    Ok(Json(Empty {}))
}
