//! The planner: what it is told.
//!
//! `pick` chooses what to ask next, `tail` takes work from peers that are too slow with it.

mod pick;
mod tail;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hive_protocol::{Bitfield, Geometry};

use crate::config::Config;
use crate::demand::{Demand, Demands};
use crate::dice::Dice;
use crate::missing::Missing;
use crate::peer::{Has, Holds, Peer, PeerIx, PeerStats, Quality};
use crate::set::GroupSet;
use crate::step::{Asked, End, RequestId, Step, Strike};

/// Requests that are over and whose sender is still remembered, so that what arrives late is
/// credited or struck to the right peer.
const REMEMBERED: usize = 1_024;

/// The least that a busy peer is left alone, whatever it says.
const LEAST_RETRY: Duration = Duration::from_millis(250);

/// Says what to ask of whom next. See the crate's documentation.
#[derive(Debug)]
pub struct Planner {
    geometry: Arc<Geometry>,
    config: Config,
    dice: Dice,
    present: Bitfield,
    missing: Missing,
    demands: Demands,
    peers: BTreeMap<PeerIx, Peer>,
    requests: BTreeMap<RequestId, Request>,
    /// Who is asked for each group in flight: one request, at the tail two.
    owners: BTreeMap<u32, Vec<RequestId>>,
    over: BTreeMap<RequestId, PeerIx>,
    steps: VecDeque<Step>,
    /// Groups awaited, those asked twice counted twice.
    in_flight: u32,
    n_requests: u64,
    n_picks: u32,
    /// Grows when a group returns to the missing.
    epoch: u64,
}

#[derive(Debug)]
struct Request {
    peer: PeerIx,
    slots: Vec<Slot>,
    asked_at: Duration,
    /// When its peer began with it; until then it waits in a queue.
    granted_at: Option<Duration>,
    /// When bytes of it came last.
    moved_at: Option<Duration>,
    /// Bytes that came, as far as told.
    seen: u64,
    verified: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    group: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Awaited,
    Received,
    /// Given to somebody else, or present by other means.
    Moot,
}

impl Request {
    /// Whether it is not in a queue.
    fn has_begun(&self) -> bool {
        self.granted_at.is_some() || self.seen > 0
    }

    fn awaited(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.slots.iter().filter(|slot| slot.state == State::Awaited).map(|slot| slot.group)
    }
}

impl Planner {
    /// A planner for a model of which `have` is present already.
    ///
    /// All chance comes from `seed`: nodes should differ in it, tests should not.
    pub fn new(geometry: Arc<Geometry>, have: Bitfield, config: Config, seed: u64) -> Self {
        let mut present = Bitfield::empty(geometry.n_groups());
        for group in have.iter().take_while(|&group| group < geometry.n_groups()) {
            present.insert(group);
        }
        let mut dice = Dice::new(seed);
        let missing = Missing::new(Arc::clone(&geometry), &present, &mut dice);
        Self {
            geometry,
            config,
            dice,
            present,
            missing,
            demands: Demands::default(),
            peers: BTreeMap::new(),
            requests: BTreeMap::new(),
            owners: BTreeMap::new(),
            over: BTreeMap::new(),
            steps: VecDeque::new(),
            in_flight: 0,
            n_requests: 0,
            n_picks: 0,
            epoch: 0,
        }
    }

    /// Makes groups urgent, or normal again. Every group is wanted also without a demand.
    pub fn demand(&mut self, demand: Demand) {
        self.demands.set(demand, self.geometry.n_groups());
    }

    /// A peer came, or came back: strikes, bans and waits from before still hold. It has nothing
    /// until [`Self::peer_has`].
    pub fn peer_joined(&mut self, peer: PeerIx, quality: Quality, _now: Duration) {
        let peer = self.peers.entry(peer).or_insert_with(Peer::new);
        peer.here = true;
        peer.relayed = quality.relayed;
        peer.unsupported = false;
        peer.refusals = 0;
    }

