//! Power cuts: what the disk holds at a random moment, and nothing of what memory held.
//!
//! An XFS file system with reflinks holds an image, and in that is the ext4 file system with the
//! home. At the moment of the cut the image is cloned, which is atomic: the clone has what ext4 had
//! written to its device and not what waited in memory. The clone is mounted, as after a reboot.
//! What was acknowledged is known outside of all this. Writes are not torn and not reordered behind
//! the system's back, as some drives do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::home::{Home, Process};
use super::mounts::{Mount, tool};
use super::shim::{Act, Shim};
use super::source::{Size, Source};
use super::workplace;
use crate::dice::Dice;
use crate::scenario::{Context, Scenario};

/// What is fetched and acknowledged in each round.
const SMALL: Size = Size { files: 1, len: 3_000_000, rate: 0 };
/// What is being fetched when the power goes.
const LARGE: Size = Size { files: 1, len: 32 << 20, rate: 6 << 20 };
/// What of it may be lost: what is written is durable a second later, and that second, with the
/// syncs in it, has to end.
const TAIL: u64 = 3 * LARGE.rate;
/// Bytes of each file that is added.
const ADDED: usize = 300_000;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "power-cut",
    claim: "what `add`, `fetch` and `rm` acknowledged before a power cut holds after it, nothing is \
            wrong, and the fetch that was going on goes on",
    few: 4,
    full: 50,
    least: |rounds| rounds,
    run: |context| cuts(context, false),
    twin: |context| cuts(context, true),
    caught: &["acknowledged models are lost"],
};

/// What was acknowledged in one round.
#[derive(Debug, Default)]
struct Acknowledged {
    /// Models and the bytes that they have to have.
    whole: Vec<(String, Vec<u8>)>,
    removed: Vec<String>,
    /// Bytes of the large model that were told.
    told: u64,
}

struct Rig<'a> {
    context: &'a Context,
    dir: &'a Path,
    outer: Mount,
    inner: Mount,
    /// What no sync gets past, in the twin.
    shim: Option<Shim>,
    small: Source,
    large: Source,
}

fn cuts(context: &Context, lying: bool) -> anyhow::Result<String> {
    let dir = workplace(context)?;
    let outer = Mount::new("xfs", 2_000, &dir.path().join("outer"))?;
    let disk = outer.path().join("disk.img");
    Mount::make("ext4", 600, &disk)?;
    let inner = Mount::image(&disk, &dir.path().join("inner"))?;
    let place = |name| -> anyhow::Result<PathBuf> {
        let place = dir.path().join(name);
        std::fs::create_dir(&place)?;
        Ok(place)
    };
    let rig = Rig {
        context,
        dir: dir.path(),
        outer,
        inner,
        shim: if lying { Some(Shim::build(dir.path())?) } else { None },
        small: Source::start(context, &place("small")?, SMALL)?,
        large: Source::start(context, &place("large")?, LARGE)?,
    };
    let mut dice = Dice::new(context.seed);
    let (mut acknowledged, mut resumed) = (0, 0);
    for round in 0..context.rounds {
        let (acks, present) = rig.round(round, &mut dice).context(format!("cut {round}"))?;
        acknowledged += acks;
        resumed += present;
    }
    Ok(format!(
        "{acknowledged} acknowledgements, none lost; the fetches went on from {} of {} MiB",
        resumed >> 20,
        (rig.large.len() * u64::from(context.rounds)) >> 20
    ))
}

