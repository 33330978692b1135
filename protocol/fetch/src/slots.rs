//! Who is served next: deficit round robin by bytes over the peers that wait.
//!
//! Each turn gives a peer a quantum of bytes; a request is served once its peer has saved up what it
//! costs, so peers share the upload by bytes and not by requests. Among those that wait, requests
//! for what was sent least go first: a hundred readers of one provider then get a hundred different
//! parts, which they give each other, and the provider sends its file once and not a hundred times.
//! Whoever stands back for that does so until it is the largest request behind its share, and has its
//! turn then, whatever it asks for. Of a peer's own requests too that for what was sent least goes
//! first, but for the first of them, which is passed over twice. One slot is optimistic: it goes to
//! whoever had nothing yet, which is how a newcomer gets its first piece while the others keep the
//! rest busy, and else to whoever had least of those whose turn it may be.
//! Pure: no clock, no I/O.
//!
//! Invariant: a request is waiting, in a slot, or gone; `waiting` never exceeds its bounds.

use std::collections::{BTreeMap, VecDeque};

/// Requests served at once.
pub const SLOTS: usize = 8;
/// Slots of one peer at most. While one answer ends the next goes on; of more answers at once a line
/// that breaks would lose a part each, and a slow reader would hold them all.
const SLOTS_PER_PEER: usize = 2;
/// Requests of one peer that may wait; a planner keeps at most three outstanding.
pub const WAITING_PER_PEER: usize = 8;
/// Requests that may wait in all.
pub const WAITING: usize = 256;
/// Bytes that a turn adds to a peer's credit: a quarter of the largest request.
const QUANTUM: u64 = 4 << 20;
/// Bytes that a peer is behind its share when it has stood back for long enough: the largest request.
/// Less has the seed of a model that is smaller than this for each of its readers send much of it
/// twice, before they could give it to each other.
const LATE: i64 = 16 << 20;
/// How often a peer's first request is passed over for a later one of its own.
const OVERTAKEN: u32 = 2;
/// Bytes at most that a peer is remembered to be behind its share, or ahead of it.
const REMEMBERED: i64 = 2 * LATE;

/// A request that cannot wait: the queue is full.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<R>(
    /// What was to wait.
    pub R,
);

#[derive(Debug)]
struct Waiter<R> {
    requests: VecDeque<(u64, R)>,
    credit: u64,
    /// Later requests that were served before the first since it is that.
    overtaken: u32,
}

/// The queue and the slots.
#[derive(Debug)]
pub struct Slots<P, R> {
    waiters: BTreeMap<P, Waiter<R>>,
    /// Peers with waiting requests, the next in turn first.
    turns: VecDeque<P>,
    /// Bytes served to each peer that is here, for the optimistic slot.
    served: BTreeMap<P, u64>,
    /// Bytes by which peers that are here are behind their share of what was sent while they stood
    /// back, or ahead of it because others did. Their sum is 0, but for what was forgotten.
    behind: BTreeMap<P, i64>,
    /// Slots in use by each peer.
    active_of: BTreeMap<P, usize>,
    slots: usize,
    waiting: usize,
    active: usize,
    optimistic_active: bool,
}

impl<P: Copy + Ord, R> Slots<P, R> {
    /// A queue in front of `slots` slots, at most [`SLOTS`].
    pub fn new(slots: usize) -> Self {
        Self {
            active_of: BTreeMap::new(),
            slots: slots.clamp(1, SLOTS),
            waiters: BTreeMap::new(),
            turns: VecDeque::new(),
            served: BTreeMap::new(),
            behind: BTreeMap::new(),
            waiting: 0,
            active: 0,
            optimistic_active: false,
        }
    }

    /// Whether no more requests of a peer may wait.
    pub fn is_full(&self, peer: &P) -> bool {
        let queued = self.waiters.get(peer).map_or(0, |waiter| waiter.requests.len());
        self.waiting >= WAITING || queued >= WAITING_PER_PEER
    }

    /// Queues a request that will send `cost` bytes.
    pub fn push(&mut self, peer: P, cost: u64, request: R) -> Result<(), Full<R>> {
        if self.is_full(&peer) {
            return Err(Full(request));
        }
        let waiter = self.waiters.entry(peer).or_insert_with(|| {
            self.turns.push_back(peer);
            Waiter { requests: VecDeque::new(), credit: 0, overtaken: 0 }
        });
        waiter.requests.push_back((cost, request));
        self.waiting += 1;
        Ok(())
    }

