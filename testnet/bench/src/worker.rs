//! The processes that are measured: a provider, and a reader. Each says what it has to on stdout, a
//! line of JSON at a time, and a provider ends when its stdin does.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use hive_api::{AddEvent, AddRequest, FetchEvent, FetchRequest, Visibility};
use hive_node::{Config, Node};
use serde::{Deserialize, Serialize};

use crate::machine;

/// What a provider says when it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) id: String,
    pub(crate) address: String,
    /// Seconds that adding the file took.
    pub(crate) add_seconds: f64,
}

/// What a reader says in the end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) path: PathBuf,
    /// Seconds from the call to the file in its place.
    pub(crate) seconds: f64,
    /// Milliseconds from the call to the first verified group on disk.
    pub(crate) first_ms: f64,
    /// Processor seconds during the fetch.
    pub(crate) cpu: f64,
    /// Most memory at one time, in bytes.
    pub(crate) memory: u64,
    /// Bytes from each peer.
    pub(crate) peers: Vec<u64>,
}

fn say(line: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(std::io::stdout().flush()?)
}

fn config(home: PathBuf) -> Config {
    Config { home, ..hive_testnet::config("bench") }
}

/// Provides a file; answers each line on stdin with the processor seconds so far.
pub(crate) async fn provide(home: PathBuf, file: PathBuf) -> anyhow::Result<()> {
    let node = Node::start(config(home)).await?;
    let request = AddRequest {
        path: file,
        name: Some("bench".to_owned()),
        visibility: Some(Visibility::Public),
        link: false,
        license: None,
    };
    let start = Instant::now();
    let mut events = node.hive().add(request).await?;
    let added = loop {
        match events.next().await {
            Some(event) => {
                if let AddEvent::Done(added) = event? {
                    break added;
                }
            }
            None => bail!("an add without an end"),
        }
    };
    let address = node.addresses().into_iter().next().context("no address")?;
    say(&Ready { id: added.cid, address, add_seconds: start.elapsed().as_secs_f64() })?;
    tokio::task::spawn_blocking(|| {
        for line in std::io::stdin().lock().lines() {
            line?;
            say(&machine::cpu_seconds())?;
        }
        anyhow::Ok(())
    })
    .await??;
    node.shutdown().await;
    Ok(())
}

/// Fetches from peers that it is connected to.
pub(crate) async fn read(home: PathBuf, id: String, from: Vec<String>) -> anyhow::Result<()> {
    let node = Node::start(config(home)).await?;
    let hive = node.hive();
    for address in &from {
        hive.connect(address).await?;
    }
    let cpu = machine::cpu_seconds();
    let start = Instant::now();
    let mut first = None;
    let request = FetchRequest { model: id, ..FetchRequest::default() };
    let mut events = hive.fetch(request).await?;
    let (path, peers) = loop {
        match events.next().await {
            Some(event) => match event? {
                FetchEvent::Progress { bytes, .. } if bytes > 0 => {
                    first.get_or_insert_with(|| start.elapsed());
                }
                FetchEvent::Done { path, peers, .. } => break (path, peers),
                _ => {}
            },
            None => bail!("a fetch without an end"),
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let cpu = machine::cpu_seconds() - cpu;
    let memory = machine::peak_memory();
    let first_ms = first.context("nothing was fetched")?.as_secs_f64() * 1e3;
    let peers = peers.iter().map(|peer| peer.bytes).filter(|bytes| *bytes > 0).collect();
    say(&Read { path, seconds, first_ms, cpu, memory, peers })?;
    node.shutdown().await;
    Ok(())
}
