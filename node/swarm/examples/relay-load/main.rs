//! A relay under load, in a process of its own, and what it makes of it.
//!
//! ```sh
//! cargo run --release -p hive-swarm --example relay-load
//! ```
//!
//! 1,000 nodes at as many addresses of this machine (127.0.x.y) reserve, dial each other 10,000
//! times, flood the relay from one network, try to take models over it, and use up a budget. It
//! fails unless the relay's memory stays under 256 MiB and every refusal is named in its log and in
//! what it reports. `--reservations` and `--dials` choose other numbers. Linux only: elsewhere
//! 127.0.0.2 is no address, and there is no /proc.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod node;
mod relay;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use hive_swarm::{Config, NodeIdentity, RelayServer, SwarmEvent};
use libp2p::PeerId;
use tokio_util::sync::CancellationToken;

use self::node::{Ask, Node};
use self::relay::Relay;

type AnyError = Box<dyn Error + Send + Sync>;

/// What the relay may take.
const MEMORY: u64 = 256 << 20;

/// How long any step may take.
const PATIENCE: Duration = Duration::from_mins(5);

fn main() -> Result<(), AnyError> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut reservations, mut dials) = (1_000, 10_000);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--relay" => return runtime.block_on(relay::serve()),
            "--reservations" => reservations = value()?.parse()?,
            "--dials" => dials = value()?.parse()?,
            other => return Err(format!("what is {other}?").into()),
        }
    }
    let mut relay = Relay::start()?;
    runtime.block_on(load(&mut relay, reservations, dials))
}

