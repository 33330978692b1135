//! Many readers of one seed in virtual time: what the seed has to send until all have everything.
//!
//! Each node serves over an uplink of its own as the product does: by [`Slots`], which share the line,
//! and those first who ask for what was sent least. Readers hear what others have every second.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::slots::{self, SLOTS, Slots};

const LATENCY: Duration = Duration::from_millis(10);
const POLL: Duration = Duration::from_secs(1);
/// What a slot sends before it is the next one's turn.
const SLICE: u64 = GROUP_LEN / 4;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Granted { to: usize, id: RequestId, groups: Vec<u32> },
    Sent { from: usize },
    Arrived { from: usize, to: usize, id: RequestId, group: u32 },
    Poll { reader: usize },
    Wake { reader: usize },
}

/// A request at whom it was made of.
#[derive(Debug, Clone)]
struct Waiting {
    reader: usize,
    id: RequestId,
    groups: VecDeque<u32>,
}

struct Serving {
    slot: slots::Slot<usize>,
    request: Waiting,
    /// Bytes of the first group that went out.
    sent: u64,
}

struct Node {
    /// Bytes per second.
    uplink: f64,
    has: Bitfield,
    slots: Slots<usize, Waiting>,
    /// What has a slot, in the order in which it is its turn.
    serving: VecDeque<Serving>,
    busy: bool,
    bytes_sent: u64,
    /// How often each group was sent.
    times: Vec<u32>,
}

struct Swarm {
    now: Duration,
    n_events: u64,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    /// The seed is the last.
    nodes: Vec<Node>,
    planners: Vec<Planner>,
    heard: Vec<Vec<Duration>>,
    open: Vec<BTreeMap<RequestId, usize>>,
    /// Whether nodes send first what they have sent least.
    novel_first: bool,
    /// When each reader is to be woken.
    wakes: Vec<Option<Duration>>,
    ended: Vec<Option<Duration>>,
}

impl Swarm {
    fn new(
        n: usize,
        geometry: &Arc<Geometry>,
        seed: u64,
        uplinks: [f64; 2],
        novel_first: bool,
    ) -> Self {
        let n_groups = geometry.n_groups();
        let node = |uplink, has| Node {
            uplink,
            has,
            slots: Slots::new(SLOTS),
            serving: VecDeque::new(),
            busy: false,
            bytes_sent: 0,
            times: vec![0; n_groups as usize],
        };
        let mut nodes: Vec<Node> =
            (0..n).map(|_| node(uplinks[1], Bitfield::empty(n_groups))).collect();
        nodes.push(node(uplinks[0], Bitfield::full(n_groups)));
        let planner = |at: usize| {
            let empty = Bitfield::empty(n_groups);
            Planner::new(Arc::clone(geometry), empty, Config::default(), seed ^ (at as u64) << 32)
        };
        let mut swarm = Self {
            now: Duration::ZERO,
            n_events: 0,
            events: BinaryHeap::new(),
            nodes,
            planners: (0..n).map(planner).collect(),
            heard: vec![vec![Duration::ZERO; n + 1]; n],
            open: vec![BTreeMap::new(); n],
            novel_first,
            wakes: vec![None; n],
            ended: vec![None; n],
        };
        for reader in 0..n {
            for peer in (0..=n).filter(|peer| *peer != reader) {
                let ix = PeerIx(peer as u32);
                swarm.planners[reader].peer_joined(ix, Quality::default(), Duration::ZERO);
                swarm.hear(reader, peer);
            }
            let offset = POLL.mul_f64((reader as f64 + 0.5) / n as f64);
            swarm.schedule(offset, Event::Poll { reader });
        }
        swarm
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.n_events += 1;
        self.events.push(Reverse((at, self.n_events, event)));
    }

    fn hear(&mut self, reader: usize, peer: usize) {
        let has = &self.nodes[peer].has;
        let has = if has.is_full() { Has::All } else { Has::Bitfield(has.clone()) };
        self.heard[reader][peer] = self.now;
        self.planners[reader].peer_has(PeerIx(peer as u32), has);
    }

