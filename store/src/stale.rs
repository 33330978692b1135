//! Removes what crashes left in `models/.partial`, beside everything else.
//!
//! A start waits for it, though not for long: what one crash leaves is gone by then, but a hundred
//! thousand directories take minutes on some disks. What a process that ends has not come to is the
//! next one's. Nothing here is an error: what cannot be removed is in nobody's way.
//!
//! Invariant: what this process makes is never removed, since [`Stale::make_way`] comes first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::disk::{Disk, DiskError};
use crate::store::guard;

/// How long a start waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Directories that nobody knows, and the thread that removes them.
#[derive(Debug)]
pub(crate) struct Stale {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    disk: Disk,
    work: Mutex<Work>,
    /// Something of the work was done.
    done: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    left: BTreeSet<PathBuf>,
    /// What is being removed right now.
    current: Option<PathBuf>,
    stopping: bool,
}

impl Stale {
    pub(crate) fn new(disk: Disk) -> Self {
        let shared = Shared { disk, work: Mutex::default(), done: Condvar::new() };
        Self { shared: Arc::new(shared), thread: Mutex::default() }
    }

    /// Removes these, and returns when that is done or takes long.
    pub(crate) fn remove(&self, paths: BTreeSet<PathBuf>) {
        if paths.is_empty() {
            return;
        }
        guard(&self.shared.work).left = paths;
        if self.start(Builder::new()) {
            self.wait(PATIENCE);
        }
    }

    /// Says whether somebody removes what is left.
    fn start(&self, thread: Builder) -> bool {
        let shared = Arc::clone(&self.shared);
        match thread.name("hive-stale".to_owned()).spawn(move || shared.run()) {
            Ok(thread) => *guard(&self.thread) = Some(thread),
            Err(error) => {
                tracing::warn!(%error, "unfinished models of earlier runs stay");
                // Who waits for the end of the work must not wait for ever.
                guard(&self.shared.work).left.clear();
                return false;
            }
        }
        true
    }

    /// Waits until all is removed, or for so long.
    pub(crate) fn wait(&self, patience: Duration) {
        let work = guard(&self.shared.work);
        let busy = |work: &mut Work| work.current.is_some() || !work.left.is_empty();
        let waited = self.shared.done.wait_timeout_while(work, patience, busy);
        let (work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !work.left.is_empty() {
            tracing::info!(n_left = work.left.len(), "removing unfinished models of earlier runs");
        }
    }

    /// Removes what stands at a path that this process is about to use, and leaves the path alone
    /// from then on.
    pub(crate) fn make_way(&self, path: &Path) -> Result<(), DiskError> {
        let mut work = guard(&self.shared.work);
        work.left.remove(path);
        let here = |work: &mut Work| work.current.as_deref() == Some(path);
        drop(self.shared.done.wait_while(work, here).unwrap_or_else(PoisonError::into_inner));
        self.shared.disk.remove_dirs(path)
    }
}

impl Shared {
    fn run(&self) {
        let mut failed = false;
        loop {
            let path = {
                let mut work = guard(&self.work);
                work.current = None;
                if !work.stopping {
                    work.current = work.left.pop_first();
                }
                self.done.notify_all();
                let Some(path) = work.current.clone() else { return };
                path
            };
            if let Err(error) = self.disk.remove_dirs(&path)
                && !std::mem::replace(&mut failed, true)
            {
                // Once: the next hundred thousand fail in the same way.
                tracing::warn!(%error, "unfinished models of earlier runs stay");
            }
        }
    }
}

impl Drop for Stale {
    fn drop(&mut self) {
        guard(&self.shared.work).stopping = true;
        if let Some(thread) = guard(&self.thread).take() {
            // What it had to say of its failures is in the log.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scatter(dir: &Path) -> BTreeSet<PathBuf> {
        let paths: BTreeSet<PathBuf> = (0..20).map(|n| dir.join(n.to_string())).collect();
        for path in &paths {
            std::fs::create_dir_all(path.join("a/b")).unwrap();
            std::fs::write(path.join("a/weights.bin"), "stale").unwrap();
        }
        paths
    }

    /// A fetch begins under the name of a model that a crash left and that nobody removed yet.
    #[test]
    fn what_was_made_since_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let paths = scatter(dir.path());
        let stale = Stale::new(Disk::default());
        guard(&stale.shared.work).left.clone_from(&paths);

        let mine = paths.last().unwrap();
        stale.make_way(mine).unwrap();
        assert!(!mine.exists());
        std::fs::create_dir(mine).unwrap();
        assert!(stale.start(Builder::new()));
        stale.wait(Duration::MAX);
        let left: Vec<PathBuf> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, std::slice::from_ref(mine));
    }

    /// Whoever ends does not wait for all of it.
    #[test]
    fn an_owner_that_ends_stops_the_removal() {
        let dir = tempfile::tempdir().unwrap();
        let stale = Stale::new(Disk::default());
        guard(&stale.shared.work).left = scatter(dir.path());
        guard(&stale.shared.work).stopping = true;
        assert!(stale.start(Builder::new()));
        drop(stale);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 20);
    }

    /// A process that may have no more threads starts as fast as any other.
    #[test]
    fn nobody_waits_for_a_thread_that_did_not_start() {
        let dir = tempfile::tempdir().unwrap();
        let stale = Stale::new(Disk::default());
        guard(&stale.shared.work).left = scatter(dir.path());
        // More than there are addresses.
        let thread = Builder::new().stack_size(isize::MAX as usize & !0xffff);
        assert!(!stale.start(thread));
        stale.wait(Duration::MAX);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 20);
    }
}
