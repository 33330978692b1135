//! Many readers of one seed in virtual time: what the seed has to send until all have everything.
//!
//! Each node sends over an uplink of its own, to whoever asked, by turns; readers hear what others
//! have every two seconds, and from whoever just sent them something.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

const LATENCY: Duration = Duration::from_millis(10);
const POLL: Duration = Duration::from_secs(2);
/// Who asks again what somebody has is not told more often than this.
const TOLD: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Sent { from: usize },
    Arrived { from: usize, to: usize, id: RequestId, group: u32 },
    Poll { reader: usize },
    Wake { reader: usize },
}

struct Node {
    /// Bytes per second.
    uplink: f64,
    has: Bitfield,
    /// What each reader waits for, in the order in which it is its turn.
    queue: VecDeque<(usize, RequestId, u32)>,
    busy: bool,
    n_sent: u32,
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
    open: Vec<BTreeMap<RequestId, (usize, Vec<u32>)>>,
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
            queue: VecDeque::new(),
            busy: false,
            n_sent: 0,
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
                    self.open[reader].insert(id, (peer, groups.clone()));
                    let waiting = groups.into_iter().map(|group| (reader, id, group));
                    self.nodes[peer].queue.extend(waiting);
                    self.send(peer);
                }
                Step::Cancel { id } => self.drop_request(reader, id, |_| true),
                Step::Truncate { id, last } => {
                    let asked = self.open[reader].get(&id).map(|(_, groups)| groups.clone());
                    let keep = asked.and_then(|groups| {
                        let end = groups.iter().position(|&group| group == last)?;
                        Some(groups[..=end].to_vec())
                    });
                    let keep = keep.unwrap_or_default();
                    self.drop_request(reader, id, |group| !keep.contains(&group));
                }
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

    fn drop_request(&mut self, reader: usize, id: RequestId, gone: impl Fn(u32) -> bool) {
        let Some((peer, groups)) = self.open[reader].get_mut(&id) else { return };
        groups.retain(|&group| !gone(group));
        let peer = *peer;
        self.nodes[peer]
            .queue
            .retain(|&(other, of, group)| (other, of) != (reader, id) || !gone(group));
    }

    /// Begins to send what is next: the least sent if so wished, and who waits longest.
    fn send(&mut self, from: usize) {
        let novel_first = self.novel_first;
        let node = &mut self.nodes[from];
        if node.busy || node.queue.is_empty() {
            return;
        }
        let times = |group: u32| if novel_first { node.times[group as usize] } else { 0 };
        let place = |at: &usize| times(node.queue[*at].2);
        let at = (0..node.queue.len()).min_by_key(place).expect("somebody waits");
        let next = node.queue.remove(at).expect("it is there");
        node.queue.push_front(next);
        node.busy = true;
        let secs = GROUP_LEN as f64 / node.uplink;
        self.schedule(self.now + Duration::from_secs_f64(secs), Event::Sent { from });
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Sent { from } => {
                let node = &mut self.nodes[from];
                node.busy = false;
                // What was dropped while it was sent is sent all the same; the next takes its place.
                if let Some((to, id, group)) = node.queue.pop_front() {
                    node.n_sent += 1;
                    node.times[group as usize] += 1;
                    self.schedule(self.now + LATENCY, Event::Arrived { from, to, id, group });
                }
                self.send(from);
            }
            Event::Arrived { from, to, id, group } => {
                self.nodes[to].has.insert(group);
                self.planners[to].group_verified(id, group, self.now);
                if let Some((_, groups)) = self.open[to].get_mut(&id) {
                    groups.retain(|&other| other != group);
                    if groups.is_empty() {
                        self.open[to].remove(&id);
                        self.planners[to].ended(id, End::Done, self.now);
                    }
                }
                if self.now >= self.heard[to][from] + TOLD && !self.nodes[from].has.is_full() {
                    self.hear(to, from);
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
        let all = self.nodes.iter().map(|node| node.n_sent).sum();
        (last.expect("there are readers"), self.nodes.last().expect("the seed").n_sent, all)
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
        assert!(took <= 1.25, "seed {seed}: {took:.2} times the time of one");
        assert!(by_seed <= 1.25, "seed {seed}: the file {by_seed:.2} times");
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
