//! Announcements: who has heard whose list.
//!
//! Of some heads that say something new each hop is followed over the mesh, with its latency, and
//! the list behind it; that is what the reach is measured on. All others reach whoever is online.
//! How often a node speaks is [`hive_protocol::catalog`]'s word.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use hive_protocol::catalog::pace;

use crate::config::{MESH, MESH_MAX};
use crate::queue::{Event, Moment};
use crate::report::{Report, quantile};
use crate::sim::{SECOND, Sim};

/// Reading, verifying and passing on a head.
const JUDGING: Moment = 2_000;
/// A node that has fewer neighbours than this looks for more.
const MESH_LOW: usize = 5;
/// Heads of the first minutes, in which everybody joins at once, are not measured.
const WARM: Moment = 300 * SECOND;
/// Within which a list is to have reached everybody.
const GOAL: Moment = 60 * SECOND;
/// Changes within this time go out together.
const DEBOUNCE: Moment = 200_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Gossip {
    /// When each node spoke last and when it came, as the count of what happened up to then: whoever
    /// is online hears what is said, so a node has the list of all who spoke since it came.
    spoke: Vec<u32>,
    came: Vec<u32>,
    last: u32,
    speakers: Speakers,
    n_online: u32,
    said: Vec<Moment>,
    due: Vec<Moment>,
    /// Whether the next head says something new.
    news: Vec<bool>,
    n_news: u32,
    reaches: Vec<f64>,
    times: Vec<f64>,
    copies: f64,
}

/// How many nodes spoke last after some moment, of those counted in [`Gossip::last`]: sums over
/// intervals of powers of two (Fenwick 1994).
#[derive(Debug, Default)]
struct Speakers {
    sums: Vec<u32>,
    all: u32,
}

impl Speakers {
    /// Makes room up to this moment. Sums of a power of two moments end at it.
    fn reach(&mut self, moment: u32) {
        while self.sums.len() <= moment as usize {
            let len = self.sums.len().max(1);
            self.sums.resize(2 * len, 0);
            self.sums[len] = self.all;
        }
    }

    fn add(&mut self, moment: u32) {
        self.reach(moment);
        self.all += 1;
        let mut at = moment as usize;
        while at < self.sums.len() {
            self.sums[at] += 1;
            at += at & at.wrapping_neg();
        }
    }

    fn remove(&mut self, moment: u32) {
        self.all -= 1;
        let mut at = moment as usize;
        while at < self.sums.len() {
            self.sums[at] -= 1;
            at += at & at.wrapping_neg();
        }
    }

    fn after(&self, moment: u32) -> u32 {
        let (mut up_to, mut at) = (0, (moment as usize).min(self.sums.len().saturating_sub(1)));
        while at > 0 {
            up_to += self.sums[at];
            at &= at - 1;
        }
        self.all - up_to
    }
}

impl Gossip {
    pub(super) fn new(nodes: u32) -> Self {
        let n = nodes as usize;
        Self {
            spoke: vec![0; n],
            came: vec![0; n],
            last: 0,
            speakers: Speakers::default(),
            n_online: 0,
            said: vec![0; n],
            due: vec![Moment::MAX; n],
            news: vec![true; n],
            n_news: 0,
            reaches: Vec::new(),
            times: Vec::new(),
            copies: 0.0,
        }
    }

    /// Whether `node` has heard what `publisher` offers.
    pub(super) fn has_heard(&self, node: u32, publisher: u32) -> bool {
        self.spoke[publisher as usize] > self.came[node as usize]
    }

    /// Lists that a node knows.
    fn n_known(&self, node: u32) -> usize {
        self.speakers.after(self.came[node as usize]) as usize
    }

    /// Everybody who is online hears a node.
    fn speak(&mut self, node: u32) {
        self.last += 1;
        let before = std::mem::replace(&mut self.spoke[node as usize], self.last);
        if before > 0 {
            self.speakers.remove(before);
        }
        self.speakers.add(self.last);
    }

    pub(super) fn tell(&mut self, report: &mut Report) {
        report.floods = self.reaches.len() as u64;
        let n = (self.reaches.len() as f64).max(1.0);
        report.reach = self.reaches.iter().sum::<f64>() / n;
        report.reach_worst = quantile(&mut self.reaches, 0.0);
        report.reach_secs = self.times.iter().sum::<f64>() / n;
        report.copies = self.copies / n;
    }
}

impl Sim {
    pub(super) fn gossip_join(&mut self, node: u32) {
        self.gossip.n_online += 1;
        self.gossip.last += 1;
        self.gossip.came[node as usize] = self.gossip.last;
        self.fill_mesh(node);
        self.announce_by(node, self.now + DEBOUNCE);
    }

