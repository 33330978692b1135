//! Streams of events as lines of JSON.
//!
//! A stream that ends with an error ends with the line `{"error": …}`. A stream that is cut off is
//! not a stream that ended: HTTP's own framing tells the two apart.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream};
use hive_api::{ErrorKind, Events, HiveError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::problem::ErrorBody;

/// The content type.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// Bytes in a line at most, for the reader's sake. The longest event lists a few hundred peers.
const LINE_LEN: usize = 16 << 20;

/// Answers with a stream. Each event is pulled when the caller has taken the one before it;
/// dropping the answer, as happens when the caller goes, drops `events`.
pub(crate) fn response<T>(events: Events<T>, stop: CancellationToken) -> Response
where
    T: Serialize + 'static,
{
    let lines = stream::unfold(Some(events), move |events| {
        let stop = stop.clone();
        async move {
            let mut events = events?;
            let event = tokio::select! {
                // What the node says last is worth more than that it is stopping.
                biased;
                event = events.next() => event?,
                () = stop.cancelled() => Err(stopping()),
            };
            Some(match event {
                Ok(event) => (line(&event), Some(events)),
                Err(error) => (line(&ErrorBody { error }), None),
            })
        }
    });
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}

pub(crate) fn stopping() -> HiveError {
    HiveError::new(ErrorKind::Interrupted, "the node is stopping")
        .hint("run the same command again to go on")
}

fn line(value: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line.into())
}

/// Reads such a stream: `body` yields its bytes, or what cut it off.
pub(crate) fn events<T, B>(body: B) -> Events<T>
where
    T: DeserializeOwned + Send + 'static,
    B: Stream<Item = Result<Bytes, HiveError>> + Send + Unpin + 'static,
{
    let reader = Some((body, BytesMut::new()));
    Box::pin(stream::unfold(reader, |reader| async {
        let (mut body, mut buffer) = reader?;
        loop {
            if let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                let event = parse(&buffer.split_to(end + 1));
                let goes_on = event.is_ok();
                return Some((event, goes_on.then_some((body, buffer))));
            }
            match body.next().await {
                Some(Ok(_)) if buffer.len() > LINE_LEN => {
                    return Some((Err(strange("a line without an end")), None));
                }
                Some(Ok(bytes)) => buffer.extend_from_slice(&bytes),
                Some(Err(error)) => return Some((Err(error), None)),
                None if buffer.is_empty() => return None,
                None => return Some((Err(strange("half a line")), None)),
            }
        }
    }))
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, HiveError> {
    match serde_json::from_slice(line) {
        Ok(event) => Ok(event),
        // An event has no field `error` at its top, so this is no second meaning.
        Err(not_an_event) => match serde_json::from_slice::<ErrorBody>(line) {
            Ok(body) => Err(body.error),
            Err(_) => Err(strange(&not_an_event.to_string())),
        },
    }
}

/// An answer that no node of this version gives.
pub(crate) fn strange(what: &str) -> HiveError {
    HiveError::new(ErrorKind::Failed, format!("the node's answer makes no sense: {what}"))
        .hint("node and command may be of different versions: `hive status` and `hive --version`")
}
