//! Peers that say to provide everything.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::AsyncWriteExt as _;
use hive_protocol::BlockId;
use hive_swarm::Limits;
use hive_swarm::limits::{
    ADDRESS_LEN, RECORD_ADDRESSES, RECORD_BURST, RECORDS, RECORDS_PER_SOURCE,
};
use hive_testnet::attack::{Attacker, Pipe, Wire, frames, read_message};

use super::cost::{Cost, Most, SIGNATURE};
use super::{MIB, lets_in};
use crate::dice::Dice;
use crate::peers::rounds;
use crate::scenario::Context;
use crate::victim::{Kind, Victim};

/// Keys as CI floods them: every third record finds the table full.
pub(super) const KEYS: usize = RECORDS / 2 * 3;
/// Keys in full.
const MANY: usize = 3 * RECORDS;
/// Records of one source: as many as are taken of it at once, so that the bound of one source does
/// not hide the other.
const EACH: usize = 2_000;
const _: () = assert!(EACH <= RECORDS_PER_SOURCE && EACH <= RECORD_BURST as usize);
/// Sources that stay connected. The others leave when they are done, which takes nothing back.
const STAY: usize = 50;
/// Addresses in each record: more than are kept.
const ADDRESSES: u32 = 20;
/// What a record may take: its key, its source, its addresses, and what maps need.
const RECORD: u64 = 640 + (ADDRESS_LEN as u64 + 56) * RECORD_ADDRESSES as u64;
/// How long an honest record may take to be found.
const FOUND: Duration = Duration::from_secs(30);

pub(super) fn run(context: &Context, kind: Kind) -> anyhow::Result<String> {
    let keys = if context.full { MANY } else { KEYS };
    let all = rounds(context, |dice| round(context, kind, dice, keys))?;
    let most = all.iter().map(|cost| cost.memory).max().unwrap_or(0);
    let cpu = all.iter().map(|cost| cost.cpu).fold(0.0, f64::max);
    Ok(format!(
        "{:.1} MiB grown at most, {} are allowed; {:.0} µs of processor a record",
        most as f64 / MIB as f64,
        allowed(keys).bytes() / MIB,
        cpu / keys as f64 * 1e6
    ))
}

fn allowed(keys: usize) -> Most {
    Most {
        memory: RECORDS as u64 * RECORD,
        connections: Limits::default().inbound,
        cpu: SIGNATURE * keys as u32,
    }
}

async fn round(context: &Context, kind: Kind, mut dice: Dice, keys: usize) -> anyhow::Result<Cost> {
    let mut victim = Victim::start(context, kind).await?;
    let honest = Attacker::new(&victim.network, dice.next());
    let honest_wire = honest.connect(&victim.address).await?;
    let mut talk = honest_wire.open_hive("kad").await?;
    // Nobody is told of himself, so somebody else asks.
    let asker_wire = Attacker::new(&victim.network, dice.next()).connect(&victim.address).await?;
    let mut asker = asker_wire.open_hive("kad").await?;
    let (early, late) = (key(dice.next()), key(dice.next()));
    say(&mut talk, &honest.add_provider(&early, 1)).await?;
    let mut cost = Cost::begin(&victim)?;

    // One after another, so that what lies in their windows is not taken for the table.
    let mut staying = Vec::new();
    for _ in 0..keys / EACH {
        let flooding = flood(&victim.network, &victim.address, dice.next());
        let wire = flooding.await.context("the flood")?;
        ensure!(wire.is_open(), "a flooder was thrown out: its flood is no longer one");
        context.inject(EACH as u64);
        if staying.len() < STAY {
            staying.push(wire);
        }
    }
    ensure!(staying.iter().all(Wire::is_open), "a flooder was thrown out when it was done");

    say(&mut talk, &honest.add_provider(&late, 1)).await?;
    for key in [&early, &late] {
        let finding = async {
            loop {
                say(&mut asker, &frames::get_providers(key)).await?;
                let answer = read_message(&mut asker).await?;
                if frames::providers(&answer).contains(&honest.peer()) {
                    return anyhow::Ok(());
                }
            }
        };
        let found = tokio::time::timeout(FOUND, finding).await;
        found.context("an honest record was pushed out by the flood")??;
    }
    cost.look(&victim)?;
    cost.require(&format!("{keys} records"), &allowed(keys))?;
    lets_in(&mut victim, dice.next()).await?;
    Ok(cost)
}

fn key(n: u64) -> Vec<u8> {
    BlockId::of(&n.to_le_bytes()).multihash()
}

async fn say(stream: &mut Pipe, bytes: &[u8]) -> anyhow::Result<()> {
    stream.write_all(bytes).await?;
    Ok(stream.flush().await?)
}

async fn flood(network: &str, address: &str, seed: u64) -> anyhow::Result<Wire> {
    let flooder = Attacker::new(network, seed);
    let wire = flooder.connect(address).await?;
    // A connection answers so many streams of the DHT; one carries them all.
    let mut stream = wire.open_hive("kad").await?;
    let mut dice = Dice::new(seed);
    for _ in 0..EACH {
        stream.write_all(&flooder.add_provider(&key(dice.next()), ADDRESSES)).await?;
    }
    stream.flush().await?;
    // The answer to a question comes when all before it has been read.
    say(&mut stream, &frames::get_providers(&key(seed))).await?;
    read_message(&mut stream).await?;
    Ok(wire)
}
