//! The numbers of the policy.

use std::time::Duration;

/// The numbers of the policy. The defaults are what hive uses; tests make them smaller.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Groups in flight at most, over all peers. 64 MiB in flight filled a 440 MB/s loopback; more
    /// only takes memory.
    pub max_in_flight: u32,
    /// Groups in flight at most with one peer: what a peer that turns liar can waste.
    pub max_per_peer: u32,
    /// Groups in a request at most; the wire allows 16 MiB.
    pub max_request: u32,
    /// Ranges in a request at most; the wire allows 16.
    pub max_ranges: usize,
    /// What a peer has in flight with us is what it sends in this time. Long enough to hide the
    /// slowest round trip, short enough that the tail is short.
    pub ahead: Duration,
    /// Requests that a peer has at most: two that it answers at once, so that one of them has a
    /// window as wide as the line when the other begins with a narrow one, and one that waits.
    pub max_depth: u32,
    /// A peer that sends nothing for this long loses its requests.
    pub stall: Duration,
    /// Bad groups that end a peer.
    pub strikes: u32,
    /// How long a banned peer is not asked.
    pub ban: Duration,
    /// Picks that ignore rarity, so that nodes that start together do not all want the same chunk.
    pub random_picks: u32,
    /// Groups that are asked of a second peer at most, at one time.
    pub max_duplicates: usize,
    /// At the tail, work moves to an idle peer that is this many times sooner done with it.
    pub split_gain: f64,
    /// A group is taken from a peer that has taken this many times an average group's time.
    pub steal_factor: f64,
    /// … but not before this much time, in which an average says little.
    pub steal_after: Duration,
    /// The first wait after a failure; it doubles with each.
    pub backoff: Duration,
    /// The longest wait after failures, and the longest that a busy peer may ask for.
    pub max_backoff: Duration,
    /// Refusals in a row after which a peer counts as having nothing, until it says otherwise.
    pub max_refusals: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_in_flight: 64,
            max_per_peer: 24,
            max_request: 16,
            max_ranges: 16,
            ahead: Duration::from_secs(4),
            max_depth: 3,
            stall: Duration::from_secs(15),
            strikes: 2,
            ban: Duration::from_hours(1),
            random_picks: 4,
            max_duplicates: 4,
            split_gain: 2.0,
            steal_factor: 10.0,
            steal_after: Duration::from_secs(2),
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_mins(1),
            max_refusals: 16,
        }
    }
}
