//! `cargo xtask`: what this repository needs done that cargo does not do.
//!
//! `tidy` keeps the architecture true and is a test too; `sbom` lists what the binary is made of;
//! `train-tiny` makes the small model that the demo runs.

mod sbom;
mod tidy;
mod train_tiny;

use clap::Parser;

/// Development commands of hive.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Check the rules that no compiler checks: who may depend on whom, licences, floors,
    /// files, unsafe code
    Tidy,
    /// List the crates that the binary is made of, as CycloneDX
    Sbom(sbom::Args),
    /// Train the small model of the demo on this repository's own documents
    TrainTiny(train_tiny::Args),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Tidy => tidy::run(),
        Command::Sbom(args) => sbom::run(&args),
        Command::TrainTiny(args) => train_tiny::run(&args),
    }
}