    fn plan(&mut self, reader: usize) {
        if self.ended[reader].is_some() {
            return;
        }
        loop {
            match self.planners[reader].next(self.now) {
                Step::Request { id, peer, ranges } => {
                    let chunks = self.planners[reader].geometry.chunks().to_vec();
                    let first = |range: &Asked| chunks[range.chunk].first_group + range.first;
                    let groups: Vec<u32> = ranges
                        .iter()
                        .flat_map(|range| first(range)..first(range) + range.n)
                        .collect();
                    let peer = peer.0 as usize;
                    self.open[reader].insert(id, peer);
                    let cost = groups.len() as u64 * GROUP_LEN;
                    let waiting = Waiting { reader, id, groups: groups.into() };
                    self.nodes[peer].slots.push(reader, cost, waiting).expect("few wait");
                    self.send(peer);
                }
                Step::Cancel { id } => self.drop_request(reader, id, None),
                Step::Truncate { id, last } => self.drop_request(reader, id, Some(last)),
                Step::Wait { until } => {
                    if self.wakes[reader].is_none_or(|wake| until < wake) {
                        self.wakes[reader] = Some(until);
                        self.schedule(until, Event::Wake { reader });
                    }
                    return;
                }
                Step::Stuck => return,
                Step::Done => {
                    self.ended[reader] = Some(self.now);
                    return;
                }
            }
        }
    }

    /// Who serves a request hears at once that all of it, or what comes after a group, is not wanted.
    fn drop_request(&mut self, reader: usize, id: RequestId, last: Option<u32>) {
        let Some(&peer) = self.open[reader].get(&id) else { return };
        let node = &mut self.nodes[peer];
        let cut = |request: &mut Waiting| {
            if (request.reader, request.id) == (reader, id) {
                let place = |last| request.groups.iter().position(|&group| group == last);
                request.groups.truncate(last.and_then(place).map_or(0, |at| at + 1));
            }
            request.groups.is_empty()
        };
        if last.is_none() {
            self.open[reader].remove(&id);
        }
        node.slots.take_if(cut);
        for serving in &mut node.serving {
            cut(&mut serving.request);
        }
        let ended: Vec<usize> = (0..node.serving.len())
            .filter(|&at| node.serving[at].request.groups.is_empty())
            .collect();
        for at in ended.into_iter().rev() {
            let Serving { slot, .. } = node.serving.remove(at).expect("it is there");
            node.slots.done(slot);
        }
        self.send(peer);
    }

