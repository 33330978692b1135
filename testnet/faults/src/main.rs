//! Breaks hive on purpose: `cargo run --release -p hive-faults -- all`.
//!
//! Every scenario injects a fault, asserts that it was injected, and states what survived. It follows
//! from its seed, which is printed, and `--seed` replays it. Its twin is the same harness over
//! something broken on purpose, and must fail at just that: a harness whose twin passes, or fails for
//! another reason, shows nothing.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod dice;
#[cfg(target_os = "linux")]
mod disk;
mod figures;
mod hostile;
#[cfg(target_os = "linux")]
mod isolation;
mod peers;
mod place;
mod report;
mod scenario;
mod victim;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;

use crate::place::Place;
use crate::report::{Line, Report};
use crate::scenario::{Context, Scenario};

/// Crashes, full disks, liars and hostile bytes, on purpose
#[derive(Debug, Parser)]
#[command(name = "hive-faults", version)]
struct Cli {
    /// Scenarios by name; `all`, or nothing, for every one
    scenarios: Vec<String>,

    /// Print the scenarios and end
    #[arg(long)]
    list: bool,

    /// What decides where the faults fall
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Rounds of each scenario [default: the few that CI runs]
    #[arg(long, value_name = "N", conflicts_with = "full")]
    rounds: Option<u32>,

    /// As many rounds as the promise says
    #[arg(long)]
    full: bool,

    /// Only the broken twins
    #[arg(long)]
    twins: bool,

    /// The program `hive` [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    hive: Option<PathBuf>,

    /// Directory for homes and disk images [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Document whose section the results replace
    #[arg(long, value_name = "FILE")]
    doc: Option<PathBuf>,
}

fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    #[cfg(target_os = "linux")]
    let disk = disk::SCENARIOS;
    // Its scenarios are made of mounts and of what stands between a program and Linux.
    #[cfg(not(target_os = "linux"))]
    let disk: &[Scenario] = &[];
    [disk, peers::SCENARIOS, hostile::SCENARIOS].into_iter().flatten()
}

fn main() -> ExitCode {
    if let Some(code) = victim::called() {
        return code;
    }
    let cli = Cli::parse();
    #[cfg(target_os = "linux")]
    if !cli.list {
        match isolation::run_inside(cli.dir.as_ref()) {
            Ok(Some(code)) => return code,
            Ok(None) => {}
            Err(error) => return told(&error),
        }
    }
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => told(&error),
    }
}

fn told(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn run(cli: &Cli) -> anyhow::Result<bool> {
    if cli.list {
        for scenario in scenarios() {
            println!("{:24} {}", scenario.name, scenario.claim);
        }
        return Ok(true);
    }
    let hive = match &cli.hive {
        Some(hive) => hive.clone(),
        None => std::env::current_exe()?.with_file_name("hive"),
    };
    let chosen = chosen(&cli.scenarios)?;
    require_hive(&hive, &chosen)?;
    let seed = cli.seed.unwrap_or_else(dice::fresh_seed);
    let mut report = Report { place: Place::here(), lines: Vec::new() };
    for scenario in chosen {
        let rounds = match cli.rounds {
            Some(rounds) => rounds,
            None if cli.full => scenario.full,
            None => scenario.few,
        };
        let context = Context::new(seed, rounds, cli.full, hive.clone(), place(cli));
        for twin in [false, true] {
            if cli.twins && !twin {
                continue;
            }
            let line = Line::of(scenario, &context, twin);
            println!("{line}");
            report.lines.push(line);
        }
    }
    if let Some(doc) = &cli.doc {
        report.write(doc).with_context(|| format!("`{}`", doc.display()))?;
    }
    Ok(report.is_good())
}

/// Fails before anything was run if a scenario needs a program that was not built.
fn require_hive(hive: &Path, chosen: &[&Scenario]) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    if let Some(scenario) =
        chosen.iter().find(|one| disk::SCENARIOS.iter().any(|disk| disk.name == one.name))
    {
        ensure!(
            hive.is_file(),
            "`{}` is not there, and `{}` runs it. Build both and run this again:\n\n    \
             cargo build --release -p hive-cli -p hive-faults\n\n\
             or name another with --hive FILE",
            hive.display(),
            scenario.name
        );
    }
    Ok(())
}

/// Where homes and images go.
fn place(cli: &Cli) -> PathBuf {
    #[cfg(target_os = "linux")]
    if let Some(dir) = isolation::dir() {
        return dir;
    }
    cli.dir.clone().unwrap_or_else(std::env::temp_dir)
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    if names.is_empty() || names.iter().any(|name| name == "all") {
        return Ok(scenarios().collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        match scenarios().find(|scenario| scenario.name == name) {
            Some(scenario) => chosen.push(scenario),
            None => bail!("there is no scenario `{name}`; --list names them"),
        }
    }
    Ok(chosen)
}
