//! The dice that decide where faults fall.

use std::time::{SystemTime, UNIX_EPOCH};

/// The planner's dice, for numbers of any size: offsets are long.
#[derive(Debug, Clone)]
pub(crate) struct Dice(hive_fetch::Dice);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(hive_fetch::Dice::new(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.roll()
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A seed for a run that was given none.
pub(crate) fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Dice::new(now.as_nanos() as u64).next() % 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dice_show_follows_from_their_seed() {
        let show = |seed| -> Vec<u64> {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| dice.below(6)).collect()
        };
        assert_eq!(show(3), show(3));
        assert_ne!(show(3), show(4));
        assert!((0..6).all(|side| show(3).contains(&side)));
    }
}
