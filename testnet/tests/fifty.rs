//! A network of fifty nodes in one process: small enough for any machine that builds hive, large
//! enough that nobody is everybody's neighbour. It is alone in its process, whose processor time and
//! memory are measured.

#![expect(clippy::print_stdout, reason = "figures, for whoever runs the test alone")]

use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use hive_api::{FetchRequest, Visibility};
use hive_testnet::wait::eventually_in;
use hive_testnet::{Fetched, Mesh, TestNode, sample};

/// Nodes that join.
const NODES: usize = 50;
/// Nodes that each of them has to have in its routing table. Kademlia keeps twenty of a kind: half
/// of the network lies beyond any node's first bit, so it cannot know all.
const TABLE: usize = 20;
/// Bytes of the model: an odd length, so that the last group is no whole one.
const LEN: usize = (4 << 20) - 123;
/// Nodes that fetch at the same time.
const READERS: usize = 10;
/// What all of it may take of processors: a minute of two, whatever else the machine does.
const CPU: Duration = Duration::from_mins(2);
/// How long to wait for a fact among so many, on a machine with much other work.
const PATIENCE: Duration = Duration::from_mins(4);
/// What the process may take, all fifty-one nodes together.
const MEMORY: u64 = 2 << 30;

/// Bytes of memory that this process took at most; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Processor time of this process; `None` where the system does not say.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything; user and system time come 12 fields after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // A tick is a hundredth of a second on every Linux there is.
    Some(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

/// Fetches for as long as it takes.
async fn fetch(node: &TestNode, id: &str) -> anyhow::Result<Fetched> {
    let request = FetchRequest { model: id.to_owned(), wait: true, ..FetchRequest::default() };
    node.fetch_with(request).await?.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_nodes_join_and_find_a_model_and_fetch_it_from_each_other() -> anyhow::Result<()> {
    let (begun, cpu) = (Instant::now(), cpu_time());
    let mesh = Mesh::<NODES>::start().await?;
    println!("{:.1} s: {NODES} nodes are connected", begun.elapsed().as_secs_f64());

    eventually_in(PATIENCE, "every node to know many", mesh.changes(), async || {
        let states = join_all(mesh.nodes.iter().map(TestNode::network_state)).await;
        states.iter().all(|state| state.dht_server && state.dht_peers >= TABLE).then_some(())
    })
    .await?;
    println!("{:.1} s: all are in the DHT", begun.elapsed().as_secs_f64());

    let bytes = sample::bytes(91, LEN);
    let [provider, others @ ..] = &mesh.nodes;
    let id = provider.add("fifty.bin", &bytes, Visibility::Public).await?.cid;
    let readers = &others[others.len() - READERS..];
    let fetches = readers.iter().map(async |reader| {
        let fetched = fetch(reader, &id).await?;
        anyhow::ensure!(std::fs::read(&fetched.path)? == bytes, "the bytes differ");
        Ok(fetched)
    });
    let fetched = try_join_all(fetches).await?;
    let from_provider: u64 = fetched.iter().map(|one| one.bytes_from(provider.peer())).sum();
    println!(
        "{:.1} s: {READERS} have it, {from_provider} of {} bytes from the first",
        begun.elapsed().as_secs_f64(),
        bytes.len() * READERS
    );

    // Who comes last has many to choose from, and finds them.
    let fetched = fetch(&others[0], &id).await?;
    assert!(std::fs::read(&fetched.path)? == bytes);
    assert!(fetched.bytes_from(provider.peer()) < bytes.len() as u64, "{:?}", fetched.peers);

    let memory = peak_memory();
    let cpu = cpu.zip(cpu_time()).map(|(before, after)| after.saturating_sub(before));
    println!(
        "{:.1} s, {cpu:?} of processors, {memory:?} bytes of memory",
        begun.elapsed().as_secs_f64()
    );
    assert!(cpu.is_none_or(|cpu| cpu < CPU), "{cpu:?}");
    assert!(memory.is_none_or(|memory| memory < MEMORY), "{memory:?}");
    Ok(())
}
