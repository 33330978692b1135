//! How fast a peer is.

use std::time::Duration;

use hive_protocol::limits::GROUP_LEN;

/// Arrivals are summed over at least this long before they count as a measurement.
const PERIOD: Duration = Duration::from_millis(500);
/// Weight of a new measurement: the last three make two thirds of the estimate.
const WEIGHT: f64 = 0.3;
/// Of so many first measurements of a line that starts steeply a better one counts alone: its slow
/// start goes on, and the mean with what was before would hold it up.
const SLOW_START: u8 = 3;

/// Bytes per second of the time in which something was asked of a peer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    estimate: Option<f64>,
    /// Measurements, up to [`SLOW_START`].
    n: u8,
    since: Duration,
    bytes: u64,
}

impl Rate {
    /// The peer had nothing to send and has now.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.since = now;
        self.bytes = 0;
    }

    /// Bytes came; `is_steep` if a better measurement of the first counts alone.
    pub(crate) fn arrived(&mut self, bytes: u64, now: Duration, is_steep: bool) {
        self.bytes += bytes;
        let elapsed = now.saturating_sub(self.since);
        let first = self.estimate.is_none() && self.bytes >= GROUP_LEN;
        if elapsed < PERIOD && !first {
            return;
        }
        let measured = self.bytes as f64 / elapsed.as_secs_f64().max(1e-3);
        let is_start = is_steep && self.n < SLOW_START;
        self.estimate = Some(match self.estimate {
            Some(old) if !is_start || measured < old => old + WEIGHT * (measured - old),
            _ => measured,
        });
        self.n = (self.n + 1).min(SLOW_START);
        self.begin(now);
    }

    /// The estimate, once there is one.
    pub(crate) fn known(&self) -> Option<f64> {
        self.estimate
    }

    /// The estimate while the peer has something to send: what did not come for long lowers it.
    pub(crate) fn at(&self, now: Duration) -> Option<f64> {
        let elapsed = now.saturating_sub(self.since).as_secs_f64();
        let at_best = (self.bytes + GROUP_LEN) as f64 / elapsed.max(1e-3);
        self.estimate.map(|estimate| estimate.min(at_best))
    }
}
