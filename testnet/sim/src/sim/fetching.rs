//! Readers: what the driver of a node does, with the same planner, roster and search.

mod ending;
mod looking;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hive_fetch::{Asked, End, Planner, RequestId, Roster, Search, Step, Strike};
use hive_protocol::Bitfield;

use super::serving::Transfer;
use super::{SECOND, Sim};
use crate::config::{Broken, PROVIDER_TIMEOUT};
use crate::queue::{Event, Moment, Refusal};

/// Holders that a search keeps in view, as the node has it.
const CANDIDATES: usize = 64;
/// How long a request may be silent.
const SILENT: Moment = 15 * SECOND;
/// Chunks whose hashes are had along with those that are needed now.
const PROOFS_AHEAD: usize = 32;

/// A fetch that is going on.
pub(super) struct Fetch {
    pub(super) node: u32,
    pub(super) model: u16,
    pub(super) planner: Planner,
    roster: Roster<u32>,
    pub(super) search: Search<u32>,
    pub(super) searching: bool,
    requests: BTreeMap<RequestId, u64>,
    /// Chunks whose group hashes are here.
    proven: Vec<bool>,
    began: Moment,
    ideal: Option<f64>,
    round_at: Moment,
    n_asked: u32,
    wake_at: Moment,
    polling: bool,
    /// Until when it goes on with nobody to ask.
    hope: Option<Moment>,
    gave_at: Moment,
    /// When bytes came last, or the fetch began.
    heard_at: Moment,
    told_first: bool,
    liars: BTreeSet<u32>,
    forged: bool,
}

impl Sim {
    pub(super) fn start_fetch(&mut self, node: u32, model: u16, have: Bitfield, resumed: bool) {
        let geometry = Arc::clone(&self.world.models[model as usize].geometry);
        // As the driver of a node has it.
        let config = hive_fetch::Config { stall: Duration::from_secs(20), ..Default::default() };
        let ideal = self.ideal_secs(node, model, geometry.size());
        let n_chunks = geometry.chunks().len();
        let fetch = self.fetches.len() as u32;
        self.fetches.push(Some(Box::new(Fetch {
            node,
            model,
            planner: Planner::new(geometry, have, config, self.dice.roll()),
            roster: Roster::default(),
            search: Search::new(CANDIDATES),
            searching: false,
            requests: BTreeMap::new(),
            proven: vec![false; n_chunks],
            began: self.now,
            ideal: ideal.filter(|_| !resumed),
            round_at: self.now,
            n_asked: 0,
            wake_at: Moment::MAX,
            polling: false,
            hope: None,
            gave_at: self.now,
            heard_at: self.now,
            told_first: resumed,
            liars: BTreeSet::new(),
            forged: false,
        })));
        self.world.nodes[node as usize].fetches.push(fetch);
        self.report.fetches += 1;
        self.queue.at(self.now, Event::Round { fetch });
        self.plan(fetch);
    }

    /// Seconds that it would take if every honest holder that is there and can be met gave all it
    /// has to this reader, and nothing took time but the bytes.
    fn ideal_secs(&self, node: u32, model: u16, bytes: u64) -> Option<f64> {
        let holders = self.world.models[model as usize].holders.iter();
        let useful = holders.filter(|&&peer| {
            let home = &self.world.nodes[peer as usize];
            peer != node && home.online && home.lie.is_none() && self.world.meets(node, peer)
        });
        let up: f64 = useful.map(|&peer| self.world.nodes[peer as usize].up).sum();
        (up > 0.0).then(|| bytes as f64 / up.min(self.world.nodes[node as usize].down))
    }

    pub(super) fn on_wake(&mut self, fetch: u32) {
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        if going.wake_at <= self.now {
            going.wake_at = Moment::MAX;
            self.plan(fetch);
        }
    }

    /// Does what the planner says until it says to wait.
    pub(super) fn plan(&mut self, fetch: u32) {
        let time = self.time();
        let until = loop {
            let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
            match going.planner.next(time) {
                Step::Request { id, peer, ranges } => {
                    self.queue.note(peer, id, ranges[0].chunk);
                    let peer = going.roster.peer(peer);
                    self.request(fetch, id, peer, ranges);
                }
                Step::Cancel { id } => {
                    if let Some(transfer) = going.requests.remove(&id) {
                        self.drop_transfer(transfer);
                    }
                }
                Step::Truncate { id, last } => {
                    let transfer = going.requests.get(&id).copied();
                    if let Some(transfer) = transfer.and_then(|key| self.transfers.get_mut(key)) {
                        transfer.last = Some(last);
                    }
                }
                Step::Wait { until } => {
                    going.hope = None;
                    break until.as_micros() as Moment + 1;
                }
                Step::Done => return self.complete(fetch),
                Step::Stuck => {
                    let patience = PROVIDER_TIMEOUT.as_micros() as Moment;
                    let hope = *going.hope.get_or_insert(self.now + patience);
                    if self.now >= hope {
                        return self.give_up(fetch);
                    }
                    break hope;
                }
            }
        };
        let going = self.fetches[fetch as usize].as_mut().expect("it is here");
        if until < going.wake_at {
            going.wake_at = until;
            self.queue.at(until, Event::Wake { fetch });
        }
    }

