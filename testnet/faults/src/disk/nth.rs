//! Every single file operation of `hive add` and `hive fetch`: the process dies there, or it fails.
//!
//! A first run counts the operations. Then each is hit once, in a home of its own: all of them, or
//! as many as there are rounds, drawn by the dice. Afterwards nothing wrong may be visible, and the
//! same command has to succeed without another word. The few calls that do not go through libc are
//! hit by `strace`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};

use super::home::{Ended, Home};
use super::mounts::Mount;
use super::shim::{ALL, Act, CHANGES, Call, Shim};
use super::source::{Size, Source};
use super::workplace;
use crate::dice::Dice;
use crate::scenario::{Context, Scenario};

/// Three groups, so that there is more than one write, and a short last one.
const SIZE: Size = Size { files: 1, len: 3_000_000, rate: 0 };

pub(crate) const KILL: Scenario = Scenario {
    name: "kill-nth",
    claim: "`add` and `fetch` killed at any write, sync, rename, truncation, removal or mode change \
            need no repair: nothing wrong is visible, and the same command completes",
    few: 16,
    full: 10_000,
    // Of two runs of a command the shorter one has not all operations of the longer one.
    least: |rounds| rounds.min(300) * 8 / 10,
    run: |context| sweep(context, &KILLS),
    twin: |context| sweep(context, &Plan { lying: true, ..KILLS }),
    caught: &["has other bytes"],
};

pub(crate) const FAIL: Scenario = Scenario {
    name: "io-nth",
    claim: "each file operation of `add` and `fetch` that fails once (EIO, ENOSPC, EMFILE, EINTR, \
            half a write) is told once or overcome; nothing wrong is visible, no sync is tried \
            twice, and the same command completes",
    few: 24,
    full: 10_000,
    least: |rounds| rounds.min(1_000) * 8 / 10,
    run: |context| sweep(context, &FAILURES),
    twin: |context| sweep(context, &Plan { lying: true, direct: false, ..FAILURES }),
    caught: &["has other bytes"],
};

const EINTR: Act = Act::Errno(4, "EINTR");
const EIO: Act = Act::Errno(5, "EIO");
const EMFILE: Act = Act::Errno(24, "EMFILE");
const ENOSPC: Act = Act::Errno(28, "ENOSPC");

/// What can befall an operation.
fn failures(call: &Call) -> Vec<Act> {
    match call.call.as_str() {
        "open" => vec![EMFILE, EIO, ENOSPC],
        "write" => vec![EIO, ENOSPC, EINTR, Act::Short],
        "read" => vec![EIO, EINTR],
        "sync" | "rename" | "mkdir" | "truncate" | "link" => vec![EIO, ENOSPC],
        _ => vec![EIO],
    }
}

/// A command whose operations are hit.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// `hive add`, of a file on another file system, which has to be copied.
    Add,
    /// `hive fetch`.
    Fetch,
}

/// Which operations are hit, and how.
struct Plan {
    calls: &'static str,
    acts: fn(&Call) -> Vec<Act>,
    /// Whether the calls past libc are hit too.
    direct: bool,
    /// The twin: a disk that loses what is written to models, and tells that it was done. Of its
    /// operations the last ones are hit: before them nothing counts on what was written.
    lying: bool,
}

const KILLS: Plan = Plan { calls: CHANGES, acts: |_| vec![Act::Kill], direct: false, lying: false };
const FAILURES: Plan = Plan { calls: ALL, acts: failures, direct: true, lying: false };

/// How many of a command's last operations the twins hit.
const LAST: usize = 8;

/// What all tries share.
struct Sweep<'a> {
    context: &'a Context,
    plan: &'a Plan,
    dir: &'a Path,
    shim: Shim,
    source: Source,
    /// The file that is added.
    original: PathBuf,
}

