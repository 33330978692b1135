//! A disk that is really full, and one that becomes read-only, under a node that fetches and serves.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::home::{Home, Node, Process};
use super::mounts::Mount;
use super::shim::{Act, Shim};
use super::source::{Size, Source};
use super::workplace;
use crate::scenario::{Context, Scenario};

const MIB: u64 = 1 << 20;
/// The disk under test.
const DISK_MIB: u64 = 96;
/// What the node holds all the time and has to serve all the time.
const KEPT: Size = Size { files: 1, len: 3_000_000, rate: 0 };
/// What is fetched when the disk fails.
const LARGE: Size = Size { files: 1, len: 32 << 20, rate: 8 * MIB };
/// What is fetched when the disk is full already.
const LATE: Size = Size { files: 1, len: 2 << 20, rate: 0 };
/// Somebody begins to fill the disk when so much of it is here, which takes a while.
const FILL: u64 = 8 * MIB;
/// The disk becomes read-only when so much of it is here: enough that some of it is durable.
const BREAK: u64 = 20 * MIB;
/// `hive`'s exit code for a full disk.
const NO_SPACE: i32 = 5;

pub(crate) const FULL: Scenario = Scenario {
    name: "disk-full",
    claim: "on a full disk `fetch` and `add` end with exit code 5 and leave no rubbish, the node \
            serves on, `ls` and `rm` work without a node, and with space the fetch goes on from what \
            was verified",
    few: 1,
    full: 5,
    least: |rounds| 5 * rounds,
    run: |context| rounds(context, false, fill),
    twin: |context| rounds(context, true, fill),
    // Whoever believes such a disk does not say that it is full, or says that what is lost is here.
    caught: &["the fetch on a full disk", "a fetch was told done", "has other bytes"],
};

pub(crate) const READ_ONLY: Scenario = Scenario {
    name: "read-only",
    claim: "a disk that becomes read-only in the middle of a fetch ends the fetch with one clear \
            error; the node lives and serves on, a new one says why it cannot start, and once the \
            disk is writable the fetch goes on",
    few: 1,
    full: 5,
    least: |rounds| rounds,
    run: |context| rounds(context, false, turn_read_only),
    twin: |context| rounds(context, true, turn_read_only),
    // Whoever believes such a disk says nothing of it, or goes on until it reads what it never wrote.
    caught: &["a fetch onto a read-only disk", "the node is not there any more"],
};

/// A node on a disk of its own.
struct Rig {
    /// The node's home; in the twin, a disk that says that all is well whatever happens.
    home: Home,
    /// The same home on an honest disk.
    honest: Home,
    /// Another home, on another disk.
    elsewhere: Home,
    kept: Source,
    large: Source,
    late: Source,
    dir: PathBuf,
}

fn rounds(
    context: &Context,
    lying: bool,
    one: fn(&Context, &Rig, Mount) -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    let mut found = String::new();
    for round in 0..context.rounds {
        let context = Context { seed: context.seed + u64::from(round), ..context.clone() };
        let dir = workplace(&context)?;
        let dir = dir.path();
        let place = |name: &str| -> anyhow::Result<PathBuf> {
            std::fs::create_dir(dir.join(name))?;
            Ok(dir.join(name))
        };
        let disk = Mount::new("ext4", DISK_MIB, &dir.join("disk"))?;
        let honest = Home::new(&context.hive, disk.path().join("home"));
        let home = if lying {
            let shim = Shim::build(dir)?;
            let calls = "write,sync,truncate,rename,remove,mkdir";
            let injection = shim.inject(honest.path(), calls, 0, Act::Swallow);
            honest.under(&injection.log_at(&dir.join("shim")))
        } else {
            honest.clone()
        };
        let rig = Rig {
            home,
            honest,
            elsewhere: Home::new(&context.hive, dir.join("elsewhere"))
                .with("HIVE_PROVIDER_TIMEOUT", "5s"),
            kept: Source::start(&context, &place("kept")?, KEPT)?,
            large: Source::start(&context, &place("large")?, LARGE)?,
            late: Source::start(&context, &place("late")?, LATE)?,
            dir: dir.to_owned(),
        };
        found = one(&context, &rig, disk)?;
    }
    Ok(found)
}

