//! A swarm in virtual time: peers with a rate, a latency and a character.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::*;

/// What a peer does besides serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    Honest,
    /// Forges every group after this many good ones.
    Liar {
        after: u32,
    },
    /// Sends nothing after this many groups.
    Staller {
        after: u32,
    },
    /// Refuses every n-th request.
    Busy {
        every: u32,
    },
    /// Breaks every n-th request.
    Fails {
        every: u32,
    },
    /// Says that it has all, and has not.
    Braggart,
}

#[derive(Debug, Clone)]
pub(super) struct Profile {
    /// Bytes per second.
    pub(super) rate: f64,
    /// One way.
    pub(super) latency: Duration,
    pub(super) nature: Nature,
    /// `None` is all.
    pub(super) has: Option<BTreeSet<u32>>,
    pub(super) joins: Duration,
    pub(super) leaves: Option<Duration>,
    /// It gets one more group each second, in a row.
    pub(super) grows: bool,
}

impl Profile {
    pub(super) fn honest(rate: f64) -> Self {
        Self {
            rate,
            latency: Duration::from_millis(20),
            nature: Nature::Honest,
            has: None,
            joins: Duration::ZERO,
            leaves: None,
            grows: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Join,
    Leave,
    Grow,
    /// At the server.
    Asked(RequestId, Vec<u32>),
    Dropped(RequestId),
    Sent(u64),
    /// At the client.
    Group(RequestId, u32, bool),
    Ended(RequestId, u8),
    Tick,
}

struct Server {
    profile: Profile,
    here: bool,
    queue: VecDeque<(RequestId, u32)>,
    /// What is being sent, since when, and under which number.
    sending: Option<(RequestId, u32, Duration, u64)>,
    n_sent: u32,
    n_requests: u32,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) took: Duration,
    /// Bytes that were sent and not used, forged ones included.
    pub(super) wasted: u64,
    /// The same of each peer.
    pub(super) wasted_by: Vec<u64>,
    pub(super) verified_by: Vec<u64>,
    pub(super) banned: Vec<bool>,
    pub(super) trace: u64,
}

pub(super) struct Sim {
    planner: Planner,
    now: Duration,
    n_events: u64,
    events: BinaryHeap<Reverse<(Duration, u64, usize, Event)>>,
    servers: Vec<Server>,
    /// Requests that the client still reads: of whom, what is to come, and where it stops.
    open: BTreeMap<RequestId, (usize, Vec<u32>, Option<u32>)>,
    wasted_by: Vec<u64>,
    trace: blake3_trace::Trace,
    reports: bool,
}

/// A running hash of everything the planner said.
mod blake3_trace {
    use std::hash::{DefaultHasher, Hash, Hasher};

    #[derive(Default)]
    pub(super) struct Trace(DefaultHasher);

    impl Trace {
        pub(super) fn add(&mut self, what: impl Hash) {
            what.hash(&mut self.0);
        }

        pub(super) fn value(&self) -> u64 {
            self.0.finish()
        }
    }
}

impl Sim {
    pub(super) fn new(planner: Planner, profiles: Vec<Profile>) -> Self {
        let mut sim = Self {
            planner,
            now: Duration::ZERO,
            n_events: 0,
            events: BinaryHeap::new(),
            wasted_by: vec![0; profiles.len()],
            servers: Vec::new(),
            open: BTreeMap::new(),
            trace: blake3_trace::Trace::default(),
            reports: true,
        };
        for (at, profile) in profiles.into_iter().enumerate() {
            sim.schedule(profile.joins, at, Event::Join);
            if let Some(leaves) = profile.leaves {
                sim.schedule(leaves, at, Event::Leave);
            }
            sim.servers.push(Server {
                profile,
                here: false,
                queue: VecDeque::new(),
                sending: None,
                n_sent: 0,
                n_requests: 0,
            });
        }
        sim
    }

    /// Does not tell the planner of bytes, only of groups.
    pub(super) fn silent(mut self) -> Self {
        self.reports = false;
        self
    }

    fn schedule(&mut self, at: Duration, server: usize, event: Event) {
        self.n_events += 1;
        self.events.push(Reverse((at, self.n_events, server, event)));
    }

    fn len(&self, group: u32) -> u64 {
        self.planner.geometry.group_len(group)
    }

