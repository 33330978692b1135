//! What a node pays for the DHT and for gossip in a network larger than one that can be measured
//! here: lines through the measured points, over what the cost should follow from.

use hive_protocol::catalog::pace;

use super::live::Outcome;

/// Peers in a bucket of the routing table.
const BUCKET: f64 = 20.0;

/// `fixed + slope * x`, in bytes that a node sends in a minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    pub(crate) fixed: f64,
    pub(crate) slope: f64,
}

/// Both costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    pub(crate) gossip: Line,
    pub(crate) dht: Line,
}

/// Announcements that a node hears a minute when `n` nodes are there and stay: each says two things
/// in its interval.
pub(crate) fn announcements(n: f64) -> f64 {
    2.0 * n / (pace::interval(n as usize).as_secs_f64() / 60.0)
}

/// Buckets that a table has in a network of `n`.
pub(crate) fn buckets(n: f64) -> f64 {
    (n / BUCKET).log2().max(0.0)
}

impl Line {
    /// The line of least squares through points; one point, or points above each other, give a level.
    fn through(points: &[(f64, f64)]) -> Self {
        let n = points.len().max(1) as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        let slope: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
        // Nothing gets cheaper for being more.
        let slope = if spread > 0.0 { (slope / spread).max(0.0) } else { 0.0 };
        Self { fixed: (y - slope * x).max(0.0), slope }
    }

    fn at(self, x: f64) -> f64 {
        self.fixed + self.slope * x
    }
}

impl Costs {
    /// The lines through what was measured.
    pub(crate) fn of(networks: &[Outcome]) -> Self {
        let points = |x: fn(f64) -> f64, bytes: fn(&Outcome) -> f64| -> Vec<(f64, f64)> {
            networks.iter().map(|network| (x(network.nodes as f64), bytes(network))).collect()
        };
        Self {
            gossip: Line::through(&points(announcements, |network| network.gossip.bytes)),
            dht: Line::through(&points(buckets, Outcome::dht_bytes)),
        }
    }

    /// Bytes of gossip that a node sends in a minute.
    pub(crate) fn gossip(&self, n: f64) -> f64 {
        self.gossip.at(announcements(n))
    }

    /// Bytes of the DHT that a node sends in a minute.
    pub(crate) fn dht(&self, n: f64) -> f64 {
        self.dht.at(buckets(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-6
    }

    #[test]
    fn a_line_goes_through_points_that_lie_on_one() {
        let line = Line::through(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]);
        assert!(close(line.fixed, 3.0) && close(line.slope, 2.0), "{line:?}");
        let level = Line::through(&[(3.0, 4.0)]);
        assert!(close(level.at(1_000.0), 4.0), "{level:?}");
    }

    #[test]
    fn gossip_grows_until_the_interval_does() {
        assert!(close(announcements(50.0), 100.0));
        // From here on each speaks half as often for twice as many.
        assert!(announcements(2_000.0) <= 2.0 * announcements(99.0));
        // At an hour the interval ends, and more nodes say more.
        assert!(announcements(10_000.0) > announcements(3_000.0));
    }
}
