//! Runs this program again where nothing that it leaves can outlive it.
//!
//! As root, the program starts itself in namespaces of its own: of processes, so that whatever it
//! started dies with it, of mounts, so that file systems and loop devices go with the last process,
//! and of networks, so that nobody but its own attackers reaches what listens. This holds when it is
//! killed, too. Its temporary directory is removed from outside. Without root it runs where it is,
//! and scenarios that need mounts or a second host say so.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// The directory of a program that runs inside.
const DIR: &str = "HIVE_FAULTS_DIR";

/// An address inside that does not count as this machine itself, as the loopback's do. It is one of
/// a network that the loopback interface has: dummy interfaces are not in every kernel.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The directory that the program was given by itself, if it runs inside.
pub(crate) fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Brings up the network inside, which begins without one.
fn bring_up() -> anyhow::Result<()> {
    let outside = format!("{OUTSIDE}/32");
    for words in [&["link", "set", "lo", "up"][..], &["address", "add", &outside, "dev", "lo"]] {
        let ended = std::process::Command::new("ip").args(words).status();
        let ended = ended.context("cannot run `ip`; Debian and Ubuntu have it in iproute2")?;
        ensure!(ended.success(), "`ip {}`: {ended}", words.join(" "));
    }
    Ok(())
}

/// Runs the program again inside and says how it ended; `None` if it has to run where it is.
pub(crate) fn run_inside(dir: Option<&PathBuf>) -> anyhow::Result<Option<ExitCode>> {
    if self::dir().is_some() {
        return bring_up().map(|()| None);
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let above = dir.cloned().unwrap_or_else(std::env::temp_dir);
    let place = tempfile::Builder::new().prefix("hive-faults-").tempdir_in(above)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // When this process dies, `unshare` is killed, with it the first process inside, and with
        // that all the others.
        let mut inside = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--net"])
            .args(["--fork", "--kill-child", "--mount-proc", "--"])
            .arg(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env(DIR, place.path())
            .spawn()
            .context("cannot run setpriv and unshare; Debian and Ubuntu have them in util-linux")?;
        let code = tokio::select! {
            ended = inside.wait() => ended?.code().unwrap_or(1),
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
        };
        if code > 128 {
            // It may have ended in the same moment.
            let _ = inside.kill().await;
        }
        Ok(Some(ExitCode::from(code as u8)))
    })
}