    pub(super) fn gossip_leave(&mut self, node: u32) {
        self.gossip.n_online -= 1;
        self.gossip.due[node as usize] = Moment::MAX;
        for other in std::mem::take(&mut self.world.nodes[node as usize].neighbours) {
            let neighbours = &mut self.world.nodes[other as usize].neighbours;
            neighbours.retain(|neighbour| *neighbour != node);
            if neighbours.len() < MESH_LOW {
                self.fill_mesh(other);
            }
        }
    }

    /// Finds neighbours by chance among those who are there and can be met.
    fn fill_mesh(&mut self, node: u32) {
        for _ in 0..16 * MESH {
            if self.world.nodes[node as usize].neighbours.len() >= MESH {
                return;
            }
            let other = self.dice.below(self.config.nodes);
            let home = &self.world.nodes[other as usize];
            let fits = home.online && other != node && home.neighbours.len() < MESH_MAX;
            if !fits || home.neighbours.contains(&node) || !self.world.meets(node, other) {
                continue;
            }
            self.world.nodes[node as usize].neighbours.push(other);
            self.world.nodes[other as usize].neighbours.push(node);
            // A newcomer has heard nothing yet.
            let known = self.gossip.n_known(other);
            let soon = self.gossip.said[other as usize] + pace::newcomers(known).as_micros() as u64;
            self.announce_by(other, soon.max(self.now));
        }
    }

    /// A node's list has changed.
    pub(super) fn list_changed(&mut self, node: u32) {
        self.gossip.news[node as usize] = true;
        self.announce_by(node, self.now + DEBOUNCE);
    }

    fn announce_by(&mut self, node: u32, moment: Moment) {
        if moment < self.gossip.due[node as usize] {
            self.gossip.due[node as usize] = moment;
            let session = self.world.nodes[node as usize].session;
            self.queue.at(moment, Event::Announce { node, session });
        }
    }

    pub(super) fn on_announce(&mut self, node: u32, session: u32) {
        if !self.is_here(node, session) || self.now < self.gossip.due[node as usize] {
            return;
        }
        self.report.announcements += 1;
        self.gossip.said[node as usize] = self.now;
        self.gossip.due[node as usize] = Moment::MAX;
        if std::mem::take(&mut self.gossip.news[node as usize]) {
            self.gossip.n_news += 1;
            if self.now > WARM && self.gossip.n_news.is_multiple_of(self.config.floods) {
                self.flood(node);
            }
        }
        self.gossip.speak(node);
        let interval = pace::interval(self.gossip.n_known(node));
        let chance = 0.9 + 0.2 * self.dice.fraction();
        let next = interval.mul_f64(chance).as_micros() as Moment;
        self.announce_by(node, self.now + next);
    }

    /// Follows a head and its list over the mesh.
    fn flood(&mut self, author: u32) {
        let n_online = self.gossip.n_online;
        let mut heads = vec![Moment::MAX; self.config.nodes as usize];
        let mut lists = vec![Moment::MAX; self.config.nodes as usize];
        let mut due = BinaryHeap::from([Reverse((0, author, author))]);
        let (mut n_sent, mut arrivals) = (0_u32, Vec::new());
        while let Some(Reverse((moment, node, via))) = due.pop() {
            if heads[node as usize] != Moment::MAX {
                continue;
            }
            heads[node as usize] = moment;
            // Who passed the head on has the list, or will in a moment: it is asked, and again.
            let list = if node == author {
                0
            } else {
                let round = 2 * self.world.latency(node, via);
                let asked = |pause: &Duration| moment + pause.as_micros() as Moment + round / 2;
                let mut asked = pace::LIST_PAUSES.iter().map(asked);
                let answered = asked.find(|asked| *asked >= lists[via as usize]);
                answered.map_or(Moment::MAX, |asked| asked + round / 2)
            };
            lists[node as usize] = list;
            arrivals.push(list);
            let patience = pace::PASS_ON.as_micros() as Moment;
            let passed = list.min(moment + patience) + JUDGING;
            for &other in &self.world.nodes[node as usize].neighbours {
                if other != via || node == author {
                    n_sent += 1;
                    let arrives = passed + self.world.latency(node, other);
                    due.push(Reverse((arrives, other, node)));
                }
            }
        }
        arrivals.sort_unstable();
        let n_reached = arrivals.partition_point(|list| *list <= GOAL);
        self.gossip.reaches.push(n_reached as f64 / f64::from(n_online.max(1)));
        let most = (f64::from(n_online) * 0.99).ceil() as usize;
        let when = arrivals.get(most.saturating_sub(1)).copied().unwrap_or(Moment::MAX).min(GOAL);
        self.gossip.times.push(when as f64 / SECOND as f64);
        self.gossip.copies += f64::from(n_sent) / f64::from(n_online.max(1));
    }
}
