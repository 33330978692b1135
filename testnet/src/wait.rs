//! Waiting for facts. Nothing here, and no test, waits for time to pass.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

/// How long a fact may take that needs no more than a machine with other work to do.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Waits for a future until [`DEADLINE`]; `what` is missed otherwise.
///
/// # Errors
///
/// The deadline has passed.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(DEADLINE, future).await.with_context(|| format!("waited for {what}"))
}

/// Looks whether `fact` says something, now and after each of the changes, until [`DEADLINE`].
///
/// # Errors
///
/// The deadline has passed, or there can be no more changes.
pub async fn eventually<C, T, F>(
    what: &str,
    changes: watch::Receiver<C>,
    fact: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Option<T>>,
{
    within(what, after_changes(what, changes, fact)).await?
}

/// [`eventually`] with a deadline of its own, for facts that take a fault's time.
///
/// # Errors
///
/// The deadline has passed, or there can be no more changes.
pub async fn eventually_in<C, T, F>(
    deadline: Duration,
    what: &str,
    changes: watch::Receiver<C>,
    fact: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Option<T>>,
{
    let waiting = tokio::time::timeout(deadline, after_changes(what, changes, fact));
    waiting.await.with_context(|| format!("waited for {what} for {deadline:?}"))?
}

async fn after_changes<C, T, F>(
    what: &str,
    mut changes: watch::Receiver<C>,
    mut fact: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Option<T>>,
{
    loop {
        if let Some(found) = fact().await {
            return Ok(found);
        }
        changes.changed().await.with_context(|| format!("nothing changes any more: {what}"))?;
    }
}

/// Ticks whenever one of several does.
pub fn any_of(many: impl IntoIterator<Item = watch::Receiver<()>>) -> watch::Receiver<()> {
    let (ticks, any) = watch::channel(());
    let ticks = Arc::new(ticks);
    for mut one in many {
        let ticks = ticks.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = one.changed() => match changed {
                        Ok(()) => drop(ticks.send(())),
                        Err(_) => return,
                    },
                    () = ticks.closed() => return,
                }
            }
        });
    }
    any
}
