//! Announcements without number, one as bad as the other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hive_swarm::Limits;
use hive_testnet::attack::Attacker;
use hive_testnet::sample;

use super::cost::{Cost, Most, SIGNATURE};
use super::speaker::{Speaker, capability, heard, topic};
use super::{MIB, lets_in, now};
use crate::dice::Dice;
use crate::peers::rounds;
use crate::scenario::Context;
use crate::victim::{Kind, Victim};

/// Announcements a second, of one neighbour.
const RATE: u64 = 10_000;
/// Parts of a second in which they are sent.
const BURSTS: u64 = 100;
/// Nodes that are said to have announced.
const AUTHORS: u64 = 100;
/// Bytes of what is no statement at all.
const JUNK: usize = 1_800;
/// How often an honest node announces meanwhile: as often as it may.
const PAUSE: Duration = Duration::from_secs(5);
/// When it has to be heard.
const LATE: Duration = Duration::from_secs(5);

/// Here a round is a second.
pub(super) fn flood(context: &Context, kind: Kind) -> anyhow::Result<String> {
    let seconds = u64::from(context.rounds);
    let all = rounds(&context.few(1), |dice| flood_round(context, kind, dice, seconds))?;
    let Some(flood) = all.into_iter().next() else { return Ok(String::new()) };
    Ok(format!(
        "{:.0} a second for {seconds} s: {:.1} MiB grown, {:.0} % of a core; honest ones were \
         heard after {:.2} s at most",
        flood.sent as f64 / flood.took.as_secs_f64(),
        flood.grown as f64 / MIB as f64,
        flood.of_a_core * 100.0,
        flood.slowest.as_secs_f64()
    ))
}

#[derive(Debug)]
struct Flood {
    sent: u64,
    took: Duration,
    grown: u64,
    of_a_core: f64,
    slowest: Duration,
}

async fn flood_round(
    context: &Context,
    kind: Kind,
    mut dice: Dice,
    seconds: u64,
) -> anyhow::Result<Flood> {
    let mut victim = Victim::start(context, kind).await?;
    let (network, address) = (victim.network.clone(), victim.address.clone());
    let mut honest = Speaker::join(Attacker::new(&network, dice.next()), &address).await?;
    honest.say(1, 1).await?;
    heard(&mut victim, &honest.attacker.peer(), 1).await?;
    let flooder = Speaker::join(Attacker::new(&network, dice.next()), &address).await?;
    let mut cost = Cost::begin(&victim)?;

    let began = Instant::now();
    let mut flooding = tokio::spawn(pour(flooder, address, dice.clone(), seconds * BURSTS));
    let mut slowest = Duration::ZERO;
    let mut pauses = tokio::time::interval(PAUSE);
    let mut n = 1;
    let sent = loop {
        // No longer than the flood: what a second of it costs is not to be mixed with calm.
        tokio::select! {
            sent = &mut flooding => break sent?,
            _ = pauses.tick() => {}
        }
        n += 1;
        let said = Instant::now();
        honest.say(n, n).await.context("the honest neighbour's stream is gone")?;
        heard(&mut victim, &honest.attacker.peer(), n).await?;
        slowest = slowest.max(said.elapsed());
    };
    context.inject(sent);
    let took = began.elapsed();
    cost.look(&victim)?;
    let of_a_core = cost.of_a_core();
    let cpu = SIGNATURE * sent as u32;
    let most = Most { memory: 0, connections: Limits::default().inbound, cpu };
    cost.require(&format!("{sent} announcements"), &most)?;
    ensure!(slowest <= LATE, "an honest announcement was heard after {slowest:?}");
    ensure!(sent * 2 > RATE * seconds, "only {sent} announcements got out in {took:?}");
    lets_in(&mut victim, dice.next()).await?;
    Ok(Flood { sent, took, grown: cost.memory, of_a_core, slowest })
}

/// Sends announcements until it is done, or cannot come back; says how many they were.
async fn pour(mut flooder: Speaker, address: String, mut dice: Dice, bursts: u64) -> u64 {
    let myself = flooder.attacker.clone();
    // Signing takes as long as looking at it, so it is done elsewhere and ahead.
    let (made, mut ready) = tokio::sync::mpsc::channel(2 * BURSTS as usize);
    let forge = myself.clone();
    let forging = tokio::task::spawn_blocking(move || {
        let mut forger = Forger::new(forge, &mut dice);
        for _ in 0..bursts {
            if made.blocking_send(forger.burst(&mut dice)).is_err() {
                return;
            }
        }
    });
    let mut parts = tokio::time::interval(Duration::from_secs(1) / BURSTS as u32);
    let mut sent = 0;
    while let Some(burst) = ready.recv().await {
        parts.tick().await;
        if flooder.write(&burst).await.is_err() {
            // Thrown out, which is one way to end it; it comes back at once.
            match Speaker::join(myself.clone(), &address).await {
                Ok(again) => flooder = again,
                Err(_) => break,
            }
        }
        sent += RATE / BURSTS;
    }
    drop(ready);
    // It ends when nobody takes what it makes.
    let _ = forging.await;
    sent
}

/// Makes announcements, one as bad as the other.
struct Forger {
    myself: Attacker,
    authors: Vec<Attacker>,
    junk: Vec<u8>,
    n: u64,
}

impl Forger {
    fn new(myself: Attacker, dice: &mut Dice) -> Self {
        let author = |_| Attacker::new(myself.network(), dice.next());
        let authors = (0..AUTHORS).map(author).collect();
        Self { authors, junk: sample::bytes(dice.next(), JUNK), myself, n: 0 }
    }

    fn burst(&mut self, dice: &mut Dice) -> Vec<u8> {
        let mut burst = Vec::new();
        let topic = topic(self.myself.network());
        for _ in 0..RATE / BURSTS {
            self.n += 1;
            let (n, at) = (self.n, dice.below(AUTHORS) as usize);
            let author = self.authors.get(at).unwrap_or(&self.myself);
            for (place, byte) in self.junk.iter_mut().zip(n.to_le_bytes()) {
                *place = byte;
            }
            // Signatures that do not fit, statements that are none, good ones of many, and one that
            // replaces the one before as fast as it can.
            burst.extend(match n % 10 {
                0..6 => author.publish(&topic, &self.junk, n, false),
                6 | 7 => author.publish(&topic, &self.junk, n, true),
                8 => author.publish(&topic, &capability(author, n, n, now()), n, true),
                _ => self.myself.publish(&topic, &capability(&self.myself, n, n, now()), n, true),
            });
        }
        burst
    }
}
