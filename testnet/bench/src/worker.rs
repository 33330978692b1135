//! The processes that are measured: a provider, and a reader. Each says what it has to on stdout, a
//! line of JSON at a time, is told a line when there is something to do, and ends when its stdin
//! does.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use hive_api::{AddEvent, AddRequest, FetchEvent, FetchRequest, Hive, Visibility};
use hive_node::{Config, Node};
use serde::{Deserialize, Serialize};

use crate::machine;

/// What a provider says when it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The id of each file, in their order.
    pub(crate) ids: Vec<String>,
    pub(crate) address: String,
    /// What adding the last file took.
    pub(crate) add: Added,
}

/// What adding a file took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Added {
    pub(crate) seconds: f64,
    /// Processor seconds.
    pub(crate) cpu: f64,
    /// Most memory that the process had at one time, in bytes.
    pub(crate) memory: u64,
}

/// What a reader says when it can begin.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Connected {
    /// Bytes that came over the connections before the clock starts.
    pub(crate) warmed: u64,
}

/// What a reader says, at most once, of where it stands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Half {
    /// Verified bytes.
    pub(crate) bytes: u64,
}

/// What a reader says in the end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) path: PathBuf,
    /// Seconds from the call to the file in its place.
    pub(crate) seconds: f64,
    /// Milliseconds from the call to the first verified group that was not here before, on disk.
    pub(crate) first_ms: f64,
    /// Bytes that were here when it began.
    pub(crate) present: u64,
    /// Bytes that the process had read, from files too, when it knew what was here.
    pub(crate) read_before: u64,
    /// Bytes from each peer.
    pub(crate) peers: Vec<u64>,
}

fn say(line: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(std::io::stdout().flush()?)
}

/// The next line on stdin; `None` at its end.
async fn told() -> anyhow::Result<Option<String>> {
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next());
    Ok(line.await?.transpose()?)
}

fn config(home: PathBuf, network: &str) -> Config {
    Config { home, ..hive_testnet::config(network) }
}

/// Adds a file, by a link to it or as hive does by itself. Returns its id.
pub(crate) async fn add(
    hive: &dyn Hive,
    path: PathBuf,
    link: bool,
) -> anyhow::Result<(String, Added)> {
    let visibility = Some(Visibility::Public);
    let request = AddRequest { path, name: None, visibility, link, license: None };
    let (start, cpu) = (Instant::now(), machine::cpu_seconds());
    let mut events = hive.add(request).await?;
    while let Some(event) = events.next().await {
        if let AddEvent::Done(added) = event? {
            let seconds = start.elapsed().as_secs_f64();
            let cpu = machine::cpu_seconds() - cpu;
            return Ok((added.cid, Added { seconds, cpu, memory: machine::peak_memory() }));
        }
    }
    bail!("an add without an end")
}

/// Provides files; answers each line on stdin with the bytes that it has served.
pub(crate) async fn provide(
    home: PathBuf,
    network: &str,
    files: Vec<PathBuf>,
) -> anyhow::Result<()> {
    let node = Node::start(config(home, network)).await?;
    let (mut ids, mut last) = (Vec::new(), None);
    for file in files {
        let (id, added) = add(&*node.hive(), file, false).await?;
        ids.push(id);
        last = Some(added);
    }
    let address = node.addresses().into_iter().next().context("no address")?;
    say(&Ready { ids, address, add: last.context("nothing to provide")? })?;
    while told().await?.is_some() {
        say(&node.hive().status().await?.uploaded)?;
    }
    node.shutdown().await;
    Ok(())
}

/// Fetches a model from peers that it is connected to, when it is told to, after another one that
/// warms the connections up. Told `true`, it also tells once when half of it is here.
pub(crate) async fn read(
    home: PathBuf,
    network: &str,
    id: String,
    warm: Option<String>,
    from: Vec<String>,
) -> anyhow::Result<()> {
    let node = Node::start(config(home, network)).await?;
    let hive = node.hive();
    for address in &from {
        hive.connect(address).await?;
    }
    let request = |model| FetchRequest { model, ..FetchRequest::default() };
    let warmed = match warm {
        Some(id) => fetch(&*hive, request(id), false).await?.peers.iter().sum(),
        None => 0,
    };
    say(&Connected { warmed })?;
    if let Some(tell) = told().await? {
        say(&fetch(&*hive, request(id), tell.trim() == "true").await?)?;
        // What it has used is read by whoever asked, before the node ends.
        while told().await?.is_some() {}
    }
    node.shutdown().await;
    Ok(())
}

/// Fetches a model from peers whose addresses it is given, as a command does that is typed once: no
/// connection before, and the node ends with it.
pub(crate) async fn read_cold(
    home: PathBuf,
    network: &str,
    model: String,
    from: Vec<String>,
) -> anyhow::Result<()> {
    let node = Node::start(config(home, network)).await?;
    let request = FetchRequest { model, from, ..FetchRequest::default() };
    say(&fetch(&*node.hive(), request, false).await?)?;
    node.shutdown().await;
    Ok(())
}

/// Fetches a model; with `tell` it says once, on stdout, when half is here.
pub(crate) async fn fetch(
    hive: &dyn Hive,
    request: FetchRequest,
    tell: bool,
) -> anyhow::Result<Read> {
    let start = Instant::now();
    let (mut present, mut read_before, mut all) = (0, 0, u64::MAX);
    let (mut first, mut half) = (None, tell);
    let mut events = hive.fetch(request).await?;
    while let Some(event) = events.next().await {
        match event? {
            FetchEvent::Manifest { present: here, size, .. } => {
                (present, all) = (here, size);
                read_before = machine::bytes_read(std::process::id());
            }
            FetchEvent::Progress { bytes, .. } => {
                if bytes > present {
                    first.get_or_insert_with(|| start.elapsed());
                }
                if half && bytes >= all / 2 {
                    half = false;
                    say(&Half { bytes })?;
                }
            }
            FetchEvent::Done { path, peers, .. } => {
                let seconds = start.elapsed().as_secs_f64();
                let first_ms = first.context("nothing was fetched")?.as_secs_f64() * 1e3;
                let peers =
                    peers.iter().map(|peer| peer.bytes).filter(|bytes| *bytes > 0).collect();
                return Ok(Read { path, seconds, first_ms, present, read_before, peers });
            }
            _ => {}
        }
    }
    bail!("a fetch without an end")
}
