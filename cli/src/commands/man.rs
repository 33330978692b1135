//! `hive man`: manual pages, made of what the commands say of themselves.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::args::Cli;
use crate::printer::Printer;

/// Write manual pages: one of the program and one of each command
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Directory to write them to, as `~/.local/share/man/man1`
    #[arg(value_name = "DIR", required_unless_present = "stdout")]
    dir: Option<PathBuf>,

    /// Write the program's page to stdout instead
    #[arg(long, conflicts_with = "dir")]
    stdout: bool,
}

/// Writes the pages.
pub(crate) fn man(args: &ManArgs, printer: &Printer) -> anyhow::Result<()> {
    let mut program = Cli::command();
    // Options that every command takes are known to each only then.
    program.build();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(program).render(&mut page).context("cannot write the page")?;
        return Ok(printer.bytes(&page)?);
    };
    fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    let n = write(&program, "hive", dir)?;
    printer.talk(format_args!("{n} pages in {}", dir.display()));
    Ok(())
}

fn write(command: &clap::Command, name: &str, dir: &std::path::Path) -> anyhow::Result<usize> {
    // A page is found by its file's name, and shows it.
    let shown = command.clone().name(name.to_owned()).display_name(name.to_owned());
    let path = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    Man::new(shown).manual("hive").render(&mut page).context("cannot write a page")?;
    fs::write(&path, page).with_context(|| format!("cannot write `{}`", path.display()))?;
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    let mut n = 1;
    for below in below.filter(|below| below.get_name() != "help") {
        n += write(below, &format!("{name}-{}", below.get_name()), dir)?;
    }
    Ok(n)
}