    /// Takes the next request to serve, if a slot is free. `times` says how often was sent what a
    /// request asks for. Give the slot back with [`Self::done`].
    pub fn next(&mut self, times: impl Fn(&R) -> u32) -> Option<(Slot<P>, R)> {
        let active_of = |peer: &P| self.active_of.get(peer).copied().unwrap_or(0);
        let may = |peer: &P| active_of(peer) < SLOTS_PER_PEER;
        if self.active >= self.slots || !self.turns.iter().any(may) {
            return None;
        }
        let waiting: Vec<P> = self.turns.iter().copied().filter(may).collect();
        let eligible = self.eligible(&waiting, times);
        // The last free slot is the optimistic one.
        if !self.optimistic_active && self.slots > 1 && self.active + 1 == self.slots {
            let served = |peer: &P| self.served.get(peer).copied().unwrap_or(0);
            let newcomer = waiting.iter().copied().find(|peer| served(peer) == 0);
            let least = || eligible.keys().copied().min_by_key(served);
            let peer = newcomer.or_else(least).expect("one may be served");
            let at = eligible.get(&peer).copied().unwrap_or(0);
            self.optimistic_active = true;
            let (slot, _, request) = self.take(peer, at, true);
            return Some((slot, request));
        }
        let peer = self.turn(&eligible);
        let (slot, cost, request) = self.take(peer, eligible[&peer], false);
        self.settle(peer, cost, &waiting, &eligible);
        Some((slot, request))
    }

    /// Of the peers that wait those that are too far behind; if none is, those that ask for what was
    /// sent least. With the place of what each asks for that was sent least, the first of several.
    fn eligible(&self, waiting: &[P], times: impl Fn(&R) -> u32) -> BTreeMap<P, usize> {
        let is_late = |peer: &P| self.behind.get(peer).is_some_and(|&behind| behind >= LATE);
        let any_late = waiting.iter().any(is_late);
        let least_of = |peer: &P| {
            let waiter = self.waiters.get(peer)?;
            let n = if any_late || waiter.overtaken >= OVERTAKEN { 1 } else { usize::MAX };
            let requests = waiter.requests.iter().take(n).enumerate();
            requests.map(|(at, (_, request))| (times(request), at)).min()
        };
        let may = waiting.iter().filter(|peer| !any_late || is_late(peer));
        let fronts: Vec<(P, (u32, usize))> =
            may.filter_map(|peer| Some((*peer, least_of(peer)?))).collect();
        let least = fronts.iter().map(|(_, (times, _))| *times).min();
        let is_eligible = |times: u32| any_late || Some(times) == least;
        let eligible = fronts.into_iter().filter(|(_, (times, _))| is_eligible(*times));
        eligible.map(|(peer, (_, at))| (peer, at)).collect()
    }

    /// Whose turn it is.
    fn turn(&mut self, eligible: &BTreeMap<P, usize>) -> P {
        loop {
            let peer = *self.turns.front().expect("somebody waits");
            if let Some(&at) = eligible.get(&peer) {
                let waiter = self.waiters.get_mut(&peer).expect("who has a turn waits");
                let cost = waiter.requests.get(at).expect("it waits there").0;
                if waiter.credit >= cost {
                    waiter.credit -= cost;
                    return peer;
                }
                waiter.credit += QUANTUM;
            }
            self.turns.rotate_left(1);
        }
    }

    /// Takes note of who stood back: each gets its share of what was sent later, from whoever got it
    /// now.
    fn settle(&mut self, peer: P, cost: u64, waiting: &[P], eligible: &BTreeMap<P, usize>) {
        let share = cost as i64 / waiting.len().max(1) as i64;
        let mut owes = |peer: P, bytes: i64| {
            let behind = self.behind.entry(peer).or_insert(0);
            *behind = (*behind + bytes).clamp(-REMEMBERED, REMEMBERED);
        };
        let mut n_back = 0;
        for &other in waiting.iter().filter(|other| !eligible.contains_key(other)) {
            owes(other, share);
            n_back += 1;
        }
        if n_back > 0 {
            owes(peer, -share * n_back);
        }
    }

    fn take(&mut self, peer: P, at: usize, optimistic: bool) -> (Slot<P>, u64, R) {
        let waiter = self.waiters.get_mut(&peer).expect("who has a turn waits");
        let (cost, request) = waiter.requests.remove(at).expect("it waits there");
        waiter.overtaken = if at == 0 { 0 } else { waiter.overtaken + 1 };
        if waiter.requests.is_empty() {
            // Credit is not kept: an idle peer saves nothing up.
            self.waiters.remove(&peer);
            self.turns.retain(|other| *other != peer);
        }
        self.waiting -= 1;
        self.active += 1;
        *self.active_of.entry(peer).or_insert(0) += 1;
        *self.served.entry(peer).or_insert(0) += cost;
        (Slot { optimistic, peer }, cost, request)
    }

