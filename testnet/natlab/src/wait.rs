//! Waiting for facts with a deadline. The facts are other processes', which the lab hears of only by
//! asking: their command line has no way to call back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::limits::ASK;

/// Asks until there is an answer and returns it; an error when there is none `within` the time.
///
/// `look` says what it saw last by returning `Err` with words, or `Ok` with the answer.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    let mut round = tokio::time::interval(ASK);
    loop {
        round.tick().await;
        match look().await {
            Ok(found) => return Ok(found),
            Err(saw) if Instant::now() >= deadline => {
                bail!("{what}: not within {} s; last seen: {saw}", within.as_secs())
            }
            Err(_) => {}
        }
    }
}

/// Awaits `work`, at most so long.
pub(crate) async fn within<T>(
    what: &str,
    time: Duration,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let ended = tokio::time::timeout(time, work).await;
    ended.with_context(|| format!("{what}: not within {} s", time.as_secs()))?
}
