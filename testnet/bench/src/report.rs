//! The table of transfers, and the sections of the document that hold what was measured.

use std::fmt;
use std::path::Path;

use anyhow::Context as _;

use crate::machine;

/// One fetch.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Megabytes a second.
    pub(crate) rate: f64,
    /// Processor seconds for each gigabyte, at the reader.
    pub(crate) reader_cpu: f64,
    /// Processor seconds for each gigabyte, at all providers together.
    pub(crate) provider_cpu: f64,
    /// Milliseconds to the first verified group.
    pub(crate) first_ms: f64,
    /// The reader's peak memory in bytes.
    pub(crate) memory: u64,
    /// Share of the machine that other programs had.
    pub(crate) others: f64,
    /// Providers that gave anything.
    pub(crate) n_peers: usize,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} MB/s from {}, CPU-s/GB {:.2} reader + {:.2} providers, first {:.0} ms, {:.0} MiB, \
             others had {:.0} % of the machine",
            self.rate,
            self.n_peers,
            self.reader_cpu,
            self.provider_cpu,
            self.first_ms,
            self.memory as f64 / (1 << 20) as f64,
            self.others * 100.0
        )
    }
}

/// All runs with one number of providers.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) n_providers: usize,
    pub(crate) add_seconds: Vec<f64>,
    pub(crate) runs: Vec<Run>,
}

/// All rows.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) size: u64,
    pub(crate) rows: Vec<Row>,
    /// Seconds of a plain copy, one after each run.
    pub(crate) copies: Vec<f64>,
}

/// The least, the middle and the most.
pub(crate) fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => "-".to_owned(),
        sorted => format!(
            "{:.digits$} / {:.digits$} / {:.digits$}",
            sorted[0],
            sorted[sorted.len() / 2],
            sorted[sorted.len() - 1]
        ),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| providers | MB/s | reader CPU-s/GB | providers CPU-s/GB | first verified group, ms | reader's peak memory, MiB | runs | others on the machine, % |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let of = |value: fn(&Run) -> f64, digits| spread(row.runs.iter().map(value), digits);
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                row.n_providers,
                of(|run| run.rate, 0),
                of(|run| run.reader_cpu, 2),
                of(|run| run.provider_cpu, 2),
                of(|run| run.first_ms, 0),
                of(|run| run.memory as f64 / (1 << 20) as f64, 0),
                row.runs.len(),
                of(|run| run.others * 100.0, 0),
            )?;
        }
        let rates = |seconds: &mut dyn Iterator<Item = &f64>| {
            spread(seconds.map(|seconds| self.size as f64 / 1e6 / seconds), 0)
        };
        let adds = rates(&mut self.rows.iter().flat_map(|row| &row.add_seconds));
        let copies = rates(&mut self.copies.iter());
        writeln!(f, "\nAdding the file (one pass of BLAKE3 and SHA-256): {adds} MB/s.")?;
        write!(f, "A plain copy of it (read and write, no sync), after each run: {copies} MB/s.")
    }
}

impl Table {
    /// Replaces the section of a document, or adds it.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mib = self.size >> 20;
        let text = format!(
            "hive {}, {mib} MiB of random bytes, {}. Each cell: least / middle / most.\n\n{self}",
            env!("CARGO_PKG_VERSION"),
            machine::describe(),
        );
        write_section(path, "transfer", &text)
    }
}

/// Replaces the section of a measurement in a document, or adds it at the end.
pub(crate) fn write_section(path: &Path, name: &str, section: &str) -> anyhow::Result<()> {
    let reason = || format!("`{}`", path.display());
    let (begin, end) =
        (format!("<!-- hive-bench {name}: begin -->"), format!("<!-- hive-bench {name}: end -->"));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(reason),
    };
    let section = format!("{begin}\n{section}\n{end}");
    let text = match (text.split_once(&begin), text.split_once(&end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{section}{after}"),
        _ => format!("{text}\n{section}\n"),
    };
    std::fs::write(path, text).with_context(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("doc.md");
        let (begin, end) = ("<!-- hive-bench x: begin -->", "<!-- hive-bench x: end -->");
        std::fs::write(&path, format!("before\n{begin}\nold\n{end}\nafter\n"))?;
        write_section(&path, "x", "new")?;
        let text = std::fs::read_to_string(&path)?;
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"), "{text}");
        assert!(text.contains("new") && !text.contains("old"), "{text}");
        Ok(())
    }

    #[test]
    fn the_middle_is_between() {
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter(), 0), "1 / 2 / 3");
    }
}
