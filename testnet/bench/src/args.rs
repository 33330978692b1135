//! What several commands take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::document::{self, Part};
use crate::machine;

/// Where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// Document whose section is replaced
    #[arg(long, default_value = "docs/performance.md", value_name = "FILE")]
    doc: PathBuf,

    /// Print only; leave the document as it is
    #[arg(long)]
    no_doc: bool,
}

impl Output {
    /// Prints a section, and puts it into the document.
    pub(crate) fn write(&self, name: &str, section: &str) -> anyhow::Result<()> {
        println!("{section}");
        if !self.no_doc {
            document::write_section(&self.doc, name, section)?;
            eprintln!("written into {}", self.doc.display());
        }
        Ok(())
    }

    /// Prints parts of a section, and puts them into the document beside those that are there, in
    /// the order of their `rank`. A part without one goes.
    pub(crate) fn write_parts(
        &self,
        name: &str,
        preface: &str,
        parts: &[Part],
        rank: impl Fn(&str) -> Option<usize>,
    ) -> anyhow::Result<()> {
        println!("{preface}");
        for part in parts {
            println!("\n{}", part.text);
        }
        if !self.no_doc {
            document::write_parts(&self.doc, name, preface, parts, rank)?;
            eprintln!("written into {}", self.doc.display());
        }
        Ok(())
    }

    /// The directory beside the document that plots go to, if anything is written.
    pub(crate) fn beside(&self, name: &str) -> Option<PathBuf> {
        (!self.no_doc).then(|| self.doc.parent().unwrap_or(Path::new("")).join(name))
    }
}

/// Where and when it is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Directory for the files and homes; by default the system's for temporary files
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    quiet: Quiet,
}

/// When it is measured.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Quiet {
    /// Seconds to wait, before each measurement, for other programs to be quiet
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    patience: u64,
}

impl Quiet {
    /// How long to wait.
    pub(crate) fn patience(self) -> Duration {
        Duration::from_secs(self.patience)
    }

    /// Waits until other programs are quiet.
    pub(crate) fn wait(self) {
        machine::wait_until_quiet(self.patience());
    }
}

impl Place {
    /// A directory that is gone with the measurement.
    pub(crate) fn work(&self) -> anyhow::Result<tempfile::TempDir> {
        let dir = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        tempfile::Builder::new()
            .prefix("hive-bench-")
            .tempdir_in(&dir)
            .with_context(|| format!("cannot work in `{}`; take another --dir", dir.display()))
    }

    /// How long to wait for a quiet machine.
    pub(crate) fn patience(&self) -> Duration {
        self.quiet.patience()
    }

    /// Waits until other programs are quiet.
    pub(crate) fn wait(&self) {
        self.quiet.wait();
    }
}

/// Reads `64MiB`, `1GiB`, `1000000`.
pub(crate) fn size(text: &str) -> anyhow::Result<u64> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let number: u64 = digits.parse().with_context(|| format!("`{text}` is no size"))?;
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => bail!("`{unit}` is no unit; use KiB, MiB or GiB"),
    };
    number.checked_mul(unit).context("too much")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_size_has_a_number_and_a_unit_that_is_known() {
        assert_eq!(size("2GiB").unwrap(), 2 << 30);
        assert_eq!(size("64MiB").unwrap(), 64 << 20);
        assert_eq!(size("1000000").unwrap(), 1_000_000);
        for wrong in ["", "GiB", "2GB", "2 GiB", "99999999999GiB", "-1"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
