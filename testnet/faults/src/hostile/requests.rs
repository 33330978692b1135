//! A hundred of the largest requests at once, from one peer that reads nothing of the answers.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::future::join_all;
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Range, Status};
use hive_protocol::limits::{GROUP_LEN, REQUEST_PAYLOAD_LEN};
use hive_swarm::exchange::limits::{IDLE_BUFFERS, RETRY_MS, STALL_TIMEOUT};
use hive_testnet::Sample;
use hive_testnet::attack::{Attacker, Pipe, Wire, read_message};

use super::cost::{Cost, Most};
use super::{MIB, lets_in};
use crate::dice::Dice;
use crate::peers::rounds;
use crate::scenario::Context;
use crate::victim::{Kind, Victim};

const REQUESTS: usize = 100;
/// Requests that one peer may have waiting, all of which are granted in the end
/// (`hive_fetch::slots::WAITING_PER_PEER`).
const PLACES: u32 = 8;
/// How long a header may take to come, once there is a place.
const PATIENCE: Duration = Duration::from_secs(1);
const LEN: u64 = 32 * MIB;
/// What serving may take: the buffers that are kept, and what streams' windows hold of an answer.
/// One connection is one connection, and reading a file for it takes a second of processor at most.
const MOST: Most = Most {
    memory: IDLE_BUFFERS as u64 * GROUP_LEN + REQUESTS as u64 * (256 << 10),
    connections: 2,
    cpu: Duration::from_secs(2),
};

pub(super) fn run(context: &Context, kind: Kind) -> anyhow::Result<String> {
    let all = rounds(context, |dice| round(context, kind, dice))?;
    let most = all.iter().copied().max().unwrap_or(0);
    Ok(format!(
        "{:.1} MiB grown at most, {} are allowed",
        most as f64 / MIB as f64,
        MOST.bytes() / MIB
    ))
}

async fn round(context: &Context, kind: Kind, mut dice: Dice) -> anyhow::Result<u64> {
    let mut victim = Victim::start(context, kind).await?;
    let sample = Sample::random(dice.next(), LEN as usize);
    let path = victim.dir().join("model.bin");
    std::fs::write(&path, sample.bytes())?;
    if kind == Kind::Node {
        let id = victim.add(&path).await?;
        ensure!(id == sample.id().to_string(), "the node names the model otherwise");
    }
    let chunk = sample.geometry().chunks().first().context("a model without a chunk")?;
    let most = (REQUEST_PAYLOAD_LEN / GROUP_LEN) as u32;
    let ask = |first, n| {
        let range = Range { chunk: chunk.id, size: chunk.size, first, n };
        ChunkRequest::new(sample.id(), vec![range]).encode()
    };
    let mut cost = Cost::begin(&victim)?;

    let greedy = Attacker::new(&victim.network, dice.next());
    let wire = greedy.connect(&victim.address).await?;
    let mut streams = Vec::new();
    for _ in 0..REQUESTS {
        // What is reset at once is refused, too.
        if let Ok(stream) = asked(&wire, &ask(0, most)).await {
            streams.push(stream);
            context.inject(1);
        }
    }
    let sent = streams.len() as u64;
    ensure!(!streams.is_empty(), "no stream was opened");
    // They are served, or refused, as far as a reader that does not read can tell.
    let (mut granted, mut refused) = (0, 0);
    for stream in &mut streams {
        let heard = tokio::time::timeout(PATIENCE, header(stream)).await;
        match heard {
            Ok(Ok(Status::Ok)) => granted += 1,
            Ok(_) => refused += 1,
            // It waits for its turn.
            Err(_) => {}
        }
    }
    ensure!(granted > 0, "nothing was granted of {sent} requests, {refused} were refused");
    cost.look(&victim)?;
    cost.require(&format!("{sent} requests, {granted} of them granted,"), &MOST)?;
    lets_in(&mut victim, dice.next()).await?;

    // Every place is free again: the same connection is given all that one peer may ask for.
    drop(streams);
    let asking = async {
        let mut tries = tokio::time::interval(Duration::from_millis(RETRY_MS));
        loop {
            tries.tick().await;
            let mut streams = Vec::new();
            for n in 0..PLACES {
                streams.push(asked(&wire, &ask(n, 1)).await?);
            }
            let whole = join_all(streams.iter_mut().map(is_whole)).await;
            if whole.into_iter().all(|whole| whole) {
                return anyhow::Ok(());
            }
        }
    };
    let freed = tokio::time::timeout(2 * STALL_TIMEOUT, asking).await;
    freed.context("places of streams that have gone are still taken")??;
    Ok(cost.memory)
}

async fn asked(wire: &Wire, request: &[u8]) -> anyhow::Result<Pipe> {
    let mut stream = wire.open_hive("chunk").await?;
    stream.write_all(&hive_testnet::attack::framed(request)).await?;
    stream.flush().await?;
    Ok(stream)
}

async fn header(stream: &mut Pipe) -> anyhow::Result<Status> {
    let header = read_message(stream).await?;
    match ChunkResponse::decode(&header) {
        Ok(response) => Ok(response.status),
        Err(error) => bail!("an answer that is none: {error}"),
    }
}

async fn is_whole(stream: &mut Pipe) -> bool {
    let mut rest = Vec::new();
    matches!(header(stream).await, Ok(Status::Ok))
        && matches!(stream.read_to_end(&mut rest).await, Ok(n) if n as u64 == GROUP_LEN)
}
