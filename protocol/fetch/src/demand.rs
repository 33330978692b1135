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
    /// Ends by order and then first group.
    by_order: BTreeMap<(u32, u32), u32>,
    /// Ends and orders of the same ranges by first group.
    by_place: BTreeMap<u32, (u32, u32)>,
}

impl Demands {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_order.is_empty()
    }

    pub(crate) fn set(&mut self, demand: Demand, n_groups: u32) {
        let groups = demand.groups.start..demand.groups.end.min(n_groups);
        if groups.is_empty() {
            return;
        }
        // From the last that begins before the end of these; none that begins earlier reaches further.
        while let Some((&start, &(end, order))) = self.by_place.range(..groups.end).next_back() {
            if end <= groups.start {
                break;
            }
            self.remove(start, order);
            self.insert(start..end.min(groups.start), order);
            self.insert(start.max(groups.end)..end, order);
        }
        if let Priority::Demanded(order) = demand.priority {
            self.insert(groups, order);
        }
    }

    fn insert(&mut self, groups: Range<u32>, order: u32) {
        if !groups.is_empty() {
            self.by_order.insert((order, groups.start), groups.end);
            self.by_place.insert(groups.start, (groups.end, order));
        }
    }

    fn remove(&mut self, start: u32, order: u32) {
        self.by_order.remove(&(order, start));
        self.by_place.remove(&start);
    }

    /// The ranges, the most urgent first.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.by_order.iter().map(|(&(_, start), &end)| start..end)
    }

    pub(crate) fn contains(&self, group: u32) -> bool {
        let before = self.by_place.range(..=group).next_back();
        before.is_some_and(|(_, &(end, _))| group < end)
    }

    /// Forgets ranges of which nothing is awaited any more.
    pub(crate) fn retain(&mut self, awaited: impl Fn(&Range<u32>) -> bool) {
        let by_place = &mut self.by_place;
        self.by_order.retain(|&(_, start), &mut end| {
            let keeps = awaited(&(start..end));
            if !keeps {
                by_place.remove(&start);
            }
            keeps
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const N_GROUPS: u32 = 40;

    proptest! {
        /// Against a number for each group.
        #[test]
        fn the_latest_demand_for_a_group_holds(
            told in prop::collection::vec((0u32..45, 0u32..45, prop::option::of(0u32..4)), 0..30),
            kept in 0u32..40,
        ) {
            let mut demands = Demands::default();
            let mut simple = [None; N_GROUPS as usize];
            for (start, end, order) in told {
                let priority = order.map_or(Priority::Normal, Priority::Demanded);
                demands.set(Demand { groups: start..end, priority }, N_GROUPS);
                for group in start..end.min(N_GROUPS) {
                    simple[group as usize] = order;
                }
            }
            let at = |group: u32| simple[group as usize];
            for group in 0..N_GROUPS {
                prop_assert_eq!(demands.contains(group), at(group).is_some());
            }
            let mut expected: Vec<u32> = (0..N_GROUPS).filter(|&group| at(group).is_some()).collect();
            expected.sort_by_key(|&group| (at(group), group));
            prop_assert_eq!(demands.ranges().flatten().collect::<Vec<_>>(), expected);

            demands.retain(|range| range.contains(&kept));
            prop_assert_eq!(demands.is_empty(), at(kept).is_none());
            for group in 0..N_GROUPS {
                prop_assert!(!demands.contains(group) || at(kept) == at(group));
            }
        }
    }
}