impl Rig {
    /// Starts the node; it gets what it has to serve.
    fn start(&self) -> anyhow::Result<Node> {
        let node = self.home.join(&[])?;
        self.home.json(&self.kept.fetch()?)?;
        Ok(node)
    }

    /// Begins the large fetch and follows it until so much of it is here.
    fn up_to(&self, point: u64) -> anyhow::Result<Process> {
        let mut fetch = self.home.start(&self.large.fetch()?)?;
        while let Some(event) = fetch.event()? {
            ensure!(event["event"] != "done", "the fetch was over before the fault");
            if event["event"] == "progress" && event["bytes"].as_u64() >= Some(point) {
                return Ok(fetch);
            }
        }
        anyhow::bail!("the fetch ended before the fault: {}", fetch.end()?)
    }

    /// Whether the node serves what it holds, whatever the state of its disk.
    fn require_serves(&self, node: &Node) -> anyhow::Result<()> {
        let args = ["--json", "fetch", &self.kept.id, "--from", node.address()?];
        let done = self.elsewhere.json(&args).context("the node does not serve")?;
        self.kept.require_same(path_of(&done)?)?;
        self.elsewhere.json(&["--json", "rm", &self.kept.id])?;
        Ok(())
    }

    /// Goes on with the large fetch. Returns what it found on the disk.
    fn require_resumes(&self, home: &Home) -> anyhow::Result<u64> {
        let mut fetch = home.start(&self.large.fetch()?)?;
        let mut present = None;
        while let Some(event) = fetch.event()? {
            match event["event"].as_str() {
                Some("manifest") => present = event["present"].as_u64(),
                Some("done") => {
                    self.large.require_same(path_of(&event)?)?;
                    // Whoever has it all fetches nothing, and says so at once.
                    present = present.or(event["bytes"].as_u64());
                }
                _ => {}
            }
        }
        let ended = fetch.end()?;
        ensure!(ended.status.success(), "the fetch does not go on: {ended}");
        home.verify()?;
        let models = home.json(&["--json", "ls"])?;
        let n_models = models.as_array().map(Vec::len);
        ensure!(n_models == Some(2), "there should be two models: {models}");
        present.context("a fetch says what is present")
    }
}

fn path_of(done: &Value) -> anyhow::Result<&Path> {
    Ok(Path::new(done["path"].as_str().with_context(|| format!("no path in {done}"))?))
}

