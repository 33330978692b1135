//! `peers`: hive beside the tools that people use, in one run, one after another, again and again.
//!
//! Every tool is in processes of its own, on the same file, the same disk and the same two ends, and
//! each is given what makes it fast. Where Linux allows it all of them run in a network namespace
//! that has a loopback and nothing else, so that no tool can reach, or wait for, anybody outside.
//! A tool that is not here or fails has a row that says why.

mod http;
mod lattica;
mod sendme;
mod tools;
mod torrent;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use crate::args::{self, Output, Place};
use crate::document::Part;
use crate::files;
use crate::goals::{self, Goal, ratio};
use crate::hive::{COLD, Cold, Providers, Warm};
use crate::machine;
use crate::measure::{Peer, Run, measure};
use crate::process::Ran;
use crate::report::{self, Row};
use crate::transfer;
use crate::worker::Added;

pub(crate) use self::http::Aria2;
use self::http::Curl;
use self::lattica::Lattica;
use self::sendme::Sendme;
pub(crate) use self::tools::Tools;
use self::torrent::Driver;
pub(crate) use self::torrent::{Done, Torrent};

/// Fetch the same file with hive and with other tools, by turns
#[derive(Debug, clap::Args)]
pub(crate) struct PeersArgs {
    /// Bytes to fetch, as in `1GiB`
    #[arg(long, default_value = "2GiB", value_parser = args::size)]
    size: u64,

    /// Numbers of sources, separated by commas
    #[arg(long, default_value = "1,4", value_delimiter = ',')]
    sources: Vec<usize>,

    /// Runs of each tool with each number of sources
    #[arg(long, alias = "rounds", default_value_t = 3)]
    runs: usize,

    /// Tools to measure, separated by commas
    #[arg(long, default_value = NAMES, value_delimiter = ',')]
    only: Vec<String>,

    /// Where `scripts/get-peers.sh` has put the tools
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,

    /// Only a loopback can be reached from here
    #[arg(long, hide = true)]
    isolated: bool,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    output: Output,
}

/// The tools, in the order of their turns.
const NAMES: &str = "hive,hive-cold,libtorrent,sendme,aria2,lattica,curl";
/// The part of the section that has them all.
const ALL: &str = "all";

/// What every tool is given.
pub(crate) struct Given<'a> {
    /// Where its files go.
    pub(crate) dir: PathBuf,
    /// The original.
    pub(crate) file: &'a Path,
    pub(crate) size: u64,
    /// The numbers of sources that it is asked to fetch from.
    pub(crate) sources: &'a [usize],
    pub(crate) tools: &'a Tools,
}

impl Given<'_> {
    /// The most sources that it is asked to fetch from.
    fn most(&self) -> usize {
        self.sources.iter().copied().max().unwrap_or(0)
    }
}

/// Providers of hive, once they were asked for: warm and cold readers have the same.
type Hive = Option<Rc<Providers>>;

fn hive(given: &Given<'_>, hive: &mut Hive) -> anyhow::Result<Rc<Providers>> {
    if let Some(hive) = hive {
        return Ok(Rc::clone(hive));
    }
    let new = Providers::start(&given.dir, given.file, given.size, given.sources)?;
    Ok(Rc::clone(hive.insert(Rc::new(new))))
}

fn start(name: &str, given: &Given<'_>, providers: &mut Hive) -> anyhow::Result<Box<dyn Peer>> {
    std::fs::create_dir_all(&given.dir)?;
    Ok(match name {
        "hive" => Box::new(Warm(hive(given, providers)?)),
        "hive-cold" => Box::new(Cold(hive(given, providers)?)),
        "libtorrent" => Box::new(Torrent::start(given)?),
        "sendme" => Box::new(Sendme::start(given)?),
        "aria2" => Box::new(Aria2::start(given)?),
        "lattica" => Box::new(Lattica::start(given)?),
        "curl" => Box::new(Curl::start(given)?),
        other => anyhow::bail!("no tool is called `{other}`; there are {NAMES}"),
    })
}

