//! Server-sent events (WHATWG HTML §9.2), for browsers' and OpenAI's clients.
//!
//! Owns the framing and the heartbeat: a comment when nothing else was said for a while, so that no
//! proxy or client takes a model that is being loaded for a dead one.

use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use hive_api::{Events, HiveError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::ndjson::stopping;
use crate::problem::ErrorBody;

/// The content type.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
/// A line that clients skip.
pub(crate) const HEARTBEAT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// One event.
pub(crate) fn data(value: &impl Serialize) -> Bytes {
    // JSON text has no line feed outside of strings, and writes those within as `\n`.
    let json = serde_json::to_string(value).expect("what the API says has text for keys");
    format!("data: {json}\n\n").into()
}

/// The last event of a stream that ends with an error.
pub(crate) fn failure(error: &HiveError) -> Bytes {
    let json = serde_json::to_string(&ErrorBody { error: error.clone() });
    format!("event: error\ndata: {}\n\n", json.expect("an error is texts")).into()
}

/// Answers with frames that are ready to be sent.
pub(crate) fn respond(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let body = Body::from_stream(frames.map(Ok::<_, std::convert::Infallible>));
    ([(header::CONTENT_TYPE, EVENT_STREAM)], body).into_response()
}

/// Answers with a stream of a node's events. Dropping the answer drops `events`.
pub(crate) fn response<T>(events: Events<T>, pause: Duration, stop: CancellationToken) -> Response
where
    T: Serialize + 'static,
{
    respond(stream::unfold(Some(events), move |events| {
        let stop = stop.clone();
        async move {
            let mut events = events?;
            tokio::select! {
                // What the node says last is worth more than that it is stopping.
                biased;
                event = events.next() => Some(match event? {
                    Ok(event) => (data(&event), Some(events)),
                    Err(error) => (failure(&error), None),
                }),
                () = stop.cancelled() => Some((failure(&stopping()), None)),
                () = tokio::time::sleep(pause) => Some((HEARTBEAT, Some(events))),
            }
        }
    }))
}