    /// Fills the slots, and begins to send a slice of what is next.
    fn send(&mut self, from: usize) {
        let (novel_first, told_at) = (self.novel_first, self.now + LATENCY);
        let mut granted = Vec::new();
        let node = &mut self.nodes[from];
        let Node { slots, times, serving, .. } = node;
        let least = |times: &[u32], request: &Waiting| {
            let of = |group: &u32| times[*group as usize];
            if novel_first { request.groups.iter().map(of).min().unwrap_or(0) } else { 0 }
        };
        while let Some((slot, request)) = slots.next(|request| least(times, request)) {
            for &group in &request.groups {
                times[group as usize] += 1;
            }
            let Waiting { reader: to, id, .. } = request;
            granted.push(Event::Granted {
                to,
                id,
                groups: request.groups.iter().copied().collect(),
            });
            serving.push_back(Serving { slot, request, sent: 0 });
        }
        let begins = !node.busy && !node.serving.is_empty();
        let secs = SLICE as f64 / node.uplink;
        node.busy |= begins;
        for event in granted {
            self.schedule(told_at, event);
        }
        if begins {
            self.schedule(self.now + Duration::from_secs_f64(secs), Event::Sent { from });
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Granted { to, id, groups } => {
                let geometry = Arc::clone(&self.planners[to].geometry);
                let asked = |&group: &u32| {
                    let chunk = geometry.chunk_of(group);
                    Asked { chunk, first: group - geometry.chunks()[chunk].first_group, n: 1 }
                };
                let ranges: Vec<Asked> = groups.iter().map(asked).collect();
                self.planners[to].granted(id, &ranges, self.now);
                self.plan(to);
            }
            Event::Sent { from } => {
                let node = &mut self.nodes[from];
                node.busy = false;
                node.bytes_sent += SLICE;
                // What was dropped while it was sent has gone out all the same, for nothing.
                if let Some(mut serving) = node.serving.pop_front() {
                    serving.sent += SLICE;
                    let Waiting { reader: to, id, .. } = serving.request;
                    if serving.sent == GROUP_LEN {
                        serving.sent = 0;
                        let group = serving.request.groups.pop_front().expect("it was sent");
                        let arrived = Event::Arrived { from, to, id, group };
                        self.schedule(self.now + LATENCY, arrived);
                    }
                    let node = &mut self.nodes[from];
                    if serving.request.groups.is_empty() {
                        node.slots.done(serving.slot);
                    } else {
                        node.serving.push_back(serving);
                    }
                }
                self.send(from);
            }
            Event::Arrived { from, to, id, group } => {
                self.nodes[to].has.insert(group);
                self.planners[to].group_verified(id, group, self.now);
                let request = |serving: &Serving| (serving.request.reader, serving.request.id);
                let goes_on = |node: &Node| node.serving.iter().any(|of| request(of) == (to, id));
                if self.open[to].contains_key(&id) && !goes_on(&self.nodes[from]) {
                    self.open[to].remove(&id);
                    self.planners[to].ended(id, End::Done, self.now);
                }
                self.plan(to);
            }
            Event::Poll { reader } => {
                for peer in 0..self.planners.len() {
                    if peer != reader && self.now >= self.heard[reader][peer] + POLL / 2 {
                        self.hear(reader, peer);
                    }
                }
                self.plan(reader);
                if self.ended[reader].is_none() {
                    self.schedule(self.now + POLL, Event::Poll { reader });
                }
            }
            Event::Wake { reader } => {
                self.wakes[reader] = None;
                self.plan(reader);
            }
        }
    }

    /// Runs until all have everything. When the last had, and how many groups the seed sent.
    fn run(mut self) -> (Duration, u32, u32) {
        for reader in 0..self.planners.len() {
            self.plan(reader);
        }
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            assert!(at < Duration::from_secs(10_000), "it takes for ever");
            self.now = self.now.max(at);
            self.on(event);
            if self.ended.iter().all(Option::is_some) {
                break;
            }
        }
        let last = self.ended.iter().map(|ended| ended.expect("all end")).max();
        let n_sent = |node: &Node| (node.bytes_sent / GROUP_LEN) as u32;
        let all = self.nodes.iter().map(n_sent).sum();
        (last.expect("there are readers"), n_sent(self.nodes.last().expect("the seed")), all)
    }
}

/// Sixteen readers of 128 groups, whose uplinks are two and a half times the seed's: how often the
/// time of one alone they take, how often the seed sends the file, and all nodes for each reader.
fn sixteen(seed: u64, novel_first: bool) -> [f64; 3] {
    let geometry = model(&[64, 64]);
    let (took, by_seed, by_all) = Swarm::new(16, &geometry, seed, [5e6, 12.5e6], novel_first).run();
    let n = f64::from(geometry.n_groups());
    let alone = n * GROUP_LEN as f64 / 5e6;
    [took.as_secs_f64() / alone, f64::from(by_seed) / n, f64::from(by_all) / n / 16.0]
}

#[test]
fn sixteen_readers_of_a_slow_seed_feed_each_other() {
    for seed in 0..4 {
        let [took, by_seed, by_all] = sixteen(seed, true);
        assert!(took <= 1.35, "seed {seed}: {took:.2} times the time of one");
        assert!(by_seed <= 1.35, "seed {seed}: the file {by_seed:.2} times");
        assert!(by_all <= 1.01, "seed {seed}: {by_all:.3} bytes for each that was needed");
    }
}

/// Without it, readers that ask at the same time ask for the same.
#[test]
fn a_seed_that_sends_what_nobody_has_first_sends_less_in_all() {
    let sum = |novel_first| (0..4).map(|seed| sixteen(seed, novel_first)[1]).sum::<f64>();
    let (novel, plain) = (sum(true), sum(false));
    assert!(novel < plain * 0.9, "{novel:.2} against {plain:.2}");
}
