//! Measures hive on this machine: `cargo run --release -p hive-bench -- transfer`.
//!
//! Providers and the reader are processes of their own, started by running this program again with a
//! hidden subcommand ([`worker`]), so that each one's processor time and memory are its own. The
//! table goes to stdout and, with the machine it was measured on, into a document ([`report`]).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod args;
mod arrive;
mod document;
mod files;
mod goals;
mod hive;
mod import;
mod machine;
mod measure;
#[cfg(target_os = "linux")]
mod multi;
mod peers;
mod process;
mod report;
mod resume;
mod run;
mod scale;
mod serve;
mod transfer;
mod watch;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::import::ImportArgs;
use crate::peers::PeersArgs;
use crate::resume::ResumeArgs;
use crate::transfer::TransferArgs;

/// Measurements of hive
#[derive(Debug, Parser)]
#[command(name = "hive-bench", version)]
struct Cli {
    /// The network of a provider or a reader
    #[arg(long, hide = true, default_value = "bench")]
    network: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Transfer(TransferArgs),
    Peers(PeersArgs),
    Resume(ResumeArgs),
    Import(ImportArgs),
    Serve(ServeArgs),
    Scale(scale::Args),
    #[cfg(target_os = "linux")]
    Multi(multi::MultiArgs),
    /// A node in a namespace of `multi`, in a process of its own
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Member(multi::MemberArgs),
    /// Waits for the end of who started it, and puts a setting of the kernel back
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Restore {
        /// The file of the setting
        file: PathBuf,
        /// What stood there
        text: String,
    },
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    Lab(hive_natlab::Helper),
    Arrive(arrive::ArriveArgs),
    /// A node in a process of its own that answers with a model that it does not have
    #[command(hide = true)]
    Answer(arrive::AnswerArgs),
    Run(run::RunArgs),
    /// hive's side of `run` in a process of its own
    #[command(hide = true)]
    Decode {
        /// A GGUF file
        model: PathBuf,
        /// Tokens that are decoded
        tokens: u32,
        /// What is continued
        prompt: String,
        /// What is read
        long: Vec<String>,
    },
    /// A provider in a process of its own
    #[command(hide = true)]
    Provide {
        /// Its home
        home: PathBuf,
        /// What it provides
        files: Vec<PathBuf>,
    },
    /// Nodes in a process of their own
    #[command(hide = true)]
    ScaleNodes(scale::live::Args),
    /// A simulation in a process of its own
    #[command(hide = true)]
    ScaleSim(scale::virtual_time::Args),
    /// A reader in a process of its own
    #[command(hide = true)]
    Read {
        /// Its home
        home: PathBuf,
        /// What it fetches
        id: String,
        /// What it fetches first, to warm its connections up
        #[arg(long, conflicts_with = "cold")]
        warm: Option<String>,
        /// Fetch at once, and end
        #[arg(long)]
        cold: bool,
        /// From whom
        from: Vec<String>,
    },
}

/// Answer several people at once with one model
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// A model that generates: a GGUF file or a directory
    model: PathBuf,

    /// A model that embeds
    #[arg(long, value_name = "DIR")]
    embed: Option<PathBuf>,

    /// The program `hive`, for the time that a command of its own takes
    #[arg(long, value_name = "FILE")]
    hive: Option<PathBuf>,

    /// Runs
    #[arg(long, default_value_t = 3)]
    runs: usize,

    #[command(flatten)]
    quiet: args::Quiet,

    #[command(flatten)]
    output: args::Output,
}

fn main() -> anyhow::Result<ExitCode> {
    // Models run in processes of this very program, as those of `hive` do.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == hive_node::INFER) {
        return Ok(hive_node::infer());
    }
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match cli.command {
        Command::Transfer(args) => transfer::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::ScaleNodes(args) => runtime.block_on(scale::live::measure(args)),
        Command::ScaleSim(args) => scale::virtual_time::simulate(args),
        Command::Peers(args) => peers::run(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Import(args) => import::run(&args),
        #[cfg(target_os = "linux")]
        Command::Multi(args) => multi::run(&args),
        #[cfg(target_os = "linux")]
        Command::Member(args) => runtime.block_on(multi::member(args)),
        #[cfg(target_os = "linux")]
        Command::Restore { file, text } => multi::restore(&file, &text),
        #[cfg(target_os = "linux")]
        Command::Lab(helper) => helper.run(),
        Command::Serve(args) => runtime.block_on(serve::run(&args)),
        Command::Arrive(args) => runtime.block_on(arrive::run(&args)),
        Command::Answer(args) => runtime.block_on(arrive::answer(args)),
        Command::Provide { home, files } => {
            runtime.block_on(worker::provide(home, &cli.network, files))
        }
        Command::Read { home, id, cold: true, from, .. } => {
            runtime.block_on(worker::read_cold(home, &cli.network, id, from))
        }
        Command::Read { home, id, warm, from, .. } => {
            runtime.block_on(worker::read(home, &cli.network, id, warm, from))
        }
        Command::Run(args) => run::run(&args),
        Command::Decode { model, tokens, prompt, long } => {
            run::decode(&model, tokens, &prompt, &long)
        }
    }?;
    Ok(ExitCode::SUCCESS)
}
