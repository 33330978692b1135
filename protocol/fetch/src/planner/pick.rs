//! What to ask next, of whom, and how much at once.

use std::cmp::Reverse;
use std::time::Duration;

use super::tail::Busy;
use super::{Planner, Request, Slot, State};
use crate::peer::{Holds, Peer, PeerIx};
use crate::step::{Asked, RequestId, Step};

/// Chunks looked at one by one before a search over all groups: peers that hold most of a model
/// are served by the first.
const SCAN: usize = 1_024;

/// Begun chunks among which the rarest group is looked for.
const BEGUN: usize = 16;

/// Chunks of which something is to be asked at a time, where other readers have parts.
const OPEN: usize = 4;

/// Towards the end a request has this part of what each peer would get of the rest.
const PARTS_OF_REST: u32 = 2;

/// A peer this many times slower than the average is not asked for what somebody waits for.
const TOO_SLOW_TO_HURRY: f64 = 4.0;

/// How often the tail is looked at again while an idle peer could help.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a peer may be asked for so that all who can use it have their share.
#[derive(Clone, Copy)]
struct Share {
    /// Groups in flight.
    window: u32,
    /// Groups in a request.
    request: u32,
}

impl Planner {
    /// Says what to do now. Call it until it says `Wait`, `Done` or `Stuck`, and after every event.
    pub fn next(&mut self, now: Duration) -> Step {
        if self.steps.is_empty() {
            self.lift_bans(now);
            self.give_up_stalled(now);
            self.plan(now);
        }
        while let Some(step) = self.steps.pop_front() {
            match step {
                // Over before it was said.
                Step::Request { id, .. } if !self.requests.contains_key(&id) => {}
                step => return step,
            }
        }
        if self.present.is_full() { Step::Done } else { self.rest(now) }
    }

    fn lift_bans(&mut self, now: Duration) {
        for peer in self.peers.values_mut() {
            if peer.banned_until.is_some_and(|until| until <= now) {
                peer.banned_until = None;
                peer.strikes = 0;
            }
        }
    }

    /// Makes one request, if there is one to make.
    fn plan(&mut self, now: Duration) {
        if self.present.is_full() || !self.steps.is_empty() {
            return;
        }
        self.forget_met_demands();
        if self.in_flight >= self.config.max_in_flight {
            return;
        }
        let share = self.share(now);
        let average = self.average_rate();
        let mut busy = Busy::default();
        for ix in self.by_merit(share, now) {
            let room = self.room(&self.peers[&ix], share);
            if room == 0 {
                continue;
            }
            if !self.demands.is_empty() {
                self.steal_demanded(ix, average, &mut busy, now);
            }
            let groups = self.pick(ix, room, average);
            if !groups.is_empty() {
                self.ask(ix, groups, now);
                return;
            }
            // What is left to help with is what others have: of that it takes a full share.
            let all = Share { request: self.config.max_request, ..share };
            let room = self.room(&self.peers[&ix], all);
            if self.peers[&ix].in_flight == 0 && self.help(ix, room, average, &mut busy, now) {
                return;
            }
        }
    }

    /// What to say when there is nothing to do.
    fn rest(&self, now: Duration) -> Step {
        let n_groups = self.geometry.n_groups();
        let share = self.share(now);
        let mut until: Option<Duration> = None;
        let mut wake = |at: Duration| until = Some(until.map_or(at, |until| until.min(at)));
        for peer in self.peers.values() {
            let stalls_at = peer.alive_at + self.config.stall;
            if peer.in_flight > 0 && stalls_at > now {
                wake(stalls_at);
            }
            if !peer.is_eligible(now) {
                continue;
            }
            let useful =
                self.in_flight > 0 || self.missing.first(&peer.holds, 0..n_groups).is_some();
            if peer.retry_at > now && useful {
                wake(peer.retry_at);
            }
            if peer.retry_at <= now && self.in_flight > 0 && self.room(peer, share) > 0 {
                wake(now + LOOK_AGAIN);
            }
        }
        if self.in_flight > 0 {
            wake(now + self.config.stall);
        }
        until.map_or(Step::Stuck, |until| Step::Wait { until })
    }

    fn forget_met_demands(&mut self) {
        let Self { demands, missing, owners, .. } = self;
        demands.retain(|range| {
            missing.first(&Holds::All, range.clone()).is_some()
                || owners.range(range.clone()).next().is_some()
        });
    }

