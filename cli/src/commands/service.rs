//! `hive service`: a node that the system starts with its user, and never as root.
//!
//! What is installed is one file, written by [`mod@unit`]; `--print` shows it, also for another system.
//! Installing twice is installing once; nothing but that file and the system's own list is changed.

mod unit;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use hive_api::{ErrorKind, HiveError};
use serde_json::json;

use crate::failure::usage;
use crate::printer::Printer;
use crate::settings::Settings;
use unit::System;

/// Run a node as a service of this user, started by the system
#[derive(Debug, clap::Args)]
pub(crate) struct ServiceArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Install the service and start it
    Install {
        /// Write what would be installed to stdout, and change nothing
        #[arg(long)]
        print: bool,

        /// With --print: for which system [default: this one]
        #[arg(long = "for", value_enum, value_name = "SYSTEM", requires = "print")]
        system: Option<System>,

        /// Run a relay (`hive relay`) with the settings of `config.toml`, in place of a node
        #[arg(long)]
        relay: bool,
    },
    /// Stop the service and remove it; models and keys stay
    Uninstall,
    /// Tell whether the service is installed and runs
    Status,
}

/// Does it.
pub(crate) fn service(
    args: &ServiceArgs,
    settings: &Settings,
    printer: &Printer,
) -> anyhow::Result<()> {
    match &args.action {
        Action::Install { print: true, system, relay } => {
            let text = describe(system.unwrap_or(System::HERE), settings, *relay)?;
            Ok(printer.bytes(text.as_bytes())?)
        }
        Action::Install { relay, .. } => {
            if *relay && !settings.is_in_file("external") {
                return Err(usage("`config.toml` does not say where others reach this relay")
                    .hint("`hive config set external ADDR`; the service sees neither flags nor this shell's environment")
                    .into());
            }
            install(settings, *relay, printer)
        }
        Action::Uninstall => uninstall(printer),
        Action::Status => status(printer),
    }
}

fn describe(system: System, settings: &Settings, relay: bool) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let text = |path: &Path| {
        let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
        text.map(str::to_owned).ok_or_else(|| {
            usage(format!("`{}` cannot be written into a service's file", path.display()))
                .hint("its name is not UTF-8 or has control characters")
        })
    };
    let command = if relay { "relay" } else { "join" };
    Ok(system.describe(&text(&program)?, &text(&settings.home)?, command))
}

/// Where the service's file is.
fn file() -> anyhow::Result<PathBuf> {
    let base = directories::BaseDirs::new().context("there is no home directory of this user")?;
    Ok(match System::HERE {
        System::Systemd => base.config_dir().join("systemd/user/hive.service"),
        System::Launchd => base.home_dir().join("Library/LaunchAgents").join(unit::PLIST),
        System::Windows => base.data_local_dir().join("hive").join("service.xml"),
    })
}

fn install(settings: &Settings, relay: bool, printer: &Printer) -> anyhow::Result<()> {
    let (path, text) = (file()?, describe(System::HERE, settings, relay)?);
    write(&path, &text).with_context(|| format!("cannot write `{}`", path.display()))?;
    match System::HERE {
        System::Systemd => {
            call(&["systemctl", "--user", "daemon-reload"])?;
            call(&["systemctl", "--user", "enable", "hive.service"])?;
            // One that runs goes on with the new file.
            call(&["systemctl", "--user", "restart", "hive.service"])?;
        }
        System::Launchd => {
            // launchd opens the log in there before the node makes the directory.
            make_home(&settings.home)?;
            let path = path.display().to_string();
            // Not loaded is what it should be before it is loaded.
            let _ = call(&["launchctl", "unload", &path]);
            call(&["launchctl", "load", "-w", &path])?;
        }
        System::Windows => {
            let path = path.display().to_string();
            call(&["schtasks", "/Create", "/F", "/TN", unit::TASK, "/XML", &path])?;
            call(&["schtasks", "/Run", "/TN", unit::TASK])?;
        }
    }
    if printer.json() {
        printer.object(&json!({ "file": path, "installed": true }))?;
    } else {
        printer.talk(format_args!("installed and started: {}", path.display()));
        if System::HERE == System::Systemd {
            printer.talk(
                "it runs while you are logged in; `loginctl enable-linger` lets it run from the \
                 start of the machine on. `journalctl --user -u hive` shows what it says",
            );
        }
    }
    Ok(())
}

