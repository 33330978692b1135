//! `hive`, the command line.
//!
//! [`args`] says what can be asked, [`settings`] with what, `commands/<verb>.rs` does it with a
//! `dyn Hive` and a [`printer::Printer`]. Nothing here knows how a node works, and only [`printer`]
//! writes to stdout and stderr.

mod admission;
mod args;
mod chat;
mod commands;
mod cpu;
mod env;
mod failure;
mod model;
mod node;
mod printer;
mod progress;
mod session;
mod settings;
mod stop;
mod text;
mod units;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use hive_api::HiveError;

use crate::args::{Cli, Command};
use crate::printer::Printer;
use crate::session::Session;
use crate::settings::Settings;
use crate::stop::Stop;

/// How long threads that are busy with a disk or a model may go on after the command ended.
const LAST_THREADS: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // Before anything that a process in a sandbox could not undo: threads, files, settings.
    if let Some(ended) = node::infer_if_asked() {
        return ended;
    }
    let cli = Cli::parse();
    let global = &cli.global;
    let printer = Printer::new(global.json, global.quiet, global.verbose);
    // Errors are told through a printer of their own: the session owns this one by then.
    let last_words = Printer::new(global.json, global.quiet, global.verbose);
    match start(cli, printer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if failure::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let error = failure::describe(&error);
            last_words.error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn start(cli: Cli, printer: Printer) -> anyhow::Result<()> {
    if let Command::Completions(args) = &cli.command {
        return commands::completions::completions(args, &printer);
    }
    if let Command::Man(args) = &cli.command {
        return commands::man::man(args, &printer);
    }
    cpu::check()?;
    let environment = |name: &str| std::env::var_os(name);
    let home = settings::home(cli.global.home.as_deref(), &environment)?;
    if let Command::Config(args) = &cli.command
        && args.changes()
    {
        // A file with a mistake can be mended with the command that made it.
        return commands::config::change(args, &home, &printer);
    }
    let settings = Settings::resolve(home, &cli.command.flags(), &environment)?;
    start_logs(&settings, &printer)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads of this program")?;
    let result = runtime.block_on(async {
        let stop = Stop::install().context("cannot listen for Ctrl-C")?;
        // On the heap: the futures of all commands together are large.
        Box::pin(commands::dispatch(cli.command, Session { settings, printer, stop })).await
    });
    runtime.shutdown_timeout(LAST_THREADS);
    result
}

fn start_logs(settings: &Settings, printer: &Printer) -> Result<(), HiveError> {
    let by_flags = match printer.verbose() {
        _ if !printer.talks() && printer.verbose() == 0 => "error",
        0 => "error,hive=warn",
        1 => "warn,hive=info",
        2 => "info,hive=debug",
        _ => "debug,hive=trace",
    };
    hive_telemetry::init(hive_telemetry::Options {
        filter: settings.log.clone().unwrap_or_else(|| by_flags.to_owned()),
        json: printer.json(),
        color: printer.color(),
        sink: Some(printer.log_sink()),
    })
    .map_err(|error| HiveError::caused(hive_api::ErrorKind::Usage, "cannot start logging", &error))
}
