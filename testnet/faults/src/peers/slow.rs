//! Ten of eleven providers are slow beyond use.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hive_testnet::Lie;

use super::providers::{Providers, Reader, Step};
use super::{MIB, rounds};
use crate::dice::Dice;
use crate::scenario::Context;

const SLOW: usize = 10;
/// What the honest one gives a second.
const RATE: u64 = 3_000_000;
/// What somebody who holds up a block may cost.
const STALL: Duration = Duration::from_secs(15);

/// Bytes of a model, and what reading it may take in all.
#[derive(Debug, Clone, Copy)]
struct Size {
    len: u64,
    most: Duration,
}

impl Size {
    /// What the honest one needs for so many bytes.
    fn clean(bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / RATE as f64)
    }

    fn of(full: bool) -> Self {
        let len = if full { 256 * MIB } else { 24 * MIB };
        // A small model is over before its last stall is.
        let most = 2 * Self::clean(len) + if full { Duration::ZERO } else { STALL };
        Self { len, most }
    }
}

pub(super) fn run(context: &Context) -> anyhow::Result<String> {
    whole(context, Reader::Hive)
}

pub(super) fn twin(context: &Context) -> anyhow::Result<String> {
    // However long it would go on: a small one shows it sooner.
    whole(&Context { full: false, ..context.few(1) }, Reader::Naive)
}

fn whole(context: &Context, reader: Reader) -> anyhow::Result<String> {
    let size = Size::of(context.full);
    let all = rounds(context, |dice| round(context, dice, reader, size))?;
    let longest = all.iter().map(|(took, _)| *took).max().unwrap_or_default();
    let held = all.iter().map(|(_, held)| *held).max().unwrap_or_default();
    Ok(format!(
        "{:.1} s at most, of which the one honest provider needs {:.1} s by itself; a stall held it \
         up for {:.1} s at most",
        longest.as_secs_f64(),
        Size::clean(size.len).as_secs_f64(),
        held.as_secs_f64()
    ))
}

/// How long it took, and how long a stall held it up at most.
async fn round(
    context: &Context,
    mut dice: Dice,
    reader: Reader,
    size: Size,
) -> anyhow::Result<(Duration, Duration)> {
    let first = dice.below(3) as usize;
    let lies = [Lie::Trickle, Lie::AlmostAll, Lie::Silent];
    let lies = lies.iter().cycle().skip(first).take(SLOW).cloned().collect();
    let providers = Providers::start(&mut dice, size.len, lies, RATE).await?;
    let stalls = moments(&providers);
    let reading = tokio::time::timeout(size.most, providers.read(&mut dice, reader)).await;
    context.inject(providers.liars.iter().map(|slow| slow.counters().lies()).sum());
    let read = reading.with_context(|| format!("the fetch took longer than {:?}", size.most))??;
    for slow in &providers.liars {
        let (lies, peer) = (slow.counters().lies(), slow.peer());
        ensure!(lies > 0, "`{peer}` was never asked: it could hold up nothing");
    }
    // A slow peer's bytes may count once they are whole; the rest had to be asked of the honest one.
    let others = size.len.saturating_sub(read.honest_bytes);
    ensure!(others <= SLOW as u64 * MIB, "{others} bytes came from peers that stalled");
    let stalls = stalls.lock().unwrap_or_else(PoisonError::into_inner);
    let held = held_up(&stalls, &read.steps, size.len);
    ensure!(held <= STALL, "what a peer held up was had elsewhere after {held:?} only");
    Ok((read.took, held))
}

/// When stalls begin, as they do.
fn moments(providers: &Providers) -> Arc<Mutex<Vec<Instant>>> {
    let moments = Arc::<Mutex<Vec<Instant>>>::default();
    for slow in &providers.liars {
        let (mut lying, moments) = (slow.counters().lying(), moments.clone());
        tokio::spawn(async move {
            while lying.changed().await.is_ok() {
                moments.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            }
        });
    }
    moments
}

/// The longest that a stall held up the whole: what it took from then to the end beyond what the
/// honest provider needs for all that was missing then.
fn held_up(stalls: &[Instant], steps: &[Step], len: u64) -> Duration {
    let Some(&(end, _)) = steps.last() else { return Duration::ZERO };
    let of = |stall: &Instant| {
        let before = steps.iter().rev().find(|(at, _)| at <= stall);
        let missing = len.saturating_sub(before.map_or(0, |(_, bytes)| *bytes));
        end.saturating_duration_since(*stall).saturating_sub(Size::clean(missing))
    };
    stalls.iter().map(of).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_holds_up_what_is_beyond_the_time_for_the_rest() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        // Half of it after 10 s; the rest takes another 10 s, and came after 17.
        let steps = [(begin, 0), (at(10), 10 * RATE), (at(27), 20 * RATE)];
        assert_eq!(held_up(&[at(10)], &steps, 20 * RATE), Duration::from_secs(7));
        assert_eq!(held_up(&[], &steps, 20 * RATE), Duration::ZERO);
    }
}
