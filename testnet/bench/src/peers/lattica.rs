//! Lattica, through the driver in `peers/lattica_blocks.py`: libp2p in Rust, as hive is, with blocks
//! over bitswap.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::http::on_free_ports;
use super::{Given, Tools};
use crate::measure::{Fetched, Peer};
use crate::process::{self, Meter, Process};

const DRIVER: &str = include_str!("../../peers/lattica_blocks.py");
/// A port of the system's choice, for a node that nobody dials.
const ANY: &str = "0";
/// What its errors say of a port that somebody has.
const TAKEN: &str = "AddrInUse";

/// What a provider says when it is ready.
#[derive(Debug, Deserialize)]
struct Providing {
    address: String,
}

/// What a reader says when it is connected.
#[derive(Debug, Deserialize)]
struct Ready {
    ready: bool,
}

/// What a reader says in the end.
#[derive(Debug, Deserialize)]
struct Done {
    seconds: f64,
    first_ms: f64,
}

/// Providers of one file's blocks.
pub(crate) struct Lattica {
    tools: Tools,
    version: String,
    providers: Vec<(Process, String)>,
    list: PathBuf,
    dir: PathBuf,
    size: u64,
}

impl Lattica {
    /// Cuts the file into blocks, and starts the providers.
    pub(crate) fn start(given: &Given<'_>) -> anyhow::Result<Self> {
        let version = given.tools.package("lattica")?;
        let (dir, tools) = (given.dir.clone(), given.tools.clone());
        let (store, list) = (dir.join("store-0"), dir.join("blocks.json"));
        let mut command = tools.python(DRIVER)?;
        command.arg("keep").arg(&store).arg(ANY).arg(given.file);
        process::run("lattica", command.arg(given.size.to_string()).arg(&list))?;
        let mut providers = Vec::new();
        for number in 0..given.most() {
            let copy = dir.join(format!("store-{number}"));
            if number > 0 {
                link_all(&store, &copy)?;
            }
            providers.push(on_free_ports(1, |ports| provider(&tools, &copy, ports))?);
        }
        Ok(Self { tools, version, providers, list, dir, size: given.size })
    }
}

/// Starts a provider, and says where it is; none if somebody else has the port.
fn provider(
    tools: &Tools,
    store: &Path,
    ports: &[u16],
) -> anyhow::Result<Option<(Process, String)>> {
    let port = ports.first().context("no port")?;
    let mut command = tools.python(DRIVER)?;
    command.arg("provide").arg(store).arg(port.to_string());
    let mut process = Process::start("lattica", &mut command)?;
    match process.hear::<Providing>() {
        Ok(providing) => Ok(Some((process, providing.address))),
        Err(error) if format!("{error:#}").contains(TAKEN) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same blocks once more, as hard links: they are never written again.
fn link_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, to) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            link_all(&path, &to)?;
        } else {
            std::fs::hard_link(path, to)?;
        }
    }
    Ok(())
}

impl Peer for Lattica {
    fn name(&self) -> &'static str {
        "Lattica"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn manner(&self) -> String {
        "encrypted (noise over TCP), every block verified (SHA-256) when it is whole; the file as \
         blocks of 1 MiB in memory, eight at a time, kept in its own store and written into a file \
         (testnet/bench/peers/lattica_blocks.py); the clock runs from the first call at a reader that \
         is connected to its sources; the first verified bytes are the first block"
            .to_owned()
    }

    fn refuses(&self, n_sources: usize) -> Option<&'static str> {
        (n_sources > self.providers.len()).then_some("so many providers were not started")
    }

    fn fetch(&mut self, n_sources: usize) -> anyhow::Result<Fetched> {
        let home = tempfile::tempdir_in(&self.dir)?;
        let out = home.path().join("out.bin");
        let providers = self.providers.get(..n_sources).context("too few providers")?;
        let mut command = self.tools.python(DRIVER)?;
        command.arg("fetch").arg(home.path().join("store")).arg(ANY);
        command.args([&self.list, &out]).args(providers.iter().map(|(_, address)| address));
        let mut reader = Process::start("lattica", &mut command)?;
        let ready: Ready = reader.hear()?;
        ensure!(ready.ready, "the reader is not ready");
        let sources: Vec<&Process> = providers.iter().map(|(process, _)| process).collect();
        let (cpu, meter) = (reader.cpu(), Meter::start(&sources));
        let done: Done = reader.ask(&())?;
        let reader_cpu = reader.cpu() - cpu;
        let (sources_cpu, others) = meter.end(reader_cpu);
        Ok(Fetched {
            path: out,
            size: self.size,
            seconds: done.seconds,
            first_ms: Some(done.first_ms),
            reader_cpu,
            sources_cpu,
            memory: reader.peak(),
            others,
            n_sources: None,
            remove: home,
        })
    }
}