/// A tool, or why there is none, and its rows.
struct Turn {
    tool: anyhow::Result<Box<dyn Peer>>,
    rows: Vec<Row>,
}

impl Turn {
    fn new(name: &str, given: &Given<'_>, hive: &mut Hive) -> Self {
        eprintln!("{name}: starting its sources");
        let tool = start(name, given, hive);
        let (title, missing) = match &tool {
            Ok(tool) => (format!("{} {}", tool.name(), tool.version()), None),
            Err(why) => (name.to_owned(), Some(format!("{why:#}"))),
        };
        if let Some(why) = &missing {
            eprintln!("  {why}");
        }
        let why =
            |n| tool.as_ref().map_or(missing.clone(), |tool| tool.refuses(n).map(str::to_owned));
        let rows = given.sources.iter().map(|&n_sources| Row {
            name: title.clone(),
            n_sources,
            runs: Vec::new(),
            why: why(n_sources),
        });
        let rows = rows.collect();
        Self { tool, rows }
    }
}

/// Measures, prints, and writes the document.
pub(crate) fn run(args: &PeersArgs) -> anyhow::Result<()> {
    if !args.isolated && isolation_works() {
        return in_isolation();
    }
    let work = args.place.work()?;
    let file = work.path().join("bench.bin");
    eprintln!("writing {} random bytes", args.size);
    machine::touch_memory(4 * args.size);
    files::write_random(&file, 0, args.size)?;
    let tools = Tools::find(args.peers.clone());
    let mut hive = None;
    let mut turns: Vec<Turn> = args
        .only
        .iter()
        .map(|name| {
            let dir = work.path().join(name);
            let given =
                Given { dir, file: &file, size: args.size, sources: &args.sources, tools: &tools };
            Turn::new(name, &given, &mut hive)
        })
        .collect();
    for round in 1..=args.runs {
        for at in 0..args.sources.len() {
            for turn in &mut turns {
                let (Ok(tool), Some(row)) = (&mut turn.tool, turn.rows.get_mut(at)) else {
                    continue;
                };
                if row.why.is_some() {
                    continue;
                }
                match measure(&mut **tool, &file, row.n_sources, args.place.patience()) {
                    Ok(run) => {
                        eprintln!("  round {round}, {} from {}: {run}", row.name, row.n_sources);
                        row.runs.push(run);
                    }
                    Err(error) => {
                        eprintln!("  round {round}, {}: {error:#}", row.name);
                        row.why = Some(format!("{error:#}"));
                    }
                }
            }
        }
    }
    let name = part(&args.only);
    let part = Part { name: name.clone(), text: section(args, turns) };
    // What all tools did together takes the place of what some did.
    let rank = |other: &str| match (name.as_str(), other) {
        (_, ALL) => Some(0),
        (ALL, _) => None,
        _ => Some(1),
    };
    args.output.write_parts("peers", "", &[part], rank)
}

/// The part of the section that these tools have.
fn part(tools: &[String]) -> String {
    let known: Vec<&str> = NAMES.split(',').collect();
    let measured: Vec<&str> =
        known.iter().copied().filter(|name| tools.iter().any(|tool| tool == name)).collect();
    if measured == known { ALL.to_owned() } else { measured.join(",") }
}

fn section(args: &PeersArgs, turns: Vec<Turn>) -> String {
    let notes: Vec<String> = turns
        .iter()
        .filter_map(|turn| turn.tool.as_ref().ok())
        .map(|tool| format!("- {} {}: {}.", tool.name(), tool.version(), tool.manner()))
        .collect();
    let rows: Vec<Row> = turns.into_iter().flat_map(|turn| turn.rows).collect();
    let mut goals = transfer::goals(&rows);
    goals.extend(beside(&rows));
    let isolated = if args.isolated {
        "in a network namespace that has a loopback and nothing else"
    } else {
        "over the loopback"
    };
    format!(
        "{}\nAll of it {isolated}, by turns, {} runs, each fetch after a wait for other programs to \
         be quiet; every file compared with the original.\n\n{}\n\n{}\n\n{}",
        report::headline(args.size),
        args.runs,
        report::table(&rows),
        notes.join("\n"),
        goals::table(&goals),
    )
}