/// One operation, and what is to happen to it.
#[derive(Debug, Clone)]
struct Hit {
    work: Work,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    /// The `at`-th of the operations that the library counts, and what it was in the run that
    /// counted.
    Counted { at: u64, act: Act, call: Call },
    /// The first call of a kind that goes to the kernel past libc.
    Direct { call: &'static str, error: &'static str },
}

/// Calls past libc: room for a file that is fetched, and the groups of a file that is added.
const DIRECT: &[(Work, &str, &[&str])] = &[
    (Work::Fetch, "fallocate", &["ENOSPC", "EIO", "EINTR", "EOPNOTSUPP"]),
    (Work::Add, "pread64", &["EIO", "EINTR"]),
];

impl std::fmt::Display for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.what {
            What::Counted { at, act, call: Call { call, path, .. } } => {
                write!(f, "{:?}, operation {at} ({call} `{path}`) {}", self.work, act.name())
            }
            What::Direct { call, error } => write!(f, "{:?}, {call} {error}", self.work),
        }
    }
}

impl Sweep<'_> {
    fn args(&self, work: Work) -> anyhow::Result<Vec<&str>> {
        match work {
            Work::Add => {
                let original = self.original.to_str().context("a path of ours is text")?;
                Ok(vec!["--json", "add", original, "--share"])
            }
            Work::Fetch => Ok(self.source.fetch()?.to_vec()),
        }
    }

    /// The operations of a command that nothing happens to.
    fn count(&self, work: Work) -> anyhow::Result<Vec<Call>> {
        let home = Home::new(&self.context.hive, self.dir.join(format!("count-{work:?}")));
        let injection = self.shim.inject(home.path(), self.plan.calls, 0, Act::Count);
        home.under(&injection).json(&self.args(work)?)?;
        std::fs::remove_dir_all(home.path())?;
        injection.calls()
    }

    /// Hits one operation. It need not come to pass: two runs of a command are not equally long, and
    /// the last operations of the longer one are not in the other.
    fn hit(&self, number: usize, hit: &Hit) -> anyhow::Result<()> {
        let home = Home::new(&self.context.hive, self.dir.join(format!("home-{number}")));
        let args = self.args(hit.work)?;
        match &hit.what {
            What::Counted { at, act, .. } => self.hit_counted(&home, &args, *at, *act)?,
            What::Direct { call, error } => self.hit_direct(&home, &args, call, error)?,
        }
        self.require_sound(&home)?;
        let again = home.run(&args)?;
        ensure!(again.status.success(), "the next attempt: {again}");
        self.require_sound(&home)?;
        let models = home.json(&["--json", "ls"])?;
        ensure!(
            models[0]["present"] == self.source.len() && models.as_array().map(Vec::len) == Some(1),
            "in the end there is {models}"
        );
        std::fs::remove_dir_all(home.path())?;
        Ok(())
    }

    fn hit_counted(&self, home: &Home, args: &[&str], at: u64, act: Act) -> anyhow::Result<()> {
        let mut injection = self.shim.inject(home.path(), self.plan.calls, at, act);
        if self.plan.lying {
            injection = injection.losing("/models/");
        }
        let ended = home.under(&injection).run(args)?;
        let calls = injection.calls()?;
        injection.clear();
        let injected = calls.iter().any(|call| call.injected);
        self.context.inject(injected.into());
        if act != Act::Kill || !injected {
            require_told_once(&ended)?;
            // A sync that was interrupted did nothing: the one behind it is the first.
            if act != EINTR {
                require_one_sync(&calls)?;
            }
        }
        Ok(())
    }

    fn hit_direct(
        &self,
        home: &Home,
        args: &[&str],
        call: &str,
        error: &str,
    ) -> anyhow::Result<()> {
        let log = home.path().with_extension("strace");
        let mut strace: Vec<OsString> = vec!["strace".into(), "-f".into(), "-qq".into()];
        if call == "pread64" {
            // SQLite reads by it too; this is about the file that is added.
            strace.extend(["-P".into(), self.original.clone().into()]);
        }
        strace.extend(["-e".into(), format!("trace={call}").into()]);
        strace.extend(["-e".into(), format!("inject={call}:error={error}:when=1").into()]);
        strace.extend(["-o".into(), log.clone().into(), "--".into()]);
        let ended = home
            .behind(strace)
            .run(args)
            .context("under strace; Debian and Ubuntu have it: apt-get install strace")?;
        require_told_once(&ended)?;
        let log = std::fs::read_to_string(&log).context("strace wrote no log")?;
        ensure!(log.contains("(INJECTED)"), "the call did not come: {ended}");
        self.context.inject(1);
        Ok(())
    }

    /// Nothing that can be seen is wrong, and nothing that the index names.
    fn require_sound(&self, home: &Home) -> anyhow::Result<()> {
        self.source.require_visible_same(home.path())?;
        home.verify().context("`hive verify`")?;
        Ok(())
    }
}

