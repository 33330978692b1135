//! What was measured in a scenario, and whether it is what it shall be.

use std::fmt;

use crate::goals::{self, Goal};
use crate::report::{middle, spread};

/// What hive's time is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    /// hive's rate is at least this share of the plain figure.
    RateAtLeast(f64),
    /// hive's time is at most so many times the plain figure.
    TimeAtMost(f64),
    /// Reported, without a goal.
    None,
}

/// One measurement.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// What was done.
    pub(super) what: String,
    /// Seconds that hive took.
    pub(super) hive: f64,
    /// Seconds of what it is held against.
    pub(super) plain: f64,
    pub(super) bound: Bound,
    /// Bytes that were sent and not needed, as a share of those that were, where that can be known.
    pub(super) duplicates: Option<f64>,
    /// The share of the machine that other programs had while hive fetched.
    pub(super) others: f64,
    pub(super) bytes: u64,
    pub(super) seed: u64,
    /// What else was seen.
    pub(super) note: Option<String>,
}

/// What may be sent and not needed, in percent.
const DUPLICATES: f64 = 1.0;

impl Outcome {
    /// hive's figure as a share of the plain one, in the bound's terms.
    fn ratio(&self) -> f64 {
        match self.bound {
            Bound::RateAtLeast(_) => self.plain / self.hive,
            Bound::TimeAtMost(_) | Bound::None => self.hive / self.plain,
        }
    }

    /// What was sent in vain, in percent.
    fn in_vain(&self) -> Option<f64> {
        self.duplicates.map(|share| share * 100.0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, hive, plain, seed, .. } = self;
        write!(f, "{what}: hive {hive:.2} s, plain {plain:.2} s, ratio {:.3}", self.ratio())?;
        if let Some(percent) = self.in_vain() {
            write!(f, ", {percent:.2} % sent in vain")?;
        }
        write!(f, ", others had {:.0} % (seed {seed})", self.others * 100.0)?;
        match &self.note {
            Some(note) => write!(f, "; {note}"),
            None => Ok(()),
        }
    }
}

/// All measurements of a scenario, those of one thing together, and the runs that failed.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Outcome>>,
    failed: Vec<(u64, String)>,
}

impl Table {
    pub(super) fn add(&mut self, outcome: Outcome) {
        match self.rows.iter_mut().find(|row| row[0].what == outcome.what) {
            Some(row) => row.push(outcome),
            None => self.rows.push(vec![outcome]),
        }
    }

    /// A run that failed, from this seed.
    pub(super) fn fail(&mut self, seed: u64, why: String) {
        self.failed.push((seed, why));
    }

    pub(super) fn n_failed(&self) -> usize {
        self.failed.len()
    }

    fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for row in &self.rows {
            let (what, ratio) = (&row[0].what, middle(row.iter().map(Outcome::ratio)));
            match row[0].bound {
                Bound::RateAtLeast(share) => {
                    let what = format!("{what}: rate, × plain");
                    goals.push(Goal::at_least(what, share, ratio).digits(3));
                }
                Bound::TimeAtMost(times) => {
                    let what = format!("{what}: time, × plain");
                    goals.push(Goal::at_most(what, times, ratio).digits(3));
                }
                Bound::None => {}
            }
            let vain = middle(row.iter().filter_map(Outcome::in_vain));
            goals.push(Goal::at_most(format!("{what}: sent in vain, %"), DUPLICATES, vain));
        }
        if !self.failed.is_empty() {
            let failed = Some(self.failed.len() as f64);
            goals.push(Goal::at_most("runs that failed", 0.0, failed).digits(0));
        }
        goals
    }
}

/// What does not end a cell, or the row.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ")
}

fn row(f: &mut fmt::Formatter<'_>, row: &[Outcome]) -> fmt::Result {
    let of = |value: fn(&Outcome) -> f64, digits| spread(row.iter().map(value), digits);
    let seeds: Vec<String> = row.iter().map(|outcome| outcome.seed.to_string()).collect();
    let mut notes: Vec<&str> = row.iter().filter_map(|outcome| outcome.note.as_deref()).collect();
    notes.dedup();
    writeln!(
        f,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        row[0].what,
        row[0].bytes >> 20,
        of(|outcome| outcome.hive, 2),
        of(|outcome| outcome.plain, 2),
        of(Outcome::ratio, 3),
        spread(row.iter().filter_map(Outcome::in_vain), 2),
        of(|outcome| outcome.others * 100.0, 0),
        row.len(),
        seeds.join(", "),
        cell(&notes.join("; ")),
    )
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| | MiB | hive, s | plain, s | ratio | sent in vain, % | others on the machine, % | \
             runs | seeds | what was seen |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|of| row(f, of))?;
        for (seed, why) in &self.failed {
            writeln!(f, "| **failed** | - | - | - | - | - | - | 1 | {seed} | {} |", cell(why))?;
        }
        write!(f, "\n{}", goals::table(&self.goals()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(hive: f64, bound: Bound, duplicates: Option<f64>) -> Outcome {
        let what = "four sources".to_owned();
        let (bytes, seed, others, note) = (64 << 20, 1, 0.02, None);
        Outcome { what, hive, plain: 10.0, bound, duplicates, others, bytes, seed, note }
    }

    fn table(outcomes: &[Outcome]) -> Table {
        let mut table = Table::default();
        outcomes.iter().cloned().for_each(|outcome| table.add(outcome));
        table
    }

    #[test]
    fn a_goal_is_met_or_missed_by_the_median_of_the_runs() {
        let bound = Bound::RateAtLeast(0.95);
        let runs = [10.1, 30.0, 10.2].map(|hive| outcome(hive, bound, Some(0.0)));
        let text = table(&runs).to_string();
        assert!(text.contains("rate, × plain | ≥ 0.95 | 0.980 | met |"), "{text}");
        let missed = |hive, bound| {
            let text = table(&[outcome(hive, bound, Some(0.0))]).to_string();
            text.contains("**missed**")
        };
        assert!(missed(10.6, bound));
        assert!(missed(11.1, Bound::TimeAtMost(1.1)));
        assert!(!missed(10.9, Bound::TimeAtMost(1.1)));
    }

    #[test]
    fn duplicates_are_held_against_their_bound_and_missed_where_nobody_counted() {
        let text = |share| table(&[outcome(1.0, Bound::None, share)]).to_string();
        assert!(text(Some(0.02)).contains("sent in vain, % | ≤ 1 | 2.00 | **missed** |"));
        assert!(text(Some(0.009)).contains("sent in vain, % | ≤ 1 | 0.90 | met |"));
        assert!(text(None).contains("sent in vain, % | ≤ 1 | not measured | **missed** |"));
    }

    #[test]
    fn a_run_that_fails_has_a_row_and_the_others_stay() {
        let mut table = table(&[outcome(1.0, Bound::None, Some(0.0))]);
        table.fail(7, "a | line\nbroke".to_owned());
        let text = table.to_string();
        assert!(text.contains("| four sources | 64 |"), "{text}");
        assert!(text.contains("| 7 | a / line broke |"), "{text}");
        assert!(text.contains("| runs that failed | ≤ 0 | 1 | **missed** |"), "{text}");
        let rows = text.lines().take_while(|line| !line.is_empty());
        assert!(
            rows.clone().count() == 4 && rows.clone().all(|row| row.matches('|').count() == 11)
        );
    }
}
