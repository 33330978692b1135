//! `kill -9` at random points of fetches.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::home::Home;
use super::source::{Size, Source, from_peers};
use super::workplace;
use crate::dice::Dice;
use crate::figures::read_from_files;
use crate::scenario::{Context, Scenario};

const MIB: u64 = 1 << 20;
/// Odd, so that the last group is a short one.
const SIZE: Size = Size { files: 1, len: (72 * MIB - 77) as usize, rate: 16 * MIB };
/// What may be lost: what is written is durable a second later, and that second has to end.
const TAIL: u64 = 2 * SIZE.rate;
/// What may be on its way to a reader when it dies.
const WINDOW: u64 = 16 * MIB;
/// A reader that reads more than this from files before it knows what it has is hashing.
const READ: u64 = 16 * MIB;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "kill",
    claim: "a reader killed at random points of fetches of 72 MiB fetches and hashes nothing again \
            that was synced, and ends with the identical file",
    few: 10,
    full: 200,
    least: |rounds| rounds,
    run: |context| kills(context, &|_, _| Ok(())),
    twin: |context| kills(context, &damage),
    caught: &["has other bytes"],
};

/// The twin: what was synced is overwritten while nobody looks. Synced bytes are not hashed again, so
/// it must come out at the end.
fn damage(home: &Path, present: u64) -> anyhow::Result<()> {
    if present == 0 {
        return Ok(());
    }
    for model in std::fs::read_dir(home.join("models/.partial"))? {
        for file in std::fs::read_dir(model?.path())? {
            let path = file?.path();
            let mut bytes = std::fs::read(&path)?;
            // All of it: which groups of it are synced is the index's to know.
            bytes.fill(0);
            std::fs::write(&path, bytes)?;
        }
    }
    Ok(())
}

/// How far one life of the reader came.
#[derive(Debug, Default)]
struct Life {
    /// What it found on its disk.
    present: Option<u64>,
    /// What it said was verified when it ended.
    told: u64,
    /// Bytes it had read from files by the time it knew what it had.
    read: u64,
    done: Option<Value>,
}

/// When a life ends.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// It says that it searches.
    Search,
    /// It has so many bytes more than it began with.
    More(u64),
    /// It is done.
    Done,
}

fn live(reader: &Home, source: &Source, until: Until) -> anyhow::Result<Life> {
    let mut process = reader.start(&source.fetch()?)?;
    let (mut life, mut killed) = (Life::default(), false);
    while let Some(event) = process.event()? {
        match event["event"].as_str() {
            Some("manifest") => {
                life.present = event["present"].as_u64();
                life.told = life.present.context("a manifest comes with what is present")?;
                life.read = read_from_files(process.id());
            }
            Some("progress") => {
                let bytes = event["bytes"].as_u64().context("progress is bytes")?;
                ensure!(bytes >= life.told, "progress went from {} to {bytes}", life.told);
                life.told = bytes;
            }
            Some("done") => life.done = Some(event.clone()),
            _ => {}
        }
        let over = match until {
            Until::Search => true,
            Until::More(more) => life.present.is_some_and(|present| life.told >= present + more),
            Until::Done => false,
        };
        if over && life.done.is_none() {
            process.kill()?;
            killed = true;
            break;
        }
    }
    let ended = process.end()?;
    ensure!(killed || ended.status.success(), "{ended}");
    Ok(life)
}

/// What the index calls durable of the only model in a home.
fn durable(reader: &Home) -> anyhow::Result<u64> {
    let models = reader.json(&["--json", "ls"])?;
    Ok(models[0]["present"].as_u64().unwrap_or(0))
}

/// Kills readers until there were enough of them; whenever one gets through, the next begins anew.
fn kills(
    context: &Context,
    between: &dyn Fn(&Path, u64) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let dir = workplace(context)?;
    let mut dice = Dice::new(context.seed);
    let source = Source::start(context, dir.path(), SIZE)?;
    let size = source.len();
    let (mut killed, mut fetched, mut lost, mut most_lost) = (0_u64, 0_u64, 0, 0);
    while killed < u64::from(context.rounds) {
        let reader = Home::new(&context.hive, dir.path().join(format!("reader-{fetched}")));
        let (mut told, mut kept) = (0, 0);
        loop {
            let until = match dice.below(8) {
                _ if killed == u64::from(context.rounds) => Until::Done,
                0 => Until::Search,
                _ => Until::More(dice.below(2 * SIZE.rate)),
            };
            let life = live(&reader, &source, until)?;
            if let Some(present) = life.present {
                ensure!(present == kept, "{kept} bytes were durable, {present} are taken for such");
                ensure!(present + TAIL >= told, "{present} bytes are left of {told}");
                ensure!(present <= told + TAIL, "{present} bytes appeared, {told} were told");
                ensure!(life.read < READ, "{} bytes were read to find {present}", life.read);
                let gone = told.saturating_sub(present);
                (lost, most_lost) = (lost + gone, most_lost.max(gone));
                told = life.told;
            }
            if let Some(done) = life.done {
                let path = done["path"].as_str().context("`done` comes with a path")?;
                source.require_same(Path::new(path))?;
                // Who begins with all of it is told no manifest, and needs nobody.
                let present = life.present.unwrap_or(size);
                let came = from_peers(&done);
                ensure!(
                    came == size - present,
                    "{came} bytes came from peers, with {present} of {size} here"
                );
                break;
            }
            killed += 1;
            context.inject(1);
            kept = durable(&reader)?;
            between(reader.path(), kept)?;
        }
        reader.verify()?;
        std::fs::remove_dir_all(reader.path())?;
        fetched += 1;
    }
    let sent = source.sent()?;
    let most = fetched * size + lost + killed * WINDOW;
    ensure!(
        sent >= fetched * size && sent <= most,
        "{sent} bytes were sent for {fetched} × {size}"
    );
    Ok(format!(
        "{fetched} files identical; {} MiB sent for {} MiB; {} MiB were not durable yet, at most {} \
         MiB for one kill",
        sent / MIB,
        fetched * size / MIB,
        lost / MIB,
        most_lost / MIB
    ))
}
