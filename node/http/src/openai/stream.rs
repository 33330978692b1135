//! Runs what a request asks for and answers, whole or as server-sent events.
//!
//! The choices of a request run side by side, a few at a time, and are told apart by their index.
//! A stream's status line waits for the first thing that happens, so that a request which cannot be
//! met ends with the right status and not in the middle of a `200`; after a pause it goes out
//! anyway, with comments that keep the connection alive.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryFutureExt as _};
use hive_api::{ErrorKind, Finish, Hive, HiveError, RunEvent, RunRequest};
use tokio::time::Instant;

use super::answer::Answer;
use super::error::ApiError;
use crate::control::Control;
use crate::ndjson::stopping;
use crate::sse;

/// Choices that run side by side.
const SIDE_BY_SIDE: usize = 8;

/// What happens with the choices, by their index.
type Runs = BoxStream<'static, (usize, Result<RunEvent, HiveError>)>;

fn run(hive: &Arc<dyn Hive>, requests: Vec<RunRequest>) -> Runs {
    let hive = Arc::clone(hive);
    let runs = stream::iter(requests.into_iter().enumerate()).map(move |(index, request)| {
        let hive = Arc::clone(&hive);
        let events = async move { hive.run(request).await };
        events.try_flatten_stream().map(move |event| (index, checked(event))).boxed()
    });
    runs.flatten_unordered(SIDE_BY_SIDE).boxed()
}

/// Nobody asked for this text to be cancelled, or he would not be here to read of it.
fn checked(event: Result<RunEvent, HiveError>) -> Result<RunEvent, HiveError> {
    match event {
        Ok(RunEvent::Done(done)) if done.finish == Finish::Cancelled => Err(HiveError::new(
            ErrorKind::Interrupted,
            "the model was unloaded before the answer was done",
        )),
        event => event,
    }
}

/// A node that stopped telling without saying how it ended.
fn broken_off() -> HiveError {
    HiveError::new(ErrorKind::Failed, "the model stopped before the answer was done")
}

/// Answers: `streams` is whether piece by piece, and then whether with the usage.
pub(super) async fn respond(
    control: Control,
    requests: Vec<RunRequest>,
    answer: Answer,
    streams: Option<bool>,
) -> Result<Response, ApiError> {
    let runs = run(&control.hive, requests);
    match streams {
        None => whole(&control, runs, answer).await.map_err(ApiError::of_model),
        Some(tells_usage) => {
            let streaming = Streaming {
                control,
                runs,
                answer,
                tells_usage,
                frames: VecDeque::new(),
                has_ended: false,
            };
            streaming.respond().await
        }
    }
}

async fn whole(
    control: &Control,
    mut runs: Runs,
    mut answer: Answer,
) -> Result<Response, HiveError> {
    loop {
        let next = tokio::select! {
            next = runs.next() => next,
            () = control.stop.cancelled() => return Err(stopping()),
        };
        let (index, event) = next.ok_or_else(broken_off)?;
        answer.keep(index, event?);
        if answer.is_done() {
            return Ok(Json(answer.whole()).into_response());
        }
    }
}

/// An answer that is sent as it comes.
struct Streaming {
    control: Control,
    runs: Runs,
    answer: Answer,
    tells_usage: bool,
    /// What waits to be sent.
    frames: VecDeque<Bytes>,
    /// Whether nothing more will happen.
    has_ended: bool,
}

impl Streaming {
    async fn respond(mut self) -> Result<Response, ApiError> {
        let late = Instant::now() + self.control.keep_alive;
        while self.frames.is_empty() {
            match tokio::time::timeout_at(late, self.advance()).await {
                Ok(advanced) => advanced.map_err(ApiError::of_model)?,
                Err(_) => self.frames.push_back(sse::HEARTBEAT),
            }
        }
        Ok(sse::respond(stream::unfold(self, |mut streaming| async {
            let frame = streaming.next_frame().await?;
            Some((frame, streaming))
        })))
    }

    /// Takes the next thing that happens; it may be nothing to send. Cancel safe.
    async fn advance(&mut self) -> Result<(), HiveError> {
        let next = tokio::select! {
            biased;
            next = self.runs.next() => next,
            () = self.control.stop.cancelled() => return Err(stopping()),
        };
        let (index, event) = next.ok_or_else(broken_off)?;
        self.answer.stream(index, event?, self.tells_usage, &mut self.frames);
        self.has_ended = self.answer.is_done();
        Ok(())
    }

    async fn next_frame(&mut self) -> Option<Bytes> {
        let late = Instant::now() + self.control.keep_alive;
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            if self.has_ended {
                return None;
            }
            match tokio::time::timeout_at(late, self.advance()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.has_ended = true;
                    return Some(sse::data(&ApiError::of_model(error).body()));
                }
                Err(_) => return Some(sse::HEARTBEAT),
            }
        }
    }
}
