//! A network that comes apart in two halves, silently, and is whole again.
//!
//! How long it is apart says `HIVE_PARTITION_SECS`. The default is for CI: connections hang and go
//! on. From 90 on the halves give each other up, and have to find each other again.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::join_all;
use hive_api::{FetchRequest, Visibility};
use hive_testnet::wait::eventually_in;
use hive_testnet::{Mesh, TestNode, sample};

use crate::{MIB, TestResult, mib};

/// Nodes beside the one that they join through.
const NODES: usize = 19;
/// How long the partition lasts when nobody says how long.
const SHORT: Duration = Duration::from_secs(20);
/// A partition from which on every connection across it is given up: two pings in a row, each after
/// a pause of 10 s and with 10 s to be answered, the goodbye, and a machine with other work to do.
const GIVEN_UP: Duration = Duration::from_secs(90);
/// What the recovery may take.
const RECOVERY: Duration = Duration::from_mins(2);

fn length() -> anyhow::Result<Duration> {
    match std::env::var("HIVE_PARTITION_SECS") {
        Ok(text) => {
            let seconds = text.parse().with_context(|| {
                format!("HIVE_PARTITION_SECS is `{text}`; give a number of seconds")
            })?;
            Ok(Duration::from_secs(seconds))
        }
        Err(_) => Ok(SHORT),
    }
}

/// Lets the fault last. The one place where a test waits for time to pass: the time is the fault.
async fn stay_apart(since: Instant, length: Duration) {
    tokio::time::sleep_until((since + length).into()).await;
}

/// Connections of a node with nodes of a group.
async fn connected_with(node: &TestNode, group: &[&TestNode]) -> usize {
    let peers = node.hive().peers().await.unwrap_or_default();
    let connected = peers.iter().filter(|peer| peer.connected);
    connected.filter(|peer| group.iter().any(|other| other.peer() == peer.peer)).count()
}

/// Links between two groups that are up.
async fn links(some: &[&TestNode], others: &[&TestNode]) -> usize {
    join_all(some.iter().map(|node| connected_with(node, others))).await.into_iter().sum()
}

/// The size of the smallest routing table.
async fn smallest_table(nodes: &[&TestNode]) -> usize {
    let states = join_all(nodes.iter().map(|node| node.network_state())).await;
    states.iter().map(|state| state.dht_peers).min().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_nodes_come_apart_and_recover_without_a_restart() -> TestResult {
    let (begun, length) = (Instant::now(), length()?);
    let mesh = Mesh::<NODES>::start().await?;
    let all: Vec<&TestNode> = mesh.nodes.iter().chain([&mesh.bootstrap]).collect();
    let (near, far) = mesh.nodes.split_at(NODES / 2);
    // The bootstrap node is far away.
    let near: Vec<&TestNode> = near.iter().collect();
    let far: Vec<&TestNode> = far.iter().chain([&mesh.bootstrap]).collect();
    eventually_in(RECOVERY, "every node to know every other", mesh.changes(), async || {
        (smallest_table(&all).await >= NODES).then_some(())
    })
    .await?;

    println!("{:.1} s: every node knows every other", begun.elapsed().as_secs_f64());

    // A fetch that has a slow provider on this side, and a quick one on the other.
    let bytes = sample::bytes(71, mib(96));
    let slow = mesh.node_with(|config| config.upload_limit = Some(200_000)).await?;
    let quick = mesh.node_with(|config| config.upload_limit = Some(3_000_000)).await?;
    let id = slow.add("both.bin", &bytes, Visibility::Public).await?.cid;
    quick.add("both.bin", &bytes, Visibility::Public).await?;
    let near: Vec<&TestNode> = near.into_iter().chain([&slow]).collect();
    let far: Vec<&TestNode> = far.into_iter().chain([&quick]).collect();
    let reader = near[0];
    let mut fetch = reader.fetch(&id).await?;
    fetch.until_bytes(8 * MIB).await?;
    // What is only on the other side, and is asked for while nobody can say so.
    let only_far = sample::bytes(72, mib(3));
    let far_id = far[0].add("far.bin", &only_far, Visibility::Public).await?.cid;

    println!("{:.1} s: cut for {length:?}", begun.elapsed().as_secs_f64());
    let (before, cut_at) = (fetch.bytes(), Instant::now());
    mesh.cut_between(&near, &far);
    let patient = FetchRequest { model: far_id, wait: true, ..FetchRequest::default() };
    let waiting = near[1].fetch_with(patient).await?;
    if length >= GIVEN_UP {
        let apart = any_changes(&near, &far);
        eventually_in(GIVEN_UP, "the halves to give each other up", apart, async || {
            (links(&near, &far).await + links(&far, &near).await == 0).then_some(())
        })
        .await?;
        println!("{:.1} s: no link is left", cut_at.elapsed().as_secs_f64());
    }
    stay_apart(cut_at, length).await;
    let left = links(&near, &far).await;
    println!(
        "{:.1} s: {left} links, tables of {} and more",
        cut_at.elapsed().as_secs_f64(),
        smallest_table(&all).await
    );

    // The fault happened: both halves wanted to say something and could not.
    for half in [&near, &far] {
        let withheld: u64 = half.iter().map(|node| node.faults().counts().borrow().withheld).sum();
        assert!(withheld > 0, "nothing was held back");
    }
    let healed = Instant::now();
    mesh.heal();
    let recovered = |what: &str| println!("{:.1} s after: {what}", healed.elapsed().as_secs_f64());

    let fetched = waiting.finish().await?;
    assert!(std::fs::read(&fetched.path)? == only_far);
    recovered("what was only on the other side is here");
    let fetched = fetch.finish().await?;
    recovered("the fetch that was running is done");
    assert!(std::fs::read(&fetched.path)? == bytes);
    let late = fetched.bytes_from_peers() - before;
    assert!(late > 0 && fetched.bytes_from(quick.peer()) > before, "{:?}", fetched.peers);
    assert!(fetched.struck().is_empty(), "a broken line is no lie: {:?}", fetched.peers);

    let changes = any_changes(&near, &far);
    eventually_in(RECOVERY, "the tables to be full again", changes, async || {
        (smallest_table(&all).await >= NODES).then_some(())
    })
    .await?;
    recovered("every node knows every other");

    // Both ways: what is added after the healing is found on the other side.
    for (from, to, seed) in [(near[2], far[3], 73), (far[4], near[5], 74)] {
        let bytes = sample::bytes(seed, mib(2));
        let id = from.add("after.bin", &bytes, Visibility::Public).await?.cid;
        let fetched = to.fetch(&id).await?.finish().await?;
        assert!(std::fs::read(&fetched.path)? == bytes);
    }
    recovered("new models are found across");
    for node in &all {
        let peers = node.hive().peers().await?;
        assert!(peers.iter().all(|peer| peer.banned_secs.is_none()), "somebody is banned");
    }
    Ok(())
}

fn any_changes(some: &[&TestNode], others: &[&TestNode]) -> tokio::sync::watch::Receiver<()> {
    hive_testnet::wait::any_of(some.iter().chain(others).map(|node| node.changes()))
}
