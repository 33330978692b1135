//! Whom to ask: rounds of the search, candidates, what they say, and who is asked no more.

use hive_fetch::{Has, Quality};

use super::super::{SECOND, Sim};
use crate::config::{Broken, HUNG};
use crate::queue::{Event, Moment};

/// How often partial holders are polled.
const POLL: Moment = 2 * SECOND;
/// How long who lied is not asked.
const BAN: Moment = 3_600 * SECOND;
/// Fetches that a node is known to serve, before those that are over are forgotten.
const READERS: usize = 256;

impl Sim {
    pub(in crate::sim) fn on_round(&mut self, fetch: u32) {
        let now = self.now;
        let time = self.time();
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        if going.round_at != now || going.searching {
            return;
        }
        if now - going.gave_at > HUNG.as_micros() as Moment {
            return self.give_up(fetch);
        }
        going.searching = true;
        let (node, model) = (going.node, going.model);
        let holders = self.world.models[model as usize].holders.iter().copied();
        let heard = holders.filter(|&peer| peer != node && self.gossip.has_heard(node, peer));
        let known: Vec<u32> = heard.collect();
        let going = self.fetches[fetch as usize].as_mut().expect("it was here");
        let mut tried = going.search.round(known, |_| false, &mut self.dice, time);
        tried.extend(&self.world.nodes[node as usize].neighbours);
        for peer in tried {
            self.on_candidate(fetch, peer);
        }
        self.search_dht(fetch, 0, 0);
    }

    /// The next round, once the search in the DHT is over.
    pub(in crate::sim) fn round_soon(&mut self, fetch: u32) {
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        let due = (going.search.due().as_micros() as Moment).max(self.now);
        if !going.searching {
            going.round_at = due;
            self.queue.at(due, Event::Round { fetch });
        }
    }

    pub(super) fn is_banned(&self, node: u32, peer: u32) -> bool {
        let bans = &self.world.nodes[node as usize].bans;
        bans.iter().any(|(banned, until)| *banned == peer && *until > self.now)
    }

    pub(in crate::sim) fn on_candidate(&mut self, fetch: u32, peer: u32) {
        let time = self.time();
        let Some(going) = self.fetches[fetch as usize].as_ref() else { return };
        if going.node == peer || self.is_banned(going.node, peer) {
            return;
        }
        let going = self.fetches[fetch as usize].as_mut().expect("it is here");
        if self.config.broken == Broken::AsksOnce && going.n_asked > 0 {
            return;
        }
        if going.roster.candidate(peer, time).is_some() {
            going.n_asked += 1;
            self.ask_have(fetch, peer);
        }
    }

    /// Asks a peer what it has; the roster knows that it is being asked.
    pub(super) fn ask_have(&mut self, fetch: u32, peer: u32) {
        let Some(going) = self.fetches[fetch as usize].as_ref() else { return };
        let (reached, took) = match self.world.ask(going.node, peer) {
            Ok(took) => (true, took),
            Err(took) => (false, took),
        };
        self.queue.at(self.now + took, Event::Have { fetch, peer, reached });
    }

    /// What a peer says it has of a model.
    pub(in crate::sim) fn holding(&self, peer: u32, model: u16) -> Has {
        let home = &self.world.nodes[peer as usize];
        if home.holds.contains(&model) {
            return Has::All;
        }
        let fetches =
            home.fetches.iter().filter_map(|&fetch| self.fetches[fetch as usize].as_ref());
        let part = fetches.into_iter().find(|fetch| fetch.model == model);
        match part.map(|fetch| fetch.planner.progress()).filter(|part| part.count() > 0) {
            Some(part) => Has::Bitfield(part.clone()),
            None => Has::None,
        }
    }

    pub(in crate::sim) fn on_have(&mut self, fetch: u32, peer: u32, reached: bool) {
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        let is_there = reached && self.world.nodes[peer as usize].online;
        let (node, model) = (going.node, going.model);
        if going.roster.answered(peer, is_there).is_some() {
            return self.ban(node, peer);
        }
        if !is_there || self.is_banned(node, peer) {
            return;
        }
        let has = self.holding(peer, model);
        let time = self.time();
        let going = self.fetches[fetch as usize].as_mut().expect("it is here");
        let version = match &has {
            Has::None => {
                if let Some(ix) = going.roster.has_nothing(peer) {
                    going.planner.peer_has(ix, Has::None);
                }
                return;
            }
            Has::Bitfield(part) => u64::from(part.count()),
            _ => u64::MAX,
        };
        let Some(met) = going.roster.has(peer, version, has == Has::All) else { return };
        if met.is_new {
            going.planner.peer_joined(met.ix, Quality::default(), time);
            going.search.met(peer);
            self.world.nodes[peer as usize].readers.push(fetch);
        }
        if has != Has::All && !std::mem::replace(&mut going.polling, true) {
            self.queue.at(self.now + POLL, Event::Poll { fetch });
        }
        going.planner.peer_has(met.ix, has);
        let readers = &mut self.world.nodes[peer as usize].readers;
        if readers.len() >= READERS {
            readers.retain(|&reader| self.fetches[reader as usize].is_some());
        }
        self.plan(fetch);
    }

    pub(in crate::sim) fn on_poll(&mut self, fetch: u32) {
        let time = self.time();
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        let node = going.node;
        for peer in going.roster.due(time) {
            let asked = self.fetches[fetch as usize]
                .as_mut()
                .and_then(|going| going.roster.ask(peer, time));
            if asked.is_some() {
                let took = 2 * self.world.latency(node, peer);
                let reached = self.world.nodes[peer as usize].online;
                self.queue.at(self.now + took, Event::Have { fetch, peer, reached });
            }
        }
        self.queue.at(self.now + POLL, Event::Poll { fetch });
    }

    /// A node is gone, and those who read from it know.
    pub(in crate::sim) fn on_lost(&mut self, node: u32) {
        for fetch in std::mem::take(&mut self.world.nodes[node as usize].readers) {
            self.lose(fetch, node);
        }
    }

    pub(super) fn lose(&mut self, fetch: u32, peer: u32) {
        let time = self.time();
        let Some(going) = self.fetches[fetch as usize].as_mut() else { return };
        let Some(ix) = going.roster.left(peer) else { return };
        going.planner.peer_left(ix, time);
        going.search.left(peer, time);
        self.drop_stale(fetch);
        self.round_soon(fetch);
        self.plan(fetch);
    }

    /// A reader asks a peer no more, for an hour.
    pub(super) fn ban(&mut self, node: u32, peer: u32) {
        let now = self.now;
        let bans = &mut self.world.nodes[node as usize].bans;
        bans.retain(|(banned, until)| *banned != peer && *until > now);
        bans.push((peer, now + BAN));
        if self.world.nodes[peer as usize].lie.is_some() {
            self.report.bans += 1;
            self.liars_banned.insert(peer);
        } else {
            self.report.bans_of_honest += 1;
        }
        for fetch in self.world.nodes[node as usize].fetches.clone() {
            self.lose(fetch, peer);
        }
    }
}
