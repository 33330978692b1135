//! The processes that a lab is made of. They are the program itself, which the lab starts again with
//! one of these orders: so whatever program builds a [`crate::Lab`] has to obey them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::cable::{self, CableArgs};
use crate::{janitor, netns};

/// An order to a process of the lab.
#[derive(Debug, Subcommand)]
pub enum Helper {
    /// A line between two namespaces, in a process of its own
    #[command(hide = true)]
    Link(CableArgs),
    /// Run a program in a namespace until it or its parent ends
    #[command(hide = true)]
    Enter {
        /// The namespace
        space: String,
        /// The process whose end is the program's
        parent: u32,
        /// What to run
        program: PathBuf,
        /// What to tell it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Wait for a lab's end and remove what it made
    #[command(hide = true)]
    Janitor {
        /// The lab's process
        pid: u32,
    },
}

impl Helper {
    /// Obeys until there is nothing more to do.
    pub fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Link(args) => cable::run(args),
            Self::Enter { space, parent, program, args } => enter(space, *parent, program, args),
            Self::Janitor { pid } => janitor::wait_and_clean(*pid),
        }
    }
}

/// Becomes `program` in the namespace `space`, to be killed when the lab ends.
fn enter(space: &str, parent: u32, program: &Path, args: &[OsString]) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before it was asked for.
    let still = getppid().map(Pid::as_raw_nonzero).map(|pid| pid.get() as u32);
    if still != Some(parent) {
        bail!("the lab has ended");
    }
    netns::enter(space)?;
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
