//! Waiting for facts. Nothing here, and no test, waits for time to pass.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;

/// How long a fact may take that needs no more than a machine with other work to do.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// How often a fact that nobody announces is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits for a future until [`DEADLINE`]; `what` is missed otherwise.
///
/// # Errors
///
/// The deadline has passed.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(DEADLINE, future).await.with_context(|| format!("waited for {what}"))
}

/// Looks until `fact` says something, or [`DEADLINE`] has passed.
///
/// # Errors
///
/// The deadline has passed.
pub async fn eventually<T, F>(what: &str, mut fact: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = fact().await {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited for {what}");
        }
        tokio::time::sleep(LOOK).await;
    }
}
