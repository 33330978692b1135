//! `cargo xtask`: what this repository needs done that cargo does not do.
//!
//! `tidy` keeps the architecture true and is a test too; `train-tiny` makes the small model that
//! the demo runs.

mod tidy;
mod train_tiny;

use clap::Parser;

/// Development commands of hive.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Check the rules that no compiler checks: who may depend on whom, licences, floors, files
    Tidy,
    /// Train the small model of the demo on this repository's own documents
    TrainTiny(train_tiny::Args),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Tidy => tidy::run(),
        Command::TrainTiny(args) => train_tiny::run(&args),
    }
}
