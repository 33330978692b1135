//! One measurement: somebody fetches a file from some sources, on a machine that is quiet.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use tempfile::TempDir;

use crate::files;
use crate::machine;

/// Somebody who fetches.
pub(crate) trait Peer {
    /// As it is called in the table.
    fn name(&self) -> &'static str;

    /// The version that was found.
    fn version(&self) -> &str;

    /// What it does with bytes, and how its figures are had, for the notes under the table.
    fn manner(&self) -> String;

    /// Why it cannot fetch from so many sources; `None` if it can.
    fn refuses(&self, n_sources: usize) -> Option<&'static str>;

    /// Fetches from so many sources.
    fn fetch(&mut self, n_sources: usize) -> anyhow::Result<Fetched>;
}

/// What a fetch was.
pub(crate) struct Fetched {
    /// Where the file is now.
    pub(crate) path: PathBuf,
    /// Its length: the beginning of the original.
    pub(crate) size: u64,
    /// What is removed afterwards.
    pub(crate) remove: TempDir,
    pub(crate) seconds: f64,
    /// Milliseconds to the first verified bytes, where that can be seen.
    pub(crate) first_ms: Option<f64>,
    /// Processor seconds of the reader.
    pub(crate) reader_cpu: f64,
    /// Processor seconds of all sources.
    pub(crate) sources_cpu: f64,
    /// The reader's peak memory in bytes.
    pub(crate) memory: u64,
    /// Share of the machine that other programs had.
    pub(crate) others: f64,
    /// Sources that gave anything, where that can be seen.
    pub(crate) n_sources: Option<usize>,
}

/// A fetch in figures that can be compared.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Megabytes a second.
    pub(crate) rate: f64,
    /// Processor seconds for each gigabyte, at the reader.
    pub(crate) reader_cpu: f64,
    /// Processor seconds for each gigabyte, at all sources together.
    pub(crate) sources_cpu: f64,
    /// Milliseconds to the first verified bytes.
    pub(crate) first_ms: Option<f64>,
    /// The reader's peak memory in bytes.
    pub(crate) memory: u64,
    /// Share of the machine that other programs had.
    pub(crate) others: f64,
    /// Sources that gave anything.
    pub(crate) n_sources: Option<usize>,
}

impl Run {
    /// Processor seconds for each gigabyte, at both ends.
    pub(crate) fn cpu(&self) -> f64 {
        self.reader_cpu + self.sources_cpu
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} MB/s, CPU-s/GB {:.2} = {:.2} reader + {:.2} sources",
            self.rate,
            self.cpu(),
            self.reader_cpu,
            self.sources_cpu
        )?;
        if let Some(ms) = self.first_ms {
            write!(f, ", first {ms:.1} ms")?;
        }
        if let Some(n) = self.n_sources {
            write!(f, ", from {n}")?;
        }
        let mib = self.memory as f64 / (1 << 20) as f64;
        write!(f, ", {mib:.0} MiB, others had {:.0} %", self.others * 100.0)
    }
}

/// Fetches once, when the machine is quiet, compares what was fetched with the original, and removes
/// it, down to what the kernel has still to write.
pub(crate) fn measure(
    peer: &mut dyn Peer,
    original: &Path,
    n_sources: usize,
    patience: Duration,
) -> anyhow::Result<Run> {
    machine::wait_until_quiet(patience);
    let fetched = peer.fetch(n_sources)?;
    let whole = files::begins(original, fetched.size, &fetched.path)?;
    ensure!(whole, "{}: the bytes differ", peer.name());
    fetched.remove.close()?;
    rustix::fs::sync();
    let gigabytes = fetched.size as f64 / 1e9;
    Ok(Run {
        rate: gigabytes * 1e3 / fetched.seconds,
        reader_cpu: fetched.reader_cpu / gigabytes,
        sources_cpu: fetched.sources_cpu / gigabytes,
        first_ms: fetched.first_ms,
        memory: fetched.memory,
        others: fetched.others,
        n_sources: fetched.n_sources,
    })
}
