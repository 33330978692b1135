//! The loop, and homes that come and go.
//!
//! `fetching` drives planners, `serving` is the other side, `gossip` and `dht` say who is heard of.

mod dht;
mod fetching;
mod gossip;
mod serving;

use std::collections::BTreeMap;
use std::time::Duration;

use hive_fetch::Dice;
use hive_protocol::Bitfield;

use self::fetching::Fetch;
use self::gossip::Gossip;
use self::serving::Transfer;
use crate::config::{Config, KINDS};
use crate::queue::{Event, Moment, Queue};
use crate::report::{Report, quantile};
use crate::slab::Slab;
use crate::world::World;

pub(crate) const SECOND: Moment = 1_000_000;
/// A laptop that is closed says nothing: its silence is noticed by pings.
const SILENCE: Moment = 20 * SECOND;

/// Everything that is going on.
pub(crate) struct Sim {
    config: Config,
    world: World,
    queue: Queue,
    now: Moment,
    dice: Dice,
    fetches: Vec<Option<Box<Fetch>>>,
    transfers: Slab<Transfer>,
    /// Of each model: the records of each node that answers, provider and end.
    records: Vec<BTreeMap<u32, Vec<(u32, Moment)>>>,
    gossip: Gossip,
    report: Report,
    stretches: Vec<f64>,
    seconds: Vec<f64>,
    /// Time online over all nodes.
    online: f64,
    n_met_liars: u64,
    liars_banned: std::collections::BTreeSet<u32>,
}

/// Runs a simulation to its end.
pub fn run(config: &Config) -> Report {
    let mut sim = Sim::new(config.clone());
    let end = sim.config.time.as_micros() as Moment;
    while let Some((moment, event)) = sim.queue.next() {
        if moment > end {
            break;
        }
        sim.now = moment;
        sim.on(event);
    }
    sim.now = end;
    sim.finish()
}

impl Sim {
    fn new(config: Config) -> Self {
        let mut world = World::new(&config);
        let gossip = Gossip::new(config.nodes);
        let mut queue = Queue::default();
        for node in 0..config.nodes {
            let kind = KINDS[usize::from(world.nodes[node as usize].kind)];
            let online = kind.online_secs / (kind.online_secs + kind.away_secs);
            let begins = if world.dice.fraction() < online {
                world.until_next(30.0)
            } else {
                world.about(kind.away_secs)
            };
            queue.at(begins, Event::Join { node });
        }
        let liars = world.nodes.iter().filter(|node| node.lie.is_some()).count() as u64;
        Self {
            records: world.models.iter().map(|_| BTreeMap::new()).collect(),
            report: Report { nodes: config.nodes, time: config.time, liars, ..Report::default() },
            dice: Dice::new(config.seed ^ 0xd1ce),
            config,
            world,
            queue,
            now: 0,
            fetches: Vec::new(),
            transfers: Slab::default(),
            gossip,
            stretches: Vec::new(),
            seconds: Vec::new(),
            online: 0.0,
            n_met_liars: 0,
            liars_banned: std::collections::BTreeSet::new(),
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Join { node } => self.on_join(node),
            Event::Leave { node, session } => self.on_leave(node, session),
            Event::Lost { node } => self.on_lost(node),
            Event::Wish { node, session } => self.on_wish(node, session),
            Event::Provide { node, session, model } => self.on_provide(node, session, model),
            Event::Announce { node, session } => self.on_announce(node, session),
            Event::Round { fetch } => self.on_round(fetch),
            Event::Found { fetch, tries } => self.on_found(fetch, tries),
            Event::Have { fetch, peer, reached } => self.on_have(fetch, peer, reached),
            Event::Wake { fetch } => self.on_wake(fetch),
            Event::Poll { fetch } => self.on_poll(fetch),
            Event::Asked { transfer } => self.on_asked(transfer),
            Event::Group { transfer } => self.on_group(transfer),
            Event::Slice { transfer } => self.on_slice(transfer),
            Event::Watch { transfer } => self.on_watch(transfer),
            Event::Waited { transfer } => self.on_waited(transfer),
            Event::Refused { fetch, request, how } => self.on_refused(fetch, request, how),
        }
    }

