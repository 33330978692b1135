//! Providers: slots in front of a line, as the node has them, and the line itself.

use std::collections::VecDeque;

use hive_fetch::slots::{Full, Slot};
use hive_fetch::{Asked, Has, RequestId};
use hive_protocol::limits::GROUP_LEN;

use super::{SECOND, Sim};
use crate::queue::{Event, Moment, Refusal};
use crate::world::Lie;

/// A request that waited this long is told to come again.
const MAX_WAIT: Moment = 10 * SECOND;
/// How often a group that takes long gives a sign of life.
const SLICE: Moment = 4 * SECOND;

/// A request on its way.
pub(super) struct Transfer {
    pub(super) fetch: u32,
    pub(super) request: RequestId,
    pub(super) provider: u32,
    reader: u32,
    asked: Vec<Asked>,
    groups: VecDeque<u32>,
    pub(super) last: Option<u32>,
    pub(super) alive_at: Moment,
    slot: Option<Slot<u32>>,
    /// What its group takes of both lines, and since when.
    rate: f64,
    since: Moment,
    /// Bytes of groups that came.
    came: u64,
}

impl Transfer {
    pub(super) fn new(
        fetch: u32,
        request: RequestId,
        provider: u32,
        reader: u32,
        asked: Vec<Asked>,
        now: Moment,
    ) -> Self {
        Self {
            fetch,
            request,
            provider,
            reader,
            asked,
            groups: VecDeque::new(),
            last: None,
            alive_at: now,
            slot: None,
            rate: 0.0,
            since: now,
            came: 0,
        }
    }
}

/// What a line gives one more: an even share, or what the others leave.
fn part_of(line: f64, n_others: u32, taken: f64) -> f64 {
    (line / f64::from(n_others + 1)).max(line - taken)
}

impl Sim {
    pub(super) fn on_asked(&mut self, transfer: u64) {
        let Some(asked) = self.transfers.get(transfer) else { return };
        let (provider, reader) = (asked.provider, asked.reader);
        let n_groups: u32 = asked.asked.iter().map(|range| range.n).sum();
        let home = &mut self.world.nodes[provider as usize];
        // Nobody answers: the silence is noticed by the reader.
        if !home.online || home.lie == Some(Lie::Silent) {
            return;
        }
        home.serving.push(transfer);
        let cost = u64::from(n_groups) * GROUP_LEN;
        match home.slots.push(reader, cost, transfer) {
            Ok(()) => {
                self.queue.at(self.now + MAX_WAIT, Event::Waited { transfer });
                self.pump(provider);
            }
            Err(Full(transfer)) => self.refuse(transfer, Refusal::Busy),
        }
    }

    fn refuse(&mut self, transfer: u64, how: Refusal) {
        let Some(refused) = self.transfers.get(transfer) else { return };
        let (fetch, request) = (refused.fetch, refused.request.0);
        let arrives = self.now + self.world.latency(refused.provider, refused.reader);
        self.queue.at(arrives, Event::Refused { fetch, request, how });
    }

    pub(super) fn on_waited(&mut self, transfer: u64) {
        let Some(waited) = self.transfers.get(transfer) else { return };
        if waited.slot.is_none() && waited.since + MAX_WAIT <= self.now {
            let slots = &mut self.world.nodes[waited.provider as usize].slots;
            if !slots.take_if(|waiting| *waiting == transfer).is_empty() {
                self.refuse(transfer, Refusal::Busy);
            }
        }
    }

    /// Serves whoever is next, as long as there is a slot. How often a part was sent before, which a
    /// node prefers by, is not modelled: all parts count as equal, and peers go by turns.
    fn pump(&mut self, provider: u32) {
        while let Some((slot, transfer)) = self.world.nodes[provider as usize].slots.next(|_| 0) {
            let Some(next) = self.transfers.get(transfer) else {
                self.world.nodes[provider as usize].slots.done(slot);
                continue;
            };
            let (fetch, request) = (next.fetch, next.request);
            let model = self.fetches[fetch as usize].as_ref().map(|fetch| fetch.model);
            let granted = model.map_or(Vec::new(), |model| self.grant(transfer, model));
            if granted.is_empty() {
                self.world.nodes[provider as usize].slots.done(slot);
                self.refuse(transfer, Refusal::NotHeld);
                continue;
            }
            self.granted(fetch, request, &granted);
            let geometry = model.map(|model| &self.world.models[model as usize].geometry);
            let chunks = geometry.map_or(&[][..], |geometry| geometry.chunks());
            let groups = granted.iter().flat_map(|range| {
                let first = chunks[range.chunk].first_group + range.first;
                first..first + range.n
            });
            let groups = groups.collect();
            if let Some(begun) = self.transfers.get_mut(transfer) {
                (begun.slot, begun.groups) = (Some(slot), groups);
                self.send(transfer, true);
            }
        }
    }

    /// The beginnings of the ranges that are held, each up to its first missing group.
    fn grant(&self, transfer: u64, model: u16) -> Vec<Asked> {
        let Some(asked) = self.transfers.get(transfer) else { return Vec::new() };
        let part = match self.holding(asked.provider, model) {
            Has::All => return asked.asked.clone(),
            Has::Bitfield(part) => part,
            _ => return Vec::new(),
        };
        let chunks = self.world.models[model as usize].geometry.chunks();
        let cut = asked.asked.iter().map(|range| {
            let first = chunks[range.chunk].first_group + range.first;
            let held = (first..first + range.n).take_while(|group| part.contains(*group)).count();
            Asked { n: held as u32, ..*range }
        });
        cut.filter(|range| range.n > 0).collect()
    }

