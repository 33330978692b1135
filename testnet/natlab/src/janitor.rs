//! Nothing stays behind: not after an error, a Ctrl-C or a SIGKILL.
//!
//! What a lab makes in the system (namespaces, a directory) carries its pid in its name. A [`Janitor`]
//! is a process that waits for the lab's end, whatever it is, and removes what carries that pid.
//! Nodes and lines end by themselves with the lab (a signal of their parent's death, the end of
//! stdin), and devices end with their namespaces.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::netns::{NAMES, tool};

/// The programs that build labs.
const PROGRAMS: [&str; 2] = ["hive-natlab", "hive-bench"];

/// How every name begins.
const PREFIX: &str = "natlab-";

/// The name of a thing of this lab.
pub(crate) fn name(what: &str) -> String {
    format!("{}{what}", prefix(std::process::id()))
}

fn prefix(pid: u32) -> String {
    format!("{PREFIX}{pid}-")
}

/// The pid in a name that a lab gave.
fn pid(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// A process that outlives the lab by what it takes to clean up.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
    /// Its end tells the janitor of ours.
    alive: Option<ChildStdin>,
}

impl Janitor {
    /// Starts it. Make nothing before.
    pub fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe().context("who am I?")?)
            .args(["janitor", &std::process::id().to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot start the janitor")?;
        let alive = child.stdin.take();
        Ok(Self { child, alive })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.alive.take();
        let _ = self.child.wait();
    }
}

/// The janitor's process: waits for stdin to end and removes what `pid` made.
pub(crate) fn wait_and_clean(pid: u32) -> anyhow::Result<()> {
    // A Ctrl-C is for the lab, and not for who cleans up after it.
    rustix::process::setsid().context("cannot leave the terminal")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    remove(|owner| owner == pid).map(|_| ())
}

/// Removes what labs left that do not run any more, and returns the names.
pub(crate) fn clean() -> anyhow::Result<Vec<String>> {
    remove(|pid| !is_lab(pid))
}

/// Whether a lab runs under this pid.
fn is_lab(pid: u32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| PROGRAMS.contains(&name.trim()))
}

fn remove(of: impl Fn(u32) -> bool) -> anyhow::Result<Vec<String>> {
    let mut removed = Vec::new();
    for path in named(Path::new(NAMES), &of)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        tool("ip", &["netns", "del", &name], "")?;
        removed.push(format!("namespace {name}"));
    }
    for path in named(&std::env::temp_dir(), &of)? {
        remove_directory(&path)?;
        removed.push(format!("directory {}", path.display()));
    }
    Ok(removed)
}

/// A node that is just being killed may still write into its home.
fn remove_directory(path: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match std::fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(_) if Instant::now() < deadline => std::thread::yield_now(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
        }
    }
}

fn named(directory: &Path, of: impl Fn(u32) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list {}", directory.display()));
        }
    };
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(pid).is_some_and(&of)
    };
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(ours).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_lab_named_is_taken_for_a_labs() {
        assert_eq!(pid(&name("internet")), Some(std::process::id()));
        assert_eq!(pid("natlab-12-home-a"), Some(12));
        for other in ["natlab", "natlab-x-y", "natlab-12", "my-natlab-12-x", "docker"] {
            assert_eq!(pid(other), None, "{other}");
        }
    }

    #[test]
    fn directories_of_labs_that_are_gone_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["natlab-1-x", "natlab-2-y", "other"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let found = named(dir.path(), |pid| pid == 2).unwrap();
        assert_eq!(found, [dir.path().join("natlab-2-y")]);
        assert_eq!(named(&dir.path().join("nowhere"), |_| true).unwrap(), [] as [PathBuf; 0]);
    }
}
