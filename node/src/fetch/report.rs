//! Who did what in a fetch: the numbers behind progress and the last event.

use std::collections::BTreeMap;
use std::time::Duration;

use hive_api::{FetchEvent, FetchPeer};
use hive_swarm::Peer;

/// How quickly the rate that is shown follows the real one: a second's share of the new.
const SMOOTHING: f64 = 0.4;

/// The part of each peer, and the rate of the whole.
#[derive(Debug, Default)]
pub(crate) struct Report {
    peers: BTreeMap<Peer, Part>,
    last: Option<(Duration, u64)>,
    rate: Option<f64>,
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) bytes: u64,
    pub(crate) struck: bool,
    pub(crate) rate: f64,
}

impl Report {
    /// The part of a peer, to be changed.
    pub(crate) fn part(&mut self, peer: Peer) -> &mut Part {
        self.peers.entry(peer).or_default()
    }

    /// The parts for people and programs.
    pub(crate) fn peers(&self, name: impl Fn(Peer) -> Option<String>) -> Vec<FetchPeer> {
        let mut peers: Vec<FetchPeer> = self
            .peers
            .iter()
            .map(|(peer, part)| FetchPeer {
                name: name(*peer),
                peer: peer.to_string(),
                bytes: part.bytes,
                struck: part.struck,
                rate: part.rate,
            })
            .collect();
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.bytes));
        peers
    }

    /// Where the fetch stands at `now`.
    pub(crate) fn progress(
        &mut self,
        bytes: u64,
        size: u64,
        now: Duration,
        name: impl Fn(Peer) -> Option<String>,
    ) -> FetchEvent {
        if let Some((then, before)) = self.last {
            let seconds = now.saturating_sub(then).as_secs_f64();
            if seconds > 0.0 {
                let current = bytes.saturating_sub(before) as f64 / seconds;
                let share = (SMOOTHING * seconds.max(0.25)).min(1.0);
                self.rate = Some(self.rate.map_or(current, |rate| rate + (current - rate) * share));
            }
        }
        self.last = Some((now, bytes));
        let rate = self.rate.unwrap_or(0.0);
        let eta = (rate > 1.0).then(|| size.saturating_sub(bytes) as f64 / rate);
        FetchEvent::Progress { bytes, size, rate, eta, peers: self.peers(name) }
    }
}
