//! Decides when to announce what this node provides.
//!
//! An announcement tells the peers nearest to the id, with this node's addresses at that moment. So
//! all is announced again on a timer (records die), on a new address (records hold the old ones)
//! and when the network has grown (others are nearer now). It is told what happened and what time
//! it is, and says what to announce.
//!
//! Invariant: each id is either due at a time or being announced; at most [`ANNOUNCING`] are.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use hive_protocol::BlockId;
use libp2p::kad::QueryId;

use crate::limits::{ANNOUNCING, PROVIDED, REPROVIDE_INTERVAL, REPROVIDE_RETRY};

#[derive(Debug, Clone, Copy)]
struct State {
    /// `None` while it is announced.
    due: Option<Instant>,
    /// Something happened during the announcement that makes it worth another.
    again: Option<Instant>,
    /// Somebody has been told.
    told: bool,
}

/// What this node provides.
#[derive(Debug, Default)]
pub(crate) struct Provided {
    ids: HashMap<BlockId, State>,
    queue: BTreeSet<(Instant, BlockId)>,
    running: HashMap<QueryId, BlockId>,
}

impl Provided {
    /// Provides one more, from now on. Says whether there was room.
    pub(crate) fn add(&mut self, id: BlockId, now: Instant) -> bool {
        if self.ids.contains_key(&id) {
            return true;
        }
        if self.ids.len() >= PROVIDED {
            return false;
        }
        self.queue.insert((now, id));
        self.ids.insert(id, State { due: Some(now), again: None, told: false });
        true
    }

    /// Provides one less.
    pub(crate) fn remove(&mut self, id: &BlockId) {
        if let Some(State { due: Some(due), .. }) = self.ids.remove(id) {
            self.queue.remove(&(due, *id));
        }
    }

    /// Announces all again, at `when` at the latest.
    pub(crate) fn all_due(&mut self, when: Instant) {
        for (id, state) in &mut self.ids {
            match state.due {
                Some(due) if due > when => {
                    self.queue.remove(&(due, *id));
                    self.queue.insert((when, *id));
                    state.due = Some(when);
                }
                Some(_) => {}
                None => state.again = Some(when),
            }
        }
    }

    /// What to announce now, if anything. [`started`](Self::started) or
    /// [`failed_to_start`](Self::failed_to_start) has to follow.
    pub(crate) fn next(&mut self, now: Instant) -> Option<BlockId> {
        if self.running.len() >= ANNOUNCING || self.queue.first()?.0 > now {
            return None;
        }
        let (_, id) = self.queue.pop_first()?;
        if let Some(state) = self.ids.get_mut(&id) {
            state.due = None;
        }
        Some(id)
    }

    /// The announcement runs.
    pub(crate) fn started(&mut self, query: QueryId, id: BlockId) {
        self.running.insert(query, id);
    }

    /// The announcement could not be begun.
    pub(crate) fn failed_to_start(&mut self, id: &BlockId, now: Instant) {
        self.reschedule(id, now + REPROVIDE_RETRY);
    }

    /// The announcement has ended, and somebody was told or not. `jitter` in 0..1 spreads the next
    /// ones.
    pub(crate) fn ended(&mut self, query: QueryId, told: bool, now: Instant, jitter: f64) {
        let Some(id) = self.running.remove(&query) else { return };
        if let Some(state) = self.ids.get_mut(&id) {
            state.told |= told;
        }
        let pause = if told { spread(REPROVIDE_INTERVAL, jitter) } else { REPROVIDE_RETRY };
        self.reschedule(&id, now + pause);
    }

    fn reschedule(&mut self, id: &BlockId, due: Instant) {
        let Some(state) = self.ids.get_mut(id) else { return };
        let due = state.again.take().map_or(due, |again| again.min(due));
        // Removed and added again meanwhile, it is in the queue already.
        if let Some(other) = state.due.replace(due) {
            self.queue.remove(&(other, *id));
        }
        self.queue.insert((due, *id));
    }

    /// Whether somebody was told of an id, if it is provided.
    pub(crate) fn is_told(&self, id: &BlockId) -> Option<bool> {
        self.ids.get(id).map(|state| state.told)
    }

    /// How many ids are provided.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Of how many somebody was told.
    pub(crate) fn announced(&self) -> usize {
        self.ids.values().filter(|state| state.told).count()
    }
}

/// The interval, give or take a tenth.
fn spread(interval: Duration, jitter: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use libp2p::kad;

    use super::*;

    fn key(n: u8) -> BlockId {
        BlockId::of(&[n])
    }

    /// Query ids come from a behaviour only.
    fn queries() -> impl Iterator<Item = QueryId> {
        let peer = libp2p::PeerId::random();
        let config = kad::Config::new(libp2p::StreamProtocol::new("/test"));
        let store = kad::store::MemoryStore::new(peer);
        let mut kad = kad::Behaviour::with_config(peer, store, config);
        std::iter::repeat_with(move || kad.get_closest_peers(peer))
    }

    #[test]
    fn so_many_announcements_run_at_once() {
        let (mut provided, mut queries, now) = (Provided::default(), queries(), Instant::now());
        for n in 0..100 {
            assert!(provided.add(key(n), now));
        }
        let mut running = Vec::new();
        while let Some(id) = provided.next(now) {
            let query = queries.next().expect("endless");
            provided.started(query, id);
            running.push(query);
        }
        assert_eq!(running.len(), ANNOUNCING);
        provided.ended(running[0], true, now, 0.5);
        assert!(provided.next(now).is_some());
        assert_eq!((provided.len(), provided.announced()), (100, 1));
    }

    #[test]
    fn an_announcement_is_repeated_in_hours_and_one_to_nobody_soon() {
        let (mut provided, mut queries, mut now) = (Provided::default(), queries(), Instant::now());
        provided.add(key(1), now);
        for (told, pause) in [(false, REPROVIDE_RETRY), (true, REPROVIDE_INTERVAL)] {
            let (id, query) = (provided.next(now).expect("due"), queries.next().expect("endless"));
            provided.started(query, id);
            provided.ended(query, told, now, 0.5);
            assert_eq!(provided.next(now + pause.mul_f64(0.99)), None);
            now += pause.mul_f64(1.01);
        }
        let id = provided.next(now).expect("due");
        provided.failed_to_start(&id, now);
        assert_eq!(provided.next(now), None);
        assert_eq!(provided.next(now + REPROVIDE_RETRY), Some(id));
    }

    #[test]
    fn a_new_address_makes_all_due_even_what_is_being_announced() {
        let (mut provided, mut queries, now) = (Provided::default(), queries(), Instant::now());
        provided.add(key(1), now);
        let running = provided.next(now).expect("due");
        let query = queries.next().expect("endless");
        provided.started(query, running);
        provided.all_due(now + Duration::from_secs(1));
        provided.ended(query, true, now, 0.5);
        assert_eq!(provided.next(now), None);
        assert_eq!(provided.next(now + Duration::from_secs(1)), Some(key(1)));
    }

    #[test]
    fn what_is_no_longer_provided_is_not_announced() {
        let (mut provided, mut queries, now) = (Provided::default(), queries(), Instant::now());
        provided.add(key(1), now);
        provided.add(key(2), now);
        let running = provided.next(now).expect("due");
        let query = queries.next().expect("endless");
        provided.started(query, running);
        provided.remove(&key(1));
        provided.remove(&key(2));
        provided.ended(query, true, now, 0.5);
        assert_eq!(provided.next(now + REPROVIDE_INTERVAL * 2), None);
        assert_eq!(provided.len(), 0);
    }
}
