//! What hostile bytes do to a node.
//!
//! The victim is a process of its own ([`crate::victim`]), the attackers are here, and between them
//! is a real connection. What an attack may cost is what the limits of the product allow, never
//! what was seen to be enough. Every twin attacks the gullible peer in the node's place.

mod cost;
mod dials;
mod frames;
mod gguf;
mod gossip;
mod identify;
mod manifests;
mod providers;
mod replays;
mod requests;
mod speaker;
mod yamux;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use hive_testnet::attack::Attacker;

use crate::scenario::Scenario;
use crate::victim::{Kind, Victim};

const MIB: u64 = 1 << 20;

/// How long an honest peer may wait for a connection, whatever goes on.
const CONNECT: Duration = Duration::from_secs(5);

/// What this module can do.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "requests",
        claim: "100 requests of 16 MiB at once that nobody reads: memory is bounded, and every \
                place is free again afterwards",
        few: 1,
        full: 5,
        least: |rounds| 90 * rounds,
        run: |context| requests::run(context, Kind::Node),
        twin: |context| requests::run(&context.few(1), Kind::Gullible),
        caught: &["bytes of memory, at most"],
    },
    Scenario {
        name: "provider-flood",
        claim: "provider records for half as many keys again as the table has room for (in full \
                three times as many), from one source after another: memory and processor are \
                bounded, an honest record is found",
        few: 1,
        full: 2,
        least: |rounds| providers::KEYS as u64 * rounds,
        run: |context| providers::run(context, Kind::Node),
        twin: |context| providers::run(&context.few(1), Kind::Gullible),
        caught: &["bytes of memory, at most"],
    },
    Scenario {
        name: "gossip-topics",
        claim: "GRAFT for 1,000,000 novel topics: the node keeps under 16 MiB of it",
        few: 1,
        full: 3,
        least: |rounds| 1_000_000 * rounds,
        run: |context| frames::topics(context, Kind::Node),
        twin: |context| frames::topics(&context.few(1), Kind::Gullible),
        caught: &["bytes of memory, at most"],
    },
    Scenario {
        name: "gossip-frames",
        claim: "PRUNE with every backoff, ids that nobody has, nonsense: the node lives on past \
                three heartbeats",
        few: 1,
        full: 3,
        least: |rounds| 25 * rounds,
        run: |context| frames::pauses(context, Kind::Node),
        twin: |context| frames::pauses(&context.few(1), Kind::Gullible),
        caught: &["the victim fell over"],
    },
    Scenario {
        name: "gossip-flood",
        claim: "10,000 announcements a second, good and forged: memory and processor are bounded, \
                an honest one gets through",
        few: 5,
        full: 60,
        least: |seconds| 5_000 * seconds,
        run: |context| gossip::flood(context, Kind::Node),
        twin: |context| gossip::flood(&context.few(5), Kind::Gullible),
        caught: &["bytes of memory, at most"],
    },
    Scenario {
        name: "dials",
        claim: "10,000 dials from one host and 1,000 half-open handshakes: it gets no more \
                descriptors than a host may, an honest peer connects within 5 s",
        few: 2_000,
        full: 10_000,
        least: |dials| dials * 9 / 10 + 900,
        run: |context| dials::run(context, Kind::Node),
        twin: |context| dials::run(&context.few(2_000), Kind::Gullible),
        caught: &["descriptors, at most"],
    },
    Scenario {
        name: "identify",
        claim: "10,000 addresses, keys of 64 KiB: 8 addresses of a peer are kept at most, and \
                nothing else of it",
        few: 20,
        full: 100,
        least: |peers| 10 * peers,
        run: |context| identify::bombs(context, Kind::Node),
        twin: |context| identify::bombs(&context.few(3), Kind::Gullible),
        caught: &["addresses of one peer are kept"],
    },
    Scenario {
        name: "private-addresses",
        claim: "addresses within a private network that strangers claim are never dialed by a \
                node that has no business there",
        few: 8,
        full: 50,
        least: |peers| peers,
        run: |context| identify::lures(context, Kind::Public),
        // One that may dial them: the lure works.
        twin: |context| identify::lures(context, Kind::Node),
        caught: &["private addresses were dialed"],
    },
    Scenario {
        name: "yamux",
        claim: "frames that break the multiplexer's rules end the connection or are told so, data \
                and credit for streams that are none are passed over; the node lives on",
        few: 1,
        full: 20,
        least: |rounds| 20 * rounds,
        run: |context| yamux::run(context, Kind::Node),
        twin: |context| yamux::run(&context.few(1), Kind::GullibleFrames),
        caught: &["the victim fell over"],
    },
    Scenario {
        name: "replays",
        claim: "statements that were heard 61 s or an hour ago, the same bytes again, those of 25 h \
                ago whatever their number, dated ahead, or changed: none counts, before a restart \
                and after",
        few: 1,
        full: 10,
        least: |rounds| 14 * rounds,
        run: |context| replays::run(context, Kind::Node),
        twin: |context| replays::run(&context.few(1), Kind::Gullible),
        caught: &["a statement of 25 hours ago with a higher number made it believe"],
    },
    Scenario {
        name: "manifests",
        claim: "every hostile manifest is refused over the wire, whatever its id says, and nothing \
                is written",
        few: 1,
        full: 5,
        least: |rounds| 150 * rounds,
        run: |context| manifests::run(context, Kind::Node),
        twin: |context| manifests::run(&context.few(1), Kind::Gullible),
        caught: &["ended with Fetched"],
    },
    Scenario {
        name: "gguf",
        claim: "every truncation of a header, alignments 0, 3 and 2^31, shapes and counts that \
                overflow: refused, with no memory for what they claim",
        few: 1,
        full: 10,
        least: |rounds| 2_000 * rounds,
        run: gguf::run,
        twin: gguf::twin,
        caught: &["made the reader panic"],
    },
];

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Whether an honest newcomer gets in, soon, and is answered.
async fn lets_in(victim: &mut Victim, seed: u64) -> anyhow::Result<Duration> {
    use futures::{AsyncReadExt as _, AsyncWriteExt as _};
    victim.is_alive()?;
    let began = std::time::Instant::now();
    let entering = async {
        let honest = Attacker::new(&victim.network, seed ^ 0x0c0f_fee0);
        // A refusal for want of room is one that an honest peer tries again after.
        loop {
            let trying = async {
                let wire = honest.connect(&victim.address).await?;
                let mut ping = wire.open("/ipfs/ping/1.0.0").await?;
                ping.write_all(&[7; 32]).await?;
                ping.flush().await?;
                let mut pong = [0; 32];
                ping.read_exact(&mut pong).await?;
                ensure!(pong == [7; 32], "not what was sent");
                anyhow::Ok(())
            };
            if trying.await.is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let entered = tokio::time::timeout(CONNECT, entering).await;
    victim.is_alive()?;
    entered.with_context(|| format!("an honest peer did not get in within {CONNECT:?}"))?;
    Ok(began.elapsed())
}
