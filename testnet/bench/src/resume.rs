//! `resume`: a reader that dies at half, and the one that goes on.
//!
//! The reader is killed (`SIGKILL`) when it has said that half is here; its page cache stays, as it
//! does when a process crashes. What came twice is counted where it was sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::args::{self, Output, Place};
use crate::files;
use crate::goals::{self, Goal};
use crate::hive::{self, Provider};
use crate::machine;
use crate::peers::{Aria2, Done, Given, Tools, Torrent};
use crate::process::{self, Process};
use crate::report::{self, middle, spread};
use crate::watch;
use crate::worker::{Half, Read};

/// Kill a reader at half, and go on
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// Bytes to fetch, as in `1GiB`
    #[arg(long, default_value = "2GiB", value_parser = args::size)]
    size: u64,

    /// Kills of each tool
    #[arg(long, alias = "rounds", default_value_t = 3)]
    runs: usize,

    /// Where `scripts/get-peers.sh` has put the tools
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    output: Output,
}

/// How one reader died, and how the next went on.
#[derive(Debug, Clone)]
struct Life {
    /// Bytes that the first said it had, or had written, when it was killed.
    killed_at: u64,
    /// Bytes that the second found.
    present: Option<u64>,
    /// Milliseconds from the call to the first new verified bytes.
    first_ms: Option<f64>,
    /// Bytes that were sent in both lives together, beyond the file.
    twice: u64,
    /// Bytes that the second had read to know what is here.
    hashed: Option<u64>,
    /// Seconds from the call to the file in its place.
    seconds: f64,
}

struct Row {
    name: &'static str,
    what: &'static str,
    lives: Vec<Life>,
    why: Option<String>,
}

/// The readers, in the order of their turns, and what each keeps.
const READERS: [(&str, &str); 4] = [
    ("hive", "synced once a second or every 64 MiB"),
    ("libtorrent, resume data", "resume data saved four times a second"),
    ("libtorrent, none", "its files alone, which it hashes again"),
    (
        "aria2 -c",
        "control file saved every second; the whole file hashed again at the end; it does not tell \
         what it has",
    ),
];

/// The network of the provider and its readers.
const NETWORK: &str = "bench";

struct Stage<'a> {
    dir: &'a Path,
    file: &'a Path,
    size: u64,
    hive: Provider,
    torrent: anyhow::Result<Torrent>,
    aria2: anyhow::Result<Aria2>,
}

/// Measures, prints, and writes the document.
pub(crate) fn run(args: &ResumeArgs) -> anyhow::Result<()> {
    let work = args.place.work()?;
    let file = work.path().join("bench.bin");
    eprintln!("writing {} random bytes", args.size);
    machine::touch_memory(2 * args.size);
    files::write_random(&file, 0, args.size)?;
    let tools = Tools::find(args.peers.clone());
    let given = |name| {
        let dir = work.path().join(name);
        std::fs::create_dir(&dir)?;
        anyhow::Ok(Given { dir, file: &file, size: args.size, sources: &[1], tools: &tools })
    };
    let mut stage = Stage {
        dir: work.path(),
        file: &file,
        size: args.size,
        hive: Provider::start(work.path(), NETWORK, &[&file])?,
        torrent: Torrent::start(&given("libtorrent")?),
        aria2: Aria2::start(&given("aria2")?),
    };
    let mut rows: Vec<Row> = READERS
        .iter()
        .map(|&(name, what)| Row { name, what, lives: Vec::new(), why: None })
        .collect();
    for run in 1..=args.runs {
        for row in rows.iter_mut().filter(|row| row.why.is_none()) {
            args.place.wait();
            match stage.live_twice(row.name) {
                Ok(life) => {
                    eprintln!("  run {run}, {}: {life:?}", row.name);
                    row.lives.push(life);
                }
                Err(error) => {
                    eprintln!("  {}: {error:#}", row.name);
                    row.why = Some(format!("{error:#}"));
                }
            }
        }
    }
    let goals = rows.first().map(|hive| goals(&hive.lives)).unwrap_or_default();
    let section =
        format!("{}\n\n{}\n\n{}", report::headline(args.size), table(&rows), goals::table(&goals));
    args.output.write("resume", &section)
}