    /// Gives a slot back.
    pub fn done(&mut self, slot: Slot<P>) {
        self.active -= 1;
        if let Some(active) = self.active_of.get_mut(&slot.peer) {
            *active -= 1;
            if *active == 0 {
                self.active_of.remove(&slot.peer);
            }
        }
        if slot.optimistic {
            self.optimistic_active = false;
        }
    }

    /// Whether a slot is free and somebody waits.
    pub fn is_due(&self) -> bool {
        self.active < self.slots && self.waiting > 0
    }

    /// Takes out the waiting requests that `gone` picks.
    pub fn take_if(&mut self, mut gone: impl FnMut(&mut R) -> bool) -> Vec<R> {
        let mut taken = Vec::new();
        for waiter in self.waiters.values_mut() {
            for (cost, mut request) in std::mem::take(&mut waiter.requests) {
                if gone(&mut request) {
                    taken.push(request);
                } else {
                    waiter.requests.push_back((cost, request));
                }
            }
        }
        self.waiting -= taken.len();
        self.waiters.retain(|_, waiter| !waiter.requests.is_empty());
        self.turns.retain(|peer| self.waiters.contains_key(peer));
        taken
    }

    /// Forgets a peer that left, with what it asked.
    pub fn forget(&mut self, peer: P) {
        if let Some(waiter) = self.waiters.remove(&peer) {
            self.waiting -= waiter.requests.len();
            self.turns.retain(|other| *other != peer);
        }
        self.served.remove(&peer);
        self.behind.remove(&peer);
    }
}

/// A slot in use.
#[derive(Debug)]
pub struct Slot<P> {
    optimistic: bool,
    peer: P,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn serve(slots: &mut Slots<char, char>, n: usize) -> String {
        let mut one = || {
            let (slot, peer) = slots.next(|_| 0)?;
            slots.done(slot);
            Some(peer)
        };
        (0..n).filter_map(|_| one()).collect()
    }

    #[test]
    fn peers_share_by_bytes_and_not_by_requests() {
        let mut slots = Slots::new(SLOTS);
        for _ in 0..8 {
            slots.push('a', 16 * MIB, 'a').unwrap();
            slots.push('b', 4 * MIB, 'b').unwrap();
        }
        // Until b has nothing left, it gets four small requests for each large one of a.
        let order = serve(&mut slots, 10);
        assert_eq!(order.matches('b').count(), 8, "{order}");
        assert_eq!(order.matches('a').count(), 2, "{order}");
    }

    #[test]
    fn the_last_slot_goes_to_whoever_had_least() {
        let mut slots = Slots::new(3);
        slots.push('a', 4 * MIB, 'a').unwrap();
        let had = slots.next(|_| 0).unwrap().0;
        slots.done(had);
        for peer in ['a', 'b', 'c'] {
            slots.push(peer, 16 * MIB, peer).unwrap();
        }
        let held: Vec<_> = (0..2).map(|_| slots.next(|_| 0).unwrap().0).collect();
        assert_eq!(held.iter().map(|slot| slot.peer).collect::<String>(), "ab");
        for peer in ['d', 'a'] {
            slots.push(peer, MIB, peer).unwrap();
        }
        // Of c and d, which had nothing, the first; and when c has had 16 MiB, d.
        let (slot, peer) = slots.next(|_| 0).unwrap();
        assert_eq!((slot.optimistic, peer), (true, 'c'));
        assert!(slots.next(|_| 0).is_none(), "three slots are all there are");
        slots.done(slot);
        slots.push('c', MIB, 'c').unwrap();
        assert_eq!(slots.next(|_| 0).unwrap().1, 'd');
        for slot in held {
            slots.done(slot);
        }
    }

    #[test]
    fn a_peer_has_two_slots_at_most() {
        let mut slots = Slots::new(SLOTS);
        for _ in 0..3 {
            slots.push('a', MIB, 'a').unwrap();
        }
        slots.push('b', 16 * MIB, 'b').unwrap();
        let served: Vec<_> = std::iter::from_fn(|| slots.next(|_| 0)).collect();
        assert_eq!(served.iter().map(|(_, peer)| *peer).collect::<String>(), "aab");
        for (slot, _) in served {
            slots.done(slot);
        }
        assert_eq!(slots.next(|_| 0).unwrap().1, 'a');
    }

