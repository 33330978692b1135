//! What came of a simulation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What came of a simulation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Nodes.
    pub nodes: u32,
    /// Virtual time.
    pub time: Duration,
    /// Events that happened.
    pub events: u64,
    /// A hash of all of them and of every request of every planner.
    pub trace: u64,
    /// Nodes online, in the mean.
    pub online: f64,
    /// Sessions that began.
    pub sessions: u64,
    /// Fetches that began, those that went on in a later session included.
    pub fetches: u64,
    /// … that brought the model, every byte of it true.
    pub completed: u64,
    /// … that ended otherwise although somebody honest could have been asked, those that stalled
    /// included.
    pub failed: u64,
    /// … that failed because nothing had come for a minute, although somebody honest could have been
    /// asked, when their user left or the simulation ended.
    pub stalled: u64,
    /// … that ended because nobody honest was online who had what was missing.
    pub nobody: u64,
    /// … that ended because the honest who had it could not be connected to directly.
    pub unreachable: u64,
    /// … whose user left while they went on.
    pub left: u64,
    /// … that went on at the end.
    pub running: u64,
    /// Time over the ideal time, of the fetches that completed at one go: median.
    pub stretch: f64,
    /// The same: nine of ten are under this.
    pub stretch_p90: f64,
    /// Seconds that those took: median.
    pub seconds: f64,
    /// Heads that said something new and were followed hop by hop.
    pub floods: u64,
    /// The share of nodes online that had the list within a minute: mean, and of the worst head.
    pub reach: f64,
    /// See [`Self::reach`].
    pub reach_worst: f64,
    /// Seconds until 99 % had it: mean.
    pub reach_secs: f64,
    /// Copies of a head that a node gets, in the mean.
    pub copies: f64,
    /// Announcements (a head and a capability each) that were made.
    pub announcements: u64,
    /// Lookups in the DHT while somebody honest was there and had announced it.
    pub lookups: u64,
    /// … that named at least one such.
    pub found: u64,
    /// Verified bytes.
    pub bytes: u64,
    /// Bytes that came although somebody else brought their group first, whole groups or the
    /// beginnings of those that were cut off then.
    pub twice: u64,
    /// Bytes of groups that were cut off otherwise, as when a group is taken from a slow peer.
    pub cut: u64,
    /// Bytes that liars forged.
    pub forged: u64,
    /// Liars.
    pub liars: u64,
    /// Liars that somebody banned.
    pub liars_banned: u64,
    /// Bans of liars.
    pub bans: u64,
    /// Bans of honest nodes.
    pub bans_of_honest: u64,
    /// Bytes a liar cost the reader that met it, in the mean over all fetches that met one.
    pub cost_of_liar: f64,
}

/// A share, where nothing of nothing is all.
fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 1.0 } else { part as f64 / all as f64 }
}

impl Report {
    /// The share of fetches that completed, of those that could.
    pub fn completion(&self) -> f64 {
        share(self.completed, self.completed + self.failed)
    }

    /// The share of fetches that completed, of all that ended, for whatever reason.
    pub fn completion_of_ended(&self) -> f64 {
        let without = self.failed + self.nobody + self.unreachable + self.left;
        share(self.completed, self.completed + without)
    }

    /// The share of lookups that found somebody.
    pub fn lookup_success(&self) -> f64 {
        share(self.found, self.lookups)
    }

    /// Bytes that came twice, over those that were verified.
    pub fn duplicates(&self) -> f64 {
        self.twice as f64 / (self.bytes as f64).max(1.0)
    }

    /// Announcements that a node hears a minute, each counted once.
    pub fn announcements_per_minute(&self) -> f64 {
        self.announcements as f64 / (self.time.as_secs_f64() / 60.0).max(1.0)
    }
}

/// The value under which a share of all lies; sorts them.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
