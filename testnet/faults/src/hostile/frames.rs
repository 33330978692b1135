//! Frames of gossip that no honest node sends.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hive_swarm::Limits;
use hive_testnet::attack::{Attacker, framed, frames};
use hive_testnet::sample;

use super::cost::{Cost, Most};
use super::speaker::{Speaker, heard, topic};
use super::{MIB, lets_in};
use crate::dice::Dice;
use crate::peers::rounds;
use crate::scenario::Context;
use crate::victim::{Kind, Victim};

/// Topics that nobody has heard of.
const TOPICS: u64 = 1_000_000;
/// Of these in a frame: what fits 16 KiB, beyond which a frame is refused unread.
const TOPICS_PER_FRAME: u64 = 800;
/// What all of it may leave behind.
const GROWTH: u64 = 16 * MIB;
/// What reading a topic may take: there is no signature to check.
const TOPIC: Duration = Duration::from_micros(10);
/// Seconds of pauses that a stranger asks for.
const BACKOFFS: [u64; 8] = [0, 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX];
/// Bytes of nonsense.
const LENS: [usize; 5] = [0, 1, 100, 10_000, 60_000];
/// Three heartbeats of gossip, a second each, which have to pass over what was stored. Nothing on the
/// wire tells of a heartbeat, so this is a length of time that the clock measures.
const HEARTBEATS: Duration = Duration::from_secs(3);

/// A node with an honest neighbour that it has heard.
struct Scene {
    victim: Victim,
    neighbour: Speaker,
    speaker: Speaker,
}

impl Scene {
    async fn start(context: &Context, kind: Kind, dice: &mut Dice) -> anyhow::Result<Self> {
        let mut victim = Victim::start(context, kind).await?;
        // What gossip needs at all is not counted: it is had before.
        let neighbour = Attacker::new(&victim.network, dice.next());
        let mut neighbour = Speaker::join(neighbour, &victim.address).await?;
        neighbour.say(1, 1).await?;
        heard(&mut victim, &neighbour.attacker.peer(), 1).await?;
        let speaker = Attacker::new(&victim.network, dice.next());
        let speaker = Speaker::join(speaker, &victim.address).await?;
        Ok(Self { victim, neighbour, speaker })
    }

    /// Whether the node has taken in all that came before, and hears its neighbour still.
    async fn require_hears(&mut self) -> anyhow::Result<()> {
        self.victim.is_alive()?;
        let said = self.neighbour.say(2, 2).await;
        said.context("the honest neighbour's stream is gone")?;
        heard(&mut self.victim, &self.neighbour.attacker.peer(), 2).await
    }
}

pub(super) fn topics(context: &Context, kind: Kind) -> anyhow::Result<String> {
    let all = rounds(context, |dice| topics_round(context, kind, dice))?;
    let most = all.iter().map(|cost| cost.memory).max().unwrap_or(0);
    let cpu = all.iter().map(|cost| cost.cpu).fold(0.0, f64::max);
    Ok(format!(
        "{:.1} MiB grown at most; {:.1} µs of processor a topic",
        most as f64 / MIB as f64,
        cpu / TOPICS as f64 * 1e6
    ))
}

async fn topics_round(context: &Context, kind: Kind, mut dice: Dice) -> anyhow::Result<Cost> {
    let mut scene = Scene::start(context, kind, &mut dice).await?;
    let mut cost = Cost::begin(&scene.victim)?;
    for at in 0..TOPICS / TOPICS_PER_FRAME {
        let names = (0..TOPICS_PER_FRAME).map(|n| format!("/{:07x}", at * TOPICS_PER_FRAME + n));
        let names: Vec<String> = names.collect();
        scene.speaker.write(&frames::graft(names.iter().map(String::as_str))).await?;
        context.inject(TOPICS_PER_FRAME);
    }
    // From the same mouth, so that all before it has been read when it is heard.
    scene.speaker.say(1, 3).await.context("the speaker's stream is gone")?;
    heard(&mut scene.victim, &scene.speaker.attacker.peer(), 3).await?;
    cost.look(&scene.victim)?;
    let connections = Limits::default().inbound;
    let most = Most { memory: GROWTH, connections, cpu: TOPIC * TOPICS as u32 };
    cost.require(&format!("{TOPICS} topics"), &most)?;
    let kept = cost.kept(&scene.victim)?;
    ensure!(
        kept < GROWTH,
        "{TOPICS} topics left {kept} bytes of memory, at most {GROWTH} are fine"
    );
    scene.require_hears().await?;
    lets_in(&mut scene.victim, dice.next()).await?;
    Ok(cost)
}

pub(super) fn pauses(context: &Context, kind: Kind) -> anyhow::Result<String> {
    let all = rounds(context, |dice| pauses_round(context, kind, dice))?;
    let most = all.iter().copied().max().unwrap_or(0);
    Ok(format!("{:.1} MiB kept at most", most as f64 / MIB as f64))
}

async fn pauses_round(context: &Context, kind: Kind, mut dice: Dice) -> anyhow::Result<u64> {
    let mut scene = Scene::start(context, kind, &mut dice).await?;
    let cost = Cost::begin(&scene.victim)?;
    let attacked = attack(context, &mut scene, &mut dice).await;
    // One that falls over at once breaks the attacker's streams; what is told is that it fell.
    if attacked.is_err() {
        scene.victim.falls().await?;
    }
    attacked?;
    tokio::time::sleep(HEARTBEATS).await;
    scene.require_hears().await?;
    let kept = cost.kept(&scene.victim)?;
    ensure!(kept < GROWTH, "{kept} bytes of memory are kept, at most {GROWTH} are fine");
    lets_in(&mut scene.victim, dice.next()).await?;
    Ok(kept)
}

async fn attack(context: &Context, scene: &mut Scene, dice: &mut Dice) -> anyhow::Result<()> {
    let (network, address) = (scene.victim.network.clone(), scene.victim.address.clone());
    let topic = topic(&network);
    let ids: Vec<Vec<u8>> = (0..300_u64).map(|n| n.to_le_bytes().repeat(4)).collect();
    context.inject(1);
    scene.speaker.write(&frames::ihave(&topic, &ids)).await?;
    // Whatever ends the stream, the next one is as good.
    for seconds in BACKOFFS {
        for topic in [&topic[..], "/nobody/has/joined/this"] {
            context.inject(1);
            let prune = frames::prune(topic, seconds);
            if scene.speaker.write(&prune).await.is_err() {
                scene.speaker.reopen().await?;
                scene.speaker.write(&prune).await?;
            }
        }
    }
    for len in LENS {
        let nonsense = Attacker::new(&network, dice.next());
        let mut nonsense = Speaker::join(nonsense, &address).await?;
        context.inject(2);
        // It may be refused before it is whole.
        let _ = nonsense.write(&framed(&sample::bytes(dice.next(), len))).await;
        // A length without an end.
        let _ = nonsense.write(&[0xff; 12]).await;
    }
    Ok(())
}
