//! A file that gives way to the index's log when the disk is full.
//!
//! To remove a model is a commit, and a commit needs room in the log: on a disk without a byte left,
//! what makes room could not be done. So a little room is kept, and given up for that.

use std::path::PathBuf;

use crate::disk::{Disk, DiskError};

/// Bytes that are kept, if twice as many are free, else half of what is: some hundred commits.
const LEN: u64 = 1 << 20;
/// With less free than this a commit may fail.
const TIGHT: u64 = LEN / 4;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Reserve {
    path: PathBuf,
    disk: Disk,
}

impl Reserve {
    pub(crate) fn new(path: PathBuf, disk: Disk) -> Self {
        Self { path, disk }
    }

    /// Keeps the room if it is there. Without it everything works, but on a full disk.
    pub(crate) fn keep(&self) {
        let keep = || -> Result<(), DiskError> {
            let len = LEN.min(self.free()? / 2);
            if self.path.exists() || len < TIGHT {
                return Ok(());
            }
            let file = self.disk.create_file(&self.path)?;
            self.disk.allocate(&file, &self.path, len)
        };
        if let Err(error) = keep() {
            tracing::debug!(%error, "no room is kept for a full disk");
        }
    }

    /// Gives the room up if next to nothing is free.
    pub(crate) fn give_way(&self) {
        let is_tight = self.free().is_ok_and(|free| free < TIGHT);
        if is_tight && self.path.exists() {
            match self.disk.remove_file(&self.path) {
                Ok(()) => tracing::debug!("the disk is full: the index has the room kept for that"),
                Err(error) => tracing::debug!(%error, "the room kept for a full disk stays"),
            }
        }
    }

    fn free(&self) -> Result<u64, DiskError> {
        let (free, _) = self.disk.space(self.path.parent().unwrap_or(&self.path))?;
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::faults::Faults;

    #[test]
    fn what_is_kept_gives_way_on_a_full_disk_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::none());
        let disk = Disk { faults: Some(Arc::clone(&faults)) };
        let reserve = Reserve::new(dir.path().join("index.reserve"), disk);
        let kept = || std::fs::metadata(&reserve.path).map(|file| file.len()).ok();
        for (free, expected) in [
            (2 * TIGHT - 1, None),
            (LEN, Some(LEN / 2)),
            (TIGHT, Some(LEN / 2)),
            (TIGHT - 1, None),
            (2 * LEN, Some(LEN)),
        ] {
            faults.set_space(free, 100 * LEN);
            reserve.give_way();
            reserve.keep();
            assert_eq!(kept(), expected, "{free} bytes free");
        }
    }
}