    /// The peers that may be asked now and for which there may be something, those to ask first
    /// first: the new, of whom nothing is known yet and little is asked, then the fast.
    fn by_merit(&self, share: Share, now: Duration) -> Vec<PeerIx> {
        let has_use = |peer: &Peer| {
            let is_idle = peer.in_flight == 0 || !self.demands.is_empty();
            (is_idle || peer.starved != Some(self.epoch)) && self.room(peer, share) > 0
        };
        let ready = self.peers.iter().filter(|(_, peer)| peer.is_ready(now) && has_use(peer));
        let mut peers: Vec<_> = ready
            .map(|(&ix, peer)| {
                let rate = peer.rate.known().unwrap_or(0.0) as u64;
                ((peer.relayed, peer.snubbed, peer.proven, Reverse(rate)), ix)
            })
            .collect();
        peers.sort_unstable();
        peers.into_iter().map(|(_, ix)| ix).collect()
    }

    /// The most that each peer may be asked for so that all who can use it have their share.
    ///
    /// Requests shrink with what is left, as in guided self-scheduling (Polychronopoulos and Kuck,
    /// 1987): what is then moved from one peer to another has not begun. A request that is cut short
    /// costs what its sender had handed to the connection by then. Where some have parts they are small
    /// as it is, since groups are asked for by how rare they are.
    fn share(&self, now: Duration) -> Share {
        let busy = |peer: &&Peer| {
            peer.is_ready(now) && (peer.in_flight > 0 || peer.starved != Some(self.epoch))
        };
        let most = self.config.max_per_peer;
        // Peers by their window; a step takes one group more for each whose window is not full.
        let mut full_at = vec![0; most as usize + 1];
        let (mut n_open, mut all_whole) = (0, true);
        for peer in self.peers.values().filter(busy) {
            full_at[peer.window(&self.config) as usize] += 1;
            n_open += 1;
            all_whole &= peer.has_all();
        }
        let request = match n_open {
            0 | 1 => self.config.max_request,
            _ if !all_whole => self.config.max_request,
            n_peers => (self.missing.count() / (PARTS_OF_REST * n_peers)).max(1),
        };
        let (mut window, mut sum) = (0, 0);
        while window < most && sum + n_open <= self.config.max_in_flight {
            window += 1;
            sum += n_open;
            n_open -= full_at[window as usize];
        }
        Share { window: window.max(1), request }
    }

    /// Groups that may be asked of a peer in one more request.
    fn room(&self, peer: &Peer, share: Share) -> u32 {
        let window = peer.window(&self.config).min(share.window);
        let usual = Peer::depth(window, &self.config);
        let size = window.div_ceil(usual).min(self.config.max_request);
        // In smaller requests, of which one more waits.
        let depth = if share.request < size { self.config.max_depth } else { usual };
        let size = size.min(share.request);
        if peer.requests.len() as u32 >= depth {
            return 0;
        }
        let left = self.config.max_in_flight.saturating_sub(self.in_flight);
        window.saturating_sub(peer.in_flight).min(size).min(left)
    }

    /// The mean rate of the peers that have proven themselves.
    fn average_rate(&self) -> Option<f64> {
        let here = self.peers.values().filter(|peer| peer.here && peer.proven);
        let (n, sum) = here
            .filter_map(|peer| peer.rate.known())
            .fold((0, 0.0), |(n, sum), rate| (n + 1, sum + rate));
        (n > 0).then(|| sum / f64::from(n))
    }

    /// Whether a peer is asked for what somebody waits for. If no peer has proven itself, all are.
    pub(super) fn may_hurry(peer: &Peer, average: Option<f64>) -> bool {
        let Some(average) = average else { return true };
        let fast = peer.rate.known().is_some_and(|rate| rate * TOO_SLOW_TO_HURRY >= average);
        peer.proven && !peer.snubbed && fast
    }

    /// Takes up to `room` missing groups that a peer has, the most wanted first.
    pub(super) fn pick(&mut self, ix: PeerIx, room: u32, average: Option<f64>) -> Vec<u32> {
        let peer = &self.peers[&ix];
        if peer.starved == Some(self.epoch) {
            return Vec::new();
        }
        let hurry = Self::may_hurry(peer, average);
        let mut groups: Vec<u32> = Vec::new();
        let mut n_ranges = 0;
        while (groups.len() as u32) < room && n_ranges < self.config.max_ranges {
            let Some((first, end)) = self.choose(ix, hurry) else { break };
            let (mut group, holders) = (first, self.missing.holders(first));
            let alike = |this: &Self, group| this.missing.holders(group) == holders;
            while group < end
                && (groups.len() as u32) < room
                && self.is_for(ix, group)
                && alike(self, group)
            {
                self.missing.take(group);
                groups.push(group);
                group += 1;
            }
            n_ranges += 1;
        }
        if groups.is_empty()
            && let Some(peer) = self.peers.get_mut(&ix)
        {
            peer.starved = Some(self.epoch);
        }
        groups
    }