    /// Now, as the pure crates want it.
    fn time(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Whether a node is in this session still.
    fn is_here(&self, node: u32, session: u32) -> bool {
        let home = &self.world.nodes[node as usize];
        home.online && home.session == session
    }

    fn on_join(&mut self, node: u32) {
        // Who still waited for it over a connection of before hears now that there is none.
        self.on_lost(node);
        let home = &mut self.world.nodes[node as usize];
        home.online = true;
        home.session += 1;
        home.since = self.now;
        let (session, kind) = (home.session, KINDS[usize::from(home.kind)]);
        let parts = std::mem::take(&mut home.parts);
        let offered = home.holds.clone();
        self.report.sessions += 1;
        let length = self.world.about(kind.online_secs);
        self.queue.at(self.now + length, Event::Leave { node, session });
        let wish = self.world.until_next(self.config.wish.as_secs_f64());
        self.queue.at(self.now + wish, Event::Wish { node, session });
        for model in offered {
            let soon = (5 + u64::from(self.dice.below(20))) * SECOND;
            self.queue.at(self.now + soon, Event::Provide { node, session, model });
        }
        self.gossip_join(node);
        for (model, part) in parts {
            self.start_fetch(node, model, part, true);
        }
    }

    fn on_leave(&mut self, node: u32, session: u32) {
        if !self.is_here(node, session) {
            return;
        }
        let home = &mut self.world.nodes[node as usize];
        home.online = false;
        self.online += (self.now - home.since) as f64;
        let kind = KINDS[usize::from(home.kind)];
        for fetch in std::mem::take(&mut self.world.nodes[node as usize].fetches) {
            self.leave_fetch(fetch);
        }
        self.stop_serving(node);
        // Half say goodbye, half are closed like a lid.
        if self.dice.below(2) == 0 {
            self.on_lost(node);
        } else {
            self.queue.at(self.now + SILENCE, Event::Lost { node });
        }
        for records in &mut self.records {
            records.remove(&node);
        }
        self.gossip_leave(node);
        let away = self.world.about(kind.away_secs);
        self.queue.at(self.now + away, Event::Join { node });
    }

    fn on_wish(&mut self, node: u32, session: u32) {
        if !self.is_here(node, session) {
            return;
        }
        let next = self.world.until_next(self.config.wish.as_secs_f64());
        self.queue.at(self.now + next, Event::Wish { node, session });
        // A liar wishes for nothing that could be counted.
        if self.world.nodes[node as usize].lie.is_some() {
            return;
        }
        for _ in 0..8 {
            let model = self.world.popular();
            let home = &self.world.nodes[node as usize];
            let fetching = |fetch: &u32| {
                self.fetches[*fetch as usize].as_ref().is_some_and(|fetch| fetch.model == model)
            };
            if !home.holds.contains(&model) && !home.fetches.iter().any(fetching) {
                let n_groups = self.world.models[model as usize].geometry.n_groups();
                self.start_fetch(node, model, Bitfield::empty(n_groups), false);
                return;
            }
        }
    }

    fn finish(mut self) -> Report {
        for node in &self.world.nodes {
            self.online += if node.online { (self.now - node.since) as f64 } else { 0.0 };
        }
        let running = (0..self.fetches.len() as u32)
            .filter(|&fetch| self.fetches[fetch as usize].is_some())
            .collect::<Vec<_>>();
        let (stalled, running): (Vec<u32>, Vec<u32>) =
            running.into_iter().partition(|&fetch| self.is_stalled(fetch));
        let mut report = self.report;
        report.stalled += stalled.len() as u64;
        report.failed += stalled.len() as u64;
        report.running = running.len() as u64;
        report.online = self.online / (self.now as f64).max(1.0);
        report.events = self.queue.n_happened();
        report.trace = self.queue.trace();
        report.stretch_p90 = quantile(&mut self.stretches, 0.9);
        report.stretch = quantile(&mut self.stretches, 0.5);
        report.seconds = quantile(&mut self.seconds, 0.5);
        report.liars_banned = self.liars_banned.len() as u64;
        report.cost_of_liar = report.forged as f64 / (self.n_met_liars as f64).max(1.0);
        self.gossip.tell(&mut report);
        report
    }
}
