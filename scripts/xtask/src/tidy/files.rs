//! How the files look: documented, short, without leftovers.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Lines at which a file is two files.
const MAX_LINES: usize = 800;

/// The files that git knows or would take.
pub(super) fn names(root: &Path) -> anyhow::Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    let names = String::from_utf8(listed.stdout).context("a file name that is not UTF-8")?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// Checks every text file of these.
pub(super) fn check(root: &Path, names: &[String]) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for name in names {
        let path = root.join(name);
        // Binary files and files that were removed have nothing to read.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        check_file(name, &text, &mut findings);
    }
    check_clippy(root, &mut findings)?;
    Ok(findings)
}

fn check_file(name: &str, text: &str, findings: &mut Vec<String>) {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    let of_ours =
        extension.is_some_and(|extension| ["rs", "toml", "sh", "yml"].contains(&extension));
    for (number, line) in text.lines().enumerate().filter(|_| of_ours) {
        if line.ends_with([' ', '\t']) {
            findings.push(format!("{name}:{}: trailing space", number + 1));
        }
        // Split, so that this line does not find itself.
        let leftovers = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
        if leftovers.iter().any(|word| line.contains(word)) {
            findings.push(format!("{name}:{}: unfinished", number + 1));
        }
    }
    if extension != Some("rs") {
        return;
    }
    let n_lines = text.lines().count();
    if n_lines > MAX_LINES {
        findings.push(format!("{name}: {n_lines} lines, at most {MAX_LINES}"));
    }
    let first = text.lines().find(|line| !line.starts_with("#!") && !line.trim().is_empty());
    let is_tests = name.ends_with("/tests.rs");
    if !is_tests && !first.is_some_and(|line| line.starts_with("//!")) {
        findings.push(format!("{name}: no module documentation"));
    }
}

/// Clippy reads the nearest `clippy.toml` and merges nothing, so a nested one has to repeat the
/// bans of the root.
fn check_clippy(root: &Path, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let read =
        |name: &str| std::fs::read_to_string(root.join(name)).with_context(|| name.to_owned());
    let nested = read("protocol/clippy.toml")?;
    let root = read("clippy.toml")?;
    for path in root.split("path = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
        if !nested.contains(&format!("path = \"{path}\"")) {
            findings.push(format!("protocol/clippy.toml: does not ban {path}, as the root does"));
        }
    }
    Ok(())
}
