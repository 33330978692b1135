//! What may still be written: the quota, and the reserve that the disk keeps.

use hive_protocol::BlockId;

use crate::disk::DiskError;
use crate::index::IndexError;
use crate::model::{State, Storage};
use crate::store::Store;

const GIB: u64 = 1 << 30;

/// The options that bound room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) quota: Option<u64>,
    pub(crate) reserve: Option<u64>,
}

impl Limits {
    /// Bytes that stay free on a disk of `total` bytes.
    fn reserve(&self, total: u64) -> u64 {
        self.reserve.unwrap_or_else(|| (5 * GIB).max(total / 20).min(total / 10))
    }
}

/// Why bytes are not written. Nothing was, and nothing was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRoom {
    /// The disk has too little left.
    #[error("{needed} bytes are needed, the disk has {free} free and {reserve} of them stay so")]
    Disk {
        /// Bytes that would be written.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// The store may not take so much.
    #[error("{needed} bytes are needed, the store holds {used} and its quota is {quota}")]
    Quota {
        /// Bytes that would be written.
        needed: u64,
        /// Bytes that copies and fetched models take.
        used: u64,
        /// The quota.
        quota: u64,
    },
}

/// How much the store takes, and may still take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of copies and fetched models, those that are on their way in full.
    pub used: u64,
    /// Bytes that may still be fetched: quota, reserve and what is on its way considered.
    pub free: u64,
}

/// Why room could not be looked at, or is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// There is not enough.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The disk does not answer.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Store {
    /// How much the store takes, and may still take.
    pub fn usage(&self) -> Result<Usage, SpaceError> {
        let used = self.used(None)?;
        let (free, total) = self.inner.disk.space(&self.inner.layout.models())?;
        let limits = self.inner.limits;
        let on_disk =
            free.saturating_sub(limits.reserve(total)).saturating_sub(self.outstanding(None));
        let in_quota = limits.quota.map_or(u64::MAX, |quota| quota.saturating_sub(used));
        Ok(Usage { used, free: on_disk.min(in_quota) })
    }

    /// Refuses a model that has no room: `size` bytes in all, of which `allocated` are taken
    /// already. `id` says which model this is, so that it does not stand in its own way.
    pub(crate) fn require_room(
        &self,
        id: Option<&BlockId>,
        size: u64,
        allocated: u64,
    ) -> Result<(), SpaceError> {
        let limits = self.inner.limits;
        if let Some(quota) = limits.quota {
            let used = self.used(id)?;
            if used.saturating_add(size) > quota {
                return Err(NoRoom::Quota { needed: size, used, quota }.into());
            }
        }
        let (free, total) = self.inner.disk.space(&self.inner.layout.models())?;
        let free = free.saturating_sub(self.outstanding(id));
        let (needed, reserve) = (size.saturating_sub(allocated), limits.reserve(total));
        // Nothing to write needs no room, even on a disk that is too full.
        if needed > 0 && needed > free.saturating_sub(reserve) {
            return Err(NoRoom::Disk { needed, free, reserve }.into());
        }
        Ok(())
    }

    /// Bytes of copies and fetched files, but for those of one model.
    fn used(&self, except: Option<&BlockId>) -> Result<u64, IndexError> {
        let except = except.map_or([0; 32], |id| id.0.0);
        let used: i64 = self.inner.index.read(|txn| {
            let (copy, fetched) = (Storage::Copy.number(), Storage::Fetched.number());
            txn.query_row(
                "SELECT coalesce(sum(size), 0) FROM files WHERE storage IN (?1, ?2) AND model <> ?3",
                rusqlite::params![copy, fetched, except],
                |row| row.get(0),
            )
        })?;
        Ok(used as u64)
    }

    /// Bytes that fetches under way were promised and the file system has not set aside.
    fn outstanding(&self, except: Option<&BlockId>) -> u64 {
        let under_way = self.in_memory().into_iter().filter(|live| {
            Some(&live.id) != except
                && live.lock().state == State::Partial
                && self.is_claimed(&live.id)
        });
        under_way
            .map(|live| {
                let now = live.lock();
                let files = (0..now.files.len() as u32)
                    .filter(|&at| now.files[at as usize].storage.takes_room());
                files
                    .map(|at| now.files[at as usize].size.saturating_sub(allocated(&now.path(at))))
                    .sum::<u64>()
            })
            .sum()
    }
}

/// Bytes of the disk that a file has, as far as the system says.
pub(crate) fn allocated(path: &std::path::Path) -> u64 {
    let Ok(metadata) = std::fs::metadata(path) else { return 0 };
    #[cfg(unix)]
    let allocated = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
    #[cfg(not(unix))]
    let allocated = metadata.len();
    allocated
}
