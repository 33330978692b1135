//! Peers that say too much of themselves, or what is not so.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::AsyncWriteExt as _;
use hive_swarm::Limits;
use hive_swarm::limits::{ADDRESS_LEN, BOOK_ADDRESSES, BOOK_PEERS};
use hive_testnet::Sample;
use hive_testnet::attack::{Attacker, Wire, framed};
use tokio::net::TcpListener;

use super::cost::{Cost, Most};
use super::{MIB, lets_in};
use crate::dice::Dice;
use crate::peers::rounds;
use crate::scenario::Context;
use crate::victim::{Answer, Ask, Kind, Victim, outside};

const ADDRESSES: u32 = 10_000;
/// As many as fit what stock identify reads.
const FEW_ADDRESSES: u32 = 250;
/// Bytes of a key; a protocol's name has four times as many.
const KEY: usize = 64 << 10;
/// How often each peer says it again, unasked.
const PUSHES: usize = 20;
/// Processor time of a bomb: reading up to a quarter of a MiB, and sending the rest away.
const BOMB: Duration = Duration::from_millis(3);

/// What the address book holds of all peers.
fn allowed(bombs: u64) -> Most {
    Most {
        memory: (BOOK_PEERS * BOOK_ADDRESSES * ADDRESS_LEN) as u64,
        connections: Limits::default().inbound,
        cpu: BOMB * bombs as u32,
    }
}

/// Here a round is a peer.
pub(super) fn bombs(context: &Context, kind: Kind) -> anyhow::Result<String> {
    let all = rounds(&context.few(1), |dice| bombs_round(context, kind, dice))?;
    let Some((bombs, most, cost)) = all.into_iter().next() else { return Ok(String::new()) };
    Ok(format!(
        "{most} addresses of a peer kept at most; {:.1} MiB grown, {} are allowed; {:.1} ms of \
         processor each",
        cost.memory as f64 / MIB as f64,
        allowed(bombs).bytes() / MIB,
        cost.cpu * 1e3 / bombs as f64
    ))
}

/// Bombs that were taken off the wire, addresses of a peer that are kept of them, and what they cost.
async fn bombs_round(
    context: &Context,
    kind: Kind,
    mut dice: Dice,
) -> anyhow::Result<(u64, usize, Cost)> {
    let mut victim = Victim::start(context, kind).await?;
    lets_in(&mut victim, dice.next()).await?;
    let mut cost = Cost::begin(&victim)?;
    let (mut here, mut read, mut bombs, mut most) = (Vec::new(), Vec::new(), 0, 0);
    for n in 0..context.rounds {
        let bomber = Attacker::new(&victim.network, dice.next());
        let bomber = match n % 3 {
            0 => bomber.boasting(FEW_ADDRESSES, 0),
            1 => bomber.with_key_of(KEY),
            _ => bomber.boasting(ADDRESSES, 4 * KEY),
        };
        let wire = bomber.connect(&victim.address).await.context("a bomber was not let in")?;
        for _ in 0..PUSHES {
            // A stream that is reset has done its work.
            if push(&wire, bomber.said()).await.is_ok() {
                bombs += 1;
                context.inject(1);
            }
        }
        here.push(wire);
        // The others are too long to be read, or have a key that is none.
        if n % 3 == 0 {
            victim.has_heard(&bomber.peer()).await?;
            read.push(bomber.peer());
        }
    }
    cost.look(&victim)?;
    // Of who is here it tells the address of the connection only.
    drop(here);
    for peer in read {
        let n_addresses = victim.kept_of(&peer).await?;
        ensure!(
            n_addresses <= BOOK_ADDRESSES,
            "{n_addresses} addresses of one peer are kept, at most {BOOK_ADDRESSES} are fine"
        );
        most = most.max(n_addresses);
    }
    // One is where the peer is.
    ensure!(most > 1, "no address was kept of anybody: nobody looked at them");
    lets_in(&mut victim, dice.next()).await?;
    cost.look(&victim)?;
    cost.require(&format!("{bombs} bombs"), &allowed(bombs))?;
    Ok((bombs, most, cost))
}

async fn push(wire: &Wire, said: &[u8]) -> anyhow::Result<()> {
    let mut stream = wire.open("/ipfs/id/push/1.0.0").await?;
    let sending = async {
        stream.write_all(&framed(said)).await?;
        stream.close().await
    };
    // Half of a message is a bomb, too: who refuses the rest has read the beginning.
    let _ = sending.await;
    Ok(())
}

/// Somebody at an address of the private network, who counts those that come.
async fn trap() -> anyhow::Result<(u16, Arc<AtomicU64>)> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let (port, dials) = (listener.local_addr()?.port(), Arc::new(AtomicU64::new(0)));
    let counted = dials.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok((port, dials))
}

/// Here a round is a peer.
pub(super) fn lures(context: &Context, kind: Kind) -> anyhow::Result<String> {
    let all = rounds(&context.few(1), |dice| lures_round(context, kind, dice))?;
    let dials: u64 = all.into_iter().sum();
    Ok(format!("{} peers claimed one, {dials} dials came", context.rounds))
}

/// Peers that say to be at a private address go away, and the node has to look for somebody: those
/// that it knows of are who it asks.
async fn lures_round(context: &Context, kind: Kind, mut dice: Dice) -> anyhow::Result<u64> {
    let mut victim = Victim::start(context, kind).await?;
    let host = outside()?;
    let (port, dials) = trap().await?;
    let mut here = Vec::new();
    for _ in 0..context.rounds {
        let lurer = Attacker::new(&victim.network, dice.next()).claiming(host, port);
        let wire = lurer.connect(&victim.address).await.context("a peer was not let in")?;
        push(&wire, lurer.said()).await?;
        victim.has_heard(&lurer.peer()).await?;
        context.inject(1);
        here.push(wire);
    }
    drop(here);
    let id = Sample::random(dice.next(), 10).id().to_string();
    let answer = victim.ask(Ask::Fetch { id, from: String::new() }).await?;
    ensure!(matches!(answer, Answer::Refused(_)), "a model that nobody has: {answer:?}");
    let dials = dials.load(Ordering::Relaxed);
    ensure!(dials == 0, "private addresses were dialed {dials} times");
    lets_in(&mut victim, dice.next()).await?;
    Ok(dials)
}
