//! Takes work from peers that are too slow with it, and gives it to peers that have nothing to do.
//!
//! Five ways, from the mildest to the hardest: an idle peer takes what waits in another's queue; it
//! takes the end of what a slower one has before it; the last groups are asked twice; a group that
//! takes ten times as long as it would elsewhere is taken away; a peer that sends nothing for 15 s
//! loses everything that others can send.

use std::time::Duration;

use hive_protocol::limits::GROUP_LEN;

use super::{Planner, Request};
use crate::peer::{Peer, PeerIx};
use crate::step::{RequestId, Step};

/// The time in which a peer of whom nothing is known is thought to send a group.
const UNKNOWN_GROUP_SECS: f64 = 4.0;

/// A request that was not granted for this long is taken to wait in a queue: by then a stream is open
/// and a round trip over, but for the longest.
const QUEUED: Duration = Duration::from_secs(1);

/// A group that came on in this time …
const MOVING: Duration = Duration::from_secs(1);
/// … and will be whole in this time is left where it is: what has come of it would be lost.
const NEAR: Duration = Duration::from_millis(500);
/// Requests that a peer may lose from its queue before it counts as slow.
const QUEUE_LOSSES: u32 = 2;
/// A peer that drips is given up after so many times the time of one that sends nothing.
const DRIPS: u32 = 3;

/// What a peer has before it, and how long it will take.
struct Backlog {
    peer: PeerIx,
    secs: f64,
    rate: f64,
    n_groups: u32,
}

/// What the busy peers have before them, looked at once for all that are idle: a popular model has
/// dozens of each, and every group that comes asks again. Whoever changes a request forgets it.
#[derive(Default)]
pub(super) struct Busy {
    /// Since when each busy peer has sent no group, and what it is sending.
    heads: Option<Vec<(Duration, PeerIx, RequestId)>>,
    /// Requests that wait in a queue, the longest first.
    queued: Option<Vec<RequestId>>,
    /// The longest first.
    backlogs: Option<Vec<Backlog>>,
}

impl Planner {
    /// Takes from peers that gave no sign of life what others can send.
    pub(super) fn give_up_stalled(&mut self, now: Duration) {
        let stall = self.config.stall;
        let stalled = |peer: &Peer| {
            let drips = peer.group_since + stall * DRIPS <= now;
            peer.in_flight > 0 && (peer.alive_at + stall <= now || drips)
        };
        let stalled: Vec<PeerIx> =
            self.peers.iter().filter(|(_, peer)| stalled(peer)).map(|(&ix, _)| ix).collect();
        for ix in stalled {
            let Some(peer) = self.peers.get_mut(&ix) else { continue };
            peer.snubbed = true;
            // What nobody else can send may as well go on being awaited.
            let is_elsewhere = |id: &RequestId| {
                self.requests[id].awaited().any(|group| self.others_have(ix, group, now))
            };
            let lost: Vec<RequestId> =
                self.peers[&ix].requests.iter().copied().filter(is_elsewhere).collect();
            for &id in &lost {
                self.close(id);
                self.steps.push_back(Step::Cancel { id });
            }
            if let Some(peer) = self.peers.get_mut(&ix)
                && !lost.is_empty()
            {
                peer.back_off(now, &self.config);
            }
        }
    }

    fn others_have(&self, ix: PeerIx, group: u32, now: Duration) -> bool {
        self.peers.iter().any(|(&other, peer)| {
            other != ix && peer.is_ready(now) && !peer.snubbed && peer.has(group)
        })
    }

    /// Frees what somebody waits for from peers that take ten times as long for it.
    pub(super) fn steal_demanded(
        &mut self,
        ix: PeerIx,
        average: Option<f64>,
        busy: &mut Busy,
        now: Duration,
    ) {
        if !self.peers[&ix].proven {
            return;
        }
        let demanded = |group: u32| self.demands.contains(group);
        if let Some(id) = self.overdue(ix, average, busy, now, demanded) {
            self.steal(id);
            *busy = Busy::default();
        }
    }

    fn steal(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(&id) else { return };
        let was_begun = request.has_begun();
        if let Some(peer) = self.peers.get_mut(&request.peer) {
            // Who has a queue need not be slow; who begins nothing is.
            peer.queue_losses += u32::from(!was_begun);
            peer.snubbed |= was_begun || peer.queue_losses >= QUEUE_LOSSES;
        }
        self.close(id);
        self.steps.push_back(Step::Cancel { id });
    }

