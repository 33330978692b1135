//! Manifests that no honest node makes, each under the id that its bytes have: what refuses them is
//! the reading, not the hash. The twin is a reader that takes for good what has the right hash.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hive_protocol::limits::{BLOCK_LEN, FILES_PER_TREE};
use hive_protocol::{BlockId, Manifest};
use hive_swarm::Limits;
use hive_testnet::{Liar, Sample};
use serde::Deserialize;

use super::cost::{Cost, Most};
use super::{MIB, lets_in};
use crate::dice::Dice;
use crate::peers::rounds;
use crate::scenario::Context;
use crate::victim::{Answer, Ask, Kind, Victim};

/// The corpus of `hive-protocol`: over a hundred blocks, with why each is refused.
const CORPUS: &str = include_str!("../../../../protocol/tests/vectors/hostile.json");
const LEAST: usize = 100;
/// Blocks of the node's own making with a byte changed.
const CHANGED: usize = 50;
/// Blocks that are asked for at once.
const AT_ONCE: usize = 24;
/// Processor time of a block: 4 MiB are hashed, walked through and, in the worst case, thrown away.
const BLOCK: Duration = Duration::from_millis(100);
/// How long a refusal may take: a node looks for somebody else who may have the model.
const REFUSED: Duration = Duration::from_secs(40);

#[derive(Debug, Deserialize)]
struct Vector {
    name: String,
    hex: Option<String>,
}

/// A block and what is wrong with it.
type Case = (String, Vec<u8>);

fn cases(dice: &mut Dice) -> anyhow::Result<Vec<Case>> {
    let corpus: Vec<Vector> = serde_json::from_str(CORPUS).context("the corpus")?;
    let mut cases = Vec::new();
    for vector in corpus {
        if let Some(hex) = vector.hex {
            cases.push((vector.name, hex::decode(hex)?));
        }
    }
    ensure!(cases.len() >= LEAST, "the corpus has {} blocks only", cases.len());
    // Those that are too long for the corpus.
    cases.push(("arrays, ten thousand deep".into(), vec![0x81; 10_000]));
    cases.push(("maps, ten thousand deep".into(), hex::decode("a16161".repeat(10_000))?));
    cases.push(("arrays, four million deep".into(), vec![0x81; BLOCK_LEN]));
    cases.push(("4 MiB of small numbers".into(), {
        let mut block = vec![0x9a];
        block.extend_from_slice(&(BLOCK_LEN as u32 - 5).to_be_bytes());
        block.resize(BLOCK_LEN, 0);
        block
    }));
    cases.push(("an array that says to have 2^32 entries".into(), vec![0x9a, 255, 255, 255, 255]));
    cases.push(("text that says to have 2^63 bytes".into(), hex::decode("7b7fffffffffffffff")?));
    cases.push(("4 MiB and a byte".into(), vec![0; BLOCK_LEN + 1]));
    ensure!(FILES_PER_TREE < 1 << 16, "a count of two bytes is over the limit");
    cases.push(("more files than a tree has".into(), hex::decode("a26176016566696c657399ffff")?));
    // An honest block, with a byte changed wherever the dice say.
    let honest = Sample::random(dice.next(), 3 * MIB as usize).manifest().encode();
    while cases.iter().filter(|(name, _)| name.starts_with("byte")).count() < CHANGED {
        let mut block = honest.clone();
        let at = dice.below(block.len() as u64) as usize;
        if let Some(byte) = block.get_mut(at) {
            *byte ^= 1 << dice.below(8);
        }
        // A changed digest is another model's, and no fault; what is asked for twice comes once.
        let is_new = !cases.iter().any(|(_, other)| *other == block);
        if is_new && Manifest::decode(&block).is_err() {
            cases.push((format!("byte {at} changed"), block));
        }
    }
    Ok(cases)
}

/// Ids that are none: of another length, of other characters, paths.
fn ids(honest: &str) -> Vec<String> {
    let cut: String = honest.chars().skip(1).collect();
    let mut ids = vec![
        cut,
        format!("{honest}a"),
        honest.to_uppercase(),
        format!("{}\0", honest),
        format!("../{honest}"),
        "../../../../etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        String::new(),
        "ａ".repeat(59),
        "a".repeat(1 << 20),
    ];
    ids.extend([63, 65].map(|len| "f".repeat(len)));
    ids
}

pub(super) fn run(context: &Context, kind: Kind) -> anyhow::Result<String> {
    let all = rounds(context, |dice| round(context, kind, dice))?;
    let most = all.iter().copied().max().unwrap_or(0);
    Ok(format!("all refused; {:.1} MiB grown at most", most as f64 / MIB as f64))
}

async fn round(context: &Context, kind: Kind, mut dice: Dice) -> anyhow::Result<u64> {
    let mut victim = Victim::start(context, kind).await?;
    let cases = cases(&mut dice)?;
    let mut cost = Cost::begin(&victim)?;
    let mut refused = 0;
    for some in cases.chunks(AT_ONCE) {
        // Who gives out such a block is banned, so each comes from somebody else.
        let mut liars = Vec::new();
        for (_, block) in some {
            liars.push(Liar::giving(&victim.network, vec![block.clone()]).await?);
        }
        let wanted = some
            .iter()
            .zip(&liars)
            .map(|((_, block), liar)| (BlockId::of(block).to_string(), liar.address().to_owned()));
        let began = Instant::now();
        let answers = victim.fetch_all(wanted.collect()).await?;
        ensure!(began.elapsed() <= REFUSED, "refusing took {:?}", began.elapsed());
        for (((name, _), liar), answer) in some.iter().zip(&liars).zip(answers) {
            let given = liar.counters().lies();
            ensure!(given > 0, "nobody asked for `{name}`");
            context.inject(1);
            ensure!(matches!(answer, Answer::Refused(_)), "`{name}` ended with {answer:?}");
            refused += 1;
        }
    }
    let honest = Liar::giving(&victim.network, Vec::new()).await?;
    let id = Sample::random(dice.next(), 10).id().to_string();
    for wrong in ids(&id) {
        let ask = Ask::Fetch { id: wrong.clone(), from: honest.address().to_owned() };
        let answer = victim.ask(ask).await?;
        context.inject(1);
        let shown: String = wrong.chars().take(80).collect();
        ensure!(matches!(answer, Answer::Refused(_)), "`{shown}` ended with {answer:?}");
        refused += 1;
    }
    cost.look(&victim)?;
    cost.require(&format!("{refused} manifests"), &allowed(refused))?;
    let written = victim.models_on_disk()?;
    ensure!(written.is_empty(), "something was written: {written:?}");
    // An honest model goes the same way, and comes.
    let sample = Sample::random(dice.next(), 2 * MIB as usize);
    let provider =
        Liar::start(&victim.network, hive_testnet::Lie::None, vec![sample.clone()]).await?;
    let path = victim.fetch(&sample.id().to_string(), provider.address()).await?;
    ensure!(std::fs::read(path)? == *sample.bytes(), "the model's bytes are wrong");
    lets_in(&mut victim, dice.next()).await?;
    Ok(cost.memory)
}

/// As many blocks as are read at once, twice over, and what they hold. To each of those who gave them
/// there is a connection, until it is idle.
fn allowed(blocks: u32) -> Most {
    Most {
        memory: 2 * (AT_ONCE * BLOCK_LEN) as u64,
        connections: Limits::default().total,
        cpu: BLOCK * blocks,
    }
}
