//! What stands between `hive` and its disk: a library that is put before libc's file calls.
//!
//! [`Shim`] builds it once (`shim.c`, by `cc`); an [`Injection`] says what it does to which call of
//! a process, and what it did is read from its log. It sees the calls that go through libc, which
//! are those of the standard library and of SQLite, counted over all threads of a process, which
//! `strace --inject` cannot: that counts for each thread alone. What goes to the kernel directly
//! (`fallocate`, reads of groups) is `strace`'s ([`super::nth`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Calls that change the disk.
pub(crate) const CHANGES: &str = "write,sync,rename,remove,mkdir,truncate,mode,link";
/// Calls that fail at times.
pub(crate) const ALL: &str = "open,read,write,sync,rename,remove,mkdir,truncate,mode,link";

/// What is done to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It goes through; it is only counted.
    Count,
    /// The process dies before it.
    Kill,
    /// It is told to have succeeded, and nothing was done.
    Skip,
    /// Half of the bytes are taken, which is told.
    Short,
    /// It is done, and told to have succeeded even if it failed.
    Swallow,
    /// It is not done and fails.
    Errno(i32, &'static str),
}

impl Act {
    fn word(self) -> String {
        match self {
            Self::Count => "count".to_owned(),
            Self::Kill => "kill".to_owned(),
            Self::Skip => "skip".to_owned(),
            Self::Short => "short".to_owned(),
            Self::Swallow => "swallow".to_owned(),
            Self::Errno(number, _) => number.to_string(),
        }
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Count => "counted",
            Self::Kill => "killed",
            Self::Skip => "left out",
            Self::Short => "cut short",
            Self::Swallow => "swallowed",
            Self::Errno(_, name) => name,
        }
    }
}

/// The library.
#[derive(Debug, Clone)]
pub(crate) struct Shim {
    object: PathBuf,
}

impl Shim {
    /// Builds it in a directory.
    pub(crate) fn build(dir: &Path) -> anyhow::Result<Self> {
        let (source, object) = (dir.join("shim.c"), dir.join("shim.so"));
        std::fs::write(&source, include_str!("shim.c"))?;
        let built = Command::new("cc")
            .args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&object, &source])
            .output()
            .context("cannot run cc; Debian and Ubuntu have it in gcc and libc6-dev")?;
        ensure!(built.status.success(), "cc: {}", String::from_utf8_lossy(&built.stderr));
        Ok(Self { object })
    }

    /// Does `act` to the `at`-th of some calls on files below `root`; 0 is every one.
    pub(crate) fn inject(&self, root: &Path, calls: &'static str, at: u64, act: Act) -> Injection {
        let log = root.with_extension(format!("{at}-{}.log", act.word()));
        // A log of an earlier run would be counted too.
        let _ = std::fs::remove_file(&log);
        let object = self.object.clone();
        Injection { object, root: root.to_owned(), calls, lost: None, at, act, log }
    }
}

/// What is done to the calls of a process.
#[derive(Debug, Clone)]
pub(crate) struct Injection {
    object: PathBuf,
    root: PathBuf,
    calls: &'static str,
    lost: Option<&'static str>,
    at: u64,
    act: Act,
    log: PathBuf,
}

/// A call that the library saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// Which of those that were counted.
    pub(crate) number: u64,
    /// `open`, `write`, ….
    pub(crate) call: String,
    /// The file.
    pub(crate) path: String,
    /// Whether something was done to it.
    pub(crate) injected: bool,
}

impl Injection {
    /// Writes the log beside this path, which is elsewhere than the files.
    pub(crate) fn log_at(mut self, path: &Path) -> Self {
        self.log = path.with_extension("log");
        self
    }

    /// Loses every write to files with this in their path, and tells that it was done.
    pub(crate) fn losing(mut self, files: &'static str) -> Self {
        self.lost = Some(files);
        self
    }

    /// The environment that tells the library.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut environment: Vec<(&'static str, OsString)> = vec![
            ("LD_PRELOAD", self.object.clone().into()),
            ("FAULT_ROOT", self.root.clone().into()),
            ("FAULT_CALLS", self.calls.into()),
            ("FAULT_AT", self.at.to_string().into()),
            ("FAULT_DO", self.act.word().into()),
            ("FAULT_LOG", self.log.clone().into()),
        ];
        environment.extend(self.lost.map(|files| ("FAULT_LOSE", files.into())));
        environment
    }

    /// What the library saw.
    pub(crate) fn calls(&self) -> anyhow::Result<Vec<Call>> {
        let text = std::fs::read_to_string(&self.log)
            .with_context(|| format!("the library wrote no log `{}`", self.log.display()))?;
        text.lines().map(|line| parse(line).with_context(|| format!("a line `{line}`"))).collect()
    }

    /// Forgets the log.
    pub(crate) fn clear(&self) {
        // One that was never written need not go.
        let _ = std::fs::remove_file(&self.log);
    }
}

fn parse(line: &str) -> Option<Call> {
    let mut parts = line.split('\t');
    let number = parts.next()?.parse().ok()?;
    let (call, path) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let injected = parts.next()? == "injected";
    Some(Call { number, call, path, injected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_read_and_anything_else_is_not() {
        let call = parse("12\tsync\t/home/models\tinjected").unwrap();
        assert_eq!((call.number, call.call.as_str(), call.injected), (12, "sync", true));
        assert_eq!(call.path, "/home/models");
        assert!(!parse("13\tsync\t/home/models\tpassed").unwrap().injected);
        for wrong in ["", "sync", "x\tsync\t/a\tpassed", "1\tsync\t/a"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    /// A process under the library: the second write fails, the others do not, and the log says so.
    #[test]
    fn the_kth_call_on_a_file_below_the_root_fails_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let shim = Shim::build(dir.path()).unwrap();
        let injection = shim.inject(&root, "write", 2, Act::Errno(5, "EIO"));
        let script = "echo a > \"$0/a\"; echo b > \"$0/b\"; echo c > \"$0/c\"; echo d > \"$0.d\"";
        let ended = Command::new("sh")
            .args(["-c", script])
            .arg(&root)
            .envs(injection.environment())
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&ended.stderr).contains("rror"), "{ended:?}");
        let lens = ["a", "b", "c"].map(|name| std::fs::read(root.join(name)).unwrap().len());
        assert_eq!(lens, [2, 0, 2]);
        let calls = injection.calls().unwrap();
        let injected: Vec<_> = calls.iter().filter(|call| call.injected).collect();
        assert_eq!((calls.len(), injected.len(), injected[0].number), (3, 1, 2), "{calls:?}");
    }
}