    /// Runs until all is present.
    pub(super) fn run(mut self) -> Outcome {
        self.schedule(Duration::from_secs(1), 0, Event::Tick);
        loop {
            let wake = match self.steps() {
                Step::Done => break,
                Step::Wait { until } => Some(until),
                _ => None,
            };
            let next = self.events.peek().map(|Reverse((at, ..))| *at);
            let Some(at) = next.into_iter().chain(wake).min() else {
                panic!("stuck at {:?} with {:?}", self.now, self.planner.progress().ranges());
            };
            assert!(at < Duration::from_secs(1_000_000), "it takes for ever");
            self.now = self.now.max(at);
            if next == Some(at)
                && let Some(Reverse((_, _, server, event))) = self.events.pop()
            {
                self.on(server, event);
            }
        }
        assert!(self.planner.progress().is_full());
        // What is still on its way is wasted too.
        while let Some(Reverse((_, _, server, event))) = self.events.pop() {
            if let Event::Group(_, group, _) = event {
                self.wasted_by[server] += self.len(group);
            }
        }
        let mut verified_by = vec![0; self.servers.len()];
        let mut banned = vec![false; self.servers.len()];
        for (ix, stats) in self.planner.peers() {
            verified_by[ix.0 as usize] = stats.verified_bytes;
            banned[ix.0 as usize] = stats.banned;
        }
        Outcome {
            took: self.now,
            wasted: self.wasted_by.iter().sum(),
            wasted_by: self.wasted_by,
            verified_by,
            banned,
            trace: self.trace.value(),
        }
    }

    fn steps(&mut self) -> Step {
        for _ in 0..10_000 {
            let step = self.planner.next(self.now);
            // All groups are walked: in a large model not after every step.
            if self.planner.geometry.n_groups() <= 256 || self.n_events.is_multiple_of(16) {
                self.planner.assert_sound();
            }
            self.trace.add(format!("{:?} {step:?}", self.now));
            match step {
                Step::Request { id, peer, ranges } => {
                    let chunks = self.planner.geometry.chunks();
                    let groups: Vec<u32> = ranges
                        .iter()
                        .flat_map(|range| {
                            let first = chunks[range.chunk].first_group + range.first;
                            first..first + range.n
                        })
                        .collect();
                    assert!(groups.len() <= 16 && ranges.len() <= 16);
                    assert!(!groups.iter().any(|&group| self.planner.progress().contains(group)));
                    let server = peer.0 as usize;
                    let at = self.now + self.servers[server].profile.latency;
                    self.open.insert(id, (server, groups.clone(), None));
                    self.schedule(at, server, Event::Asked(id, groups));
                }
                Step::Cancel { id } => self.drop_request(id),
                Step::Truncate { id, last } => {
                    if let Some((_, _, stop)) = self.open.get_mut(&id) {
                        *stop = Some(last);
                    }
                }
                Step::Wait { until } => {
                    assert!(until > self.now);
                    return step;
                }
                Step::Done | Step::Stuck => return step,
            }
        }
        panic!("the planner does not come to rest");
    }

    fn drop_request(&mut self, id: RequestId) {
        if let Some((server, ..)) = self.open.remove(&id) {
            let at = self.now + self.servers[server].profile.latency;
            self.schedule(at, server, Event::Dropped(id));
        }
    }

    fn on(&mut self, at: usize, event: Event) {
        let now = self.now;
        let peer = PeerIx(at as u32);
        match event {
            Event::Tick => {
                self.schedule(now + Duration::from_secs(1), 0, Event::Tick);
                for server in &self.servers {
                    let Some((id, _, since, _)) = server.sending.filter(|_| self.reports) else {
                        continue;
                    };
                    let here = now.saturating_sub(since + server.profile.latency).as_secs_f64();
                    let Some(asked) = self.planner.requests.get(&id) else { continue };
                    if self.open.contains_key(&id) && here > 0.0 {
                        let bytes = asked.verified + (server.profile.rate * here) as u64;
                        self.planner.received(id, bytes, now);
                    }
                }
            }
            Event::Join => {
                self.servers[at].here = true;
                self.planner.peer_joined(peer, Quality::default(), now);
                self.planner.peer_has(peer, self.has(at));
                if self.servers[at].profile.grows {
                    self.schedule(now + Duration::from_secs(1), at, Event::Grow);
                }
            }
            Event::Leave => {
                self.planner.peer_left(peer, now);
                self.open.retain(|_, open| open.0 != at);
                let server = &mut self.servers[at];
                server.here = false;
                server.queue.clear();
                server.sending = None;
            }
            Event::Grow => {
                let n_groups = self.planner.geometry.n_groups();
                let server = &mut self.servers[at];
                let Some(has) = &mut server.profile.has else { return };
                let Some(next) = (0..n_groups).find(|group| !has.contains(group)) else { return };
                has.insert(next);
                if server.here {
                    self.planner.peer_has(peer, Has::Added(Vec::from_iter(Some(next..next + 1))));
                }
                self.schedule(now + Duration::from_secs(1), at, Event::Grow);
            }
            Event::Asked(id, groups) => self.on_asked(at, id, groups),
            Event::Dropped(id) => {
                let server = &mut self.servers[at];
                server.queue.retain(|&(other, _)| other != id);
                if let Some((_, _, since, _)) = server.sending.take_if(|sending| sending.0 == id) {
                    self.wasted_by[at] +=
                        (now.saturating_sub(since).as_secs_f64() * server.profile.rate) as u64;
                    self.send(at);
                }
            }
            Event::Sent(number) => {
                let server = &mut self.servers[at];
                let Some((id, group, ..)) = server.sending.take_if(|sending| sending.3 == number)
                else {
                    return;
                };
                server.n_sent += 1;
                let good = !matches!(server.profile.nature, Nature::Liar { after } if server.n_sent > after);
                let arrives = now + server.profile.latency;
                self.schedule(arrives, at, Event::Group(id, group, good));
                self.send(at);
            }
            Event::Group(id, group, good) => self.on_group(at, id, group, good),
            Event::Ended(id, how) => {
                if self.open.remove(&id).is_some() {
                    let end = match how {
                        0 => End::Busy { retry_ms: 700 },
                        1 => End::NotHeld,
                        _ => End::Failed,
                    };
                    self.planner.ended(id, end, now);
                }
            }
        }
    }

