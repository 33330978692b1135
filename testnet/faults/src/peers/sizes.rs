//! Answers that are too short, too long, or have no end.

use anyhow::ensure;
use hive_testnet::Lie;

use super::providers::{Providers, Reader};
use super::{MIB, rounds};
use crate::dice::Dice;
use crate::scenario::Context;

const LEN: u64 = 24 * MIB;
const HONEST_RATE: u64 = 4_000_000;
/// What a liar may cost: two blocks, and what windows and sockets hold of an answer without end.
const COST: u64 = 6 * MIB;

pub(super) fn run(context: &Context) -> anyhow::Result<String> {
    whole(context, Reader::Hive)
}

pub(super) fn twin(context: &Context) -> anyhow::Result<String> {
    whole(&context.few(1), Reader::Naive)
}

fn whole(context: &Context, reader: Reader) -> anyhow::Result<String> {
    let all = rounds(context, |dice| round(context, dice, reader))?;
    let most = all.iter().copied().max().unwrap_or(0);
    Ok(format!("a liar sent {:.2} MiB at most", most as f64 / MIB as f64))
}

async fn round(context: &Context, mut dice: Dice, reader: Reader) -> anyhow::Result<u64> {
    let lies = vec![Lie::Short, Lie::Extra, Lie::Endless, Lie::Header, Lie::Unasked];
    let providers = Providers::start(&mut dice, LEN, lies, HONEST_RATE).await?;
    let read = providers.read(&mut dice, reader).await;
    context.inject(providers.liars.iter().map(|liar| liar.counters().lies()).sum());
    // What it cost is asked first: it is what this is about.
    let mut most = 0;
    for liar in &providers.liars {
        let (counters, peer) = (liar.counters(), liar.peer());
        let sent = counters.sent();
        ensure!(sent <= COST, "`{peer}` sent {sent} bytes, at most {COST} are fine");
        most = most.max(sent);
    }
    let read = read?;
    for liar in &providers.liars {
        let (lies, peer) = (liar.counters().lies(), liar.peer());
        ensure!(lies > 0, "`{peer}` was never asked: it could not lie");
    }
    ensure!(!read.banned.is_empty(), "nobody was banned");
    Ok(most)
}
