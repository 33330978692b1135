//! The process of one live network: nodes that join, are left alone for a while, and then all fetch
//! one model from the one that has it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures::future::{join_all, try_join_all};
use hive_api::{FetchRequest, Visibility};
use hive_node::Tally;
use hive_testnet::wait::eventually_in;
use hive_testnet::{Mesh, TestNode, sample};
use serde::{Deserialize, Serialize};

use crate::machine;

/// Peers of one kind that a routing table keeps.
const TABLE: usize = 20;
/// How long to wait for a fact among so many.
const PATIENCE: Duration = Duration::from_mins(4);
/// Bytes a second of the first one's line, each way: 40 Mbit. On a loopback that is as fast for all,
/// whoever has a model first serves everybody, and nothing is seen of how readers feed each other.
pub(crate) const SEED_LINE: u64 = 5_000_000;
/// How long after they know each other what nodes send is counted from: a part of what is measured, as
/// the table says, and no wait for a state. Joining sends for a while after (identify, the first
/// announcements), and there is no event at which it has ended.
const SETTLE: Duration = Duration::from_secs(30);

/// Which network.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Args {
    nodes: usize,
    size: u64,
    idle: u64,
}

/// Messages and bytes that a node sends in a minute, in the mean.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct PerMinute {
    pub(crate) messages: f64,
    pub(crate) bytes: f64,
}

/// Minutes between two refreshes of a routing table, as libp2p has it.
pub(crate) const REFRESH: f64 = 5.0;

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Nodes, the one that all joined through included.
    pub(crate) nodes: usize,
    /// Seconds until all were in each other's tables.
    pub(crate) join_seconds: f64,
    /// Bytes of memory for each node, joined and idle.
    pub(crate) memory: u64,
    /// Processor seconds of a node in a minute, idle.
    pub(crate) cpu: f64,
    pub(crate) dht: PerMinute,
    /// Bytes of the DHT that a node sent from its start until it was left alone.
    pub(crate) dht_join: f64,
    pub(crate) gossip: PerMinute,
    pub(crate) other: PerMinute,
    /// Nodes that fetched.
    pub(crate) readers: usize,
    /// Those that had it within [`PATIENCE`].
    pub(crate) completed: usize,
    /// Seconds until the last had it, or patience ended.
    pub(crate) fetch_seconds: f64,
    /// What the first one uploaded, over the size of the model.
    pub(crate) seeder: f64,
    /// Bytes of memory for each node at the most.
    pub(crate) peak: u64,
}

impl Outcome {
    /// The percentage of the readers that had it in time.
    pub(crate) fn completion(&self) -> f64 {
        100.0 * self.completed as f64 / (self.readers as f64).max(1.0)
    }

    /// Bytes of the DHT that a node sends in a minute, its part of a refresh included. The minute that
    /// is watched has none; it asks what joining asked, so it is taken for as dear.
    pub(crate) fn dht_bytes(&self) -> f64 {
        self.dht.bytes + self.dht_join / REFRESH
    }
}

/// Measures and says what came of it.
pub(crate) async fn measure(args: Args) -> anyhow::Result<()> {
    // Everybody is everybody's neighbour in so small a network, and each connection has two ends.
    raise_open_files();
    let outcome = match args.nodes {
        10 => Box::pin(network::<10>(args)).await,
        25 => Box::pin(network::<25>(args)).await,
        50 => Box::pin(network::<50>(args)).await,
        100 => Box::pin(network::<100>(args)).await,
        other => bail!("a live network has 10, 25, 50 or 100 nodes, not {other}"),
    }?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

#[cfg(unix)]
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("the number of open files stays as it is: {error}");
    }
}

#[cfg(not(unix))]
fn raise_open_files() {}

async fn network<const N: usize>(args: Args) -> anyhow::Result<Outcome> {
    let before = machine::memory();
    let begun = Instant::now();
    let mesh = Mesh::<N>::start().await?;
    let least = TABLE.min(N);
    eventually_in(PATIENCE, "every node to know many", mesh.changes(), async || {
        let states = join_all(mesh.nodes.iter().map(TestNode::network_state)).await;
        states.iter().all(|state| state.dht_peers >= least).then_some(())
    })
    .await?;
    let join_seconds = begun.elapsed().as_secs_f64();
    let nodes = N + 1;
    let each = |bytes: u64| bytes.saturating_sub(before) / nodes as u64;
    eprintln!("{N} joined in {join_seconds:.1} s");

    tokio::time::sleep(SETTLE).await;
    let (sent, cpu) = (sent(&mesh), machine::cpu_seconds());
    let dht_join = sent.iter().map(|sent| sent.dht.bytes as f64).sum::<f64>() / nodes as f64;
    let idle = Instant::now();
    tokio::time::sleep(Duration::from_secs(args.idle)).await;
    let minutes = idle.elapsed().as_secs_f64() / 60.0 * nodes as f64;
    let cpu = (machine::cpu_seconds() - cpu) / minutes;
    let [dht, gossip, other] = per_minute(sent, self::sent(&mesh), minutes);
    let memory = each(machine::memory());

    let bytes = sample::bytes(91, args.size as usize);
    let [seeder, readers @ ..] = &mesh.nodes[..] else { bail!("a network of nobody") };
    let id = seeder.add("scale.bin", &bytes, Visibility::Public).await?.cid;
    seeder.faults().slow(SEED_LINE, Duration::ZERO);
    let begun = Instant::now();
    let fetches = readers.iter().map(async |reader| {
        let request = FetchRequest { model: id.clone(), wait: true, ..FetchRequest::default() };
        let fetch = reader.fetch_with(request).await?;
        let Ok(fetched) = tokio::time::timeout(PATIENCE, fetch.finish()).await else {
            return Ok(0);
        };
        let fetched = fetched?;
        let read = tokio::fs::read(&fetched.path).await.context("what was fetched")?;
        ensure!(read == bytes, "{} has other bytes", reader.peer());
        Ok::<usize, anyhow::Error>(1)
    });
    let completed = try_join_all(fetches).await?.into_iter().sum();
    let fetch_seconds = begun.elapsed().as_secs_f64();
    let uploaded = seeder.uploaded().await?;
    Ok(Outcome {
        nodes,
        join_seconds,
        memory,
        cpu,
        dht,
        dht_join,
        gossip,
        other,
        readers: readers.len(),
        completed,
        fetch_seconds,
        seeder: uploaded as f64 / args.size.max(1) as f64,
        peak: each(machine::peak_memory()),
    })
}

fn sent<const N: usize>(mesh: &Mesh<N>) -> Vec<Tally> {
    mesh.nodes.iter().chain([&mesh.bootstrap]).map(|node| node.faults().tally()).collect()
}

fn per_minute(before: Vec<Tally>, after: Vec<Tally>, minutes: f64) -> [PerMinute; 3] {
    let mut sums = [PerMinute::default(); 3];
    for (before, after) in before.iter().zip(&after) {
        let kinds =
            [(before.dht, after.dht), (before.gossip, after.gossip), (before.other, after.other)];
        for (sum, (before, after)) in sums.iter_mut().zip(kinds) {
            sum.messages += (after.writes - before.writes) as f64 / minutes;
            sum.bytes += (after.bytes - before.bytes) as f64 / minutes;
        }
    }
    sums
}
