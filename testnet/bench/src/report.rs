//! The table of fetches, and what every table has.

use std::fmt::Write as _;

use crate::machine;
use crate::measure::Run;

/// What stands above every table: what, how much, where.
pub(crate) fn headline(size: u64) -> String {
    format!(
        "hive {}, {} MiB of random bytes, {}. Each cell: least / median / most.",
        env!("CARGO_PKG_VERSION"),
        size >> 20,
        machine::describe(),
    )
}

/// All runs of one tool with one number of sources.
#[derive(Debug)]
pub(crate) struct Row {
    /// The tool and its version.
    pub(crate) name: String,
    pub(crate) n_sources: usize,
    pub(crate) runs: Vec<Run>,
    /// Why there are no more runs than these.
    pub(crate) why: Option<String>,
}

impl Row {
    /// The median of a figure; `None` without runs.
    pub(crate) fn middle(&self, of: impl Fn(&Run) -> f64) -> Option<f64> {
        middle(self.runs.iter().map(of))
    }
}

/// The rows as a table.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = "| | sources | MB/s | CPU-s/GB, both ends | reader | sources | first verified \
                    bytes, ms | reader's peak memory, MiB | runs | others on the machine, % |\n\
                    |---|---|---|---|---|---|---|---|---|---|"
        .to_owned();
    for row in rows {
        let of = |value: fn(&Run) -> f64, digits| spread(row.runs.iter().map(value), digits);
        let rate = match &row.why {
            Some(why) if row.runs.is_empty() => why.replace('|', "/").replace('\n', " "),
            Some(why) => format!("{} ({})", of(|run| run.rate, 0), why.replace(['|', '\n'], " ")),
            None => of(|run| run.rate, 0),
        };
        let first = spread(row.runs.iter().filter_map(|run| run.first_ms), 1);
        let _ = write!(
            text,
            "\n| {} | {} | {rate} | {} | {} | {} | {first} | {} | {} | {} |",
            row.name,
            row.n_sources,
            of(Run::cpu, 2),
            of(|run| run.reader_cpu, 2),
            of(|run| run.sources_cpu, 2),
            of(|run| run.memory as f64 / (1 << 20) as f64, 0),
            row.runs.len(),
            of(|run| run.others * 100.0, 0),
        );
    }
    text
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The median: of an even number of figures, the mean of the two in the middle.
pub(crate) fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    median(&sorted(values))
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The least, the median and the most.
pub(crate) fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let sorted = sorted(values);
    match (sorted.first(), median(&sorted), sorted.last()) {
        (Some(least), Some(middle), Some(most)) => {
            format!("{least:.digits$} / {middle:.digits$} / {most:.digits$}")
        }
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(middle([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(middle([8.0, 1.0, 4.0, 2.0].into_iter()), Some(3.0));
        assert_eq!(middle([5.0].into_iter()), Some(5.0));
        assert_eq!(middle([].into_iter()), None);
        assert_eq!(spread([1.0, 2.0].into_iter(), 1), "1.0 / 1.5 / 2.0");
    }

    #[test]
    fn the_middle_is_between() {
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter(), 0), "1 / 2 / 3");
    }

    fn run(rate: f64) -> Run {
        Run {
            rate,
            reader_cpu: 1.0,
            sources_cpu: 0.5,
            first_ms: None,
            memory: 64 << 20,
            others: 0.02,
            n_sources: Some(1),
        }
    }

    #[test]
    fn a_row_says_what_was_measured_or_why_not() {
        let rows = [
            Row {
                name: "one 1.0".to_owned(),
                n_sources: 4,
                runs: [300.0, 100.0, 200.0].map(run).to_vec(),
                why: None,
            },
            Row {
                name: "two".to_owned(),
                n_sources: 1,
                runs: Vec::new(),
                why: Some("not | here".to_owned()),
            },
        ];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[2],
            "| one 1.0 | 4 | 100 / 200 / 300 | 1.50 / 1.50 / 1.50 | 1.00 / 1.00 / 1.00 | 0.50 / \
             0.50 / 0.50 | - | 64 / 64 / 64 | 3 | 2 / 2 / 2 |"
        );
        assert_eq!(lines[3], "| two | 1 | not / here | - | - | - | - | - | 0 | - |");
        let columns: Vec<usize> = lines.iter().map(|line| line.matches('|').count()).collect();
        assert!(columns.iter().all(|n| *n == 11), "{columns:?}");
    }
}
