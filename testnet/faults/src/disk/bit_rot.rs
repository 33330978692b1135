//! Bit rot: ten of a hundred chunks are not what they were, and nobody told hive.
//!
//! A node hashes a group before it serves it for the first time, and takes what it hashed, or wrote,
//! for good as long as its process lives (`hive_store`'s `offer`). So this is about what rots while
//! nobody runs; what rots later under a running node is the receiver's to find, who hashes every
//! group whoever it comes from, and `hive verify`'s. The twin is a victim that trusts its disk.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use hive_testnet::attack::{Gullible, Shelf};

use super::home::{Home, NETWORK};
use super::source::{Size, Source, from_peers};
use super::workplace;
use crate::dice::Dice;
use crate::scenario::{Context, Scenario};

/// A hundred files of a chunk each.
const SIZE: Size = Size { files: 100, len: 96 << 10, rate: 0 };
/// Chunks that rot.
const ROTTEN: u64 = 10;
/// `hive`'s exit code for bytes that are not what they should be.
const WRONG: i32 = 4;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "bit-rot",
    claim: "of 100 chunks ten rot while no node runs (flipped, zeroed, swapped, truncated, deleted): \
            the next node serves no byte of them and all of the others, `verify` finds them, and exactly \
            these are fetched again",
    few: 1,
    full: 10,
    least: |rounds| ROTTEN * rounds,
    run: |context| rounds(context, false),
    twin: |context| rounds(context, true),
    caught: &["the victim served rotten bytes"],
};

fn rounds(context: &Context, lying: bool) -> anyhow::Result<String> {
    let mut dice = Dice::new(context.seed);
    let mut found = String::new();
    for round in 0..context.rounds {
        let dir = workplace(context)?;
        let mut rig = Rig::start(context, dir.path())?;
        let rotting = rig.rot(context, &mut dice, lying);
        found = rotting.context(format!("round {round}"))?;
    }
    Ok(found)
}

struct Rig {
    source: Source,
    /// Whose disk rots.
    victim: Home,
    /// Where the victim's files are.
    model: PathBuf,
    dir: PathBuf,
    hive: PathBuf,
}

impl Rig {
    fn start(context: &Context, dir: &Path) -> anyhow::Result<Self> {
        let source = Source::start(context, dir, SIZE)?;
        let victim = Home::new(&context.hive, dir.join("victim"));
        let done = victim.json(&source.fetch()?)?;
        let model = PathBuf::from(done["path"].as_str().context("`done` comes with a path")?);
        Ok(Self { source, victim, model, dir: dir.to_owned(), hive: context.hive.clone() })
    }

