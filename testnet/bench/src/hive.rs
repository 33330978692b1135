//! hive as it is measured: providers and readers in processes of their own, which are this program
//! again with a hidden subcommand ([`crate::worker`]).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::files;
use crate::measure::{Fetched, Peer};
use crate::process::{self, Meter, Process};
use crate::worker::{Added, Connected, Read, Ready};

/// How a process is called in tables that begins without any connection.
pub(crate) const COLD: &str = "cold hive";
/// Bytes that warm connections up, fetched before the clock starts.
const WARM: u64 = 64 << 20;

/// A provider that runs. Dropping it ends it.
pub(crate) struct Provider {
    process: Process,
    ready: Ready,
    _home: TempDir,
}

impl Provider {
    /// Starts one in a network, which adds these files.
    pub(crate) fn start(dir: &Path, network: &str, files: &[&Path]) -> anyhow::Result<Self> {
        let home = tempfile::tempdir_in(dir)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--network", network]);
        let mut process =
            Process::start("a provider", command.arg("provide").arg(home.path()).args(files))?;
        let ready: Ready = process.hear()?;
        ensure!(ready.ids.len() == files.len(), "a provider has not all files");
        Ok(Self { process, ready, _home: home })
    }

    /// What adding its last file took.
    pub(crate) fn add(&self) -> &Added {
        &self.ready.add
    }

    /// The id of its last file.
    pub(crate) fn id(&self) -> anyhow::Result<&str> {
        Ok(self.ready.ids.last().context("a provider without files")?)
    }

    /// Bytes that it has served.
    pub(crate) fn served(&mut self) -> anyhow::Result<u64> {
        self.process.ask(&())
    }
}

/// Starts a reader that is connected to these providers.
pub(crate) fn reader(
    home: &Path,
    network: &str,
    providers: &[Provider],
    warm: Option<&str>,
) -> anyhow::Result<Process> {
    let first = providers.first().context("nobody to fetch from")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--network", network, "read"]).arg(home).arg(first.id()?);
    command.args(providers.iter().map(|provider| &provider.ready.address));
    if let Some(id) = warm {
        command.args(["--warm", id]);
    }
    let mut process = Process::start("a reader", &mut command)?;
    let connected: Connected = process.hear()?;
    ensure!(warm.is_none() || connected.warmed == WARM, "the connections are not warm");
    Ok(process)
}

/// hive beside others: for each number of sources so many providers, in a network of their own. In one
/// network they would find each other, and a reader would find them all.
pub(crate) struct Providers {
    dir: PathBuf,
    size: u64,
    groups: Vec<Vec<Provider>>,
}

impl Providers {
    /// Starts as many as each number says; each adds the file.
    pub(crate) fn start(
        dir: &Path,
        file: &Path,
        size: u64,
        numbers: &[usize],
    ) -> anyhow::Result<Self> {
        let warm = dir.join("warm.bin");
        files::write_random(&warm, 1 << 31, WARM)?;
        let mut groups = Vec::new();
        for &n in numbers {
            let mut group = Vec::new();
            for _ in 0..n {
                group.push(Provider::start(dir, &network(n), &[&warm, file])?);
            }
            groups.push(group);
        }
        Ok(Self { dir: dir.to_owned(), size, groups })
    }

    /// Seconds that adding the file took, at each.
    pub(crate) fn add_seconds(&self) -> impl Iterator<Item = f64> {
        self.groups.iter().flatten().map(|provider| provider.add().seconds)
    }

    fn group(&self, n_sources: usize) -> Option<&[Provider]> {
        self.groups.iter().find(|group| group.len() == n_sources).map(Vec::as_slice)
    }
}

/// The network of so many providers.
fn network(n: usize) -> String {
    format!("bench-{n}")
}

impl Providers {
    /// Has a new reader fetch, that is connected and warm.
    fn fetch_warm(&self, n_sources: usize) -> anyhow::Result<Fetched> {
        let home = tempfile::tempdir_in(&self.dir)?;
        let providers = self.group(n_sources).context("not so many providers")?;
        let warm = providers.first().and_then(|first| first.ready.ids.first());
        let mut reader =
            reader(home.path(), &network(n_sources), providers, warm.map(String::as_str))?;
        let sources: Vec<&Process> = providers.iter().map(|provider| &provider.process).collect();
        let (cpu, meter) = (reader.cpu(), Meter::start(&sources));
        let read: Read = reader.ask(&false)?;
        let reader_cpu = reader.cpu() - cpu;
        let (sources_cpu, others) = meter.end(reader_cpu);
        let usage =
            Usage { seconds: read.seconds, reader_cpu, sources_cpu, memory: reader.peak(), others };
        self.fetched(n_sources, read, usage, home)
    }