/// A command that something happened to either did its work, or says why not.
fn require_told_once(ended: &Ended) -> anyhow::Result<()> {
    if !ended.status.success() {
        ended.refusal()?;
    }
    Ok(())
}

/// After a failed sync the system may take lost pages for clean: only new bytes help, never a second
/// sync. SQLite keeps to it for its own files by writing them anew.
fn require_one_sync(calls: &[Call]) -> anyhow::Result<()> {
    // The file's own name is `model`, or `model-` and the end of its id.
    let is_model = |call: &Call| {
        let file = call.path.split_once("/.partial/").and_then(|(_, path)| path.rsplit('/').next());
        call.call == "sync" && file.is_some_and(|file| file.starts_with("model"))
    };
    let failed = calls.iter().position(|call| call.injected && is_model(call));
    let Some(failed) = failed else { return Ok(()) };
    let path = &calls[failed].path;
    for call in &calls[failed + 1..] {
        if call.path == *path && call.call == "write" {
            break;
        }
        ensure!(call.path != *path || call.call != "sync", "`{path}` was synced a second time");
    }
    Ok(())
}

fn sweep(context: &Context, plan: &Plan) -> anyhow::Result<String> {
    let dir = workplace(context)?;
    let shim = Shim::build(dir.path())?;
    let source = Source::start(context, dir.path(), SIZE)?;
    // On another file system than the homes, so that no link can be made.
    let elsewhere = Mount::memory(16, &dir.path().join("elsewhere"))?;
    let original = elsewhere.path().join("model");
    std::fs::copy(dir.path().join("original"), &original)?;
    let sweep = Sweep { context, plan, dir: dir.path(), shim, source, original };

    let mut hits = Vec::new();
    for work in [Work::Add, Work::Fetch] {
        let mut calls = sweep.count(work)?;
        if plan.lying {
            calls.drain(..calls.len().saturating_sub(LAST));
        }
        for call in calls {
            let at = call.number;
            let hit = |act| Hit { work, what: What::Counted { at, act, call: call.clone() } };
            hits.extend((plan.acts)(&call).into_iter().map(hit));
        }
    }
    if plan.direct {
        for &(work, call, errors) in DIRECT {
            let hit = |&error| Hit { work, what: What::Direct { call, error } };
            hits.extend(errors.iter().map(hit));
        }
    }
    let of = hits.len();
    let mut dice = Dice::new(context.seed);
    while hits.len() > context.rounds as usize {
        hits.swap_remove(dice.below(hits.len() as u64) as usize);
    }
    all_at_once(&hits, |number, hit| sweep.hit(number, hit).with_context(|| hit.to_string()))?;
    Ok(format!("{} of {of} points; nothing wrong visible, all completed after", hits.len()))
}

/// Does something for each of many, on all cores, until one fails.
fn all_at_once<T: Sync>(
    many: &[T],
    one: impl Fn(usize, &T) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = many.get(number) else { return };
            if let Err(error) = one(number, item) {
                next.store(many.len(), Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