    /// Finds something to do for an idle peer for which nothing is missing. Says whether it did.
    pub(super) fn help(
        &mut self,
        ix: PeerIx,
        room: u32,
        average: Option<f64>,
        busy: &mut Busy,
        now: Duration,
    ) -> bool {
        if let Some(id) = self.overdue(ix, average, busy, now, |_| true) {
            self.steal(id);
            *busy = Busy::default();
            return self.ask_what_is_free(ix, room, average, now);
        }
        if !self.missing.is_empty() {
            let was_taken = self.take_over(ix, room, average, busy, now);
            if was_taken {
                *busy = Busy::default();
            }
            return was_taken && self.ask_what_is_free(ix, room, average, now);
        }
        let rate = self.expected_rate(ix, average);
        let backlogs = busy.backlogs.take().unwrap_or_else(|| self.backlogs(now));
        // Of the others not even one group is worth moving.
        let least = self.config.split_gain * (GROUP_LEN as f64 / rate);
        let slow = &backlogs[..backlogs.partition_point(|slow| slow.secs > least)];
        let was_split = slow.iter().any(|slow| self.split(ix, rate, slow, room));
        if was_split && self.ask_what_is_free(ix, room, average, now) {
            return true;
        }
        let was_duplicated = self.duplicate_one(ix, slow, now);
        *busy = if was_split || was_duplicated {
            Busy::default()
        } else {
            Busy { backlogs: Some(backlogs), ..std::mem::take(busy) }
        };
        was_duplicated
    }

    /// Frees the end of a request that waits in another's queue, if `ix` has it and the other has
    /// something that is still to be asked: who is asked by many is left to send what it alone has.
    /// Says whether it did.
    fn take_over(
        &mut self,
        ix: PeerIx,
        room: u32,
        average: Option<f64>,
        busy: &mut Busy,
        now: Duration,
    ) -> bool {
        let peer = &self.peers[&ix];
        if peer.snubbed {
            return false;
        }
        let may_hurry = Self::may_hurry(peer, average);
        let queued = busy.queued.get_or_insert_with(|| self.queued(now));
        let is_free = |&group: &u32| {
            let may = may_hurry || !self.demands.contains(group);
            may && peer.has(group) && self.owners[&group].len() == 1
        };
        let found = queued.iter().find_map(|&id| {
            let request = self.requests.get(&id).filter(|request| request.peer != ix)?;
            let end: Vec<u32> =
                request.awaited().rev().take_while(is_free).take(room as usize).collect();
            (!end.is_empty()).then_some((id, end))
        });
        let Some((id, end)) = found else { return false };
        for group in end {
            self.release(id, group);
        }
        self.cut(id);
        true
    }

    fn queued(&self, now: Duration) -> Vec<RequestId> {
        let n_groups = self.geometry.n_groups();
        let has_more = |ix| self.missing.first(&self.peers[&ix].holds, 0..n_groups).is_some();
        let waits = |request: &Request| {
            !request.has_begun() && request.asked_at + QUEUED <= now && has_more(request.peer)
        };
        self.requests.iter().filter(|(_, request)| waits(request)).map(|(&id, _)| id).collect()
    }

    fn ask_what_is_free(
        &mut self,
        ix: PeerIx,
        room: u32,
        average: Option<f64>,
        now: Duration,
    ) -> bool {
        let groups = self.pick(ix, room, average);
        let found = !groups.is_empty();
        if found {
            self.ask(ix, groups, now);
        }
        found
    }

    /// What a peer may be expected to send in a second.
    fn expected_rate(&self, ix: PeerIx, average: Option<f64>) -> f64 {
        let unknown = GROUP_LEN as f64 / UNKNOWN_GROUP_SECS;
        let peer = &self.peers[&ix];
        let rate = match peer.rate.known() {
            // Whatever it did before, it does it no more.
            Some(rate) if peer.snubbed => rate.min(unknown),
            Some(rate) => rate,
            // It had a group before it for long, and it did not come.
            None if peer.snubbed => unknown,
            None => average.unwrap_or(unknown).max(unknown),
        };
        rate.max(1.0)
    }

    /// A request for which another peer has taken ten times as long as `ix` would for a group, and
    /// of which `ix` has something that is `wanted`. Before any peer has proven itself, none is.
    fn overdue(
        &self,
        ix: PeerIx,
        average: Option<f64>,
        busy: &mut Busy,
        now: Duration,
        wanted: impl Fn(u32) -> bool,
    ) -> Option<RequestId> {
        average?;
        let usual = GROUP_LEN as f64 / self.expected_rate(ix, average);
        let usual = Duration::try_from_secs_f64(usual).ok()?;
        let limit = usual.mul_f64(self.config.steal_factor).max(self.config.steal_after);
        let heads = busy.heads.get_or_insert_with(|| self.heads(now));
        let slow = heads.iter().filter(|&&(since, other, _)| other != ix && since + limit <= now);
        let mut slow = slow.map(|&(_, _, id)| id);
        slow.find(|id| {
            self.requests[id].awaited().any(|group| wanted(group) && self.peers[&ix].has(group))
        })
    }