    /// Has a new process fetch, from its start to its end.
    fn fetch_cold(&self, n_sources: usize) -> anyhow::Result<Fetched> {
        let home = tempfile::tempdir_in(&self.dir)?;
        let providers = self.group(n_sources).context("not so many providers")?;
        let first = providers.first().context("nobody to fetch from")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--network", &network(n_sources), "read", "--cold"]);
        command.arg(home.path()).arg(first.id()?);
        command.args(providers.iter().map(|provider| &provider.ready.address));
        let sources: Vec<&Process> = providers.iter().map(|provider| &provider.process).collect();
        let meter = Meter::start(&sources);
        let ran = process::run("a reader", &mut command)?;
        let (sources_cpu, others) = meter.end(ran.cpu);
        let read: Read = serde_json::from_str(&ran.stdout).context("what the reader said")?;
        let (seconds, reader_cpu, memory) = (ran.seconds, ran.cpu, ran.memory);
        let usage = Usage { seconds, reader_cpu, sources_cpu, memory, others };
        self.fetched(n_sources, read, usage, home)
    }

    fn fetched(
        &self,
        n_sources: usize,
        read: Read,
        usage: Usage,
        remove: TempDir,
    ) -> anyhow::Result<Fetched> {
        ensure!(read.peers.len() <= n_sources, "it came from {} sources", read.peers.len());
        Ok(Fetched {
            path: read.path,
            size: self.size,
            remove,
            seconds: usage.seconds,
            first_ms: Some(read.first_ms),
            reader_cpu: usage.reader_cpu,
            sources_cpu: usage.sources_cpu,
            memory: usage.memory,
            others: usage.others,
            n_sources: Some(read.peers.len()),
        })
    }
}

/// What a fetch took.
struct Usage {
    seconds: f64,
    reader_cpu: f64,
    sources_cpu: f64,
    memory: u64,
    others: f64,
}

/// What hive does with bytes, cold or warm.
const MANNER: &str = "encrypted (TLS 1.3 over TCP), every MiB verified (BLAKE3) before it is written, \
                      synced once a second";
/// Why there is a number of sources that it does not fetch from.
const NOT_STARTED: &str = "not so many sources were started";

/// hive as it is used by a node that runs: connected and warm.
pub(crate) struct Warm(pub(crate) Rc<Providers>);

impl Peer for Warm {
    fn name(&self) -> &'static str {
        "hive"
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn manner(&self) -> String {
        format!(
            "{MANNER}; the clock runs from the call, at a reader that is connected to its sources \
             and has fetched {} MiB from them before, to the file in its place; the first verified \
             bytes are those that the store tells of",
            WARM >> 20
        )
    }

    fn refuses(&self, n_sources: usize) -> Option<&'static str> {
        self.0.group(n_sources).is_none().then_some(NOT_STARTED)
    }

    fn fetch(&mut self, n_sources: usize) -> anyhow::Result<Fetched> {
        self.0.fetch_warm(n_sources)
    }
}

/// hive as a command that is typed once, as most other tools are measured.
pub(crate) struct Cold(pub(crate) Rc<Providers>);

impl Peer for Cold {
    fn name(&self) -> &'static str {
        COLD
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn manner(&self) -> String {
        format!(
            "{MANNER}; a new process with an empty home, no connection and nothing fetched before, \
             which is given its sources' addresses; the clock, and its processor time, run from its \
             start to its end; the first verified bytes are counted from the call in it, which comes \
             before the connections"
        )
    }

    fn refuses(&self, n_sources: usize) -> Option<&'static str> {
        self.0.group(n_sources).is_none().then_some(NOT_STARTED)
    }

    fn fetch(&mut self, n_sources: usize) -> anyhow::Result<Fetched> {
        self.0.fetch_cold(n_sources)
    }
}