    /// A peer said what it has. Of a peer that is not here it is ignored.
    pub fn peer_has(&mut self, peer: PeerIx, has: Has) {
        let n_groups = self.geometry.n_groups();
        let Some(known) = self.peers.get_mut(&peer).filter(|known| known.here) else { return };
        known.starved = None;
        known.refusals = 0;
        let holds = match has {
            Has::All => Holds::All,
            Has::Bitfield(field) => Holds::Some(GroupSet::of(&field, n_groups)),
            Has::None => Holds::None,
            Has::Added(ranges) => {
                // A poll that brings nothing new costs nothing, one that brings little costs little.
                self.missing.add_held(&mut known.holds, ranges);
                return;
            }
        };
        self.set_holds(peer, holds);
    }

    /// A peer went: its groups are missing again. One that goes while something is asked of it is
    /// left alone for a while should it come back.
    pub fn peer_left(&mut self, peer: PeerIx, now: Duration) {
        self.set_holds(peer, Holds::None);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.here = false;
        if known.in_flight > 0 {
            known.back_off(now, &self.config);
        }
        for id in known.requests.clone() {
            self.close(id);
        }
    }

    /// Bytes of a request arrived: `bytes` in all so far, verified or not; fewer than were told before
    /// if it was asked anew. A sign of life; without it a peer that takes over 15 s for a group counts
    /// as stalled, and with it one that takes three times as long.
    pub fn received(&mut self, request: RequestId, bytes: u64, now: Duration) {
        let Some(asked) = self.requests.get_mut(&request) else { return };
        let Some(peer) = self.peers.get_mut(&asked.peer) else { return };
        if bytes < asked.seen {
            asked.seen = bytes.max(asked.verified);
            peer.alive_at = now;
        }
        let new = bytes.saturating_sub(asked.seen);
        if new > 0 {
            asked.seen = bytes;
            asked.moved_at = Some(now);
            peer.alive_at = now;
            peer.brought(new, now);
        }
    }

    /// The peer granted these ranges of a request: what it did not grant is missing again.
    pub fn granted(&mut self, request: RequestId, ranges: &[Asked], now: Duration) {
        let Some(asked) = self.requests.get_mut(&request) else { return };
        asked.granted_at = asked.granted_at.or(Some(now));
        if let Some(peer) = self.peers.get_mut(&asked.peer) {
            peer.granted_after(now.saturating_sub(asked.asked_at));
        }
        let chunks = self.geometry.chunks();
        let granted = |group: u32| {
            ranges.iter().any(|range| {
                chunks.get(range.chunk).is_some_and(|chunk| {
                    let first = chunk.first_group.saturating_add(range.first);
                    (first..first.saturating_add(range.n)).contains(&group)
                })
            })
        };
        let refused: Vec<u32> =
            asked.slots.iter().map(|slot| slot.group).filter(|&group| !granted(group)).collect();
        for &group in &refused {
            self.release(request, group);
        }
        if let Some(asked) = self.requests.get_mut(&request) {
            asked.slots.retain(|slot| !refused.contains(&slot.group));
        }
        self.cut(request);
    }

    /// A group of a request was verified and written. Also for a request that is over: what came
    /// late is taken all the same.
    pub fn group_verified(&mut self, request: RequestId, group: u32, now: Duration) {
        if group >= self.geometry.n_groups() {
            return;
        }
        let len = self.geometry.group_len(group);
        let is_new = self.settle(group, Some(request));
        let mut arrived = 0;
        if let Some(asked) = self.requests.get_mut(&request) {
            asked.verified += len;
            arrived = asked.verified.saturating_sub(asked.seen);
            asked.seen += arrived;
        }
        if let Some(peer) = self.sender(request).and_then(|peer| self.peers.get_mut(&peer)) {
            peer.brought(arrived, now);
            peer.alive_at = now;
            peer.group_since = now;
            peer.verified_bytes += if is_new { len } else { 0 };
            peer.gave(&self.config);
        }
        if self.requests.get(&request).is_some_and(|asked| asked.awaited().next().is_none()) {
            self.close(request);
        }
    }

