//! Every effect that the store has on files, one method each.
//!
//! The rest of the crate opens, reads and decides; what changes the disk goes through [`Disk`]. So
//! a test can make the k-th effect fail, or stop the world there, and can know what a power cut
//! would have lost (`faults`, compiled for tests only).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
pub(crate) mod faults;

/// A file operation that failed: what was tried, and where.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct DiskError {
    /// What was tried: "write", "sync", ….
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// Whether the disk, or the user's share of it, is full.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Whether an error of this crate says that the disk, or what the user may have of it, is full.
pub fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    // By what lies at the bottom: the errors between hand through what they wrap.
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let index = error.downcast_ref::<rusqlite::Error>();
        matches!(io, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
            || index.and_then(rusqlite::Error::sqlite_error_code)
                == Some(rusqlite::ErrorCode::DiskFull)
    })
}

/// Makes `map_err` closures that name the action and the path.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError { action, path: path.to_owned(), source }
}

/// The kinds of effects, as tests tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    CreateDir,
    CreateFile,
    Allocate,
    #[cfg(test)]
    Write,
    Sync,
    SyncDir,
    Rename,
    Remove,
    Link,
    Mode,
    Commit,
}

/// The door to the file system.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) faults: Option<std::sync::Arc<faults::Faults>>,
}

impl Disk {
    /// Announces an effect. In production this is nothing.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests count and fail it")
    )]
    fn step(&self, effect: Effect, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            return faults.step(effect, path);
        }
        let _ = (effect, path);
        Ok(())
    }

    /// Announces that the index is about to commit.
    pub(crate) fn commit(&self, index: &Path) -> io::Result<()> {
        self.step(Effect::Commit, index)
    }

    /// Makes a directory and those above it, for the owner only. Returns those that are new, from
    /// the top; they survive a power cut when the directory above each is synced.
    pub(crate) fn create_dirs(&self, path: &Path) -> Result<Vec<PathBuf>, DiskError> {
        let is_there = |dir: &&Path| dir.as_os_str().is_empty() || dir.is_dir();
        let mut missing: Vec<PathBuf> =
            path.ancestors().take_while(|dir| !is_there(dir)).map(Path::to_owned).collect();
        missing.reverse();
        for dir in &missing {
            let create = || {
                self.step(Effect::CreateDir, dir)?;
                let mut builder = fs::DirBuilder::new();
                // Somebody else may have made it just now.
                builder.recursive(true);
                #[cfg(unix)]
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
                builder.create(dir)
            };
            create().map_err(failed("create the directory", dir))?;
        }
        Ok(missing)
    }

    /// Opens a file of ours for reading and writing; makes it if it is not there.
    pub(crate) fn create_file(&self, path: &Path) -> Result<File, DiskError> {
        let create = || {
            if !path.exists() {
                self.step(Effect::CreateFile, path)?;
            }
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(path)
        };
        create().map_err(failed("create", path))
    }

    /// Gives a file its length, with blocks behind it where the file system can promise them.
    pub(crate) fn allocate(&self, file: &File, path: &Path, len: u64) -> Result<(), DiskError> {
        let allocate = || {
            self.step(Effect::Allocate, path)?;
            #[cfg(target_os = "linux")]
            if len > 0 {
                use rustix::fs::FallocateFlags;
                let give = || rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len);
                match rustix::io::retry_on_intr(give) {
                    // Not every file system can; a sparse file is the next best.
                    Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                    Err(error) => return Err(error.into()),
                    Ok(()) => {}
                }
            }
            file.set_len(len)
        };
        allocate().map_err(failed("allocate", path))
    }

    /// Writes all bytes at a position.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests count and fail it"))]
    pub(crate) fn write_at(
        &self,
        file: &File,
        path: &Path,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), DiskError> {
        let write = || {
            #[cfg(test)]
            if let Some(faults) = &self.faults {
                let len = faults.write(path, offset, bytes.len())?;
                write_all_at(file, &bytes[..len], offset)?;
                return if len == bytes.len() { Ok(()) } else { Err(faults::full()) };
            }
            write_all_at(file, bytes, offset)
        };
        write().map_err(failed("write", path))
    }

    /// Makes a file's bytes survive a power cut.
    pub(crate) fn sync(&self, file: &File, path: &Path) -> Result<(), DiskError> {
        let sync = || {
            self.step(Effect::Sync, path)?;
            file.sync_data()
        };
        sync().map_err(failed("sync", path))
    }

    /// Makes a directory's entries survive a power cut.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        let sync = || {
            self.step(Effect::SyncDir, path)?;
            // Windows has no handle for this; NTFS journals its directories.
            #[cfg(unix)]
            File::open(path)?.sync_all()?;
            Ok(())
        };
        sync().map_err(failed("sync the directory", path))
    }

    /// Renames a file or directory. Both directories must be synced after it.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let rename = || {
            self.step(Effect::Rename, from)?;
            fs::rename(from, to)?;
            #[cfg(test)]
            if let Some(faults) = &self.faults {
                faults.renamed(from, to);
            }
            Ok(())
        };
        rename().map_err(failed("rename", from))
    }

    /// Removes a file.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), DiskError> {
        let remove = || {
            self.step(Effect::Remove, path)?;
            fs::remove_file(path)
        };
        remove().map_err(failed("remove", path))
    }

    /// Removes a directory and what is in it, or a file in its place. One that is not there is fine.
    pub(crate) fn remove_dirs(&self, path: &Path) -> Result<(), DiskError> {
        let remove = || {
            self.step(Effect::Remove, path)?;
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
                other => other,
            }
        };
        remove().map_err(failed("remove", path))
    }

    /// Gives a file a second name.
    pub(crate) fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Effect::Link, to)?;
        fs::hard_link(from, to)
    }

    /// Makes a copy that shares its blocks with the original until one of them is written.
    pub(crate) fn reflink(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Effect::Link, to)?;
        reflink_copy::reflink(from, to)
    }

    /// Copies a range by the file system's own means, which may share blocks. False if it cannot.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests count and fail it"))]
    pub(crate) fn copy_range(
        &self,
        from: (&File, u64),
        to: (&File, u64, &Path),
        len: u64,
    ) -> Result<bool, DiskError> {
        let copy = || {
            #[cfg(test)]
            if let Some(faults) = &self.faults {
                faults.write(to.2, to.1, len as usize)?;
            }
            copy_range(from.0, from.1, to.0, to.1, len)
        };
        copy().map_err(failed("copy into", to.2))
    }

    /// Takes or gives the right to write a file.
    pub(crate) fn set_read_only(&self, path: &Path, read_only: bool) -> Result<(), DiskError> {
        let set = || {
            self.step(Effect::Mode, path)?;
            let mut permissions = fs::metadata(path)?.permissions();
            #[cfg(unix)]
            std::os::unix::fs::PermissionsExt::set_mode(
                &mut permissions,
                if read_only { 0o444 } else { 0o600 },
            );
            #[cfg(not(unix))]
            permissions.set_readonly(read_only);
            fs::set_permissions(path, permissions)
        };
        set().map_err(failed("change the mode of", path))
    }

    /// Free bytes on the disk of a path, and all its bytes.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests say how full it is"))]
    pub(crate) fn space(&self, path: &Path) -> Result<(u64, u64), DiskError> {
        #[cfg(test)]
        if let Some(space) = self.faults.as_ref().and_then(|faults| faults.space()) {
            return Ok(space);
        }
        let space = || Ok((fs4::available_space(path)?, fs4::total_space(path)?));
        space().map_err(failed("ask for the free space at", path))
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            len => {
                bytes = &bytes[len..];
                offset += len as u64;
            }
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn copy_range(from: &File, at: u64, to: &File, to_at: u64, len: u64) -> io::Result<bool> {
    let (mut at, mut to_at, mut left) = (at, to_at, len);
    while left > 0 {
        let step = left.min(1 << 30) as usize;
        match rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut to_at), step) {
            Ok(0) => return Ok(false),
            Ok(len) => left -= len as u64,
            Err(
                rustix::io::Errno::XDEV
                | rustix::io::Errno::INVAL
                | rustix::io::Errno::NOSYS
                | rustix::io::Errno::OPNOTSUPP,
            ) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps)]
