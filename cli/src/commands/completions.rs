//! `hive completions`: let a shell complete what this program takes.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::printer::Printer;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn completions(args: &CompletionsArgs, printer: &Printer) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hive", &mut script);
    Ok(printer.bytes(&script)?)
}
