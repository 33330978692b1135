//! What somebody waits for: groups that come before all others.

use std::collections::BTreeMap;
use std::ops::Range;

/// Groups, and how urgent they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The groups, in the model's numbering. Those past the end are ignored.
    pub groups: Range<u32>,
    /// How urgent. The latest demand for a group holds.
    pub priority: Priority,
}

/// How urgent a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for it: before everything of a higher number and all that is normal. Within
    /// one number groups come in ascending order.
    Demanded(u32),
    /// When its turn comes.
    Normal,
}

/// All demands, none overlapping.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demands {
    /// By order and then first group.
    ranges: BTreeMap<(u32, u32), Range<u32>>,
}

impl Demands {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn set(&mut self, demand: Demand, n_groups: u32) {
        let groups = demand.groups.start..demand.groups.end.min(n_groups);
        if groups.is_empty() {
            return;
        }
        for ((order, _), old) in std::mem::take(&mut self.ranges) {
            let before = old.start..old.end.min(groups.start);
            let after = old.start.max(groups.end)..old.end;
            for rest in [before, after].into_iter().filter(|rest| !rest.is_empty()) {
                self.ranges.insert((order, rest.start), rest);
            }
        }
        if let Priority::Demanded(order) = demand.priority {
            self.ranges.insert((order, groups.start), groups);
        }
    }

    /// The ranges, the most urgent first.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.ranges.values().cloned()
    }

    pub(crate) fn contains(&self, group: u32) -> bool {
        self.ranges.values().any(|range| range.contains(&group))
    }

    /// Forgets ranges of which nothing is awaited any more.
    pub(crate) fn retain(&mut self, awaited: impl Fn(&Range<u32>) -> bool) {
        self.ranges.retain(|_, range| awaited(range));
    }
}