    fn is_for(&self, ix: PeerIx, group: u32) -> bool {
        self.missing.contains(group) && self.peers[&ix].has(group)
    }

    /// The group to ask of a peer next, and where the run that it begins must end.
    fn choose(&mut self, ix: PeerIx, hurry: bool) -> Option<(u32, u32)> {
        let n_groups = self.geometry.n_groups();
        let random = self.n_picks < self.config.random_picks;
        let lot =
            if random { self.dice.below(self.geometry.chunks().len().max(1) as u32) } else { 0 };
        let (chance, which) = (self.dice.roll() as u32, self.dice.roll() as u32);
        let held = &self.peers[&ix].holds;
        let chunks = self.geometry.chunks();
        let end_of = |group: u32| chunks[self.geometry.chunk_of(group)].groups().end;

        if hurry {
            for range in self.demands.ranges() {
                if let Some(first) = self.missing.first(held, range.clone()) {
                    return Some((first, range.end.min(end_of(first))));
                }
            }
        }
        // Chance in the chunks is chance in the groups too; tests do without both.
        let scatter = self.config.random_picks > 0;
        let in_chunk = |chunk: usize| {
            let groups = chunks[chunk].groups();
            let begin = groups.start + if scatter { self.missing.begin(chunk, chance) } else { 0 };
            self.missing.rarest_of(chunk, held, begin)
        };
        let group = |(_, group): (u16, u32)| group;
        let first = if random {
            let start = chunks.get(lot as usize)?.first_group;
            in_chunk(lot as usize)
                .map(group)
                .or_else(|| self.missing.first(held, start..n_groups))
                .or_else(|| self.missing.first(held, 0..start))
        } else {
            let rarest = self.rarest(in_chunk, which);
            rarest.or_else(|| self.missing.first(held, 0..n_groups))
        }?;
        let end = end_of(first);
        self.n_picks = self.n_picks.saturating_add(1);
        Some((first, end))
    }

    /// The rarest group of the chunks that are begun, by how many have it and which it is in each.
    ///
    /// Readers that all finish the same chunk first have nothing for each other. Where others have
    /// parts, some chunks are open at a time and `which` decides between them: what one asks for of
    /// the last groups of a chunk is on its way to another already.
    fn rarest(&self, in_chunk: impl Fn(usize) -> Option<(u16, u32)>, which: u32) -> Option<u32> {
        let is_shared = self.missing.begun().take(SCAN).any(|chunk| self.missing.is_shared(chunk));
        let n_open = self.missing.begun().take(OPEN).count();
        let begun = self.missing.begun().take(SCAN).filter_map(&in_chunk).take(BEGUN);
        let mut rarest: Vec<(u16, u32)> = begun.collect();
        if rarest.is_empty() || (is_shared && n_open < OPEN) {
            rarest.extend(self.missing.rarest().take(SCAN).find_map(in_chunk));
        }
        let least = rarest.iter().map(|(holders, _)| *holders).min()?;
        rarest.retain(|(holders, _)| *holders == least);
        let of_these = (u64::from(which) * rarest.len() as u64) >> 32;
        let (_, group) = *rarest.get(if is_shared { of_these as usize } else { 0 })?;
        Some(group)
    }

    /// Makes a request of groups that were taken from the missing.
    pub(super) fn ask(&mut self, ix: PeerIx, groups: Vec<u32>, now: Duration) {
        let id = RequestId(self.n_requests);
        self.n_requests += 1;
        let n = groups.len() as u32;
        self.in_flight += n;
        if let Some(peer) = self.peers.get_mut(&ix) {
            if peer.in_flight == 0 {
                peer.alive_at = now;
                peer.group_since = now;
                peer.rate.begin(now);
            }
            peer.in_flight += n;
            peer.requests.push(id);
        }
        let mut ranges: Vec<Asked> = Vec::new();
        for &group in &groups {
            self.owners.entry(group).or_default().push(id);
            let chunk = self.geometry.chunk_of(group);
            let first = group - self.geometry.chunks()[chunk].first_group;
            match ranges.last_mut() {
                Some(last) if last.chunk == chunk && last.first + last.n == first => last.n += 1,
                _ => ranges.push(Asked { chunk, first, n: 1 }),
            }
        }
        let slots = groups.into_iter().map(|group| Slot { group, state: State::Awaited }).collect();
        let request = Request {
            peer: ix,
            slots,
            asked_at: now,
            granted_at: None,
            moved_at: None,
            seen: 0,
            verified: 0,
        };
        self.requests.insert(id, request);
        self.steps.push_back(Step::Request { id, peer: ix, ranges });
    }
}
