//! Whether a file that somebody else may write still is the one that was hashed.

use std::fs::Metadata;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds within which a second write can leave a file's time as it was: file systems count
/// as coarsely as this (FAT: two seconds).
const SETTLE_NS: i64 = 2_000_000_000;

/// What is compared: length, modification time, and which file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) len: u64,
    /// Nanoseconds since 1970. [`Self::UNSETTLED`] if the file was written so shortly before it was
    /// hashed that a second write might not show.
    pub(crate) mtime_ns: i64,
    pub(crate) inode: u64,
    pub(crate) device: u64,
}

impl Fingerprint {
    /// A time that no file has, so that the next look hashes again.
    pub(crate) const UNSETTLED: i64 = i64::MIN;

    pub(crate) fn of(metadata: &Metadata) -> Self {
        let since_1970 = |time: SystemTime| match time.duration_since(UNIX_EPOCH) {
            Ok(age) => age.as_nanos() as i64,
            Err(before) => -(before.duration().as_nanos() as i64),
        };
        #[cfg(unix)]
        let (inode, device) = {
            use std::os::unix::fs::MetadataExt;
            (metadata.ino(), metadata.dev())
        };
        // std has no stable file id on Windows; length and time stay.
        #[cfg(not(unix))]
        let (inode, device) = (0, 0);
        Self {
            len: metadata.len(),
            mtime_ns: metadata.modified().map_or(Self::UNSETTLED, since_1970),
            inode,
            device,
        }
    }

    /// What to remember of a file that was hashed from `start` on: its time only if that was long
    /// enough before to tell a later write.
    pub(crate) fn settled(self, start: SystemTime) -> Self {
        let start = start.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos() as i64);
        if start.saturating_sub(self.mtime_ns) >= SETTLE_NS {
            self
        } else {
            Self { mtime_ns: Self::UNSETTLED, ..self }
        }
    }

    /// Whether a file with these metadata certainly is the one that was hashed.
    pub(crate) fn holds(&self, metadata: &Metadata) -> bool {
        self.mtime_ns != Self::UNSETTLED && *self == Self::of(metadata)
    }
}