    /// A group did not verify. The request is over: drop its stream. All that was asked of the peer
    /// is missing again; its other requests are cancelled by the next steps.
    pub fn group_bad(&mut self, request: RequestId, _group: u32, now: Duration) -> Strike {
        let Some(sender) = self.sender(request) else { return Strike::First };
        let Some(peer) = self.peers.get_mut(&sender) else { return Strike::First };
        peer.strikes += 1;
        peer.proven = false;
        peer.allowance = 1;
        let banned = peer.strikes >= self.config.strikes;
        if banned {
            peer.banned_until = Some(now + self.config.ban);
        }
        for id in peer.requests.clone() {
            self.close(id);
            if id != request {
                self.steps.push_back(Step::Cancel { id });
            }
        }
        if banned { Strike::Banned } else { Strike::First }
    }

    /// A request ended. What of it did not come is missing again.
    pub fn ended(&mut self, request: RequestId, end: End, now: Duration) {
        let Some(asked) = self.requests.get(&request) else { return };
        let sender = asked.peer;
        let brought_nothing = asked.slots.iter().all(|slot| slot.state != State::Received);
        let awaited: Vec<u32> = asked.awaited().collect();
        self.close(request);
        let Some(peer) = self.peers.get_mut(&sender) else { return };
        match end {
            End::Busy { retry_ms } => {
                let wait =
                    Duration::from_millis(retry_ms).clamp(LEAST_RETRY, self.config.max_backoff);
                // So that all who were refused at once do not come back at once.
                let wait = wait.mul_f64(1.0 + self.dice.fraction() / 2.0);
                peer.retry_at = peer.retry_at.max(now + wait);
            }
            End::NotHeld => self.refused(sender, &awaited),
            End::Failed => peer.back_off(now, &self.config),
            // A peer that answers and sends nothing would be asked for ever.
            End::Done if brought_nothing => peer.back_off(now, &self.config),
            End::Unsupported => peer.unsupported = true,
            End::Done | End::Cancelled => {}
        }
    }

    /// A group is here by other means, such as a chunk that another model has too.
    pub fn have_locally(&mut self, group: u32) {
        if group < self.geometry.n_groups() {
            self.settle(group, None);
        }
    }

    /// The groups that are here.
    pub fn progress(&self) -> &Bitfield {
        &self.present
    }

    /// Whether a group is neither here nor, so far as told, bad: bytes for it are worth verifying.
    pub fn wants(&self, group: u32) -> bool {
        group < self.geometry.n_groups() && !self.present.contains(group)
    }