    /// Begins the next group. What follows another is on its way while that one still travels.
    fn send(&mut self, transfer: u64, is_first: bool) {
        let Some(sending) = self.transfers.get_mut(transfer) else { return };
        let (provider, reader) = (sending.provider as usize, sending.reader as usize);
        let (from, to) = (&self.world.nodes[provider], &self.world.nodes[reader]);
        let up = part_of(from.up, from.n_out, from.out_rate);
        let down = part_of(to.down, to.n_in, to.in_rate);
        let rate = up.min(down).max(1_000.0);
        (sending.rate, sending.since) = (rate, self.now);
        let takes = (GROUP_LEN as f64 / rate * 1e6) as Moment;
        let from = &mut self.world.nodes[provider];
        (from.n_out, from.out_rate) = (from.n_out + 1, from.out_rate + rate);
        let to = &mut self.world.nodes[reader];
        (to.n_in, to.in_rate) = (to.n_in + 1, to.in_rate + rate);
        let way = self.world.latency(provider as u32, reader as u32);
        let arrives = self.now + takes + if is_first { way } else { 0 };
        if takes > SLICE {
            self.queue.at(self.now + SLICE, Event::Slice { transfer });
        }
        self.queue.at(arrives, Event::Group { transfer });
    }

    /// Gives both lines back.
    fn pause(&mut self, transfer: u64) {
        let Some(sending) = self.transfers.get_mut(transfer) else { return };
        let rate = std::mem::take(&mut sending.rate);
        if rate > 0.0 {
            let from = &mut self.world.nodes[sending.provider as usize];
            from.n_out -= 1;
            from.out_rate = if from.n_out == 0 { 0.0 } else { from.out_rate - rate };
            let to = &mut self.world.nodes[sending.reader as usize];
            to.n_in -= 1;
            to.in_rate = if to.n_in == 0 { 0.0 } else { to.in_rate - rate };
        }
    }

    pub(super) fn on_slice(&mut self, transfer: u64) {
        let Some(sending) = self.transfers.get_mut(transfer).filter(|it| it.rate > 0.0) else {
            return;
        };
        // A slice that belongs to an earlier group says nothing of this one.
        let elapsed = self.now - sending.since;
        if elapsed < SLICE {
            return;
        }
        sending.alive_at = self.now;
        let bytes = sending.came + (sending.rate * elapsed as f64 / 1e6) as u64;
        let (fetch, request) = (sending.fetch, sending.request);
        self.queue.at(self.now + SLICE, Event::Slice { transfer });
        self.received(fetch, request, bytes);
        self.plan(fetch);
    }

    pub(super) fn on_group(&mut self, transfer: u64) {
        self.pause(transfer);
        let Some(came) = self.transfers.get_mut(transfer) else { return };
        let (fetch, provider) = (came.fetch, came.provider);
        let Some(group) = came.groups.pop_front() else { return };
        came.alive_at = self.now;
        came.came += GROUP_LEN;
        let forged = self.forges(provider);
        let goes_on = self.take_group(transfer, group, forged);
        if self.transfers.get(transfer).is_some_and(|it| goes_on && !it.groups.is_empty()) {
            self.send(transfer, false);
        } else {
            self.request_done(transfer);
        }
        self.plan(fetch);
    }

    /// Ends a request, whoever wants it ended.
    pub(super) fn drop_transfer(&mut self, transfer: u64) {
        let Some(dropped) = self.transfers.get(transfer) else { return };
        let planner = self.fetches[dropped.fetch as usize].as_ref().map(|fetch| &fetch.planner);
        let is_here = dropped
            .groups
            .front()
            .is_some_and(|&group| planner.is_some_and(|planner| !planner.wants(group)));
        self.drop_in_the_middle(transfer, is_here);
    }

    /// Ends a request. What came of the group that is being sent came twice if that group is here by
    /// now from somebody else.
    pub(super) fn drop_in_the_middle(&mut self, transfer: u64, is_here: bool) {
        if let Some(dropped) = self.transfers.get(transfer).filter(|it| it.rate > 0.0) {
            let sent = dropped.rate * (self.now - dropped.since) as f64 / 1e6;
            let bytes = (sent as u64).min(GROUP_LEN);
            *(if is_here { &mut self.report.twice } else { &mut self.report.cut }) += bytes;
        }
        self.pause(transfer);
        let Some(dropped) = self.transfers.remove(transfer) else { return };
        let home = &mut self.world.nodes[dropped.provider as usize];
        home.serving.retain(|other| *other != transfer);
        if let Some(slot) = dropped.slot {
            home.slots.done(slot);
            self.pump(dropped.provider);
        } else {
            home.slots.take_if(|waiting| *waiting == transfer);
        }
    }

    /// A node goes: what it sends ends in the middle, and its queue with it.
    pub(super) fn stop_serving(&mut self, node: u32) {
        for transfer in std::mem::take(&mut self.world.nodes[node as usize].serving) {
            self.pause(transfer);
            self.transfers.remove(transfer);
        }
        self.world.nodes[node as usize].slots =
            hive_fetch::slots::Slots::new(hive_fetch::slots::SLOTS);
    }

    /// Whether a liar of this kind forges its next group.
    pub(super) fn forges(&mut self, provider: u32) -> bool {
        let home = &mut self.world.nodes[provider as usize];
        home.n_sent = home.n_sent.saturating_add(1);
        match home.lie {
            Some(Lie::Always) => true,
            Some(Lie::After(n_good)) => home.n_sent > n_good,
            Some(Lie::Silent) | None => false,
        }
    }
}