    fn request(&mut self, fetch: u32, id: RequestId, peer: u32, asked: Vec<Asked>) {
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        let latency = self.world.latency(going.node, peer);
        // Group hashes first, where they are not here; some more along with them.
        let lacks = asked.iter().any(|range| !going.proven[range.chunk]);
        if let (true, Some(last)) = (lacks, asked.iter().map(|range| range.chunk).max()) {
            for range in &asked {
                going.proven[range.chunk] = true;
            }
            going.proven[last..]
                .iter_mut()
                .take(PROOFS_AHEAD + 1)
                .for_each(|proven| *proven = true);
        }
        let proof = if lacks { 2 * latency } else { 0 };
        let transfer = Transfer::new(fetch, id, peer, going.node, asked, self.now);
        let key = self.transfers.insert(transfer);
        going.requests.insert(id, key);
        self.queue.at(self.now + proof + latency, Event::Asked { transfer: key });
        self.queue.at(self.now + SILENT, Event::Watch { transfer: key });
    }

    /// Drops transfers whose requests the planner closed without a word, since their peer left.
    fn drop_stale(&mut self, fetch: u32) {
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        let roster = &going.roster;
        let gone = |key: &u64| {
            self.transfers.get(*key).is_none_or(|transfer| !roster.is_here(transfer.provider))
        };
        let stale: Vec<(RequestId, u64)> = going
            .requests
            .iter()
            .filter(|(_, key)| gone(key))
            .map(|(id, key)| (*id, *key))
            .collect();
        for (id, key) in stale {
            if let Some(going) = self.fetches[fetch as usize].as_mut() {
                going.requests.remove(&id);
            }
            self.drop_transfer(key);
        }
    }

    pub(super) fn on_refused(&mut self, fetch: u32, request: u64, how: Refusal) {
        let (request, time) = (RequestId(request), self.time());
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        if let Some(key) = going.requests.remove(&request) {
            self.drop_transfer(key);
        }
        let end = match how {
            Refusal::Busy => End::Busy { retry_ms: 500 },
            Refusal::NotHeld => End::NotHeld,
        };
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        going.planner.ended(request, end, time);
        self.plan(fetch);
    }

    /// Nothing came of a request for too long.
    pub(super) fn on_watch(&mut self, transfer: u64) {
        let Some(watched) = self.transfers.get(transfer) else { return };
        let due = watched.alive_at + SILENT;
        if due > self.now {
            return self.queue.at(due, Event::Watch { transfer });
        }
        let (fetch, id, peer) = (watched.fetch, watched.request, watched.provider);
        let time = self.time();
        self.drop_transfer(transfer);
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        going.requests.remove(&id);
        going.planner.ended(id, End::Failed, time);
        if going.roster.fault(peer, "too slow", time) {
            self.lose(fetch, peer);
            let going = self.fetches[fetch as usize].as_mut();
            if going.is_some_and(|going| going.roster.ask(peer, time).is_some()) {
                self.ask_have(fetch, peer);
            }
        }
        self.plan(fetch);
    }

    /// Bytes of a request came: a sign of life.
    pub(super) fn received(&mut self, fetch: u32, request: RequestId, bytes: u64) {
        if self.is_deaf(fetch) {
            return;
        }
        let time = self.time();
        if let Some(going) = self.fetches[fetch as usize].as_mut() {
            going.heard_at = self.now;
            going.planner.received(request, bytes, time);
        }
    }

    /// Whether a fetch is one of those that were broken so that they stall.
    fn is_deaf(&self, fetch: u32) -> bool {
        self.config.broken == Broken::Stalls && fetch.is_multiple_of(4)
    }

    /// A group came. Says whether more of its request is wanted.
    pub(super) fn take_group(&mut self, key: u64, group: u32, forged: bool) -> bool {
        let Some(transfer) = self.transfers.get(key) else { return false };
        let (fetch, id, peer, last) =
            (transfer.fetch, transfer.request, transfer.provider, transfer.last);
        if self.is_deaf(fetch) {
            return false;
        }
        let time = self.time();
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return false };
        let len = self.world.models[going.model as usize].geometry.group_len(group);
        if forged {
            self.report.forged += len;
            if going.liars.insert(peer) {
                self.n_met_liars += 1;
            }
            if self.config.broken != Broken::TrustsLiars {
                let node = going.node;
                let strike = going.planner.group_bad(id, group, time);
                going.requests.remove(&id);
                self.drop_transfer(key);
                if strike == Strike::Banned {
                    self.ban(node, peer);
                }
                return false;
            }
            going.forged = true;
        }
        if !going.planner.wants(group) {
            self.report.twice += len;
        }
        going.planner.group_verified(id, group, time);
        going.roster.gave(peer, time);
        going.gave_at = self.now;
        going.heard_at = self.now;
        self.report.bytes += len;
        let told = going.told_first || {
            let geometry = &self.world.models[going.model as usize].geometry;
            let chunk = geometry.chunks()[geometry.chunk_of(group)];
            !chunk.groups().all(|group| going.planner.progress().contains(group))
        };
        if !told {
            going.told_first = true;
            let (node, model) = (going.node, going.model);
            let session = self.world.nodes[node as usize].session;
            self.queue.at(self.now + SECOND, Event::Provide { node, session, model });
        }
        last != Some(group)
    }

    /// A request has brought all that it could.
    pub(super) fn request_done(&mut self, key: u64) {
        let Some(transfer) = self.transfers.get(key) else { return };
        let (fetch, id) = (transfer.fetch, transfer.request);
        let time = self.time();
        self.drop_transfer(key);
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        going.requests.remove(&id);
        going.planner.ended(id, End::Done, time);
    }

    /// What a provider granted of a request.
    pub(super) fn granted(&mut self, fetch: u32, request: RequestId, ranges: &[Asked]) {
        let time = self.time();
        if let Some(going) = self.fetches[fetch as usize].as_mut() {
            going.planner.granted(request, ranges, time);
        }
    }
}
