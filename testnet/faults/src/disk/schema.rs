//! Homes that are not as this hive left them: a newer schema, an empty index, lost keys, garbage.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use hive_store::{Options, Store};

use super::home::Home;
use super::source::{Size, Source};
use super::workplace;
use crate::dice::Dice;
use crate::scenario::{Context, Scenario};

const SIZE: Size = Size { files: 1, len: 2_500_000, rate: 0 };
/// Where SQLite's header has `user_version`, which is the schema.
const USER_VERSION_AT: u64 = 60;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "schema",
    claim: "a home with an unknown schema, an empty or garbled index, a cut-off log, lost or garbled \
            keys, settings or directories starts, or refuses in one line, and no byte of a model is \
            lost",
    few: 1,
    full: 5,
    least: |rounds| CASES.len() as u64 * rounds,
    run: |context| rounds(context, false),
    twin: |context| rounds(context, true),
    caught: &["a byte of the model is lost"],
};

/// What is done to a home, and whether it has to be refused.
struct Case {
    name: &'static str,
    damage: fn(&Path, &mut Dice) -> anyhow::Result<()>,
    must_refuse: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "a newer schema",
        damage: |home, _| {
            settle(home)?;
            let index = File::options().write(true).open(home.join("index.sqlite"))?;
            Ok(index.write_all_at(&99_u32.to_be_bytes(), USER_VERSION_AT)?)
        },
        must_refuse: true,
    },
    Case {
        name: "an index of 0 bytes",
        damage: |home, _| {
            settle(home)?;
            cut(&home.join("index.sqlite"), 0)
        },
        must_refuse: false,
    },
    Case {
        name: "an index of random bytes",
        damage: |home, dice| {
            settle(home)?;
            garble(&home.join("index.sqlite"), dice)
        },
        must_refuse: true,
    },
    Case {
        name: "an index that ends early",
        damage: |home, dice| {
            settle(home)?;
            let index = home.join("index.sqlite");
            let len = std::fs::metadata(&index)?.len();
            cut(&index, 100 + dice.below(len - 100))
        },
        must_refuse: true,
    },
    Case {
        name: "a log that ends early",
        damage: |home, dice| {
            let log = home.join("index.sqlite-wal");
            let len = std::fs::metadata(&log).map_or(0, |log| log.len());
            cut(&log, dice.below(len.max(1)))
        },
        must_refuse: false,
    },
    Case {
        name: "no identity.key",
        damage: |home, _| Ok(std::fs::remove_file(home.join("identity.key"))?),
        must_refuse: false,
    },
    Case {
        name: "an identity.key of 0 bytes",
        damage: |home, _| cut(&home.join("identity.key"), 0),
        must_refuse: true,
    },
    Case {
        name: "an identity.key of random bytes",
        damage: |home, dice| garble(&home.join("identity.key"), dice),
        must_refuse: true,
    },
    Case {
        name: "a garbled config.toml",
        damage: |home, dice| garble(&home.join("config.toml"), dice),
        must_refuse: true,
    },
    Case {
        name: "a garbled api.addr and api.token",
        damage: |home, dice| {
            garble(&home.join("api.addr"), dice)?;
            garble(&home.join("api.token"), dice)
        },
        must_refuse: false,
    },
    Case {
        name: "a directory in place of the lock",
        damage: |home, _| {
            std::fs::remove_file(home.join("lock"))?;
            Ok(std::fs::create_dir(home.join("lock"))?)
        },
        must_refuse: true,
    },
    Case {
        name: "a file in place of models/.partial",
        damage: |home, _| {
            std::fs::remove_dir_all(home.join("models/.partial"))?;
            Ok(std::fs::write(home.join("models/.partial"), "")?)
        },
        must_refuse: true,
    },
];

/// Brings the log into the index, which is done when the last who has it open closes it.
fn settle(home: &Path) -> anyhow::Result<()> {
    drop(Store::open(home, Options { quota: None, reserve: Some(0) })?);
    ensure!(!home.join("index.sqlite-wal").exists(), "the index's log is still there");
    Ok(())
}

fn cut(path: &Path, len: u64) -> anyhow::Result<()> {
    Ok(File::options().write(true).create(true).truncate(false).open(path)?.set_len(len)?)
}

fn garble(path: &Path, dice: &mut Dice) -> anyhow::Result<()> {
    let bytes = hive_testnet::sample::bytes(dice.next(), 100 + dice.below(4_000) as usize);
    Ok(std::fs::write(path, bytes)?)
}

fn rounds(context: &Context, clearing: bool) -> anyhow::Result<String> {
    let dir = workplace(context)?;
    let source = Source::start(context, dir.path(), SIZE)?;
    let hive = if clearing { clearing_hive(context, dir.path())? } else { context.hive.clone() };
    let mut dice = Dice::new(context.seed);
    let (mut refused, mut started) = (0, 0);
    for round in 0..context.rounds {
        for (number, case) in CASES.iter().enumerate() {
            let home = dir.path().join(format!("home-{round}-{number}"));
            let was_refused = one(context, &source, &hive, &home, case, &mut dice)
                .with_context(|| case.name.to_owned())?;
            refused += u64::from(was_refused);
            started += u64::from(!was_refused);
            std::fs::remove_dir_all(&home)?;
        }
    }
    Ok(format!("{refused} refused in one line, {started} started; every model byte is there"))
}

/// The twin: a hive that helps itself when it cannot start, by clearing what it does not understand.
fn clearing_hive(context: &Context, dir: &Path) -> anyhow::Result<PathBuf> {
    let path = dir.join("hive-that-clears");
    let hive = context.hive.canonicalize()?;
    let hive = hive.to_str().context("a path that is text")?;
    let script =
        format!("#!/bin/sh\n'{hive}' \"$@\" || {{ rm -rf \"$HIVE_HOME/models\"; exit 1; }}\n");
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Damages a home and looks what a start makes of it. Returns whether it was refused.
fn one(
    context: &Context,
    source: &Source,
    hive: &Path,
    path: &Path,
    case: &Case,
    dice: &mut Dice,
) -> anyhow::Result<bool> {
    let healthy = Home::new(&context.hive, path.to_owned());
    let done = healthy.json(&source.fetch()?)?;
    let model = PathBuf::from(done["path"].as_str().context("no path")?);
    // With a log that was not put into the index, as a killed process leaves it.
    let node = healthy.join(&[])?;
    healthy.json(&["--json", "pin", &source.id])?;
    node.kill()?;
    (case.damage)(path, dice)?;
    context.inject(1);

    let home = Home::new(hive, path.to_owned());
    let mut was_refused = false;
    // Twice: a start must not make it worse.
    for _ in 0..2 {
        let node = home.start(&["--json", "join"])?;
        was_refused = refused(node)?;
        ensure!(was_refused || !case.must_refuse, "it started");
        source.require_same(&model).context("a byte of the model is lost")?;
    }
    if !was_refused {
        // Known or not, the model comes back, and what is there can be used.
        let done = home.json(&source.fetch()?)?;
        source.require_same(Path::new(done["path"].as_str().context("no path")?))?;
        source.require_same(&model)?;
        home.verify()?;
    }
    Ok(was_refused)
}

/// Whether a node refused to start, which it has to say in one line.
fn refused(mut node: super::home::Process) -> anyhow::Result<bool> {
    if node.line()?.is_some_and(|line| line.contains("\"ready\"")) {
        node.signal(rustix::process::Signal::TERM)?;
        let ended = node.end()?;
        ensure!(ended.status.success(), "a node that was asked to end: {ended}");
        return Ok(false);
    }
    node.end()?.refusal()?;
    Ok(true)
}
