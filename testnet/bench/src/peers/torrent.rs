//! libtorrent, through the driver in `peers/torrent.py`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{Given, Tools};
use crate::measure::{Fetched, Peer};
use crate::process::{self, Meter, Process, Ran};

const DRIVER: &str = include_str!("../../peers/torrent.py");

/// What a seed says when it is ready.
#[derive(Debug, Deserialize)]
struct Seeding {
    address: String,
}

/// What a seed answers.
#[derive(Debug, Deserialize)]
struct Sent {
    sent: u64,
}

/// What a reader says when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    ready: bool,
}

/// What a reader says in the end.
#[derive(Debug, Deserialize)]
pub(crate) struct Done {
    pub(crate) seconds: f64,
    /// Milliseconds to the first piece that was not here before.
    pub(crate) first_ms: f64,
    /// Bytes that were here when it began, as it counts them.
    pub(crate) present: u64,
    /// Bytes that it read and hashed to know that.
    pub(crate) hashed: u64,
}

/// A torrent, and its seeds.
pub(crate) struct Torrent {
    driver: Driver,
    version: String,
    seeds: Vec<(Process, String)>,
}

/// How its processes are started.
pub(crate) struct Driver {
    tools: Tools,
    file: PathBuf,
    torrent: PathBuf,
    dir: PathBuf,
    size: u64,
}

impl Driver {
    /// Makes the torrent, and says what that took.
    pub(crate) fn make(given: &Given<'_>) -> anyhow::Result<(Self, Ran)> {
        let driver = Self {
            tools: given.tools.clone(),
            file: given.file.to_owned(),
            torrent: given.dir.join("bench.torrent"),
            dir: given.dir.clone(),
            size: given.size,
        };
        let mut command = driver.tools.python(DRIVER)?;
        command.arg("make").args([&driver.file, &driver.torrent]);
        let made = process::run("libtorrent", &mut command)?;
        Ok((driver, made))
    }

    fn seed(&self) -> anyhow::Result<(Process, String)> {
        let mut command = self.tools.python(DRIVER)?;
        command.arg("seed").args([&self.file, &self.torrent]);
        let mut process = Process::start("libtorrent", &mut command)?;
        let seeding: Seeding = process.hear()?;
        Ok((process, seeding.address))
    }

    /// Starts a reader into a directory.
    fn reader(&self, directory: &Path, seeds: &[(Process, String)]) -> anyhow::Result<Process> {
        let mut command = self.tools.python(DRIVER)?;
        command.arg("fetch").arg(&self.torrent).arg(directory);
        command.args(seeds.iter().map(|(_, address)| address));
        let mut process = Process::start("libtorrent", &mut command)?;
        let ready: Ready = process.hear()?;
        ensure!(ready.ready, "the reader is not ready");
        Ok(process)
    }
}

impl Torrent {
    /// Makes the torrent, and starts its seeds.
    pub(crate) fn start(given: &Given<'_>) -> anyhow::Result<Self> {
        let version = given.tools.package("libtorrent")?;
        let (driver, _) = Driver::make(given)?;
        let seeds = (0..given.most()).map(|_| driver.seed()).collect::<Result<_, _>>()?;
        Ok(Self { driver, version, seeds })
    }

    /// Starts a reader of the first seed.
    pub(crate) fn reader(&self, directory: &Path) -> anyhow::Result<Process> {
        self.driver.reader(directory, self.seeds.get(..1).context("no seed")?)
    }

    /// Bytes that the seeds have sent.
    pub(crate) fn sent(&mut self) -> anyhow::Result<u64> {
        let mut all = 0;
        for (seed, _) in &mut self.seeds {
            let Sent { sent } = seed.ask(&())?;
            all += sent;
        }
        Ok(all)
    }
}

impl Peer for Torrent {
    fn name(&self) -> &'static str {
        "libtorrent"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn manner(&self) -> String {
        "a v1 torrent with pieces of 4 MiB, clear text, every piece verified (SHA-1); TCP alone, \
         every peer unchoked, deep queues and large buffers (testnet/bench/peers/torrent.py); the \
         clock runs from when the torrent is added and its peers are named (a swarm has no \
         connection before) to `torrent_finished_alert`; the first verified bytes are the first \
         `piece_finished_alert`"
            .to_owned()
    }

    fn refuses(&self, n_sources: usize) -> Option<&'static str> {
        (n_sources > self.seeds.len()).then_some("so many seeds were not started")
    }

    fn fetch(&mut self, n_sources: usize) -> anyhow::Result<Fetched> {
        let out = tempfile::tempdir_in(&self.driver.dir)?;
        let seeds = self.seeds.get(..n_sources).context("too few seeds")?;
        let mut reader = self.driver.reader(out.path(), seeds)?;
        let sources: Vec<&Process> = seeds.iter().map(|(process, _)| process).collect();
        let (cpu, meter) = (reader.cpu(), Meter::start(&sources));
        let done: Done = reader.ask(&false)?;
        let reader_cpu = reader.cpu() - cpu;
        let (sources_cpu, others) = meter.end(reader_cpu);
        let name = self.driver.file.file_name().context("a file without a name")?;
        Ok(Fetched {
            path: out.path().join(name),
            size: self.driver.size,
            seconds: done.seconds,
            first_ms: Some(done.first_ms),
            reader_cpu,
            sources_cpu,
            memory: reader.peak(),
            others,
            n_sources: None,
            remove: out,
        })
    }
}