    #[test]
    fn what_was_sent_least_goes_first_and_ties_go_by_turns() {
        let mut slots = Slots::new(SLOTS);
        for (peer, request) in [('a', 'x'), ('b', 'y'), ('c', 'x'), ('d', 'y')] {
            slots.push(peer, MIB, request).unwrap();
        }
        let times = |request: &char| u32::from(*request == 'x');
        let order: String =
            std::iter::from_fn(|| slots.next(times)).map(|(slot, _)| slot.peer).collect();
        assert_eq!(order, "bdac");
    }

    #[test]
    fn the_optimistic_slot_too_goes_to_what_was_sent_least() {
        let mut slots = Slots::new(2);
        slots.push('b', MIB, 'y').unwrap();
        slots.push('a', MIB / 2, 'y').unwrap();
        let had = slots.next(|_| 0).unwrap().0;
        slots.done(had);
        let held = slots.next(|_| 0).unwrap().0;
        slots.push('a', MIB, 'x').unwrap();
        slots.push('b', MIB, 'x').unwrap();
        slots.push('b', MIB, 'y').unwrap();
        // Less was served to a, but what it asks for was sent; of b's two, the second was not.
        let times = |request: &char| u32::from(*request == 'x');
        let (slot, request) = slots.next(times).unwrap();
        assert_eq!((slot.optimistic, slot.peer, request), (true, 'b', 'y'));
        slots.done(held);
    }

    #[test]
    fn a_peer_overtakes_itself_twice() {
        let mut slots = Slots::new(1);
        slots.push('a', MIB, 'x').unwrap();
        let order: String = (0..7)
            .map(|_| {
                slots.push('a', MIB, 'y').unwrap();
                let (slot, request) = slots.next(|request| u32::from(*request == 'x')).unwrap();
                slots.done(slot);
                request
            })
            .collect();
        assert_eq!(order, "yyxyyyy");
    }

    #[test]
    fn who_had_nothing_has_the_optimistic_slot_whatever_it_asks_for() {
        let mut slots = Slots::new(2);
        slots.push('b', MIB, 'y').unwrap();
        let held = slots.next(|_| 0).unwrap().0;
        slots.push('a', MIB, 'x').unwrap();
        slots.push('b', MIB, 'y').unwrap();
        let (slot, request) = slots.next(|request| u32::from(*request == 'x')).unwrap();
        assert_eq!((slot.optimistic, slot.peer, request), (true, 'a', 'x'));
        slots.done(held);
    }

    /// One reads a model that everybody has had, or asks for what somebody else had; others read what
    /// nobody had yet, for ever.
    #[test]
    fn who_asks_for_what_was_sent_stands_back_and_still_gets_its_share() {
        for n_others in 1..4 {
            let mut slots = Slots::new(1);
            let mut bytes = BTreeMap::new();
            let costs = [('a', MIB), ('b', MIB), ('c', 4 * MIB), ('d', 2 * MIB)];
            let costs = &costs[..=n_others];
            for &(peer, cost) in costs.iter().rev() {
                slots.push(peer, cost, peer).unwrap();
            }
            let mut first = 0;
            for n in 0..1_000 {
                let (slot, peer) = slots.next(|peer| u32::from(*peer == 'a')).unwrap();
                slots.done(slot);
                let cost = costs.iter().find(|(other, _)| *other == peer).unwrap().1;
                *bytes.entry(peer).or_insert(0) += cost;
                // It asks for more as soon as it has this, and its queue was empty.
                slots.push(peer, cost, peer).unwrap();
                if peer == 'a' && first == 0 {
                    first = n;
                }
            }
            assert!(first > 0, "what was not sent before goes first");
            let sum: u64 = bytes.values().sum();
            let (share, of_a) = (sum / costs.len() as u64, bytes[&'a']);
            assert!(share * 8 / 10 <= of_a && of_a <= share * 12 / 10, "{share}: {bytes:?}");
        }
    }

    #[test]
    fn a_full_queue_hands_the_request_back() {
        let mut slots = Slots::new(SLOTS);
        for n in 0..WAITING_PER_PEER {
            slots.push('a', MIB, n).unwrap();
        }
        assert_eq!(slots.push('a', MIB, 99), Err(Full(99)));
        assert_eq!(slots.take_if(|n| *n < 2), [0, 1]);
        slots.push('a', MIB, 8).unwrap();
        slots.forget('a');
        assert!(slots.next(|_| 0).is_none());
        assert_eq!(slots.push('a', MIB, 99), Ok(()));
    }
}
