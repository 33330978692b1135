//! What was told of partial models, so that the next answer can be the difference.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use hive_protocol::message::Groups;
use hive_protocol::{Bitfield, BlockId};
use serde_bytes::ByteBuf;

/// Answers remembered for each model: one for each reader that follows it closely.
const PER_MODEL: usize = 8;
/// Models remembered; beyond that all are forgotten and the next answers are whole bitmaps.
const MODELS: usize = 64;
/// Ranges up to which a difference is smaller than it is trouble.
const RANGES: usize = 512;

/// The versions of what is held that were told lately.
#[derive(Debug, Default)]
pub(crate) struct History {
    told: Mutex<HashMap<BlockId, VecDeque<(u64, Bitfield)>>>,
}

impl History {
    /// Says what is held, to somebody who knows version `since`.
    pub(crate) fn since(&self, id: BlockId, since: u64, version: u64, have: &Bitfield) -> Groups {
        if since != 0 && since == version {
            return Groups::Same;
        }
        if have.is_full() {
            return Groups::All;
        }
        let mut told = self.told.lock().expect("no holder of this lock panics");
        if told.len() >= MODELS && !told.contains_key(&id) {
            told.clear();
        }
        let versions = told.entry(id).or_default();
        let known =
            versions.iter().find(|(told, _)| *told == since).map(|(_, field)| field.clone());
        if versions.back().is_none_or(|(last, _)| *last != version) {
            versions.push_back((version, have.clone()));
            if versions.len() > PER_MODEL {
                versions.pop_front();
            }
        }
        // Groups that went (quarantined) cannot be told as an addition.
        let added = known.filter(|known| {
            known.len() == have.len() && known.iter().all(|group| have.contains(group))
        });
        let ranges = added.map(|known| {
            let mut new = Bitfield::empty(have.len());
            have.iter().filter(|group| !known.contains(*group)).for_each(|group| {
                new.insert(group);
            });
            new.ranges()
        });
        match ranges {
            Some(ranges) if ranges.len() <= RANGES => Groups::Added(
                ranges.into_iter().map(|range| (range.start, range.end - range.start)).collect(),
            ),
            _ => Groups::Bitmap(ByteBuf::from(have.to_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(groups: &[u32]) -> Bitfield {
        let mut field = Bitfield::empty(10);
        for &group in groups {
            field.insert(group);
        }
        field
    }

    #[test]
    fn who_knows_a_version_hears_the_difference() {
        let (history, id) = (History::default(), BlockId::of(b"model"));
        let first = field(&[1, 2]);
        assert_eq!(
            history.since(id, 0, 7, &first),
            Groups::Bitmap(ByteBuf::from(first.to_bytes()))
        );
        assert_eq!(history.since(id, 7, 7, &first), Groups::Same);
        assert_eq!(
            history.since(id, 7, 8, &field(&[1, 2, 3, 4, 9])),
            Groups::Added(vec![(3, 2), (9, 1)])
        );
        assert_eq!(history.since(id, 7, 9, &Bitfield::full(10)), Groups::All);
        // A version from before the last start is not known here.
        assert!(matches!(history.since(id, 3, 10, &first), Groups::Bitmap(_)));
        // A group that went is not an addition.
        assert!(matches!(history.since(id, 8, 11, &field(&[1])), Groups::Bitmap(_)));
    }
}