/// What is wanted of hive beside others: of a cold one where the other's clock includes connecting or
/// starting, of a warm one where the other is connected too.
fn beside(rows: &[Row]) -> Vec<Goal> {
    let rate = |name: &str, n_sources| {
        let mut rows = rows.iter();
        let row = rows.find(|row| row.name.starts_with(name) && row.n_sources == n_sources)?;
        row.middle(|run: &Run| run.rate)
    };
    let goal = |ours: &str, name: &str, n_sources, bound| {
        let sources = if n_sources == 1 { "one source" } else { "four sources" };
        let what = format!("MB/s of {ours} for each of {name}, {sources}");
        Goal::at_least(what, bound, ratio(rate(ours, n_sources), rate(name, n_sources)))
    };
    vec![
        goal(COLD, "libtorrent", 1, 1.4),
        goal(COLD, "libtorrent", 4, 1.4),
        goal(COLD, "sendme", 1, 3.0),
        goal("hive", "Lattica", 1, 2.5),
        goal("hive", "Lattica", 4, 2.5),
    ]
}

/// A command that runs a program in a network namespace of its own.
fn isolated() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
    command
}

fn isolation_works() -> bool {
    let done = isolated().arg("true").output();
    let works = done.is_ok_and(|done| done.status.success());
    if !works {
        eprintln!("no network namespace to be had (unshare, ip): measuring in this one");
    }
    works
}

fn in_isolation() -> anyhow::Result<()> {
    let status = isolated()
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--isolated")
        .status()?;
    anyhow::ensure!(status.success(), "the measurement failed ({status})");
    Ok(())
}

/// What it takes sendme to have a file ready to be sent.
pub(crate) fn import_with_sendme(tools: &Tools, dir: &Path, file: &Path) -> anyhow::Result<Added> {
    let start = Instant::now();
    let (mut sender, _) = sendme::send(&tools.built("sendme")?, dir, file)?;
    let seconds = start.elapsed().as_secs_f64();
    let added = Added { seconds, cpu: sender.cpu(), memory: sender.peak() };
    sender.kill()?;
    Ok(added)
}

/// What it takes libtorrent to make a torrent of a file.
pub(crate) fn import_with_libtorrent(
    tools: &Tools,
    dir: &Path,
    file: &Path,
    size: u64,
) -> anyhow::Result<Ran> {
    let given = Given { dir: dir.to_owned(), file, size, sources: &[], tools };
    Ok(Driver::make(&given)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, n_sources: usize, rates: &[f64]) -> Row {
        let run = |&rate: &f64| Run {
            rate,
            reader_cpu: 1.0,
            sources_cpu: 1.0,
            first_ms: Some(10.0),
            memory: 1 << 20,
            others: 0.0,
            n_sources: None,
        };
        let why = rates.is_empty().then(|| "not here".to_owned());
        Row { name: name.to_owned(), n_sources, runs: rates.iter().map(run).collect(), why }
    }

    #[test]
    fn goals_beside_others_compare_the_middles_with_as_many_sources() {
        let rows = [
            row("hive 1.0", 1, &[900.0]),
            row("cold hive 1.0", 1, &[100.0, 600.0, 700.0]),
            row("cold hive 1.0", 4, &[400.0]),
            row("libtorrent 2.1.1", 1, &[300.0]),
            row("libtorrent 2.1.1", 4, &[400.0]),
            row("sendme", 1, &[]),
            row("Lattica", 1, &[300.0]),
        ];
        let met: Vec<bool> = beside(&rows).iter().map(Goal::is_met).collect();
        assert_eq!(met, [true, false, false, true, false]);
    }

    #[test]
    fn some_tools_are_a_part_of_their_own() {
        let tools = |names: &str| names.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(part(&tools(NAMES)), ALL);
        assert_eq!(part(&tools("curl,hive,nonsense")), "hive,curl");
    }
}