    /// Groups asked for and awaited; one that is asked of two peers counts twice.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// What every peer has done, also those that went.
    pub fn peers(&self) -> impl Iterator<Item = (PeerIx, PeerStats)> + '_ {
        self.peers.iter().map(|(&ix, peer)| (ix, peer.stats()))
    }

    /// Who was asked, also when the request is over.
    fn sender(&self, request: RequestId) -> Option<PeerIx> {
        let asked = self.requests.get(&request).map(|asked| asked.peer);
        asked.or_else(|| self.over.get(&request).copied())
    }

    /// A group is present. Whoever else was asked for it need not send it.
    fn settle(&mut self, group: u32, by: Option<RequestId>) -> bool {
        let is_new = self.present.insert(group);
        self.missing.take(group);
        for id in self.owners.get(&group).cloned().unwrap_or_default() {
            if Some(id) == by {
                self.mark(id, group, State::Received);
            } else {
                self.mark(id, group, State::Moot);
                self.cut(id);
            }
        }
        is_new
    }

    /// Stops awaiting a group of a request.
    fn mark(&mut self, id: RequestId, group: u32, state: State) {
        let Some(asked) = self.requests.get_mut(&id) else { return };
        let is_it = |slot: &&mut Slot| slot.group == group && slot.state == State::Awaited;
        let Some(slot) = asked.slots.iter_mut().find(is_it) else { return };
        slot.state = state;
        self.in_flight -= 1;
        if let Some(peer) = self.peers.get_mut(&asked.peer) {
            peer.in_flight -= 1;
        }
        if let Some(owners) = self.owners.get_mut(&group) {
            owners.retain(|&owner| owner != id);
            if owners.is_empty() {
                self.owners.remove(&group);
            }
        }
    }

    /// Stops awaiting a group of a request; it is missing again unless another request awaits it.
    fn release(&mut self, id: RequestId, group: u32) {
        self.mark(id, group, State::Moot);
        if !self.present.contains(group) && !self.owners.contains_key(&group) {
            self.missing.put(group);
            self.epoch += 1;
        }
    }

    /// Ends a request; what it awaited is missing again.
    fn close(&mut self, id: RequestId) {
        let Some(asked) = self.requests.get(&id) else { return };
        let sender = asked.peer;
        for group in asked.awaited().collect::<Vec<_>>() {
            self.release(id, group);
        }
        self.requests.remove(&id);
        if let Some(peer) = self.peers.get_mut(&sender) {
            peer.requests.retain(|&other| other != id);
        }
        self.over.insert(id, sender);
        if self.over.len() > REMEMBERED {
            self.over.pop_first();
        }
    }

    /// Tells the caller to read less of a request, or nothing more, if its end is not awaited.
    fn cut(&mut self, id: RequestId) {
        let Some(asked) = self.requests.get_mut(&id) else { return };
        let Some(last) = asked.slots.iter().rposition(|slot| slot.state == State::Awaited) else {
            self.close(id);
            self.steps.push_back(Step::Cancel { id });
            return;
        };
        if asked.slots[last + 1..].iter().any(|slot| slot.state == State::Moot) {
            asked.slots.truncate(last + 1);
            self.steps.push_back(Step::Truncate { id, last: asked.slots[last].group });
        }
    }

    /// A peer does not hold what it was asked for.
    fn refused(&mut self, sender: PeerIx, groups: &[u32]) {
        let n_groups = self.geometry.n_groups();
        let Some(peer) = self.peers.get_mut(&sender) else { return };
        peer.refusals += 1;
        let holds = if peer.refusals >= self.config.max_refusals {
            Holds::None
        } else {
            let mut left = match std::mem::replace(&mut peer.holds, Holds::None) {
                Holds::All => GroupSet::full(n_groups),
                Holds::Some(held) => {
                    self.count_holder(&held, false);
                    held
                }
                Holds::None => return,
            };
            for &group in groups {
                left.remove(group);
            }
            Holds::Some(left)
        };
        self.set_holds(sender, holds);
    }

    fn set_holds(&mut self, peer: PeerIx, holds: Holds) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if let Holds::Some(old) = std::mem::replace(&mut known.holds, Holds::None) {
            self.count_holder(&old, false);
        }
        if let Holds::Some(new) = &holds {
            self.count_holder(new, true);
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.holds = holds;
        }
    }

    /// Counts a partial holder in or out of the rarity of its chunks and groups.
    fn count_holder(&mut self, groups: &GroupSet, more: bool) {
        let (mut from, mut counted) = (0, None);
        while let Some(group) = groups.first_common(None, from..self.geometry.n_groups()) {
            let chunk = self.geometry.chunk_of(group);
            if counted != Some(chunk) {
                self.missing.count_holder(chunk, more);
                counted = Some(chunk);
            }
            self.missing.count_group(group, more);
            from = group + 1;
        }
    }
}

#[cfg(test)]
mod tests;
