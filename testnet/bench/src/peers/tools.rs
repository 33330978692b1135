//! Where the other tools are, and how they are asked for their versions.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The directory that `scripts/get-peers.sh` fills.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// The directory that was named, or the one that the script takes by itself.
    pub(crate) fn find(dir: Option<PathBuf>) -> Self {
        let cache = || {
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            cache.or_else(|| Some(std::env::home_dir()?.join(".cache")))
        };
        let dir = dir.or_else(|| Some(cache()?.join("hive-peers"))).unwrap_or_default();
        // Programs are started in directories of their own.
        Self { dir: std::path::absolute(&dir).unwrap_or(dir) }
    }

    /// A program that the script has built.
    pub(crate) fn built(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir.join("bin").join(name);
        ensure!(path.exists(), "no {name} in {}: run scripts/get-peers.sh", self.dir.display());
        Ok(path)
    }

    /// A program of the system.
    pub(crate) fn installed(name: &str) -> anyhow::Result<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let mut found = dirs.map(|dir| dir.join(name)).filter(|path| path.is_file());
        found.next().with_context(|| format!("no {name} on this machine: run scripts/get-peers.sh"))
    }

    /// Python with the packages that the script has installed, to run a driver whose text is given.
    pub(crate) fn python(&self, driver: &str) -> anyhow::Result<Command> {
        let path = self.dir.join("venv/bin/python");
        ensure!(path.exists(), "no Python in {}: run scripts/get-peers.sh", self.dir.display());
        let mut command = Command::new(path);
        command.args(["-I", "-c", driver]);
        Ok(command)
    }

    /// The version of a Python package.
    pub(crate) fn package(&self, name: &str) -> anyhow::Result<String> {
        let text =
            "import sys; from importlib.metadata import version; print(version(sys.argv[1]))";
        let done = self.python(text)?.arg(name).output()?;
        ensure!(done.status.success(), "no Python package {name}: run scripts/get-peers.sh");
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    }
}

/// The version that a program tells: the first word of what it says that begins with a digit, or
/// has one after its last slash, as in `nginx/1.22.1`.
pub(crate) fn version(command: &mut Command) -> anyhow::Result<String> {
    let done = command.output()?;
    let text =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    read_version(&text).context("it does not say its version")
}

fn read_version(text: &str) -> Option<String> {
    let words = text.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    let mut numbers = words.filter(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    numbers.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::read_version;

    #[test]
    fn a_version_is_found_in_what_programs_say_of_themselves() {
        let of = |text| read_version(text).unwrap();
        assert_eq!(of("curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1"), "7.88.1");
        assert_eq!(of("aria2 version 1.36.0\nCopyright (C) 2006, 2019"), "1.36.0");
        assert_eq!(of("nginx version: nginx/1.22.1"), "1.22.1");
        assert_eq!(of("sendme 0.37.1\n"), "0.37.1");
        assert_eq!(read_version("none"), None);
    }
}
