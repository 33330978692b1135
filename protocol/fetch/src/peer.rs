//! What is known of a peer, and how much it may be asked for.

use std::ops::Range;
use std::time::Duration;

use hive_protocol::Bitfield;
use hive_protocol::limits::GROUP_LEN;

use crate::config::Config;
use crate::rate::Rate;
use crate::set::GroupSet;
use crate::step::RequestId;

/// Groups that slow start allows in flight with a peer that has all, once one has verified: on a long
/// path a round trip for each of the first would be most of a short fetch. Who has a part gets more
/// slowly: readers of one seed that ask each other for much at once ask the seed for the same.
const PROVEN: u32 = 8;

/// Who answers in this time has no queue: a stream is opened and a round trip is over by then, but for
/// the longest.
const PROMPT: Duration = Duration::from_millis(500);

/// Names a peer of one fetch. The caller keeps the number for as long as it knows the peer, also
/// when it goes and comes back: strikes and bans are kept under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIx(pub u32);

/// What is known of a peer's connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quality {
    /// Over a relay: asked last, and for one group at a time.
    pub relayed: bool,
}

/// Which groups a peer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Has {
    /// All of them.
    All,
    /// These and no others. Bits past the model's end are ignored.
    Bitfield(Bitfield),
    /// These besides those known already.
    Added(Vec<Range<u32>>),
    /// None.
    None,
}

/// What a peer has done so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeerStats {
    /// Bytes of verified groups that it was the first to bring.
    pub verified_bytes: u64,
    /// Bytes per second while something was asked of it.
    pub rate: Option<f64>,
    /// Bad groups.
    pub strikes: u32,
    /// Whether it is not asked because of them.
    pub banned: bool,
    /// Whether it stalled and has not brought a group since.
    pub snubbed: bool,
    /// Groups asked of it and awaited.
    pub in_flight: u32,
}

#[derive(Debug)]
pub(crate) enum Holds {
    All,
    Some(GroupSet),
    None,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) here: bool,
    pub(crate) relayed: bool,
    pub(crate) holds: Holds,
    /// In the order asked.
    pub(crate) requests: Vec<RequestId>,
    pub(crate) in_flight: u32,
    /// Groups that slow start allows in flight; 1 until one has verified.
    pub(crate) allowance: u32,
    pub(crate) proven: bool,
    pub(crate) snubbed: bool,
    pub(crate) strikes: u32,
    pub(crate) banned_until: Option<Duration>,
    pub(crate) unsupported: bool,
    pub(crate) retry_at: Duration,
    pub(crate) failures: u32,
    pub(crate) refusals: u32,
    /// Requests that were taken from it before it began with them, since it began with one.
    pub(crate) queue_losses: u32,
    /// Whether it answered what it was last asked before long.
    pub(crate) is_prompt: bool,
    /// The last sign of life, or when it was first asked since it was idle.
    pub(crate) alive_at: Duration,
    /// The last group, or when it was first asked since it was idle.
    pub(crate) group_since: Duration,
    pub(crate) rate: Rate,
    pub(crate) verified_bytes: u64,
    /// The planner's epoch in which there was nothing to ask of it.
    pub(crate) starved: Option<u64>,
}

impl Peer {
    pub(crate) fn new() -> Self {
        Self {
            here: true,
            relayed: false,
            holds: Holds::None,
            requests: Vec::new(),
            in_flight: 0,
            allowance: 1,
            proven: false,
            snubbed: false,
            strikes: 0,
            banned_until: None,
            unsupported: false,
            retry_at: Duration::ZERO,
            failures: 0,
            refusals: 0,
            queue_losses: 0,
            is_prompt: false,
            alive_at: Duration::ZERO,
            group_since: Duration::ZERO,
            rate: Rate::default(),
            verified_bytes: 0,
            starved: None,
        }
    }

    /// Whether it may be asked, now or later, for as long as nothing changes.
    pub(crate) fn is_eligible(&self, now: Duration) -> bool {
        self.here && !self.unsupported && self.banned_until.is_none_or(|until| until <= now)
    }

    /// Whether it may be asked now.
    pub(crate) fn is_ready(&self, now: Duration) -> bool {
        self.is_eligible(now) && self.retry_at <= now
    }

    pub(crate) fn has(&self, group: u32) -> bool {
        match &self.holds {
            Holds::All => true,
            Holds::Some(groups) => groups.contains(group),
            Holds::None => false,
        }
    }

    /// Whether it holds all groups.
    pub(crate) fn has_all(&self) -> bool {
        matches!(self.holds, Holds::All)
    }

    /// Whether it has all and nobody has to wait for it.
    fn has_room(&self) -> bool {
        self.has_all() && self.is_prompt
    }

    /// It granted what it was asked so long ago.
    pub(crate) fn granted_after(&mut self, wait: Duration) {
        self.queue_losses = 0;
        self.is_prompt = wait < PROMPT;
    }

    /// Bytes came.
    pub(crate) fn brought(&mut self, bytes: u64, now: Duration) {
        self.rate.arrived(bytes, now, self.has_room());
    }

    /// Groups that it may have in flight: what it sends in the time to be asked ahead, once slow
    /// start has allowed as much.
    pub(crate) fn window(&self, config: &Config) -> u32 {
        if !self.proven || self.snubbed || self.relayed {
            return 1;
        }
        let ahead = self.rate.known().unwrap_or(0.0) * config.ahead.as_secs_f64();
        let groups = (ahead / GROUP_LEN as f64).ceil() as u32;
        groups.min(self.allowance).clamp(1, config.max_per_peer)
    }

    /// Requests that a window is divided into.
    pub(crate) fn depth(window: u32, config: &Config) -> u32 {
        if window < 2 { 1 } else { (window / 4).clamp(2, config.max_depth.max(2)) }
    }

    /// It gave proof that it is honest and there.
    pub(crate) fn gave(&mut self, config: &Config) {
        let is_new = !self.proven && self.strikes == 0;
        let least = if is_new && self.has_room() { PROVEN } else { 1 };
        self.allowance = (self.allowance + 1).max(least).min(config.max_per_peer);
        self.proven = true;
        self.snubbed = false;
        self.failures = 0;
        self.refusals = 0;
    }

    /// It is left alone for a while, longer each time.
    pub(crate) fn back_off(&mut self, now: Duration, config: &Config) {
        let wait =
            config.backoff.saturating_mul(1 << self.failures.min(16)).min(config.max_backoff);
        self.failures += 1;
        self.retry_at = self.retry_at.max(now + wait);
    }

    pub(crate) fn stats(&self) -> PeerStats {
        PeerStats {
            verified_bytes: self.verified_bytes,
            rate: self.rate.known(),
            strikes: self.strikes,
            banned: self.banned_until.is_some(),
            snubbed: self.snubbed,
            in_flight: self.in_flight,
        }
    }
}