impl Rig<'_> {
    /// One cut. Returns the number of acknowledgements, and what the fetch went on from.
    fn round(&self, round: u32, dice: &mut Dice) -> anyhow::Result<(u64, u64)> {
        let name = format!("home-{round}");
        let home = Home::new(&self.context.hive, self.inner.path().join(&name));
        let home = match &self.shim {
            Some(shim) => {
                let log = self.dir.join(&name);
                home.under(&shim.inject(home.path(), "sync", 0, Act::Skip).log_at(&log))
            }
            None => home,
        };
        let node = home.join(&[])?;
        let (acknowledged, on_its_way) = self.work(&home, dice)?;
        let snapshot = self.outer.path().join("snapshot.img");
        let disk = self.outer.path().join("disk.img");
        let words = [std::ffi::OsStr::new("--reflink=always"), disk.as_os_str()];
        tool("cp", "coreutils", words.into_iter().chain([snapshot.as_os_str()]))?;
        self.context.inject(1);
        drop(on_its_way);
        node.kill()?;

        let after = Mount::image(&snapshot, &self.dir.join("after"))?;
        let home = Home::new(&self.context.hive, after.path().join(&name));
        let checked = self.check(&home, &acknowledged);
        after.end()?;
        std::fs::remove_file(&snapshot)?;
        std::fs::remove_dir_all(self.inner.path().join(&name))?;
        let present = checked?;
        Ok(((acknowledged.whole.len() + acknowledged.removed.len()) as u64, present))
    }

    /// Lets a node fetch and add until the dice have had enough; what was going on then still does.
    fn work(&self, home: &Home, dice: &mut Dice) -> anyhow::Result<(Acknowledged, Vec<Process>)> {
        let mut acknowledged = Acknowledged::default();
        let done = home.json(&self.small.fetch()?)?;
        ensure!(done["event"] == "done", "the fetch said {done}");
        let bytes = hive_testnet::sample::bytes(self.context.seed, SMALL.len);
        acknowledged.whole.push((self.small.id.clone(), bytes));
        let mut large = home.start(&self.large.fetch()?)?;
        let enough = dice.below(self.large.len() - (4 << 20));
        for number in 0..3 + dice.below(12) {
            let bytes = hive_testnet::sample::bytes(dice.next(), ADDED);
            let id = home.add(&self.file(number, &bytes)?)?;
            if dice.below(6) == 0 {
                home.json(&["--json", "rm", &id])?;
                acknowledged.removed.push(id);
            } else {
                acknowledged.whole.push((id, bytes));
            }
        }
        while acknowledged.told < enough {
            let event = large.event()?.context("the large fetch ended")?;
            acknowledged.told = event["bytes"].as_u64().unwrap_or(acknowledged.told);
        }
        let path = self.file(99, &hive_testnet::sample::bytes(dice.next(), ADDED))?;
        let path = path.to_str().context("a path of ours is text")?;
        let last = home.start(&["--json", "add", path])?;
        // The cut falls somewhere into it.
        last.ends_within(Duration::from_micros(dice.below(150_000)))?;
        Ok((acknowledged, vec![large, last]))
    }

    fn file(&self, number: u64, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.dir.join(format!("added-{number}"));
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// After the reboot.
    fn check(&self, home: &Home, acknowledged: &Acknowledged) -> anyhow::Result<u64> {
        let models = home.json(&["--json", "ls"]).context("the first command after the cut")?;
        let find = |id: &str| -> Option<&Value> {
            models.as_array().into_iter().flatten().find(|model| model["cid"] == id)
        };
        let lost: Vec<&str> = acknowledged
            .whole
            .iter()
            .filter(|(id, bytes)| {
                find(id).is_none_or(|model| model["present"] != bytes.len() as u64)
            })
            .map(|(id, _)| id.as_str())
            .collect();
        let of = acknowledged.whole.len();
        ensure!(lost.is_empty(), "{} of {of} acknowledged models are lost", lost.len());
        for (id, bytes) in &acknowledged.whole {
            let path = find(id).and_then(|model| model["path"].as_str()).context("no path")?;
            ensure!(std::fs::read(path)? == *bytes, "{id} has other bytes");
        }
        let back = acknowledged.removed.iter().filter(|id| find(id).is_some()).count();
        ensure!(back == 0, "{back} models that were removed are back");
        home.verify().context("`hive verify`")?;
        let present = find(&self.large.id).and_then(|model| model["present"].as_u64());
        let (present, told) = (present.unwrap_or(0), acknowledged.told);
        ensure!(present + TAIL >= told, "{present} bytes are left of {told}");
        let done = home.json(&self.large.fetch()?).context("the fetch that goes on")?;
        self.large.require_same(Path::new(done["path"].as_str().context("no path")?))?;
        Ok(present)
    }
}
