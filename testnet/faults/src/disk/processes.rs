//! Several processes on one home.

use anyhow::{Context as _, ensure};

use super::home::{Home, Process};
use super::shim::{Act, Shim};
use super::workplace;
use crate::scenario::{Context, Scenario};

/// Nodes that start at once on one home.
const AT_ONCE: usize = 4;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "two-processes",
    claim: "of nodes that start at once on one home one runs, and the others exit with 1 and its \
            process number; after `kill -9` of it the next starts at once",
    few: 3,
    full: 30,
    least: |rounds| AT_ONCE as u64 * rounds,
    run: |context| races(context, false),
    twin: |context| races(context, true),
    // Two run, or the second falls over what the first is about to write.
    caught: &["nodes run on one home", "a second process says"],
};

fn races(context: &Context, unlocked: bool) -> anyhow::Result<String> {
    let dir = workplace(context)?;
    let honest = Home::new(&context.hive, dir.path().join("home"));
    let home = if unlocked {
        // The twin: a file system that says of every lock that it was had.
        let shim = Shim::build(dir.path())?;
        honest.under(&shim.inject(honest.path(), "lock", 0, Act::Skip))
    } else {
        honest
    };
    let mut refused = 0;
    for round in 0..context.rounds {
        refused += race(context, &home).with_context(|| format!("round {round}"))?;
    }
    Ok(format!("{refused} second processes named the first; no stale lock after it died"))
}

/// Starts nodes at once, and one more; returns how many were refused.
fn race(context: &Context, home: &Home) -> anyhow::Result<u64> {
    let nodes: Vec<Process> =
        (0..AT_ONCE).map(|_| home.start(&["--json", "join"])).collect::<anyhow::Result<_>>()?;
    let (mut running, mut others) = (Vec::new(), Vec::new());
    for mut node in nodes {
        match node.line()? {
            Some(line) if line.contains("\"ready\"") => running.push(node),
            _ => others.push(node),
        }
    }
    // All but the first are faults, and so is the one that comes when it runs.
    context.inject(AT_ONCE as u64);
    ensure!(running.len() == 1, "{} nodes run on one home", running.len());
    let mut first = running.remove(0);
    others.push(home.start(&["--json", "join"])?);
    let refused = others.len() as u64;
    let number = format!("process {}", first.id());
    for other in others {
        let ended = other.end()?;
        ensure!(ended.status.code() == Some(1), "a second process: {ended}");
        let said = ended.refusal()?;
        ensure!(said.contains(&number), "a second process says {said}, the first is {number}");
    }
    first.kill()?;
    first.end()?;
    let next = home.join(&[]).context("after kill -9 of the first")?;
    next.stop()?;
    Ok(refused)
}
