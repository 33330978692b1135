//! A planner that is told what a script says.

use std::fmt::Write as _;
use std::ops::Range;

use expect_test::Expect;

use super::*;
use crate::demand::Priority;

/// Runs a planner over a script and compares what it says after each line.
///
/// ```text
/// chunks 4 4        groups in each chunk (default: one of 8)
/// have 0-1          present at the start
/// a has 0-3 5       (all, none, more 4-5)     a relayed     a leaves
/// a gives 0-1       (all: what it was asked for)            a forges 2
/// a sends 100       bytes, unverified         a grants 0-1  of its oldest request
/// a busy 500        a lacks     a fails     a ends     a unsupported
/// demand 4-5 order 1      normal 4-5      local 3      tick 5s      ?
/// ```
/// Out come `a <- 0-3` for a request, `a -x 0-3` for a cancelled one, `a -> 2` for one that is read
/// up to group 2 only, each after the time if it is not 0; and for `?` what there is to wait for.
#[track_caller]
pub(super) fn check(script: &str, expected: Expect) {
    expected.assert_eq(&run(script));
}

struct Run {
    planner: Planner,
    now: Duration,
    asked: BTreeMap<RequestId, (PeerIx, Vec<u32>)>,
    bytes: u64,
    out: String,
}

fn groups(words: &[&str]) -> Vec<Range<u32>> {
    let range = |word: &&str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        first.parse().unwrap()..last.parse::<u32>().unwrap() + 1
    };
    words.iter().map(range).collect()
}

fn text(groups: &[u32]) -> String {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for &group in groups {
        match ranges.last_mut() {
            Some(last) if last.end == group => last.end += 1,
            _ => ranges.push(group..group + 1),
        }
    }
    let text = |range: &Range<u32>| match range.len() {
        1 => range.start.to_string(),
        _ => format!("{}-{}", range.start, range.end - 1),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(" ")
}

fn name(peer: PeerIx) -> char {
    char::from(b'a' + peer.0 as u8)
}

fn run(script: &str) -> String {
    let mut chunks = vec![8];
    let mut have = Vec::new();
    let lines: Vec<Vec<&str>> = script
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|line: &Vec<_>| !line.is_empty())
        .collect();
    for line in &lines {
        match line[..] {
            ["chunks", ref sizes @ ..] => {
                chunks = sizes.iter().map(|n| n.parse().unwrap()).collect();
            }
            ["have", ref ranges @ ..] => have = groups(ranges),
            _ => {}
        }
    }
    let geometry = model(&chunks);
    let mut present = Bitfield::empty(geometry.n_groups());
    for range in have {
        present.insert_range(range);
    }
    let config = Config { random_picks: 0, ..Config::default() };
    let planner = Planner::new(geometry, present, config, 1);
    let mut run =
        Run { planner, now: Duration::ZERO, asked: BTreeMap::new(), bytes: 0, out: String::new() };
    for line in lines {
        run.line(&line);
    }
    run.out
}

impl Run {
    fn line(&mut self, line: &[&str]) {
        let now = self.now;
        match *line {
            ["chunks" | "have", ..] => return,
            ["tick", time] => {
                let millis = match time.strip_suffix("ms") {
                    Some(millis) => millis.parse().unwrap(),
                    None => time.trim_end_matches('s').parse::<u64>().unwrap() * 1000,
                };
                self.now += Duration::from_millis(millis);
            }
            ["demand", range, "order", order] => {
                let priority = Priority::Demanded(order.parse().unwrap());
                self.planner.demand(Demand { groups: groups(&[range])[0].clone(), priority });
            }
            ["normal", range] => {
                let groups = groups(&[range])[0].clone();
                self.planner.demand(Demand { groups, priority: Priority::Normal });
            }
            ["local", ref ranges @ ..] => {
                groups(ranges)
                    .into_iter()
                    .flatten()
                    .for_each(|group| self.planner.have_locally(group));
            }
            ["?"] => {
                let step = self.planner.next(now);
                self.say(&match step {
                    Step::Wait { until } => format!("wait {:?}", until.saturating_sub(now)),
                    step => format!("{step:?}").to_lowercase(),
                });
            }
            [peer, ref event @ ..] => {
                let peer = PeerIx(u32::from(peer.as_bytes()[0] - b'a'));
                self.event(peer, event);
            }
            [] => {}
        }
        self.steps();
    }