    fn file(&self, at: usize) -> PathBuf {
        self.model.join(format!("part-{at:03}.bin"))
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<()> {
        let path = self.file(at);
        let mut bytes = std::fs::read(&path)?;
        change(&mut bytes);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        std::fs::write(&path, bytes)?;
        Ok(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444))?)
    }

    /// Damage that leaves every file as long as it was.
    fn rot_within(&self, rotten: &[usize], dice: &mut Dice) -> anyhow::Result<()> {
        for &at in &rotten[..2] {
            let bit = dice.below(SIZE.len as u64 * 8);
            self.change(at, |bytes| bytes[(bit / 8) as usize] ^= 1 << (bit % 8))?;
        }
        for &at in &rotten[2..4] {
            self.change(at, |bytes| bytes.fill(0))?;
        }
        let (one, other) = (self.file(rotten[4]), self.file(rotten[5]));
        let aside = self.dir.join("aside");
        std::fs::rename(&one, &aside)?;
        std::fs::rename(&other, &one)?;
        Ok(std::fs::rename(&aside, &other)?)
    }

    /// Damage that can be seen from outside.
    fn rot_in_length(&self, rotten: &[usize], dice: &mut Dice) -> anyhow::Result<()> {
        for &at in &rotten[6..8] {
            let len = dice.below(SIZE.len as u64) as usize;
            self.change(at, |bytes| bytes.truncate(len))?;
        }
        for &at in &rotten[8..10] {
            std::fs::remove_file(self.file(at))?;
        }
        Ok(())
    }

    /// A new reader takes what it can get of the victim alone. Fails if it was sent a wrong byte.
    fn read_from(&self, address: &str, name: &str) -> anyhow::Result<Home> {
        let home = Home::new(&self.hive, self.dir.join(name)).with("HIVE_PROVIDER_TIMEOUT", "2s");
        let args = ["--json", "fetch", &self.source.id, "--from", address];
        let ended = home.run(&args)?;
        let struck = ended.stdout.lines().any(|line| line.contains("\"struck\":true"))
            || ended.stdout.lines().any(|line| line.contains("\"event\":\"struck\""));
        ensure!(!struck, "the victim served rotten bytes: {ended}");
        Ok(home)
    }

    /// What a victim without a doubt would serve: its files as they are now.
    fn read_from_liar(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let shelf = Shelf::new(self.source.files().iter().map(|(name, bytes)| {
            let path = self.model.join(name);
            (name.to_string_lossy().into_owned(), bytes.as_slice(), path)
        }))?;
        ensure!(shelf.id().to_string() == self.source.id, "the node names the model otherwise");
        let liar = runtime.block_on(Gullible::serving(NETWORK, shelf))?;
        let address = liar.address()?;
        runtime.spawn(liar.run());
        let read = self.read_from(&address, "reader");
        runtime.shutdown_background();
        read.map(drop)
    }

    fn rot(&mut self, context: &Context, dice: &mut Dice, lying: bool) -> anyhow::Result<String> {
        let mut all: Vec<usize> = (0..SIZE.files).collect();
        let mut draw = || all.swap_remove(dice.below(all.len() as u64) as usize);
        let rotten: Vec<usize> = (0..ROTTEN).map(|_| draw()).collect();

        // Alone: nobody else can give what the victim should not.
        self.source.leave()?;
        self.rot_within(&rotten, dice)?;
        context.inject(6);
        if lying {
            self.read_from_liar()?;
        }
        let node = self.victim.join(&[])?;
        let reader = self.read_from(node.address()?, "reader")?;
        let models = self.victim.json(&["--json", "ls"])?;
        ensure!(models[0]["damaged"].is_string(), "the victim noticed nothing: {models}");
        let good = self.source.len() - 6 * SIZE.len as u64;
        ensure!(models[0]["present"] == good, "{good} bytes are good, the victim says {models}");
        let got = reader.json(&["--json", "ls"])?;
        ensure!(got[0]["present"] == good, "{good} bytes were to be had, the reader has {got}");
        self.source.come_back()?;
        let done = reader.json(&self.source.fetch()?).context("the rest from somebody else")?;
        self.source.require_same(Path::new(done["path"].as_str().context("no path")?))?;
        node.stop()?;

        self.rot_in_length(&rotten, dice)?;
        context.inject(4);
        let verified = self.victim.run(&["--json", "verify"])?;
        ensure!(verified.status.code() == Some(WRONG), "`hive verify` found nothing: {verified}");
        let named =
            verified.stdout.lines().filter(|line| line.contains("\"event\":\"damaged\"")).count();
        let models = self.victim.json(&["--json", "ls"])?;
        let good = self.source.len() - ROTTEN * SIZE.len as u64;
        ensure!(named == ROTTEN as usize, "`verify` named {named} of {ROTTEN}");
        ensure!(models[0]["present"] == good, "{good} bytes are good, it says {models}");

        let done = self.victim.json(&self.source.fetch()?).context("the repair")?;
        self.source.require_same(&self.model)?;
        let fetched = from_peers(&done);
        ensure!(fetched == self.source.len() - good, "{fetched} bytes were fetched again");
        self.victim.verify()?;
        Ok(format!(
            "no rotten byte served, and the 94 good chunks were; 6 noticed on serving, all {named} named \
             by `verify`; {fetched} bytes fetched again, all of them rotten"
        ))
    }
}