async fn load(relay: &mut Relay, reservations: usize, dials: usize) -> Result<(), AnyError> {
    println!("relay: {}", relay.address);
    let (idle, _) = relay.memory()?;
    println!("memory: {} MiB before", idle >> 20);

    let at = relay.address.clone();
    let source = |i: usize| Ipv4Addr::new(127, 0, (i % 250) as u8, (i / 250 + 2) as u8);
    let nodes: Vec<Node> =
        (0..reservations).map(|i| Node::start(source(i), &at)).collect::<Result<_, _>>()?;
    let started = Instant::now();
    let reserved = futures::stream::iter(nodes.clone())
        .map(|node| async move { node.ask(Ask::Reserve).await })
        .buffer_unordered(64)
        .filter(|reserved| std::future::ready(matches!(reserved, Ok(true))))
        .count()
        .await;
    let state = relay.until("reserving", |state| state["reservations"] == reserved as u64).await?;
    let (now, _) = relay.memory()?;
    println!(
        "{reserved} of {reservations} reservations in {:.1?} ({} on the relay), memory {} MiB",
        started.elapsed(),
        state["reservations"],
        now >> 20
    );
    check(reserved == reservations, "every reservation was granted")?;

    let started = Instant::now();
    let attempts = (0..reservations).map(|i| {
        let (node, nodes) = (nodes[i].clone(), nodes.clone());
        async move {
            let mut through = 0;
            for j in 0..dials / reservations {
                let to = nodes[(i * 7 + j * 131 + 1) % nodes.len()].peer;
                if to != node.peer && node.ask(|reply| Ask::Dial(to, reply)).await? {
                    through += 1;
                }
            }
            Ok::<_, AnyError>(through)
        }
    });
    let through: Vec<Result<usize, AnyError>> =
        futures::stream::iter(attempts).buffer_unordered(reservations).collect().await;
    let through: usize = through.into_iter().sum::<Result<usize, _>>()?;
    let (now, most) = relay.memory()?;
    println!("{dials} dials in {:.1?}, {through} of them through", started.elapsed());
    println!("memory: {} MiB now, {} MiB at most", now >> 20, most >> 20);
    println!("{:?}", relay.state()?);
    check(most <= MEMORY, "the relay stays under 256 MiB")?;
    let full = reservations <= RelayServer::default().max_circuits
        || relay.logged(&["refused to relay", "too many circuits"]).is_some();
    check(full, "who comes when all circuits are taken is refused for that")?;

    for node in &nodes {
        node.ask(Ask::Close).await?;
    }
    relay.until("the end of all circuits", |state| state["circuits"] == 0).await?;

    // Many peers of one network, each of which asks no more than it may.
    let mut granted = 0;
    let flood: Vec<Node> = (0..60)
        .map(|i| Node::start(Ipv4Addr::new(127, 9, 9, i + 1), &at))
        .collect::<Result<_, _>>()?;
    let asks = flood.iter().map(|node| {
        let nodes = &nodes;
        async move {
            let mut through = 0;
            for j in 0..40 {
                let to = nodes[j * 17 % nodes.len()].peer;
                through += u64::from(node.ask(|reply| Ask::Dial(to, reply)).await?);
            }
            Ok::<_, AnyError>(through)
        }
    });
    for through in futures::future::join_all(asks).await {
        granted += through?;
    }
    let state = relay.state()?;
    let line = relay.logged(&["refused to relay", "network_rate"]);
    println!("2400 dials of one network, {granted} through; the relay's log: {line:?}");
    check(state.get("refused:network_rate").is_some_and(|n| *n > 0), "the flood is refused")?;
    check(line.is_some(), "and why stands in the log")?;
    drop(flood);

    // Two that agree to ignore what the relay allows.
    let taker = Node::start(Ipv4Addr::new(127, 1, 1, 1), &at)?;
    let giver = Node::start(Ipv4Addr::new(127, 1, 2, 1), &at)?;
    check(giver.ask(Ask::Reserve).await?, "a reservation")?;
    let through = taker.ask(|reply| Ask::Dial(giver.peer, reply)).await?;
    check(through, "a circuit")?;
    let taken = taker.ask(|reply| Ask::Take(giver.peer, reply)).await?;
    println!("two that cheat moved {taken} of {} bytes before they were cut off", 16 << 20);
    check(taken < 16 << 20, "a circuit is no way for models")?;
    relay.until("the budget's end", |state| state["peers_over_budget"] == 2).await?;
    check(!taker.ask(|reply| Ask::Dial(giver.peer, reply)).await?, "and then they get nothing")?;
    let named = |state: &BTreeMap<String, u64>| state.get("refused:peer_bytes").is_some();
    relay.until("a refusal for the budget", named).await?;
    let line = relay.logged(&["refused to relay", "peer_bytes", &taker.peer.to_string()]);
    println!("the relay's log: {line:?}");
    check(line.is_some(), "why stands in the log")?;

    // One that cheats, and a hive node.
    let leaked = leak(&at).await?;
    println!("bulk leaked by a hive node: {leaked} bytes");
    check(leaked == 0, "no bulk leaks")?;

    let (now, most) = relay.memory()?;
    println!("memory: {} MiB at the end, {} MiB at most", now >> 20, most >> 20);
    check(most <= MEMORY, "the relay stays under 256 MiB")?;
    println!("{:?}", relay.state()?);
    Ok(())
}

/// Asks a hive node behind the relay for groups and says how many bytes came.
async fn leak(relay: &str) -> Result<u64, AnyError> {
    let config = Config {
        network: "test".to_owned(),
        relays: vec![relay.to_owned()],
        allow_private: true,
        ..Config::default()
    };
    let identity = NodeIdentity::from_ed25519_secret(rand::random());
    let honest = hive_swarm::start(&identity, config, CancellationToken::new())?;
    let mut events = honest.client.events();
    while !matches!(events.recv().await?, SwarmEvent::RelayReserved { .. }) {}
    let peer: PeerId = honest.client.peer().to_string().parse()?;
    let taker = Node::start(Ipv4Addr::new(127, 1, 3, 1), relay)?;
    check(taker.ask(|reply| Ask::Dial(peer, reply)).await?, "a circuit")?;
    taker.ask(|reply| Ask::Take(peer, reply)).await
}

fn check(holds: bool, what: &str) -> Result<(), AnyError> {
    if holds {
        return Ok(());
    }
    eprintln!("does not hold: {what}");
    Err(what.into())
}
