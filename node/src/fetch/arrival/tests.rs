//! What readers' needs become, for a file of groups of ten bytes.

#![expect(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

use super::*;

const SIZE: u64 = 1_000;

fn groups(range: &Range<u64>) -> Vec<Range<u32>> {
    vec![(range.start / 10) as u32..range.end.div_ceil(10) as u32]
}

fn told(now: bool, ranges: &[Range<u64>]) -> Vec<(u32, Range<u32>)> {
    let need = Need { ranges: ranges.to_vec(), now };
    let told = demands(&need, SIZE, groups).into_iter().map(|demand| match demand.priority {
        Priority::Demanded(order) => (order, demand.groups),
        Priority::Normal => panic!("a demand that is none"),
    });
    told.collect()
}

/// The last bytes of a layer and the first of the next are in one group.
#[test]
fn of_a_group_that_two_ranges_share_the_more_urgent_one_is_told_last() {
    assert_eq!(told(false, &[0..15, 15..40]), [(2, 1..4), (1, 0..2)]);
}

#[test]
fn rows_that_are_in_the_same_groups_are_one_demand() {
    let rows: Vec<Range<u64>> = (0..40).rev().map(|row| 3 * row..3 * row + 3).collect();
    assert_eq!(told(true, &rows), [(0, 0..12)]);
    assert_eq!(told(true, &[500..501, 3..4]), [(0, 50..51), (0, 0..1)]);
}

#[test]
fn a_hostile_need_is_as_much_work_as_an_honest_one() {
    let asked = std::cell::Cell::new(0_u64);
    let count = |range: &Range<u64>| {
        asked.set(asked.get() + 1 + (range.end - range.start) / 10);
        groups(range)
    };
    let everything = Need { ranges: vec![0..u64::MAX; 100_000], now: false };
    assert_eq!(demands(&everything, SIZE, count).len() as u64, TIMES);
    assert!(asked.get() <= TIMES * (1 + SIZE / 10), "{} steps", asked.get());
    #[expect(clippy::reversed_empty_ranges, reason = "what no honest reader says")]
    let nonsense = [9..3, SIZE..SIZE + 1, u64::MAX..0, 7..7];
    assert!(told(false, &nonsense).is_empty());
    let bytes: Vec<Range<u64>> = (0..SIZE).map(|at| at..at + 1).cycle().take(100_000).collect();
    assert!(told(false, &bytes).len() as u64 <= TIMES * SIZE);
}
