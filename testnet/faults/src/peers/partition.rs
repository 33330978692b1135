//! A network that comes apart in two halves, and is whole again.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::join_all;
use hive_api::{SearchRequest, Visibility};
use hive_node::Faults;
use hive_testnet::wait::{any_of, eventually_in};
use hive_testnet::{Mesh, TestNode, sample};

use super::{MIB, rounds};
use crate::dice::Dice;
use crate::scenario::Context;

/// Nodes beside the one that they join through.
const FEW: usize = 9;
/// The same in full.
const MANY: usize = 19;
/// How long a machine with other work to do may take to bring them up, and to spread a catalog.
const JOIN: Duration = Duration::from_mins(4);
/// Bytes that may come twice of a fetch: its last group, which is asked of a second peer at the end.
const TWICE: u64 = MIB;

/// How long it is apart, and what the recovery may take then, in a run as in its twin.
#[derive(Debug, Clone, Copy)]
struct Times {
    apart: Duration,
    recovery: Duration,
}

impl Times {
    fn of(full: bool) -> Self {
        let [apart, recovery] = if full {
            // So long that connections are given up. Three intervals of announcements, and 30 s.
            [120, 3 * 66 + 30]
        } else {
            // Catalogs that were announced meanwhile have reached one half, and no more.
            [10, 20]
        };
        Self { apart: Duration::from_secs(apart), recovery: Duration::from_secs(recovery) }
    }
}

/// How a network heals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Healing {
    Whole,
    /// One half goes on holding back what it should send to the other.
    Lopsided,
}

pub(super) fn run(context: &Context) -> anyhow::Result<String> {
    whole(context, Healing::Whole)
}

pub(super) fn twin(context: &Context) -> anyhow::Result<String> {
    whole(&context.few(1), Healing::Lopsided)
}

fn whole(context: &Context, healing: Healing) -> anyhow::Result<String> {
    let all = if context.full {
        rounds(context, |dice| round::<MANY>(context, dice, healing))?
    } else {
        rounds(context, |dice| round::<FEW>(context, dice, healing))?
    };
    let longest = all.into_iter().max().unwrap_or_default();
    Ok(format!(
        "{} nodes agree again {:.1} s after {} s apart",
        1 + if context.full { MANY } else { FEW },
        longest.as_secs_f64(),
        Times::of(context.full).apart.as_secs()
    ))
}

/// Names of models that a node has heard of.
async fn offers(node: &TestNode) -> Vec<String> {
    let found = node.hive().search(SearchRequest::default()).await.unwrap_or_default();
    found.into_iter().map(|offer| offer.name).collect()
}

/// Whether all of the nodes but those who offer them know these names.
async fn know(nodes: &[(&TestNode, &[&str])]) -> bool {
    let known = join_all(nodes.iter().map(|(node, _)| offers(node))).await;
    known.iter().zip(nodes).all(|(known, (_, names))| {
        names.iter().all(|name| known.iter().any(|known| known.starts_with(name)))
    })
}

/// Links that were cut and made themselves felt: streams that fell silent, dials that hung.
fn felt(nodes: &[&TestNode]) -> u64 {
    let counts = nodes.iter().map(|node| *node.faults().counts().borrow());
    counts.map(|counts| counts.silenced + counts.hung).sum()
}

/// How long the recovery took.
async fn round<const NODES: usize>(
    context: &Context,
    mut dice: Dice,
    healing: Healing,
) -> anyhow::Result<Duration> {
    let Times { apart, recovery } = Times::of(context.full);
    let mesh = Mesh::<NODES>::start().await?;
    let changes = || any_of(mesh.nodes.iter().chain([&mesh.bootstrap]).map(TestNode::changes));
    let (near, far) = mesh.nodes.split_at(NODES / 2);
    let near: Vec<&TestNode> = near.iter().collect();
    let far: Vec<&TestNode> = far.iter().chain([&mesh.bootstrap]).collect();
    let all: Vec<&TestNode> = near.iter().chain(&far).copied().collect();
    eventually_in(JOIN, "every node to know every other", changes(), async || {
        let states = join_all(all.iter().map(|node| node.network_state())).await;
        states.iter().all(|state| state.dht_peers >= NODES).then_some(())
    })
    .await?;

    mesh.cut_between(&near, &far);
    let apart = tokio::time::Instant::now() + apart;
    // Each half gets a model that the other cannot hear of.
    let near_model = sample::bytes(dice.next(), 2 * MIB as usize + 1);
    let far_model = sample::bytes(dice.next(), 2 * MIB as usize + 1);
    let near_id = near[0].add("near.bin", &near_model, Visibility::Public).await?.cid;
    let far_id = far[0].add("far.bin", &far_model, Visibility::Public).await?.cid;
    let halves: Vec<(&TestNode, &[&str])> = near[1..]
        .iter()
        .map(|node| (*node, &["near"][..]))
        .chain(far[1..].iter().map(|node| (*node, &["far"][..])))
        .collect();
    eventually_in(JOIN, "each half to know its own model", changes(), async || {
        know(&halves).await.then_some(())
    })
    .await?;
    // The side that holds the data still finds it.
    let found = far[1].fetch(&far_id).await?.finish().await.context("in the half that has it")?;
    ensure!(std::fs::read(found.path)? == far_model, "the model's bytes are wrong");
    tokio::time::sleep_until(apart).await;
    for node in &near {
        ensure!(!offers(node).await.iter().any(|name| name.starts_with("far")), "it is not cut");
    }
    context.inject(felt(&all));

    let healed = tokio::time::Instant::now();
    let healing = match healing {
        Healing::Whole => &all[..],
        Healing::Lopsided => &near[..],
    };
    healing.iter().map(|node| node.faults()).for_each(|faults: Faults| faults.heal());
    let both: Vec<(&TestNode, &[&str])> = near[1..]
        .iter()
        .map(|node| (*node, &["near", "far"][..]))
        .chain(far[2..].iter().map(|node| (*node, &["near", "far"][..])))
        .collect();
    eventually_in(recovery, "all catalogs to agree", changes(), async || {
        know(&both).await.then_some(())
    })
    .await?;
    let took = healed.elapsed();
    let before = uploaded(&all).await?;
    for (node, id, model) in [(near[1], &far_id, &far_model), (far[2], &near_id, &near_model)] {
        let found = node.fetch(id).await?.finish().await.context("across, when healed")?;
        ensure!(std::fs::read(found.path)? == *model, "the model's bytes are wrong");
    }
    let sent = uploaded(&all).await? - before;
    let needed = (near_model.len() + far_model.len()) as u64;
    ensure!(sent <= needed + 2 * TWICE, "{sent} bytes were sent, {needed} were needed");
    for node in &all {
        let banned = node.hive().peers().await?.into_iter().find(|peer| peer.banned_secs.is_some());
        ensure!(banned.is_none(), "somebody is banned: {banned:?}");
    }
    Ok(took)
}

/// Bytes that all of them have sent.
async fn uploaded(nodes: &[&TestNode]) -> anyhow::Result<u64> {
    let mut sent = 0;
    for node in nodes {
        sent += node.uploaded().await?;
    }
    Ok(sent)
}
