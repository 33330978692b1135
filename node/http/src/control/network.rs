//! The network: fetching, searching, peers, and the node among them.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hive_api::{Diagnosis, FetchEvent, FetchRequest, Identity, Offer, PeerSummary, Status};

use super::{Answer, CidParam, ConnectBody, Control, Empty, ModelParam, SearchParams, own};
use crate::extract::{Body, Params};
use crate::ndjson::{self, NDJSON};
use crate::openapi::{Operation, Table};
use crate::problem::Problem;

/// What the document files these under.
const TAG: &str = "network";
/// The media type of a manifest.
const DAG_CBOR: &str = "application/vnd.ipld.dag-cbor";

/// Adds the endpoints.
pub(super) fn endpoints(table: Table<Control>) -> Table<Control> {
    let does = |summary| Operation::new(TAG, summary);
    table
        .post(
            &own("/fetch"),
            fetch,
            does("Fetches a model, or joins the fetch of it")
                .body::<FetchRequest>()
                .answers::<FetchEvent>(NDJSON),
        )
        .post(
            &own("/cancel"),
            cancel,
            does("Stops the fetch of a model; what is verified stays")
                .body::<ModelParam>()
                .json::<Empty>(),
        )
        .get(
            &own("/block"),
            block,
            does("Gives the bytes of a manifest").query::<CidParam>().bytes(DAG_CBOR),
        )
        .get(
            &own("/search"),
            search,
            does("Lists models that the network offers")
                .query::<SearchParams>()
                .json::<Vec<Offer>>(),
        )
        .post(
            &own("/connect"),
            connect,
            does("Connects to a peer").body::<ConnectBody>().json::<Empty>(),
        )
        .get(
            &own("/peers"),
            peers,
            does("Lists the peers that are known").json::<Vec<PeerSummary>>(),
        )
        .get(&own("/identity"), identity, does("Says who the node is").json::<Identity>())
        .get(&own("/status"), status, does("Says how the node is").json::<Status>())
        .post(
            &own("/doctor"),
            doctor,
            does("Looks at everything that a support engineer would")
                .body::<Empty>()
                .json::<Diagnosis>(),
        )
}

async fn fetch(
    State(control): State<Control>,
    Body(request): Body<FetchRequest>,
) -> Result<Response, Problem> {
    let events = control.hive.fetch(request).await?;
    Ok(ndjson::response(events, control.stop))
}

async fn cancel(
    State(control): State<Control>,
    Body(ModelParam { model }): Body<ModelParam>,
) -> Answer<Empty> {
    control.hive.cancel(&model).await?;
    Ok(Json(Empty {}))
}

async fn block(
    State(control): State<Control>,
    Params(CidParam { cid }): Params<CidParam>,
) -> Result<Response, Problem> {
    let bytes = control.hive.block(&cid).await?;
    Ok(([(header::CONTENT_TYPE, DAG_CBOR)], bytes).into_response())
}

async fn search(
    State(control): State<Control>,
    Params(params): Params<SearchParams>,
) -> Answer<Vec<Offer>> {
    Ok(Json(control.hive.search(params.into()).await?))
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

async fn doctor(State(control): State<Control>, Body(Empty {}): Body<Empty>) -> Answer<Diagnosis> {
    Ok(Json(control.hive.doctor().await?))
}