/// Takes all the room of a disk, to the last block.
fn take_all(path: &Path) -> anyhow::Result<u64> {
    let mut ballast = File::create(path)?;
    let mut taken = 0;
    for piece in [MIB as usize, 4096] {
        let bytes = vec![7; piece];
        loop {
            // A sync, since blocks are given out only then.
            match ballast.write_all(&bytes).and_then(|()| ballast.sync_data()) {
                Ok(()) => taken += piece as u64,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(taken)
}

/// What is begun and unfinished in a home.
fn unfinished(home: &Home) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(home.path().join("models/.partial"))?.count())
}

fn require_no_space(home: &Home, what: &str, args: &[&str]) -> anyhow::Result<()> {
    let ended = home.run(args)?;
    ensure!(ended.status.code() == Some(NO_SPACE), "{what}: {ended}");
    ended.refusal().context(what.to_owned())?;
    Ok(())
}

fn fill(context: &Context, rig: &Rig, disk: Mount) -> anyhow::Result<String> {
    let node = rig.start()?;
    let file = rig.dir.join("file");
    std::fs::write(&file, hive_testnet::sample::bytes(1, 3_000_000))?;
    let file = file.to_str().context("a path of ours is text")?;
    let spare = rig.dir.join("spare");
    std::fs::write(&spare, hive_testnet::sample::bytes(3, 1_000_000))?;
    rig.home.json(&["--json", "add", spare.to_str().context("a path of ours is text")?])?;

    // More than the disk has: nothing of it is begun.
    let whole = Mount::memory(2 * DISK_MIB, &rig.dir.join("memory"))?;
    let huge = whole.path().join("huge");
    std::fs::write(&huge, hive_testnet::sample::bytes(2, (DISK_MIB * MIB) as usize))?;
    let huge = huge.to_str().context("a path of ours is text")?;
    context.inject(1);
    require_no_space(&rig.home, "adding more than there is room for", &["--json", "add", huge])?;
    ensure!(unfinished(&rig.home)? == 0, "what did not fit left something behind");

    // Somebody else takes the rest while a fetch is going on. Its own blocks are its own already, and
    // what the index keeps for such a time it has given up before.
    let fetch = rig.up_to(FILL)?;
    std::fs::remove_file(rig.home.path().join("index.reserve"))?;
    let ballast = disk.path().join("ballast");
    let taken = take_all(&ballast)?;
    context.inject(1);
    let ended = fetch.end()?;
    match ended.status.code() {
        // It had its blocks before; the next one has not.
        Some(0) => {}
        Some(NO_SPACE) => drop(ended.refusal()?),
        _ => anyhow::bail!("the fetch on a full disk: {ended}"),
    }
    context.inject(2);
    require_no_space(&rig.home, "the fetch on a full disk, another one", &rig.late.fetch()?)?;
    require_no_space(&rig.home, "adding to a full disk", &["--json", "add", file])?;
    rig.require_serves(&node)?;
    let began = unfinished(&rig.home)?;
    ensure!(began <= 1, "{began} unfinished models are left");

    // A node that starts on a full disk may refuse, but says why.
    node.stop()?;
    let again = rig.home.run(&["--json", "ls"])?;
    if !again.status.success() {
        ensure!(again.status.code() == Some(NO_SPACE), "the start on a full disk: {again}");
        again.refusal()?;
    }
    std::fs::remove_file(&ballast)?;

    // Without a node there is a way to make room, if the last command had some to keep.
    rig.home.json(&["--json", "ls"])?;
    take_all(&ballast)?;
    context.inject(1);
    rig.home.json(&["--json", "ls"]).context("`ls` on a full disk")?;
    rig.home.json(&["--json", "rm", "spare"]).context("`rm` on a full disk")?;
    std::fs::remove_file(&ballast)?;
    let _node = rig.honest.join(&[])?;
    let how = ended.status.code().unwrap_or(-1);
    let present = rig.require_resumes(&rig.honest)?;
    ensure!(
        how != 0 || present == rig.large.len(),
        "a fetch was told done, {present} bytes are here"
    );
    Ok(format!(
        "{} MiB taken in the middle of a fetch, which ended with {how} and went on from {} MiB; the \
         next ended with {NO_SPACE}",
        taken / MIB,
        present / MIB
    ))
}

fn turn_read_only(context: &Context, rig: &Rig, disk: Mount) -> anyhow::Result<String> {
    let node = rig.start()?;
    let fetch = rig.up_to(BREAK)?;
    disk.abort()?;
    context.inject(1);
    let refused = File::create(disk.path().join("probe"));
    ensure!(refused.is_err(), "the disk takes files, so it is not read-only");
    let ended = fetch.end()?;
    let said = ended.refusal().context("a fetch onto a read-only disk")?;
    ensure!(
        said.to_lowercase().contains("read-only") || said.contains("readonly"),
        "it says {said}"
    );
    rig.home.json(&["--json", "status"]).context("the node is not there any more")?;
    rig.require_serves(&node)?;
    node.stop()?;

    let again = rig.home.run(&["--json", "join"])?;
    let said = again.refusal().context("a start on a read-only disk")?;
    let said: Value = serde_json::from_str(&said)?;
    let reason = said["error"]["messages"].as_array().and_then(|all| all.last()?.as_str());
    let reason = reason.with_context(|| format!("a reason in {said}"))?;
    disk.end()?;
    let disk = Mount::image(&rig.dir.join("disk.img"), &rig.dir.join("disk"))?;
    let node = rig.honest.join(&[])?;
    let present = rig.require_resumes(&rig.honest)?;
    node.stop()?;
    disk.end()?;
    ensure!(present > 0, "nothing was durable {} MiB into the fetch", BREAK / MIB);
    Ok(format!("went on from {} MiB; a start on it said: {reason}", present / MIB))
}
