//! What is worth asking again, and when.
//!
//! As the hub's own client does: too many requests (after the pause that was asked for), errors of
//! the server, time-outs and broken connections; exponential pauses with jitter; a bounded number
//! in a row. A byte further than ever before starts the count again, so a bad line still ends a
//! long download.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hive_api::{ErrorKind, HiveError, PullEvent};

use crate::limits;

/// Takes events; called from any task.
pub type Tell = Arc<dyn Fn(PullEvent) + Send + Sync>;

/// Why a request gave nothing.
#[derive(Debug)]
pub(crate) enum AskError {
    /// It may go better next time.
    Transient {
        reason: String,
        /// The pause that the server asks for.
        after: Option<Duration>,
    },
    /// The server says no.
    Refused(Refusal),
    /// There is nothing to repeat.
    Final(HiveError),
}

/// A server's no, for whoever knows what was asked.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) host: String,
    /// The hub's own word for it.
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
}

impl AskError {
    pub(crate) fn transient(reason: impl Into<String>) -> Self {
        Self::Transient { reason: reason.into(), after: None }
    }
}

impl From<HiveError> for AskError {
    fn from(error: HiveError) -> Self {
        Self::Final(error)
    }
}

/// How often something failed in a row, and what to do about it.
pub(crate) struct Patience {
    failures: u32,
    most: u32,
    backoff: Duration,
    tell: Tell,
}

impl Patience {
    /// Begins; after `most` failures in a row it is over.
    pub(crate) fn new(most: u32, backoff: Duration, tell: &Tell) -> Self {
        Self { failures: 0, most, backoff, tell: Arc::clone(tell) }
    }

    /// Something was achieved.
    pub(crate) fn restore(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt, or says that there is none.
    pub(crate) async fn pause(
        &mut self,
        reason: String,
        after: Option<Duration>,
    ) -> Result<(), HiveError> {
        self.failures += 1;
        if self.failures >= self.most {
            let told = format!("given up after {} attempts: {reason}", self.failures);
            return Err(HiveError::new(ErrorKind::Unreachable, told).hint(
                "is there a network, and is the address right? What was downloaded is kept: the \
                 same command goes on",
            ));
        }
        if let Some(after) = after.filter(|&after| after > limits::RETRY_AFTER) {
            let told =
                format!("{reason} and asks to come back in {} minutes", after.as_secs() / 60);
            return Err(HiveError::new(ErrorKind::Unreachable, told).hint(
                "with a token (`HF_TOKEN`) the hub allows more; what is downloaded is kept",
            ));
        }
        let pause = after.unwrap_or_else(|| backoff(self.backoff, self.failures, rand::random()));
        tracing::debug!(%reason, seconds = pause.as_secs_f64(), "trying again");
        (self.tell)(PullEvent::Retry { reason, seconds: pause.as_secs_f64() });
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// The pause after a number of failures: doubled each time, half of it left to chance, so that
/// many clients that failed together do not come back together.
fn backoff(first: Duration, failures: u32, chance: f64) -> Duration {
    let whole = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    whole.min(limits::BACKOFF_MAX).mul_f64(0.5 + chance / 2.0)
}

/// Asks until there is an answer or no point in asking.
pub(crate) async fn ask<'a, T>(
    mut patience: Patience,
    mut once: impl FnMut() -> BoxFuture<'a, Result<T, AskError>>,
    refused: impl FnOnce(Refusal) -> HiveError,
) -> Result<T, HiveError> {
    loop {
        match once().await {
            Ok(value) => return Ok(value),
            Err(AskError::Transient { reason, after }) => patience.pause(reason, after).await?,
            Err(AskError::Refused(refusal)) => return Err(refused(refusal)),
            Err(AskError::Final(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let first = Duration::from_secs(1);
        let longest = |failures| backoff(first, failures, 1.0).as_millis();
        assert_eq!([1, 2, 3, 4, 5, 40].map(longest), [1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(backoff(first, 2, 0.0), first);
    }

    #[tokio::test]
    async fn a_hub_that_asks_for_an_hour_is_not_waited_for() {
        let tell: Tell = Arc::new(|_| panic!("no pause is announced"));
        let mut patience = Patience::new(5, Duration::ZERO, &tell);
        let error = patience.pause("x".into(), Some(Duration::from_hours(1))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.to_string().contains("60 minutes"), "{error}");
    }
}
