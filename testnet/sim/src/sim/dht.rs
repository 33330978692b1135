//! Who is said in the DHT to have a model.
//!
//! A record stands with the twenty nodes that are nearest to the model's key and are there when it is
//! said; it is gone when they are. Bounds and times are those of `hive-swarm`.

use crate::queue::{Event, Moment};
use crate::sim::{SECOND, Sim};

/// Nodes that are told, and asked.
const NEAREST: usize = 20;
/// Records that a node keeps of a key, and gives in an answer.
const RECORDS_PER_KEY: usize = 256;
const PROVIDERS_PER_ANSWER: usize = 20;
/// Providers that one search yields.
const PROVIDERS_PER_SEARCH: usize = 64;
const RECORD_TTL: Moment = 24 * 3_600 * SECOND;
const REPROVIDE: Moment = 6 * 3_600 * SECOND;
/// Pauses before a search that found nobody is tried again.
const PAUSES: [Moment; 3] = [500_000, 1_500_000, 4_500_000];
/// Who joined within this time may not have told anybody yet.
const TELLING: Moment = 60 * SECOND;

impl Sim {
    fn nearest(&self, model: u16) -> impl Iterator<Item = u32> + '_ {
        let nodes = self.world.models[model as usize].nearest.iter().copied();
        nodes.filter(|&node| self.world.nodes[node as usize].online).take(NEAREST)
    }

    pub(super) fn on_provide(&mut self, node: u32, session: u32, model: u16) {
        if !self.is_here(node, session) {
            return;
        }
        let near: Vec<u32> = self.nearest(model).collect();
        let now = self.now;
        for server in near {
            let kept = self.records[model as usize].entry(server).or_default();
            if let Some(known) = kept.iter_mut().find(|(provider, _)| *provider == node) {
                known.1 = now + RECORD_TTL;
                continue;
            }
            if kept.len() >= RECORDS_PER_KEY {
                kept.retain(|(_, end)| *end > now);
            }
            if kept.len() < RECORDS_PER_KEY {
                kept.push((node, now + RECORD_TTL));
            }
        }
        let tenth = u64::from(self.dice.below(200)) * REPROVIDE / 1_000;
        let again = REPROVIDE * 9 / 10 + tenth;
        self.queue.at(now + again, Event::Provide { node, session, model });
    }

    /// Begins a search; the answers come after as many hops as there are bits to resolve.
    pub(super) fn search_dht(&mut self, fetch: u32, tries: u8, pause: Moment) {
        let Some(asked) = self.fetches[fetch as usize].as_ref() else { return };
        let n_servers = self.world.models[asked.model as usize].nearest.len();
        // Each hop resolves three bits or more, with buckets of twenty.
        let n_hops = (n_servers as f64 / NEAREST as f64).max(2.0).log2() / 3.0;
        let node = asked.node;
        let mut took = pause;
        for _ in 0..n_hops.ceil() as u32 {
            let hop = self.dice.below(self.config.nodes);
            // A connection and a question. Three are asked at once; one in a hundred times none of
            // them is there any more.
            took += 8 * self.world.latency(node, hop);
            took += if self.dice.below(100) == 0 { 5 * SECOND } else { 0 };
        }
        self.queue.at(self.now + took, Event::Found { fetch, tries });
    }

    pub(super) fn on_found(&mut self, fetch: u32, tries: u8) {
        let Some(asked) = self.fetches[fetch as usize].as_ref() else { return };
        let (node, model) = (asked.node, asked.model);
        let mut found: Vec<u32> = Vec::new();
        let near: Vec<u32> = self.nearest(model).collect();
        for server in near {
            let Some(kept) = self.records[model as usize].get(&server) else { continue };
            let live = kept.iter().filter(|(_, end)| *end > self.now);
            let mut live: Vec<u32> = live.map(|(provider, _)| *provider).collect();
            for drawn in 0..live.len().min(PROVIDERS_PER_ANSWER) {
                let left = (live.len() - drawn) as u32;
                live.swap(drawn, drawn + self.dice.below(left) as usize);
                let room = found.len() < PROVIDERS_PER_SEARCH;
                if room && live[drawn] != node && !found.contains(&live[drawn]) {
                    found.push(live[drawn]);
                }
            }
        }
        let honest = |&peer: &u32| {
            let home = &self.world.nodes[peer as usize];
            home.online && home.lie.is_none()
        };
        if tries == 0 {
            let told = |peer: &u32| self.now - self.world.nodes[*peer as usize].since >= TELLING;
            let holders = self.world.models[model as usize].holders.iter();
            let is_there = holders.filter(|peer| **peer != node && honest(peer)).any(told);
            self.report.lookups += u64::from(is_there);
            self.report.found += u64::from(is_there && found.iter().any(honest));
        }
        if let (true, Some(pause)) = (found.is_empty(), PAUSES.get(usize::from(tries))) {
            return self.search_dht(fetch, tries + 1, *pause);
        }
        if let Some(asked) = self.fetches[fetch as usize].as_mut() {
            asked.searching = false;
            for &peer in &found {
                asked.search.found(peer);
            }
        }
        for peer in found {
            self.on_candidate(fetch, peer);
        }
        self.round_soon(fetch);
    }
}
