//! Watching fetches: which there are, how the list changes, how one of them goes.
//!
//! Whoever watches changes nothing: the streams follow, and dropping one leaves the fetch alone.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use hive_api::{Events, FetchEvent, FetchSummary};
use tokio::time::MissedTickBehavior;

use super::{Answer, Control, ModelParam, own};
use crate::extract::Params;
use crate::ndjson::{self, NDJSON};
use crate::openapi::{Operation, Table};
use crate::problem::Problem;
use crate::sse::{self, EVENT_STREAM};

/// What the document files these under.
const TAG: &str = "network";
/// How often the list is looked at, and how often it is told at most.
const LOOK: Duration = Duration::from_millis(250);

/// Adds the endpoints.
pub(super) fn endpoints(table: Table<Control>) -> Table<Control> {
    let does = |summary| Operation::new(TAG, summary);
    table
        .get(
            &own("/fetches"),
            fetches,
            does("Lists the fetches that are going on").json::<Vec<FetchSummary>>(),
        )
        .get(
            &own("/fetches/events"),
            changes,
            does("Tells the list of fetches, and again whenever it changes")
                .answers::<Vec<FetchSummary>>(EVENT_STREAM),
        )
        .get(
            &own("/follow"),
            follow,
            does("Follows a fetch that is going on; lines of JSON if they are accepted")
                .query::<ModelParam>()
                .answers::<FetchEvent>(EVENT_STREAM)
                .answers::<FetchEvent>(NDJSON),
        )
}

async fn fetches(State(control): State<Control>) -> Answer<Vec<FetchSummary>> {
    Ok(Json(control.hive.status().await?.fetches))
}

async fn changes(State(control): State<Control>) -> Response {
    let hive = control.hive;
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lists = stream::unfold((ticks, None), move |(mut ticks, told)| {
        let hive = std::sync::Arc::clone(&hive);
        async move {
            loop {
                ticks.tick().await;
                match hive.status().await {
                    Ok(status) if told.as_ref() == Some(&status.fetches) => {}
                    Ok(status) => {
                        return Some((Ok(status.fetches.clone()), (ticks, Some(status.fetches))));
                    }
                    Err(error) => return Some((Err(error), (ticks, told))),
                }
            }
        }
    });
    let lists: Events<Vec<FetchSummary>> = lists.boxed();
    sse::response(lists, control.keep_alive, control.stop)
}

async fn follow(
    State(control): State<Control>,
    headers: HeaderMap,
    Params(ModelParam { model }): Params<ModelParam>,
) -> Result<Response, Problem> {
    let events = control.hive.follow(&model).await?;
    // Ours asks for lines, which say how a stream ended; browsers and curl know events.
    let wants_lines = headers.get(header::ACCEPT).is_some_and(|accept| accept == NDJSON);
    Ok(if wants_lines {
        ndjson::response(events, control.stop)
    } else {
        sse::response(events, control.keep_alive, control.stop)
    })
}