    fn heads(&self, now: Duration) -> Vec<(Duration, PeerIx, RequestId)> {
        let busy = self.peers.iter().filter(|(_, peer)| peer.in_flight > 0);
        let head = |(&ix, peer): (&PeerIx, &Peer)| {
            let id = *peer.requests.first()?;
            let request = &self.requests[&id];
            let part = request.seen.saturating_sub(request.verified);
            let left = GROUP_LEN.saturating_sub(part) as f64;
            let in_time = |rate: f64| left <= rate * NEAR.as_secs_f64();
            let is_near = request.moved_at.is_some_and(|at| at + MOVING > now)
                && peer.rate.at(now).is_some_and(in_time);
            // The time before it began is not the line's.
            let since = peer.group_since.max(request.granted_at.unwrap_or_default());
            (!is_near).then_some((since, ix, id))
        };
        busy.filter_map(head).collect()
    }

    fn backlogs(&self, now: Duration) -> Vec<Backlog> {
        let mut backlogs: Vec<Backlog> =
            self.peers.keys().filter_map(|&ix| self.backlog(ix, now)).collect();
        backlogs.sort_by(|a, b| b.secs.total_cmp(&a.secs));
        backlogs
    }

    /// What a busy peer has before it, if there is ground for an estimate.
    fn backlog(&self, ix: PeerIx, now: Duration) -> Option<Backlog> {
        let peer = &self.peers[&ix];
        let first = self.requests.get(peer.requests.first()?)?;
        let waited = now.saturating_sub(peer.group_since.max(first.asked_at));
        let rate = match peer.rate.at(now) {
            Some(rate) => rate,
            // It will take as long again as it took.
            None if waited >= self.config.steal_after => GROUP_LEN as f64 / waited.as_secs_f64(),
            None => return None,
        };
        let requests = peer.requests.iter().filter_map(|id| self.requests.get(id));
        let (mut bytes, mut n_groups) = (0, 0);
        for request in requests {
            let awaited: u64 = request.awaited().map(|group| self.geometry.group_len(group)).sum();
            bytes += awaited.saturating_sub(request.seen - request.verified.min(request.seen));
            n_groups += request.awaited().count() as u32;
        }
        let secs = bytes as f64 / rate.max(1.0);
        (n_groups > 0).then_some(Backlog { peer: ix, secs, rate, n_groups })
    }

    /// Frees the end of a slower peer's last request, in proportion to both rates. Says whether it
    /// did.
    fn split(&mut self, ix: PeerIx, rate: f64, slow: &Backlog, room: u32) -> bool {
        let their_share = (f64::from(slow.n_groups) * rate / (rate + slow.rate)).floor() as u32;
        let n_wanted = their_share.min(room);
        let secs = f64::from(n_wanted) * GROUP_LEN as f64 / rate;
        let requests = &self.peers[&slow.peer].requests;
        let Some(&id) = requests.last() else { return false };
        if n_wanted == 0 || slow.secs <= self.config.split_gain * secs {
            return false;
        }
        // The first group of a peer's first request is being sent; that one it keeps.
        let n_kept = usize::from(requests.len() == 1);
        let awaited: Vec<u32> = self.requests[&id].awaited().collect();
        let freed: Vec<u32> = awaited[n_kept.min(awaited.len())..]
            .iter()
            .rev()
            .take(n_wanted as usize)
            .copied()
            .take_while(|&group| self.peers[&ix].has(group) && self.owners[&group].len() == 1)
            .collect();
        for &group in &freed {
            self.release(id, group);
        }
        if !freed.is_empty() {
            self.cut(id);
        }
        !freed.is_empty()
    }

    /// Asks an idle peer for the last group that a slower one has before it. Says whether it did.
    fn duplicate_one(&mut self, ix: PeerIx, slow: &[Backlog], now: Duration) -> bool {
        if slow.is_empty() {
            return false;
        }
        let n_duplicates = self.owners.values().filter(|owners| owners.len() > 1).count();
        if n_duplicates >= self.config.max_duplicates {
            return false;
        }
        let groups = slow.iter().flat_map(|slow| self.peers[&slow.peer].requests.iter().rev());
        let group = groups
            .filter_map(|id| self.requests.get(id))
            .flat_map(|request| request.awaited().rev())
            .find(|&group| self.peers[&ix].has(group) && self.owners[&group].len() == 1);
        if let Some(group) = group {
            self.ask(ix, vec![group], now);
        }
        group.is_some()
    }
}