    fn has(&self, at: usize) -> Has {
        let n_groups = self.planner.geometry.n_groups();
        match &self.servers[at].profile.has {
            None => Has::All,
            _ if self.servers[at].profile.nature == Nature::Braggart => Has::All,
            Some(groups) => {
                let mut field = Bitfield::empty(n_groups);
                for &group in groups {
                    field.insert(group);
                }
                Has::Bitfield(field)
            }
        }
    }

    fn on_asked(&mut self, at: usize, id: RequestId, mut groups: Vec<u32>) {
        let server = &mut self.servers[at];
        if !server.here {
            return;
        }
        server.n_requests += 1;
        let back = self.now + server.profile.latency;
        let refuses = match server.profile.nature {
            Nature::Busy { every } if server.n_requests.is_multiple_of(every) => Some(0),
            Nature::Fails { every } if server.n_requests.is_multiple_of(every) => Some(2),
            _ => None,
        };
        if let Some(has) = &server.profile.has {
            let n_held = groups.iter().take_while(|group| has.contains(group)).count();
            groups.truncate(n_held);
        }
        if refuses.is_some() || groups.is_empty() {
            self.schedule(back, at, Event::Ended(id, refuses.unwrap_or(1)));
            return;
        }
        if let Some((_, open, _)) = self.open.get_mut(&id) {
            let granted: Vec<Asked> = groups
                .iter()
                .map(|&group| {
                    let chunk = self.planner.geometry.chunk_of(group);
                    let first = group - self.planner.geometry.chunks()[chunk].first_group;
                    Asked { chunk, first, n: 1 }
                })
                .collect();
            open.clone_from(&groups);
            self.planner.granted(id, &granted, self.now);
        }
        let server = &mut self.servers[at];
        server.queue.extend(groups.into_iter().map(|group| (id, group)));
        self.send(at);
    }

    /// Begins to send the next group, if none is being sent.
    fn send(&mut self, at: usize) {
        let server = &mut self.servers[at];
        let stalls =
            matches!(server.profile.nature, Nature::Staller { after } if server.n_sent >= after);
        if server.sending.is_some() || stalls {
            return;
        }
        let Some((id, group)) = server.queue.pop_front() else { return };
        self.n_events += 1;
        server.sending = Some((id, group, self.now, self.n_events));
        let rate = server.profile.rate;
        let secs = self.len(group) as f64 / rate;
        self.schedule(self.now + Duration::from_secs_f64(secs), at, Event::Sent(self.n_events));
    }

    fn on_group(&mut self, at: usize, id: RequestId, group: u32, good: bool) {
        let len = self.len(group);
        if !self.servers[at].here || !self.open.contains_key(&id) {
            self.wasted_by[at] += len;
            return;
        }
        if !good {
            self.wasted_by[at] += len;
            self.planner.group_bad(id, group, self.now);
            self.drop_request(id);
            return;
        }
        if !self.planner.wants(group) {
            self.wasted_by[at] += len;
        }
        self.planner.group_verified(id, group, self.now);
        let Some((_, open, stop)) = self.open.get_mut(&id) else { return };
        open.retain(|&other| other != group);
        let is_over = open.is_empty();
        if *stop == Some(group) && !is_over {
            self.drop_request(id);
        } else if is_over {
            self.open.remove(&id);
            self.planner.ended(id, End::Done, self.now);
        }
    }
}
