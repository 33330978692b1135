//! Connections without number, and handshakes that are never finished.

use std::time::Duration;

use anyhow::ensure;
use futures::StreamExt as _;
use futures::stream;
use hive_swarm::Limits;
use hive_testnet::attack::{Attacker, Wire, dial};
use tokio::net::TcpStream;

use super::cost::{Cost, Most};
use super::{MIB, lets_in};
use crate::dice::Dice;
use crate::peers::rounds;
use crate::scenario::Context;
use crate::victim::{Kind, Victim};

/// Handshakes that are begun and left.
const HALF_OPEN: usize = 1_000;
/// Dials that run at once.
const AT_ONCE: usize = 64;
/// What a connection may take: its handshake's buffers, and one window of 256 KiB.
const CONNECTION: u64 = MIB / 2;
/// Processor time of a dial: a handshake is some ten operations on a curve.
const HANDSHAKE: Duration = Duration::from_millis(1);

/// What one host may have of a node.
fn allowed(dials: usize) -> Most {
    let limits = Limits::default();
    Most {
        memory: u64::from(limits.per_ip + 2 * limits.pending) * CONNECTION,
        connections: limits.per_ip,
        cpu: HANDSHAKE * (dials + HALF_OPEN) as u32,
    }
}

/// Here a round is a dial.
pub(super) fn run(context: &Context, kind: Kind) -> anyhow::Result<String> {
    let dials = context.rounds as usize;
    let all = rounds(&context.few(1), |dice| round(context, kind, dice, dials))?;
    let Some(seen) = all.into_iter().next() else { return Ok(String::new()) };
    Ok(format!(
        "{} of {dials} dials got in for a while; {} descriptors and {:.1} MiB at most; honest peers \
         were in after {:.2} s at most",
        seen.entered,
        seen.cost.descriptors,
        seen.cost.memory as f64 / MIB as f64,
        seen.slowest.as_secs_f64()
    ))
}

#[derive(Debug)]
struct Seen {
    cost: Cost,
    entered: usize,
    slowest: Duration,
}

async fn round(
    context: &Context,
    kind: Kind,
    mut dice: Dice,
    dials: usize,
) -> anyhow::Result<Seen> {
    let mut victim = Victim::start(context, kind).await?;
    let most = allowed(dials);
    let mut cost = Cost::begin(&victim)?;
    // From one host, as the bound on each host has it; honest peers come from another.
    let (network, address) = (victim.network.clone(), victim.address_from_outside()?);
    let half = stream::iter(0..HALF_OPEN)
        .map(async |_| Attacker::new(&network, 0).half_open(dial(&address).await?).await);
    let half: Vec<anyhow::Result<TcpStream>> = half.buffer_unordered(AT_ONCE).collect().await;
    let half: Vec<TcpStream> = half.into_iter().flatten().collect();
    context.inject(half.len() as u64);
    cost.look(&victim)?;
    cost.require("half-open handshakes", &most)?;
    // They hold the places for handshakes until their time is up.
    let mut slowest = lets_in(&mut victim, dice.next()).await?;
    drop(half);

    // Every connection is kept open as long as the victim keeps it: connections are few among the
    // many that are closed at once.
    let mut kept: Vec<Wire> = Vec::new();
    let mut entered = 0;
    let seeds: Vec<u64> = (0..dials).map(|_| dice.next()).collect();
    for some in seeds.chunks(1_000) {
        let dialing = stream::iter(some.iter().copied()).map(async |seed| {
            let socket = dial(&address).await.ok()?;
            // Somebody is there and has to deal with it, whether it lets us in or not.
            context.inject(1);
            Attacker::new(&network, seed).shake(socket).await.ok()
        });
        let dialed: Vec<Option<Wire>> = dialing.buffer_unordered(AT_ONCE).collect().await;
        let dialed: Vec<Wire> = dialed.into_iter().flatten().collect();
        entered += dialed.len();
        kept.extend(dialed);
        kept.retain(Wire::is_open);
        cost.look(&victim)?;
        cost.require("dials", &most)?;
    }
    let places = Limits::default().per_ip as usize;
    ensure!(entered >= places, "{entered} got in, of {places} places for a host: it was no flood");
    drop(kept);
    slowest = slowest.max(lets_in(&mut victim, dice.next()).await?);
    Ok(Seen { cost, entered, slowest })
}
