//! Measures hive on this machine: `cargo run --release -p hive-bench -- transfer`.
//!
//! Providers and the reader are processes of their own, started by running this program again with a
//! hidden subcommand ([`worker`]), so that each one's processor time and memory are its own. The
//! table goes to stdout and, with the machine it was measured on, into a document ([`report`]).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod machine;
mod report;
mod serve;
mod transfer;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

/// Measurements of hive
#[derive(Debug, Parser)]
#[command(name = "hive-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Transfer(TransferArgs),
    Serve(ServeArgs),
    /// A provider in a process of its own
    #[command(hide = true)]
    Provide {
        /// Its home
        home: PathBuf,
        /// What it provides
        file: PathBuf,
    },
    /// A reader in a process of its own
    #[command(hide = true)]
    Read {
        /// Its home
        home: PathBuf,
        /// What it fetches
        id: String,
        /// From whom
        from: Vec<String>,
    },
}

/// Fetch random bytes over the loopback: encrypted, verified, on disk
#[derive(Debug, clap::Args)]
struct TransferArgs {
    /// Bytes to fetch, as in `1GiB`
    #[arg(long, default_value = "1GiB", value_parser = size)]
    size: u64,

    /// Numbers of providers, separated by commas
    #[arg(long, default_value = "1,4", value_delimiter = ',')]
    providers: Vec<usize>,

    /// Runs with each number of providers
    #[arg(long, default_value_t = 3)]
    runs: usize,

    /// Document whose section is replaced
    #[arg(long, default_value = "docs/performance.md", value_name = "FILE")]
    doc: PathBuf,

    /// Print only; leave the document as it is
    #[arg(long)]
    no_doc: bool,

    /// Directory for the files and homes; by default the system's for temporary files
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
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

    /// Document whose section is replaced
    #[arg(long, default_value = "docs/performance.md", value_name = "FILE")]
    doc: PathBuf,

    /// Print only; leave the document as it is
    #[arg(long)]
    no_doc: bool,
}

/// Reads `64MiB`, `1GiB`, `1000000`.
fn size(text: &str) -> anyhow::Result<u64> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let number: u64 = digits.parse().with_context(|| format!("`{text}` is no size"))?;
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => bail!("`{unit}` is no unit; use KiB, MiB or GiB"),
    };
    number.checked_mul(unit).context("too much")
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
        Command::Serve(args) => runtime.block_on(serve::run(&args)),
        Command::Provide { home, file } => runtime.block_on(worker::provide(home, file)),
        Command::Read { home, id, from } => runtime.block_on(worker::read(home, id, from)),
    }?;
    Ok(ExitCode::SUCCESS)
}
