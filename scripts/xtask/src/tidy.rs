//! The rules that no compiler checks. Each check returns what it finds wrong; nothing is repaired.

mod edges;
mod files;
mod lock;
mod unsafety;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// Runs every check and fails with all findings.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = root();
    let metadata = metadata(&root)?;
    let mut findings = edges::check(&metadata);
    findings.extend(lock::check(&metadata, &root)?);
    let names = files::names(&root)?;
    findings.extend(files::check(&root, &names)?);
    findings.extend(unsafety::check(&root, &names)?);
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} findings:\n{}", findings.len(), findings.join("\n"))
}

/// The repository: two folders above this crate.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("scripts/xtask is two folders down").to_owned()
}

/// What cargo knows of the workspace, on this system.
pub(crate) fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    // Packages of other platforms only may never have been downloaded here.
    let rustc = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let version = String::from_utf8(rustc.stdout).context("rustc said no text")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not name its host")?;
    MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(vec!["--offline".into(), format!("--filter-platform={host}")])
        .exec()
        .context("cannot read the workspace")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        if let Err(findings) = super::run() {
            panic!("{findings:#}");
        }
    }
}
