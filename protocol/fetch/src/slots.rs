//! Who is served next: deficit round robin by bytes over the peers that wait.
//!
//! Each turn gives a peer a quantum of bytes; a request is served once its peer has saved up what it
//! costs, so peers share the upload by bytes and not by requests. Among those that wait, requests
//! for what was sent least go first: a hundred readers of one provider then get a hundred different
//! parts, which they give each other, and the provider sends its file once and not a hundred times.
//! Whoever stands back for that does so until it is a quantum behind its share, and has its turn
//! then, whatever it asks for. One slot is optimistic: it goes to whoever waits and was served the
//! least, which is how a newcomer gets its first piece while the others keep the rest busy.
//! Pure: no clock, no I/O.
//!
//! Invariant: a request is waiting, in a slot, or gone; `waiting` never exceeds its bounds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Requests served at once.
pub const SLOTS: usize = 8;
/// Slots of one peer at most while others wait: a slow reader does not hold them all.
const SLOTS_PER_PEER: usize = SLOTS / 2;
/// Requests of one peer that may wait; a planner keeps at most four outstanding.
pub const WAITING_PER_PEER: usize = 8;
/// Requests that may wait in all.
pub const WAITING: usize = 256;
/// Bytes that a turn adds to a peer's credit: a quarter of the largest request.
const QUANTUM: u64 = 4 << 20;
/// Bytes at most that a peer is remembered to be behind its share, or ahead of it: the largest
/// request.
const REMEMBERED: i64 = 16 << 20;

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

    /// Queues a request that will send `cost` bytes.
    pub fn push(&mut self, peer: P, cost: u64, request: R) -> Result<(), Full<R>> {
        let queued = self.waiters.get(&peer).map_or(0, |waiter| waiter.requests.len());
        if self.waiting >= WAITING || queued >= WAITING_PER_PEER {
            return Err(Full(request));
        }
        let waiter = self.waiters.entry(peer).or_insert_with(|| {
            self.turns.push_back(peer);
            Waiter { requests: VecDeque::new(), credit: 0 }
        });
        waiter.requests.push_back((cost, request));
        self.waiting += 1;
        Ok(())
    }

    /// Takes the next request to serve, if a slot is free. `times` says how often was sent what a
    /// request asks for. Give the slot back with [`Self::done`].
    pub fn next(&mut self, times: impl Fn(&R) -> u32) -> Option<(Slot<P>, R)> {
        let others_wait = self.turns.len() > 1;
        let active_of = |peer: &P| self.active_of.get(peer).copied().unwrap_or(0);
        let may = |peer: &P| !others_wait || active_of(peer) < SLOTS_PER_PEER;
        if self.active >= self.slots || !self.turns.iter().any(may) {
            return None;
        }
        // The last free slot is the optimistic one.
        if !self.optimistic_active && self.slots > 1 && self.active + 1 == self.slots {
            let waiting = self.turns.iter().filter(|peer| may(peer));
            let least = waiting.min_by_key(|peer| self.served.get(peer).copied().unwrap_or(0));
            let peer = *least.expect("one may be served");
            self.optimistic_active = true;
            let (slot, _, request) = self.take(peer, true);
            return Some((slot, request));
        }
        let waiting: Vec<P> = self.turns.iter().copied().filter(may).collect();
        let eligible = self.eligible(&waiting, times);
        let peer = self.turn(&eligible);
        let (slot, cost, request) = self.take(peer, false);
        self.settle(peer, cost, &waiting, &eligible);
        Some((slot, request))
    }

    /// Of the peers that wait those that are too far behind; if none is, those that ask for what was
    /// sent least.
    fn eligible(&self, waiting: &[P], times: impl Fn(&R) -> u32) -> BTreeSet<P> {
        let is_late =
            |peer: &P| self.behind.get(peer).is_some_and(|&behind| behind >= QUANTUM as i64);
        let late: BTreeSet<P> = waiting.iter().copied().filter(is_late).collect();
        if !late.is_empty() {
            return late;
        }
        let front = |peer: &P| Some(times(&self.waiters.get(peer)?.requests.front()?.1));
        let least = waiting.iter().filter_map(front).min();
        waiting.iter().copied().filter(|peer| front(peer) == least).collect()
    }

    /// Whose turn it is.
    fn turn(&mut self, eligible: &BTreeSet<P>) -> P {
        loop {
            let peer = *self.turns.front().expect("somebody waits");
            if eligible.contains(&peer) {
                let waiter = self.waiters.get_mut(&peer).expect("who has a turn waits");
                let cost = waiter.requests.front().expect("who waits has a request").0;
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
    fn settle(&mut self, peer: P, cost: u64, waiting: &[P], eligible: &BTreeSet<P>) {
        let share = cost as i64 / waiting.len().max(1) as i64;
        let mut owes = |peer: P, bytes: i64| {
            let behind = self.behind.entry(peer).or_insert(0);
            *behind = (*behind + bytes).clamp(-REMEMBERED, REMEMBERED);
        };
        let mut n_back = 0;
        for &other in waiting.iter().filter(|other| !eligible.contains(other)) {
            owes(other, share);
            n_back += 1;
        }
        if n_back > 0 {
            owes(peer, -share * n_back);
        }
    }

    fn take(&mut self, peer: P, optimistic: bool) -> (Slot<P>, u64, R) {
        let waiter = self.waiters.get_mut(&peer).expect("who has a turn waits");
        let (cost, request) = waiter.requests.pop_front().expect("who waits has a request");
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

    /// Takes out the waiting requests that `gone` picks.
    pub fn take_if(&mut self, mut gone: impl FnMut(&R) -> bool) -> Vec<R> {
        let mut taken = Vec::new();
        for waiter in self.waiters.values_mut() {
            for (cost, request) in std::mem::take(&mut waiter.requests) {
                if gone(&request) {
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
        let mut slots = Slots::new(SLOTS);
        for _ in 0..8 {
            slots.push('a', MIB, 'a').unwrap();
        }
        let held: Vec<_> = (0..7).map(|_| slots.next(|_| 0).unwrap().0).collect();
        slots.push('a', MIB, 'a').unwrap();
        slots.push('b', 16 * MIB, 'b').unwrap();
        let (slot, peer) = slots.next(|_| 0).unwrap();
        assert_eq!(peer, 'b');
        assert!(slots.next(|_| 0).is_none(), "eight slots are all there are");
        slots.done(slot);
        for slot in held {
            slots.done(slot);
        }
    }

    #[test]
    fn a_reader_that_never_ends_leaves_half_of_the_slots_to_others() {
        let mut slots = Slots::new(SLOTS);
        for _ in 0..8 {
            slots.push('a', MIB, 'a').unwrap();
        }
        slots.push('b', 16 * MIB, 'b').unwrap();
        slots.push('b', 16 * MIB, 'b').unwrap();
        let served: Vec<_> = std::iter::from_fn(|| slots.next(|_| 0)).collect();
        let of_a = served.iter().filter(|(_, peer)| *peer == 'a').count();
        // Once nobody else waits, the rest is for whoever does.
        assert_eq!((served.len(), of_a), (8, 6), "both of b, and the rest");
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
