//! Nine of ten providers lie.

use anyhow::ensure;
use hive_testnet::Lie;
use hive_testnet::liar::Wrong;

use super::providers::{Providers, Reader};
use super::{MIB, rounds};
use crate::dice::Dice;
use crate::scenario::Context;

const LIARS: usize = 9;
/// Bad blocks after which a liar must be out.
const BLOCKS: u64 = 3;

/// A model and what the honest one gives of it a second: some seconds for all, so that every liar
/// gets its chance.
struct Size {
    len: u64,
    rate: u64,
}

const FEW: Size = Size { len: 32 * MIB, rate: 4_000_000 };
const FULL: Size = Size { len: 1 << 30, rate: 32_000_000 };

pub(super) fn run(context: &Context) -> anyhow::Result<String> {
    whole(context, Reader::Hive)
}

pub(super) fn twin(context: &Context) -> anyhow::Result<String> {
    whole(&context.few(1), Reader::Naive)
}

fn whole(context: &Context, reader: Reader) -> anyhow::Result<String> {
    let size = if context.full { FULL } else { FEW };
    let all = rounds(context, |dice| round(context, dice, reader, &size))?;
    let most = all.iter().copied().max().unwrap_or(0);
    Ok(format!(
        "{} MiB each; {LIARS} liars cost {:.1} MiB at most, and all were banned",
        size.len / MIB,
        most as f64 / MIB as f64
    ))
}

/// One model, and the bytes that liars sent in vain.
async fn round(
    context: &Context,
    mut dice: Dice,
    reader: Reader,
    size: &Size,
) -> anyhow::Result<u64> {
    const WRONGS: [Wrong; 4] = [Wrong::FirstByte, Wrong::LastByte, Wrong::Random, Wrong::Zeros];
    let first = dice.below(WRONGS.len() as u64) as usize;
    let lies = WRONGS.iter().cycle().skip(first).take(LIARS).map(|wrong| Lie::Bytes(*wrong));
    let providers = Providers::start(&mut dice, size.len, lies.collect(), size.rate).await?;
    let read = providers.read(&mut dice, reader).await;
    context.inject(providers.liars.iter().map(|liar| liar.counters().lies()).sum());
    let (read, mut wasted) = (read?, 0);
    for liar in &providers.liars {
        let (lies, peer) = (liar.counters().lies(), liar.peer());
        ensure!(lies > 0, "`{peer}` was never asked: it could not lie");
        ensure!(lies <= BLOCKS, "`{peer}` told {lies} lies before it was out");
        let banned = read.banned.iter().any(|banned| banned == peer);
        ensure!(banned, "`{peer}` told {lies} lies and is not banned");
        wasted += liar.counters().wasted();
    }
    ensure!(wasted <= LIARS as u64 * BLOCKS * MIB, "{wasted} bytes were wasted");
    Ok(wasted)
}
