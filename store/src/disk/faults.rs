//! A disk that fails on demand, and remembers what a power cut would lose.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::Effect;

/// What happens at the chosen effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing of it and nothing after it happens: the process is dead.
    Death,
    /// It fails once with this error number.
    Error(i32),
    /// If it writes, half is written, then the disk is full.
    Short,
}

#[derive(Debug, Default)]
struct Lost {
    /// Written and not synced: file, offset, length.
    writes: Vec<(PathBuf, u64, u64)>,
    /// Made in a directory that was not synced since.
    created: Vec<PathBuf>,
    /// Renamed, and one of both directories not synced since: from, to, which were synced.
    renamed: Vec<(PathBuf, PathBuf, bool, bool)>,
}

/// Counts effects and injects one fault.
#[derive(Debug)]
pub(crate) struct Faults {
    at: u64,
    fault: Fault,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    n_effects: u64,
    dead: bool,
    injected: u64,
    lost: Lost,
    by_kind: HashMap<Effect, u64>,
    space: Option<(u64, u64)>,
}

impl Faults {
    /// A fault at the effect number `at`, from 0.
    pub(crate) fn new(at: u64, fault: Fault) -> Self {
        Self { at, fault, state: Mutex::default() }
    }

    /// No fault, ever; only counts.
    pub(crate) fn none() -> Self {
        Self::new(u64::MAX, Fault::Death)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    pub(crate) fn n_effects(&self) -> u64 {
        self.state().n_effects
    }

    pub(crate) fn n_injected(&self) -> u64 {
        self.state().injected
    }

    pub(crate) fn n_of(&self, effect: Effect) -> u64 {
        self.state().by_kind.get(&effect).copied().unwrap_or(0)
    }

    pub(crate) fn set_space(&self, free: u64, total: u64) {
        self.state().space = Some((free, total));
    }

    pub(crate) fn space(&self) -> Option<(u64, u64)> {
        self.state().space
    }

    fn count(&self, effect: Effect) -> io::Result<Option<Fault>> {
        let mut state = self.state();
        if state.dead {
            return Err(io::Error::other("the process is dead"));
        }
        let now = state.n_effects;
        state.n_effects += 1;
        *state.by_kind.entry(effect).or_default() += 1;
        if now != self.at {
            return Ok(None);
        }
        state.injected += 1;
        match self.fault {
            Fault::Death => {
                state.dead = true;
                Err(io::Error::other("the process died here"))
            }
            Fault::Error(number) => Err(io::Error::from_raw_os_error(number)),
            Fault::Short if effect == Effect::Write => Ok(Some(Fault::Short)),
            Fault::Short => Err(full()),
        }
    }

    pub(crate) fn step(&self, effect: Effect, path: &Path) -> io::Result<()> {
        self.count(effect)?;
        let mut state = self.state();
        let lost = &mut state.lost;
        match effect {
            Effect::CreateDir | Effect::CreateFile | Effect::Link => {
                lost.created.push(path.to_owned());
            }
            Effect::Sync => lost.writes.retain(|(file, _, _)| file != path),
            Effect::SyncDir => {
                lost.created.retain(|made| made.parent() != Some(path));
                for (from, to, from_synced, to_synced) in &mut lost.renamed {
                    *from_synced |= from.parent() == Some(path);
                    *to_synced |= to.parent() == Some(path);
                }
                lost.renamed.retain(|(_, _, from_synced, to_synced)| !(*from_synced && *to_synced));
            }
            _ => {}
        }
        Ok(())
    }

    /// A write: how many of the bytes happen.
    pub(crate) fn write(&self, path: &Path, offset: u64, len: usize) -> io::Result<usize> {
        let short = self.count(Effect::Write)?.is_some();
        self.state().lost.writes.push((path.to_owned(), offset, len as u64));
        Ok(if short { len / 2 } else { len })
    }

    pub(crate) fn renamed(&self, from: &Path, to: &Path) {
        let mut state = self.state();
        let moved = |path: &Path| match path.strip_prefix(from) {
            Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
            Ok(rest) => to.join(rest),
            Err(_) => path.to_owned(),
        };
        for (path, _, _) in &mut state.lost.writes {
            *path = moved(path);
        }
        for path in &mut state.lost.created {
            *path = moved(path);
        }
        state.lost.renamed.push((from.to_owned(), to.to_owned(), false, false));
    }

    /// Does to the files what a power cut could: unsynced bytes are gone, unsynced entries are
    /// not there, unsynced renames did not happen. Returns how much was lost.
    pub(crate) fn cut_power(&self) -> usize {
        let lost = std::mem::take(&mut self.state().lost);
        let n_lost = lost.writes.len() + lost.created.len() + lost.renamed.len();
        for (path, offset, len) in lost.writes {
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let read_only = metadata.permissions().readonly();
            let disk = super::Disk::default();
            if read_only {
                disk.set_read_only(&path, false).expect("mode");
            }
            let file = File::options().write(true).open(&path).expect("a file that was written");
            super::write_all_at(&file, &vec![0xEE; len as usize], offset).expect("write");
            if read_only {
                disk.set_read_only(&path, true).expect("mode");
            }
        }
        for path in lost.created.iter().rev() {
            let _ = if path.is_dir() {
                std::fs::remove_dir_all(path)
            } else {
                std::fs::remove_file(path)
            };
        }
        for (from, to, _, _) in lost.renamed.into_iter().rev() {
            let _ = std::fs::rename(to, from);
        }
        n_lost
    }
}

/// What a full disk says.
pub(crate) fn full() -> io::Error {
    io::Error::from_raw_os_error(28)
}
