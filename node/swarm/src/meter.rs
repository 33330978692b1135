//! Says who comes too often: a bucket of tokens for each source.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use crate::limits::METERED;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// Rates of many sources. Those that have not come for a while take no memory.
#[derive(Debug)]
pub(crate) struct Meter<K> {
    burst: f64,
    per_second: f64,
    buckets: HashMap<K, Bucket>,
}

impl<K: Eq + Hash> Meter<K> {
    /// Lets each source have `burst` at once and `per_second` after that.
    pub(crate) fn new(burst: f64, per_second: f64) -> Self {
        Self { burst, per_second, buckets: HashMap::new() }
    }

    /// Whether the source may have one more now.
    pub(crate) fn allows(&mut self, source: K, now: Instant) -> bool {
        if self.buckets.len() >= METERED && !self.buckets.contains_key(&source) {
            let (burst, per_second) = (self.burst, self.per_second);
            self.buckets.retain(|_, bucket| bucket.level(burst, per_second, now) < burst);
            if self.buckets.len() >= METERED {
                return false;
            }
        }
        let bucket =
            self.buckets.entry(source).or_insert(Bucket { tokens: self.burst, filled: now });
        bucket.tokens = bucket.level(self.burst, self.per_second, now);
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

impl Bucket {
    fn level(&self, burst: f64, per_second: f64, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * per_second;
        (self.tokens + gained).min(burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let mut meter = Meter::new(3.0, 0.5);
        let now = Instant::now();
        let allowed = |meter: &mut Meter<u8>, now| (0..10).filter(|_| meter.allows(1, now)).count();
        assert_eq!(allowed(&mut meter, now), 3);
        assert_eq!(allowed(&mut meter, now + Duration::from_secs(4)), 2);
        assert_eq!(allowed(&mut meter, now + Duration::from_secs(4_000)), 3);
        assert!(meter.allows(2, now));
    }

    #[test]
    fn sources_without_end_do_not_take_memory_without_end() {
        let mut meter = Meter::new(2.0, 1.0);
        let now = Instant::now();
        assert!((0..METERED).all(|source| meter.allows(source, now)));
        assert!(!meter.allows(METERED, now));
        assert!(meter.allows(0, now));
        // By then most have calmed down.
        assert!(meter.allows(METERED, now + Duration::from_secs(2)));
        assert!(meter.buckets.len() < 3);
    }
}
