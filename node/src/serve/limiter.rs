//! A token bucket for `--upload-limit`.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Bytes a second over all uploads. What is granted is paid for by waiting before the next grant, so
/// a low limit still sends whole groups.
#[derive(Debug)]
pub(crate) struct Limiter {
    start: Instant,
    bucket: Option<Mutex<Bucket>>,
}

impl Limiter {
    /// Limits to `rate` bytes a second; `None` never waits.
    pub(crate) fn new(rate: Option<u64>) -> Self {
        let bucket =
            rate.map(|rate| Mutex::new(Bucket { rate: rate.max(1), paid_until: Duration::ZERO }));
        Self { start: Instant::now(), bucket }
    }

    /// Waits until `bytes` more may go. A wait that is cancelled has still paid.
    pub(crate) async fn acquire(&self, bytes: u64) {
        let Some(bucket) = &self.bucket else { return };
        let go = bucket
            .lock()
            .expect("no holder of this lock panics")
            .grant(bytes, self.start.elapsed());
        tokio::time::sleep_until(self.start + go).await;
    }
}

#[derive(Debug)]
struct Bucket {
    rate: u64,
    paid_until: Duration,
}

impl Bucket {
    /// Says when `bytes` may go, asked at `now`.
    fn grant(&mut self, bytes: u64, now: Duration) -> Duration {
        let go = self.paid_until.max(now);
        self.paid_until = go + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        go
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_at_the_rate_and_idle_time_is_not_saved_up() {
        let mut bucket = Bucket { rate: 1000, paid_until: Duration::ZERO };
        let second = Duration::from_secs(1);
        assert_eq!(bucket.grant(1000, Duration::ZERO), Duration::ZERO);
        assert_eq!(bucket.grant(500, Duration::ZERO), second);
        assert_eq!(bucket.grant(1000, Duration::ZERO), second * 3 / 2);
        assert_eq!(bucket.grant(1000, second * 100), second * 100);
        assert_eq!(bucket.grant(1000, second * 100), second * 101);
    }
}