impl Stage<'_> {
    fn live_twice(&mut self, name: &str) -> anyhow::Result<Life> {
        let out = tempfile::tempdir_in(self.dir)?;
        let (path, life) = match name {
            "hive" => self.hive(out.path())?,
            "libtorrent, resume data" => self.torrent(out.path(), true)?,
            "libtorrent, none" => self.torrent(out.path(), false)?,
            _ => self.aria2(out.path())?,
        };
        ensure!(files::begins(self.file, self.size, &path)?, "{name}: the bytes differ");
        Ok(life)
    }

    fn hive(&mut self, home: &Path) -> anyhow::Result<(PathBuf, Life)> {
        let before = self.hive.served()?;
        let providers = std::slice::from_ref(&self.hive);
        let mut reader = hive::reader(home, NETWORK, providers, None)?;
        let half: Half = reader.ask(&true)?;
        reader.kill()?;
        let mut reader = hive::reader(home, NETWORK, providers, None)?;
        let read: Read = reader.ask(&false)?;
        let sent = self.hive.served()? - before;
        let life = Life {
            killed_at: half.bytes,
            present: Some(read.present),
            first_ms: Some(read.first_ms),
            twice: sent.saturating_sub(self.size),
            hashed: Some(read.read_before),
            seconds: read.seconds,
        };
        Ok((read.path, life))
    }

    fn torrent(&mut self, out: &Path, keep: bool) -> anyhow::Result<(PathBuf, Life)> {
        let torrent = self.torrent.as_mut().map_err(|why| anyhow::anyhow!("{why:#}"))?;
        let before = torrent.sent()?;
        let mut reader = torrent.reader(out)?;
        let half: Half = reader.ask(&true)?;
        reader.kill()?;
        let resume = out.join("resume");
        if keep {
            ensure!(resume.exists(), "libtorrent had saved no resume data yet");
        } else if resume.exists() {
            std::fs::remove_file(resume)?;
        }
        let done: Done = torrent.reader(out)?.ask(&false)?;
        let life = Life {
            killed_at: half.bytes,
            present: Some(done.present),
            first_ms: Some(done.first_ms),
            twice: (torrent.sent()? - before).saturating_sub(self.size),
            hashed: Some(done.hashed),
            seconds: done.seconds,
        };
        Ok((out.join(self.file.file_name().context("a file without a name")?), life))
    }

    fn aria2(&mut self, out: &Path) -> anyhow::Result<(PathBuf, Life)> {
        let aria2 = self.aria2.as_ref().map_err(|why| anyhow::anyhow!("{why:#}"))?;
        let before = aria2.nginx().sent()?;
        let mut command = aria2.command(out, 1)?;
        let mut reader = Process::start("aria2", command.arg("--auto-save-interval=1"))?;
        let half = || reader.bytes_written() >= self.size / 2;
        watch::until(out, Duration::from_mins(2), "aria2 does not get to half", half)?;
        let killed_at = reader.bytes_written();
        reader.kill()?;
        ensure!(killed_at < self.size, "aria2 was whole before it was killed");
        let ran = process::run("aria2", aria2.command(out, 1)?.arg("--continue=true"))?;
        let life = Life {
            killed_at,
            present: None,
            first_ms: None,
            twice: (aria2.nginx().sent()? - before).saturating_sub(self.size),
            hashed: None,
            seconds: ran.seconds,
        };
        Ok((out.join(self.file.file_name().context("a file without a name")?), life))
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![
        "| | killed at, MiB | found, MiB | first new verified bytes, ms | sent twice, MiB | read to \
         know what is here, MiB | to the end, s | runs | what it keeps |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for row in rows {
        let of = |value: &dyn Fn(&Life) -> Option<f64>, digits| {
            spread(row.lives.iter().filter_map(value), digits)
        };
        let what = row.why.as_deref().unwrap_or(row.what).replace(['|', '\n'], " ");
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {what} |",
            row.name,
            of(&|life| Some(mib(life.killed_at)), 0),
            of(&|life| life.present.map(mib), 0),
            of(&|life| life.first_ms, 0),
            of(&|life| Some(mib(life.twice)), 0),
            of(&|life| life.hashed.map(mib), 1),
            of(&|life| Some(life.seconds), 1),
            row.lives.len(),
        ));
    }
    lines.join("\n")
}

/// What is wanted of hive: soon at work again, no more lost than what was not synced and what was on
/// its way, and nothing hashed again.
fn goals(lives: &[Life]) -> Vec<Goal> {
    let first = middle(lives.iter().filter_map(|life| life.first_ms));
    let twice = middle(lives.iter().map(|life| mib(life.twice)));
    let hashed = middle(lives.iter().filter_map(|life| life.hashed.map(mib)));
    vec![
        Goal::at_most("ms to the first new verified bytes", 100.0, first).digits(0),
        Goal::at_most("MiB sent twice (64 not synced, 64 on their way)", 128.0, twice).digits(0),
        Goal::at_most("MiB read to know what is here", 16.0, hashed).digits(1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_does_not_tell_is_a_dash() {
        let life = Life {
            killed_at: 64 << 20,
            present: None,
            first_ms: None,
            twice: 1 << 20,
            hashed: None,
            seconds: 2.0,
        };
        let rows = [Row { name: "one", what: "nothing", lives: vec![life], why: None }];
        let last = table(&rows).lines().last().map(str::to_owned);
        let row = "| one | 64 / 64 / 64 | - | - | 1 / 1 / 1 | - | 2.0 / 2.0 / 2.0 | 1 | nothing |";
        assert_eq!(last.as_deref(), Some(row));
    }

    #[test]
    fn a_resume_without_a_life_meets_no_goal() {
        assert!(goals(&[]).iter().all(|goal| !goal.is_met()));
    }
}