fn make_home(home: &Path) -> anyhow::Result<()> {
    let mut dir = fs::DirBuilder::new();
    dir.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut dir, 0o700);
    dir.create(home).with_context(|| format!("cannot make `{}`", home.display()))
}

/// Writes the file as a whole or not at all.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut next = tempfile::NamedTempFile::new_in(dir)?;
    match System::HERE {
        // schtasks reads UTF-16 with its mark.
        System::Windows => {
            for unit in std::iter::once(0xFEFF).chain(text.encode_utf16()) {
                next.write_all(&unit.to_le_bytes())?;
            }
        }
        System::Systemd | System::Launchd => next.write_all(text.as_bytes())?,
    }
    next.as_file().sync_all()?;
    next.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn uninstall(printer: &Printer) -> anyhow::Result<()> {
    let path = file()?;
    let installed = path.exists();
    if installed {
        match System::HERE {
            System::Systemd => {
                call(&["systemctl", "--user", "disable", "--now", "hive.service"])?;
            }
            System::Launchd => call(&["launchctl", "unload", "-w", &path.display().to_string()])?,
            System::Windows => {
                // A task that does not run needs no end.
                let _ = call(&["schtasks", "/End", "/TN", unit::TASK]);
                call(&["schtasks", "/Delete", "/F", "/TN", unit::TASK])?;
            }
        }
        fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        if System::HERE == System::Systemd {
            call(&["systemctl", "--user", "daemon-reload"])?;
        }
    }
    if printer.json() {
        printer.object(&json!({ "file": path, "installed": false }))?;
    } else if installed {
        printer.talk("removed; models and keys stay");
    } else {
        printer.talk("the service is not installed");
    }
    Ok(())
}

fn status(printer: &Printer) -> anyhow::Result<()> {
    let path = file()?;
    let installed = path.exists();
    let runs = installed
        && match System::HERE {
            System::Systemd => call(&["systemctl", "--user", "is-active", "hive.service"]).is_ok(),
            // Both list what is loaded, running or not.
            System::Launchd => {
                said(&["launchctl", "list", unit::LABEL]).is_ok_and(|list| list.contains("\"PID\""))
            }
            System::Windows => {
                // `schtasks` says it in the user's language.
                let state = format!("(Get-ScheduledTask -TaskName '{}').State", unit::TASK);
                said(&["powershell", "-NoProfile", "-NonInteractive", "-Command", &state])
                    .is_ok_and(|state| state.trim() == "Running")
            }
        };
    if printer.json() {
        let status = json!({ "file": path, "installed": installed, "runs": runs });
        return Ok(printer.object(&status)?);
    }
    Ok(printer.data(match (installed, runs) {
        (false, _) => "not installed; `hive service install`".to_owned(),
        (true, false) => format!("installed ({}), does not run", path.display()),
        (true, true) => format!("installed ({}), runs", path.display()),
    })?)
}

/// Calls one of the system's own programs.
fn call(command: &[&str]) -> Result<(), HiveError> {
    said(command).map(drop)
}

/// Calls one of the system's own programs and takes what it says.
fn said(command: &[&str]) -> Result<String, HiveError> {
    let failed = |why: String| {
        HiveError::new(ErrorKind::Failed, format!("`{}`: {why}", command.join(" ")))
            .hint("`hive service install --print` shows the file, to be installed by hand")
    };
    let (program, rest) = command.split_first().expect("every call names a program");
    let output = Command::new(program).args(rest).output().map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.trim().lines().next().unwrap_or("it failed").to_owned()))
}
