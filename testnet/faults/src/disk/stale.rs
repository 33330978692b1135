//! A home in which crashes, or somebody, left a hundred thousand unfinished models.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::home::Home;
use super::mounts::Mount;
use super::shim::{Act, Shim};
use super::source::{Size, Source};
use super::workplace;
use crate::dice::Dice;
use crate::scenario::{Context, Scenario};

/// Slow enough to be killed in the middle.
const SIZE: Size = Size { files: 1, len: 24 << 20, rate: 6 << 20 };
/// How long a start may take: one that waits until all is removed takes longer.
const BOUND: Duration = Duration::from_secs(20);
/// How long the removal may stand still.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for a hundred thousand directories.
const DISK_MIB: u64 = 3_000;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "stale-partials",
    claim: "a home with 100,000 unfinished models that the index does not know starts within 20 s, \
            removes them while it works, and keeps the one that it does know",
    few: 5_000,
    full: 100_000,
    least: |rounds| rounds,
    run: |context| start(context, false),
    twin: |context| start(context, true),
    caught: &["unfinished models are left, one is known"],
};

fn start(context: &Context, stuck: bool) -> anyhow::Result<String> {
    let dir = workplace(context)?;
    let source = Source::start(context, dir.path(), SIZE)?;
    // A disk of its own: how fast directories come and go is no matter of the machine's then.
    let disk = Mount::new("ext4", DISK_MIB, &dir.path().join("disk"))?;
    let honest = Home::new(&context.hive, disk.path().join("home"));
    let mut fetch = honest.start(&source.fetch()?)?;
    while let Some(event) = fetch.event()? {
        if event["event"] == "progress" && event["bytes"].as_u64() >= Some(source.len() / 2) {
            break;
        }
    }
    fetch.kill()?;
    fetch.end()?;
    let known = honest.json(&["--json", "ls"])?;
    let present = known[0]["present"].as_u64().context("the fetch that was killed is known")?;
    ensure!(present > 0, "the fetch was killed before anything of it was durable");

    let partials = honest.path().join("models/.partial");
    scatter(&partials, context)?;
    let home = if stuck {
        // The twin: a disk that says of every removal that it was done.
        let shim = Shim::build(dir.path())?;
        honest
            .under(&shim.inject(&partials, "remove", 0, Act::Skip).log_at(&dir.path().join("log")))
    } else {
        honest
    };
    let began = Instant::now();
    let node = home.join(&[])?;
    let took = began.elapsed();
    ensure!(took < BOUND, "the start took {took:?}");
    let left = settle(&partials)?;
    let removed = began.elapsed();
    ensure!(left == 1, "{left} unfinished models are left, one is known");
    let models = home.json(&["--json", "ls"])?;
    ensure!(models[0]["present"] == present, "{present} bytes were durable: {models}");
    node.stop()?;
    let done = home.json(&source.fetch()?)?;
    source.require_same(Path::new(done["path"].as_str().context("no path")?))?;
    Ok(format!(
        "started in {:.1} s, all removed after {:.1} s; the known one went on from {} MiB",
        took.as_secs_f64(),
        removed.as_secs_f64(),
        present >> 20
    ))
}

/// Waits until one entry is left, or no fewer for a while; says how many.
fn settle(dir: &Path) -> anyhow::Result<usize> {
    let (mut least, mut since) = (usize::MAX, Instant::now());
    loop {
        let left = std::fs::read_dir(dir)?.count();
        if left < least {
            (least, since) = (left, Instant::now());
        }
        if left <= 1 || since.elapsed() > PATIENCE {
            return Ok(left);
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Leaves unfinished models: some empty, some with files, some of them deep, some files themselves.
fn scatter(partials: &Path, context: &Context) -> anyhow::Result<()> {
    let mut dice = Dice::new(context.seed);
    for number in 0..context.rounds {
        let dir = match dice.below(4) {
            0 => partials.join(format!("add-{}-{number}", dice.below(30_000))),
            _ => partials.join(format!("bafyr4i{:016x}{number:032}", dice.next())),
        };
        let kind = dice.below(10);
        context.inject(1);
        if kind == 2 {
            std::fs::write(&dir, "a file, where directories should be")?;
            continue;
        }
        std::fs::create_dir(&dir)?;
        match kind {
            0 => std::fs::write(dir.join("weights.bin"), [7; 5_000])?,
            1 => {
                std::fs::create_dir_all(dir.join("a/b/c"))?;
                std::fs::write(dir.join("a/b/c/weights.bin"), "stale")?;
            }
            _ => {}
        }
    }
    Ok(())
}