fn copy_range(_: &File, _: u64, _: &File, _: u64, _: u64) -> io::Result<bool> {
    Ok(false)
}

/// Reads at most `len` bytes at a position to the end of `buf`, fewer only at the end of the file.
#[cfg(unix)]
pub(crate) fn read_at(
    file: &File,
    offset: u64,
    len: usize,
    buf: &mut Vec<u8>,
) -> io::Result<usize> {
    let start = buf.len();
    // Room for `len` and no more, so that the read cannot go past it; no byte is zeroed first.
    buf.reserve_exact(len);
    while buf.len() - start < len {
        let done = buf.len() - start;
        let spare = rustix::buffer::spare_capacity(buf);
        match rustix::io::pread(file, spare, offset + done as u64) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // A buffer with room to spare reads on past what was asked.
    buf.truncate(start + len);
    Ok(buf.len() - start)
}

/// Reads at most `len` bytes at a position to the end of `buf`, fewer only at the end of the file.
#[cfg(windows)]
pub(crate) fn read_at(
    file: &File,
    offset: u64,
    len: usize,
    buf: &mut Vec<u8>,
) -> io::Result<usize> {
    let start = buf.len();
    buf.resize(start + len, 0);
    let mut done = 0;
    while done < len {
        let into = &mut buf[start + done..];
        match std::os::windows::fs::FileExt::seek_read(file, into, offset + done as u64)? {
            0 => break,
            n_bytes => done += n_bytes,
        }
    }
    buf.truncate(start + done);
    Ok(done)
}

#[cfg(test)]
mod full {
    use super::*;
    use crate::{CheckpointError, WriteError};

    #[test]
    fn a_full_disk_is_known_through_every_wrapper() {
        let full = || failed("write", Path::new("x"))(io::ErrorKind::StorageFull.into());
        assert!(is_full(&full()));
        assert!(is_full(&WriteError::from(full())));
        assert!(is_full(&CheckpointError::from(full())));
        assert!(is_full(&crate::AddError::from(full())));
        assert!(is_full(&crate::BeginError::from(full())));
        assert!(!is_full(&failed("write", Path::new("x"))(io::ErrorKind::NotFound.into())));
    }
}
