//! What peers that lie, stall and die do to a fetch.
//!
//! The nodes are real, in one process and over the loopback; the peers that misbehave are stock
//! libp2p and count what they did where they did it. Every twin is the same harness with a
//! [`naive`] reader, which believes what it is sent, or with a network that does not heal.

mod dying;
mod liars;
pub(crate) mod naive;
mod partition;
mod providers;
mod sizes;
mod slow;

use anyhow::Context as _;

use crate::dice::Dice;
use crate::scenario::{Context, Scenario};

const MIB: u64 = 1 << 20;

/// What this module can do.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "liars",
        claim: "9 of 10 providers lie: the model comes whole, each liar is banned after 3 blocks at \
                most, no honest peer is",
        few: 1,
        full: 20,
        least: |rounds| 9 * rounds,
        run: liars::run,
        twin: liars::twin,
        caught: &["the model's bytes are wrong"],
    },
    Scenario {
        name: "sizes",
        claim: "too little, too much and answers without an end cost two blocks each and nothing \
                else",
        few: 1,
        full: 5,
        least: |rounds| 5 * rounds,
        run: sizes::run,
        twin: sizes::twin,
        caught: &["bytes, at most"],
    },
    Scenario {
        name: "slow-peers",
        claim: "10 of 11 providers send 1 B/s, stall at 99 % or never begin: what they hold up is \
                had elsewhere within 15 s",
        few: 1,
        full: 5,
        least: |rounds| 10 * rounds,
        run: slow::run,
        twin: slow::twin,
        caught: &["the fetch took longer than"],
    },
    Scenario {
        name: "half-die",
        claim: "half of 16 providers die at 25, 50 or 75 %: the fetch completes, in twice the time \
                that it takes undisturbed and with 10 % of bytes twice at most",
        few: 3,
        full: 30,
        least: |rounds| 8 * rounds,
        run: dying::run,
        twin: dying::twin,
        caught: &["is gone, and with it"],
    },
    Scenario {
        name: "partition",
        claim: "a network of 10 (in full 20) that came apart and is whole again: catalogs agree, \
                lookups work, nothing is fetched twice, nobody is banned",
        few: 1,
        full: 3,
        least: |rounds| 10 * rounds,
        run: partition::run,
        twin: partition::twin,
        caught: &["waited for all catalogs to agree"],
    },
];

/// Runs a scenario's rounds on a runtime of their own, each with the dice of its seed: the `n`th
/// round is the first one of the seed `n` further on.
pub(crate) fn rounds<T, F>(
    context: &Context,
    mut round: impl FnMut(Dice) -> F,
) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = anyhow::Result<T>>,
{
    rounds_of(context, |seed| round(Dice::new(seed)))
}

/// The same for rounds that go by their seed itself, too.
pub(crate) fn rounds_of<T, F>(
    context: &Context,
    mut round: impl FnMut(u64) -> F,
) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let seeds = context.seed..context.seed.saturating_add(context.rounds.into());
    let outcomes: anyhow::Result<Vec<T>> = seeds
        .map(|seed| {
            let outcome = runtime.block_on(round(seed));
            outcome.with_context(|| format!("in the round of seed {seed}"))
        })
        .collect();
    // Tasks of nodes that were killed are none of the next scenario's business.
    runtime.shutdown_background();
    outcomes
}