    fn event(&mut self, peer: PeerIx, event: &[&str]) {
        let now = self.now;
        let oldest = self.planner.peers.get(&peer).and_then(|peer| peer.requests.first().copied());
        let end = |run: &mut Self, end| {
            run.planner.ended(oldest.expect("something is asked of it"), end, now);
        };
        match *event {
            ["relayed"] => self.planner.peer_joined(peer, Quality { relayed: true }, now),
            ["leaves"] => self.planner.peer_left(peer, now),
            ["has", ref what @ ..] => {
                if !self.planner.peers.get(&peer).is_some_and(|peer| peer.here) {
                    self.planner.peer_joined(peer, Quality::default(), now);
                }
                let has = match *what {
                    ["all"] => Has::All,
                    ["none"] => Has::None,
                    ["more", ref ranges @ ..] => Has::Added(groups(ranges)),
                    ref ranges => {
                        let mut field = Bitfield::empty(self.planner.geometry.n_groups());
                        for range in groups(ranges) {
                            field.insert_range(range);
                        }
                        Has::Bitfield(field)
                    }
                };
                self.planner.peer_has(peer, has);
            }
            ["gives", ref which @ ..] => {
                let all: Vec<(RequestId, u32)> = self
                    .asked
                    .iter()
                    .filter(|(_, asked)| asked.0 == peer)
                    .flat_map(|(&id, asked)| asked.1.iter().map(move |&group| (id, group)))
                    .filter(|&(id, group)| {
                        *which != ["all"]
                            || self.planner.requests.get(&id).is_some_and(|asked| {
                                asked.awaited().any(|awaited| awaited == group)
                            })
                    })
                    .collect();
                let which: Vec<u32> = match *which {
                    ["all"] => all.iter().map(|&(_, group)| group).collect(),
                    ref ranges => groups(ranges).into_iter().flatten().collect(),
                };
                for group in which {
                    let &(id, _) =
                        all.iter().rfind(|asked| asked.1 == group).expect("it was asked for it");
                    self.planner.group_verified(id, group, now);
                }
            }
            ["forges", group] => {
                let group = group.parse().unwrap();
                let asked = self
                    .asked
                    .iter()
                    .rfind(|(_, asked)| asked.0 == peer && asked.1.contains(&group));
                let &id = asked.expect("it was asked for it").0;
                let strike = self.planner.group_bad(id, group, now);
                self.say(&format!("{} {strike:?}", name(peer)).to_lowercase());
            }
            ["sends", bytes] => {
                self.bytes += bytes.parse::<u64>().unwrap();
                self.planner.received(oldest.unwrap(), self.bytes, now);
            }
            ["grants", ref ranges @ ..] => {
                let chunks = self.planner.geometry.chunks();
                let granted: Vec<Asked> = groups(ranges)
                    .into_iter()
                    .map(|range| {
                        let chunk = self.planner.geometry.chunk_of(range.start);
                        Asked {
                            chunk,
                            first: range.start - chunks[chunk].first_group,
                            n: range.len() as u32,
                        }
                    })
                    .collect();
                self.planner.granted(oldest.unwrap(), &granted, self.now);
            }
            ["busy", millis] => end(self, End::Busy { retry_ms: millis.parse().unwrap() }),
            ["lacks"] => end(self, End::NotHeld),
            ["fails"] => end(self, End::Failed),
            ["ends"] => end(self, End::Done),
            ["unsupported"] => end(self, End::Unsupported),
            ref other => panic!("{other:?} is no event"),
        }
    }

    fn steps(&mut self) {
        loop {
            let step = self.planner.next(self.now);
            self.planner.assert_sound();
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
                    self.say(&format!("{} <- {}", name(peer), text(&groups)));
                    self.asked.insert(id, (peer, groups));
                }
                Step::Cancel { id } => {
                    let (peer, groups) = self.asked[&id].clone();
                    self.say(&format!("{} -x {}", name(peer), text(&groups)));
                }
                Step::Truncate { id, last } => {
                    let peer = self.asked[&id].0;
                    self.say(&format!("{} -> {last}", name(peer)));
                }
                Step::Wait { until } => {
                    assert!(until > self.now, "a wait that does not wait");
                    return;
                }
                Step::Done | Step::Stuck => return,
            }
        }
    }

    fn say(&mut self, what: &str) {
        let time = if self.now.is_zero() { String::new() } else { format!("{:?} ", self.now) };
        writeln!(self.out, "{time}{what}").unwrap();
    }
}
