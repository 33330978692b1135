//! Who is served next: deficit round robin by bytes over the peers that wait.
//!
//! Each turn gives a peer a quantum of bytes; a request is served once its peer has saved up what it
//! costs, so peers share the upload by bytes and not by requests. One slot is optimistic: it goes to
//! whoever waits and was served the least, which is how a newcomer gets its first piece while the
//! others keep the rest busy. Pure: no clock, no I/O.
//!
//! Invariant: a request is waiting, in a slot, or gone; `waiting` never exceeds its bounds.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Requests served at once.
pub(crate) const SLOTS: usize = 8;
/// Slots of one peer at most while others wait: a slow reader does not hold them all.
const SLOTS_PER_PEER: usize = SLOTS / 2;
/// Requests of one peer that may wait; a planner keeps at most four outstanding.
pub(crate) const WAITING_PER_PEER: usize = 8;
/// Requests that may wait in all.
pub(crate) const WAITING: usize = 256;
/// Bytes that a turn adds to a peer's credit: a quarter of the largest request.
const QUANTUM: u64 = 4 << 20;

/// A request that cannot wait: the queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full<R>(pub(crate) R);

#[derive(Debug)]
struct Waiter<R> {
    requests: VecDeque<(u64, R)>,
    credit: u64,
}

/// The queue and the slots.
#[derive(Debug)]
pub(crate) struct Slots<P, R> {
    waiters: HashMap<P, Waiter<R>>,
    /// Peers with waiting requests, the next in turn first.
    turns: VecDeque<P>,
    /// Bytes served to each peer that is here, for the optimistic slot.
    served: HashMap<P, u64>,
    /// Slots in use by each peer.
    active_of: HashMap<P, usize>,
    slots: usize,
    waiting: usize,
    active: usize,
    optimistic_active: bool,
}

impl<P: Copy + Eq + Hash, R> Slots<P, R> {
    /// A queue in front of `slots` slots, at most [`SLOTS`].
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            active_of: HashMap::new(),
            slots: slots.clamp(1, SLOTS),
            waiters: HashMap::new(),
            turns: VecDeque::new(),
            served: HashMap::new(),
            waiting: 0,
            active: 0,
            optimistic_active: false,
        }
    }

    /// Queues a request that will send `cost` bytes.
    pub(crate) fn push(&mut self, peer: P, cost: u64, request: R) -> Result<(), Full<R>> {
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

    /// Takes the next request to serve, if a slot is free. Give the slot back with [`Self::done`].
    pub(crate) fn next(&mut self) -> Option<(Slot<P>, R)> {
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
            return Some(self.take(peer, true));
        }
        loop {
            let peer = *self.turns.front().expect("somebody waits");
            if others_wait && self.active_of.get(&peer).copied().unwrap_or(0) >= SLOTS_PER_PEER {
                self.turns.rotate_left(1);
                continue;
            }
            let waiter = self.waiters.get_mut(&peer).expect("who has a turn waits");
            let cost = waiter.requests.front().expect("who waits has a request").0;
            if waiter.credit >= cost {
                waiter.credit -= cost;
                return Some(self.take(peer, false));
            }
            waiter.credit += QUANTUM;
            self.turns.rotate_left(1);
        }
    }

    fn take(&mut self, peer: P, optimistic: bool) -> (Slot<P>, R) {
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
        (Slot { optimistic, peer }, request)
    }

    /// Gives a slot back.
    pub(crate) fn done(&mut self, slot: Slot<P>) {
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
    pub(crate) fn take_if(&mut self, mut gone: impl FnMut(&R) -> bool) -> Vec<R> {
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
    pub(crate) fn forget(&mut self, peer: P) {
        if let Some(waiter) = self.waiters.remove(&peer) {
            self.waiting -= waiter.requests.len();
            self.turns.retain(|other| *other != peer);
        }
        self.served.remove(&peer);
    }
}

/// A slot in use.
#[derive(Debug)]
pub(crate) struct Slot<P> {
    optimistic: bool,
    peer: P,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn serve(slots: &mut Slots<char, char>, n: usize) -> String {
        let mut one = || {
            let (slot, peer) = slots.next()?;
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
        let held: Vec<_> = (0..7).map(|_| slots.next().unwrap().0).collect();
        slots.push('a', MIB, 'a').unwrap();
        slots.push('b', 16 * MIB, 'b').unwrap();
        let (slot, peer) = slots.next().unwrap();
        assert_eq!(peer, 'b');
        assert!(slots.next().is_none(), "eight slots are all there are");
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
        let served: Vec<_> = std::iter::from_fn(|| slots.next()).collect();
        let of_a = served.iter().filter(|(_, peer)| *peer == 'a').count();
        // Once nobody else waits, the rest is for whoever does.
        assert_eq!((served.len(), of_a), (8, 6), "both of b, and the rest");
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
        assert!(slots.next().is_none());
        assert_eq!(slots.push('a', MIB, 99), Ok(()));
    }
}
