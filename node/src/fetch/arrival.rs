//! A file that is read while it arrives: verified groups open its gate, what its reader needs is
//! asked of peers before all else.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hive_api::{Gate, Need};
use hive_fetch::{Demand, Priority};
use hive_protocol::BlockId;
use hive_store::Arriving;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

use super::{Fetches, Running};

/// Demands that may wait for the driver; what a reader wants beyond that comes in its turn.
const DEMANDS: usize = 16_384;

/// How often one need may name all of a file: a reader wants it once, and some of it before the rest.
const TIMES: u64 = 2;

/// How a fetch stands; that it changed says that there is more.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// The groups that came since the fetch began, in that order.
    groups: Vec<u32>,
    /// Whether it is over, and why not everything came.
    ended: Option<Result<(), String>>,
}

/// What is demanded and not yet told to the planner.
#[derive(Debug, Default)]
pub(super) struct Demanded {
    waiting: Mutex<Vec<Demand>>,
    more: Notify,
}

impl Demanded {
    fn lock(&self) -> MutexGuard<'_, Vec<Demand>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for demands and takes them. Cancel safe.
    pub(super) async fn next(&self) -> Vec<Demand> {
        loop {
            let waiting = std::mem::take(&mut *self.lock());
            if !waiting.is_empty() {
                return waiting;
            }
            self.more.notified().await;
        }
    }
}

impl Running {
    /// A group is verified and written.
    pub(super) fn group_arrived(&self, group: u32) {
        self.arrived.send_modify(|arrived| arrived.groups.push(group));
    }

    /// The fetch is over, well or for a reason.
    pub(super) fn end(&self, how: Result<(), String>) {
        self.arrived.send_modify(|arrived| arrived.ended = Some(how));
    }

    /// What readers of the model wait for.
    pub(super) fn demanded(&self) -> &Demanded {
        &self.demanded
    }

    fn demand(&self, file: &Arriving, need: &Need) {
        let mut demands = demands(need, file.size(), |range| file.groups(range));
        {
            let mut waiting = self.demanded.lock();
            // The least urgent are the first.
            let room = DEMANDS.saturating_sub(waiting.len());
            demands.drain(..demands.len().saturating_sub(room));
            waiting.append(&mut demands);
        }
        self.demanded.more.notify_one();
    }
}

/// What a need means for the planner, in the order in which that is to be told: the most urgent last,
/// since of a group that several ranges share the latest demand holds.
///
/// A need is what a process says that may be hostile. It costs no more than an honest one can.
fn demands(need: &Need, size: u64, groups: impl Fn(&Range<u64>) -> Vec<Range<u32>>) -> Vec<Demand> {
    let mut left = size.saturating_mul(TIMES);
    let mut wanted: Vec<(u32, Range<u32>)> = Vec::new();
    for (order, range) in need.ranges.iter().enumerate() {
        let range = range.start..range.end.min(size);
        let Some(len) = range.end.checked_sub(range.start).filter(|len| *len > 0) else { continue };
        let Some(rest) = left.checked_sub(len).filter(|_| wanted.len() < DEMANDS) else { break };
        left = rest;
        // What somebody stands still for is before the order in which he reads.
        let order = if need.now { 0 } else { 1 + order as u32 };
        wanted.extend(groups(&range).into_iter().map(|groups| (order, groups)));
    }
    wanted.truncate(DEMANDS);
    if need.now {
        // Single rows: thousands of them are in a few groups.
        wanted.sort_unstable_by_key(|(_, groups)| groups.start);
        wanted.dedup_by(|(_, next), (_, last)| {
            let touches = next.start <= last.end;
            last.end = if touches { last.end.max(next.end) } else { last.end };
            touches
        });
    }
    let demand = |(order, groups)| Demand { groups, priority: Priority::Demanded(order) };
    wanted.into_iter().rev().map(demand).collect()
}

impl Fetches {
    /// The fetch of a model that is going on.
    pub(crate) fn running(&self, id: &BlockId) -> Option<Arc<Running>> {
        self.lock().get(id).cloned()
    }
}

/// A file of a model whose fetch is going on.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    running: Arc<Running>,
    file: Arriving,
    tasks: TaskTracker,
}

impl Arrival {
    /// Of a file and the fetch that brings it. The header is demanded at once.
    pub(crate) fn new(running: Arc<Running>, file: Arriving, tasks: TaskTracker) -> Self {
        running.demand(&file, &Need { ranges: vec![file.head()], now: true });
        Self { running, file, tasks }
    }

    /// The file.
    pub(crate) fn file(&self) -> &Arriving {
        &self.file
    }

    /// A gate before the file, which opens as the fetch goes on and fails with it.
    pub(crate) fn gate(&self) -> Gate {
        let file = self.file.clone();
        // The gate does not keep the fetch: it fails when that is gone.
        let running = Arc::downgrade(&self.running);
        let gate = Gate::new(file.size(), move |need| {
            if let Some(running) = running.upgrade() {
                running.demand(&file, need);
            }
        });
        let arrived = self.running.arrived.subscribe();
        self.tasks.spawn(feed(gate.clone(), self.file.clone(), arrived));
        gate
    }
}

/// Opens a gate until all is here or the fetch is over.
async fn feed(gate: Gate, file: Arriving, mut arrived: watch::Receiver<Arrived>) {
    let open = |group: u32| file.bytes(group).into_iter().for_each(|range| gate.open(range));
    // Whatever came before is here; what comes meanwhile is told again, which is nothing to a gate.
    let mut seen = arrived.borrow().groups.len();
    file.have().iter().for_each(open);
    loop {
        let (new, ended) = {
            let now = arrived.borrow_and_update();
            let new = now.groups.get(seen..).unwrap_or_default().to_vec();
            seen = now.groups.len();
            (new, now.ended.clone())
        };
        new.into_iter().for_each(open);
        if gate.is_whole() {
            return;
        }
        if let Some(how) = ended {
            gate.fail(how.err().unwrap_or_else(|| "the fetch left something out".to_owned()));
            return;
        }
        // Whoever holds the fetch says how it ended before he lets go; unless he panics.
        if arrived.changed().await.is_err() {
            gate.fail("the fetch is gone");
            return;
        }
    }
}

#[cfg(test)]
mod tests;
