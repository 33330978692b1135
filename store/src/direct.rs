//! Which groups are written past the page cache.
//!
//! A model on its way in is written once and, while nobody uses it, not read. The page cache would
//! take a page of memory for each 4 KiB, copy into it, and drop for it what other programs have there.
//! A group whose place, length and memory are multiples of [`ALIGN`] goes to the disk from where it
//! lies. The others go the ordinary way, and so do all of a model that somebody reads already.
//!
//! Never changes what is on the disk, nor when it is durable: both ways need the same sync.

use std::fs::OpenOptions;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// What must be a multiple of it: no disk has longer logical blocks than a page.
const ALIGN: u64 = 4096;

/// Whether a model's groups may go past the page cache.
#[derive(Debug)]
pub(crate) struct Direct {
    allowed: AtomicBool,
}

impl Default for Direct {
    fn default() -> Self {
        Self { allowed: AtomicBool::new(cfg!(target_os = "linux")) }
    }
}

impl Direct {
    /// Whether these bytes may go there past the page cache.
    pub(crate) fn takes(&self, offset: u64, bytes: &[u8]) -> bool {
        let address = bytes.as_ptr() as u64;
        self.allowed.load(Ordering::Relaxed)
            && [offset, bytes.len() as u64, address].iter().all(|number| number % ALIGN == 0)
    }

    /// From now on all goes through the page cache: somebody reads the model, or the file system
    /// cannot do without.
    pub(crate) fn end(&self) {
        // Readers say so for each group; only the first has something to say.
        if self.allowed.load(Ordering::Relaxed) {
            self.allowed.store(false, Ordering::Relaxed);
        }
    }
}

/// Makes a file that is opened go past the page cache.
pub(crate) fn bypass(options: &mut OpenOptions) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = options;
}

/// Whether an error says that this file system does not do it, or not so.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
