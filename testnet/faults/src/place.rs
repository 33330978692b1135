//! Where a run was: the commit and the machine, as the table of results names them.

use std::process::Command;

/// Where a run was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// The commit that is checked out, with a `+` if something is changed beside it.
    pub(crate) commit: String,
    /// Cores and processor.
    pub(crate) machine: String,
}

impl Place {
    /// Looks.
    pub(crate) fn here() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let model = model.map_or(std::env::consts::ARCH, |(_, model)| model.trim());
        // What would end a cell.
        let machine = format!("{cores} × {}", model.replace('|', "/"));
        Self { commit: commit().unwrap_or_else(|| "unknown".to_owned()), machine }
    }
}

fn commit() -> Option<String> {
    let head = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    // The document that the results are written into is no change of what was run.
    let changed = changed.lines().any(|line| !line.ends_with("docs/reliability.md"));
    Some(format!("{head}{}", if changed { "+" } else { "" }))
}

/// What git says, of a checkout that may be somebody else's: faults run as root.
fn git(args: &[&str]) -> Option<String> {
    let ended = Command::new("git").args(["-c", "safe.directory=*"]).args(args).output().ok()?;
    let said = String::from_utf8(ended.stdout).ok()?;
    ended.status.success().then(|| said.trim_end().to_owned())
}
