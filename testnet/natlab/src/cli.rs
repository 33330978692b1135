//! The command line of `hive-natlab`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

use crate::janitor::{self, Janitor};
use crate::netns;
use crate::node::Hive;
use crate::process::Helper;
use crate::scenario::matrix::MatrixArgs;
use crate::scenario::recover::Fault;
use crate::scenario::{
    fetch, lan_only, matrix, membership, only443, public, recover, relayed, selftest,
};
use crate::stage::Setting;
use crate::topology::Topology;

/// Networks with routers that translate addresses, on this machine, and hive in them
#[derive(Debug, Parser)]
#[command(name = "hive-natlab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// What every scenario takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// The file that says which networks there are [default: the lab's own]
    #[arg(long, value_name = "FILE", global = true)]
    topology: Option<PathBuf>,
    /// What decides the dice of every line, and the bytes of the model [default: the topology's]
    #[arg(long, value_name = "NUMBER", global = true)]
    seed: Option<u64>,
    /// The program `hive` [default: the one beside this program]
    #[arg(long, value_name = "FILE", global = true)]
    hive: Option<PathBuf>,
    /// Mebibytes of the model that is fetched
    #[arg(long, value_name = "MIB", default_value_t = 64, global = true,
          value_parser = clap::value_parser!(u64).range(1..=4096))]
    size: u64,
    /// A model of one's own to fetch instead
    #[arg(long, value_name = "FILE", global = true)]
    model: Option<PathBuf>,
    /// What nodes log, in the language of HIVE_LOG
    #[arg(long, default_value = "info", global = true)]
    log: String,
    /// Keep the nodes' logs here
    #[arg(long, value_name = "DIR", global = true)]
    logs: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The lab by itself: routers, lines and faults, with plain sockets
    Selftest,
    /// hive between public addresses: what the others stand on
    Public,
    /// Every kind of router with every other: who meets directly, how fast, and why not
    Matrix(MatrixArgs),
    /// A model over a punched path, which is cut half way and healed
    Fetch,
    /// A model over a relay, with both sides' leave, across broken circuits
    RelayedBulk,
    /// A laptop whose network lets out nothing but TCP port 443
    Only443,
    /// Two machines in one home; no packet leaves it
    LanOnly,
    /// A private network, and who is refused
    Membership,
    /// The relay is killed and started again
    RestartRelay,
    /// A laptop sleeps longer than connections live
    Sleep,
    /// A laptop is carried into another network
    Roam,
    /// Remove what labs that died have left
    Clean,
    #[command(flatten)]
    Helper(Helper),
}

/// Runs the program.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether what the command is for holds.
fn run(cli: Cli) -> anyhow::Result<bool> {
    match cli.command {
        Command::Helper(helper) => return helper.run().map(|()| true),
        Command::Clean => {
            for removed in janitor::clean()? {
                println!("removed {removed}");
            }
            return Ok(true);
        }
        _ => {}
    }
    netns::check()?;
    let mut topology = Topology::load(cli.common.topology.as_deref())?;
    topology.seed = cli.common.seed.unwrap_or(topology.seed);
    // Nodes end with the thread that started them, so there is one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let janitor = Janitor::start()?;
    let ended = runtime.block_on(scenario(&cli.command, &cli.common, topology));
    drop(janitor);
    ended
}

async fn scenario(command: &Command, common: &Common, topology: Topology) -> anyhow::Result<bool> {
    let say = |text: &str| println!("{text}");
    if let Command::Selftest = command {
        return selftest::run(&topology, &say).await;
    }
    let program = match &common.hive {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("who am I?")?.with_file_name("hive"),
    };
    let program = std::path::absolute(&program)?;
    anyhow::ensure!(
        program.is_file(),
        "there is no program {}: build it (cargo build -p hive-cli) or name it with --hive",
        program.display()
    );
    let hive = Hive { program, log: common.log.clone(), logs: common.logs.clone() };
    let setting = Setting { topology, hive, size: common.size << 20, model: common.model.clone() };
    match command {
        Command::Public => public::run(&setting, &say).await,
        Command::Matrix(args) => matrix::run(&setting, args, &say).await,
        Command::Fetch => fetch::run(&setting, &say).await,
        Command::RelayedBulk => relayed::run(&setting, &say).await,
        Command::Only443 => only443::run(&setting, &say).await,
        Command::LanOnly => lan_only::run(&setting, &say).await,
        Command::Membership => membership::run(&setting, &say).await,
        Command::RestartRelay => recover::run(&setting, Fault::RestartRelay, &say).await,
        Command::Sleep => recover::run(&setting, Fault::Sleep, &say).await,
        Command::Roam => recover::run(&setting, Fault::Roam, &say).await,
        _ => bail!("not a scenario"),
    }
}
