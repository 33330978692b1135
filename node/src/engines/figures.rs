//! What engines did since the node started, for whoever prints it.

/// Counts and histograms. Plain data.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// Models that are loaded.
    pub(crate) loaded: u64,
    /// Requests that are being worked at.
    pub(crate) active: u64,
    /// Requests that wait for a place or a load.
    pub(crate) queued: u64,
    /// Requests to continue a text that were let in.
    pub(crate) requests: u64,
    /// Requests for vectors that were let in.
    pub(crate) embeds: u64,
    /// Requests refused because the queue was full.
    pub(crate) refused: u64,
    /// Requests that ended with an error.
    pub(crate) failed: u64,
    /// Texts whose reader left before their end.
    pub(crate) cancelled: u64,
    /// Tokens read, those remembered included.
    pub(crate) prompt_tokens: u64,
    /// Of those, remembered from earlier prompts.
    pub(crate) cached_tokens: u64,
    /// Tokens generated.
    pub(crate) generated_tokens: u64,
    /// Models loaded.
    pub(crate) loads: u64,
    /// Processes of models that ended though nobody wanted that.
    pub(crate) crashes: u64,
    /// Idle models that went because another needed the memory.
    pub(crate) evictions: u64,
    /// Seconds that loads took.
    pub(crate) load_seconds: Histogram,
    /// Seconds from a request to its first text, queue and load included.
    pub(crate) first_text_seconds: Histogram,
    /// Tokens a second of each text, its prompt left out.
    pub(crate) tokens_per_second: Histogram,
}

/// Upper ends of the buckets: from a model that is loaded and idle to one on a slow disk.
pub(crate) const BOUNDS: [f64; 12] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

/// How often values fell into which range.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Histogram {
    /// One for each of [`BOUNDS`], not cumulative, and one for what is above all.
    pub(crate) counts: [u64; BOUNDS.len() + 1],
    /// All values together.
    pub(crate) sum: f64,
}

impl Histogram {
    pub(crate) fn observe(&mut self, value: f64) {
        // A clock that went backwards is not a figure.
        if value.is_finite() && value >= 0.0 {
            let at = BOUNDS.iter().position(|bound| value <= *bound).unwrap_or(BOUNDS.len());
            self.counts[at] += 1;
            self.sum += value;
        }
    }

    /// How many values there were.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_where_they_belong() {
        let mut histogram = Histogram::default();
        for value in [0.0, 0.01, 0.02, 120.0, 121.0, f64::NAN, -1.0] {
            histogram.observe(value);
        }
        assert_eq!(histogram.counts[..2], [2, 1]);
        assert_eq!(histogram.counts[BOUNDS.len() - 1..], [1, 1]);
        assert_eq!(histogram.count(), 5);
    }
}
