//! Files of private networks: whole or not at all, and for nobody else to read.
//!
//! Every file is written under another name, synced, renamed, and its directory synced, so that a
//! crash leaves the old one or the new one. All are 0600 below directories of 0700: even a
//! network's public key is told to members only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use hive_api::HiveError;

use crate::errors;

/// What a file is called until it is whole.
const DRAFT: &str = "new";

/// Writes a file. One writer at a time: the caller holds the lock of the home's networks.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), HiveError> {
    let draft = path.with_added_extension(DRAFT);
    let attempt = || {
        // One that a crash left may have been made by anybody's umask.
        remove_file(&draft)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        sync_dir(path)
    };
    attempt().map_err(|error: io::Error| cannot("write", path, &error))
}

/// Reads a file; `None` if there is none.
pub(crate) fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, HiveError> {
    let attempt = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            let message = format!("it has over {max} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(bytes)
    };
    match attempt() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", path, &error)),
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), HiveError> {
    let removed = remove_file(path).and_then(|()| sync_dir(path));
    removed.map_err(|error| cannot("remove", path, &error))
}

/// Makes a directory and those above it.
pub(crate) fn make_dir(path: &Path) -> Result<(), HiveError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let made = builder.create(path).and_then(|()| sync_dir(path));
    made.map_err(|error| cannot("make", path, &error))
}

/// Removes a directory with all that is in it: first its name, so that a crash leaves none of half
/// its content under it.
pub(crate) fn remove_dir(path: &Path, meanwhile: &Path) -> Result<(), HiveError> {
    let attempt = || {
        fs::rename(path, meanwhile)?;
        sync_dir(path)?;
        fs::remove_dir_all(meanwhile)
    };
    attempt().map_err(|error| cannot("remove", path, &error))
}

/// What went wrong with a file, in words.
pub(crate) fn cannot(what: &str, path: &Path, error: &io::Error) -> HiveError {
    errors::store(format!("cannot {what} `{}`", path.display()), error)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a change of a directory's entries last.
fn sync_dir(path: &Path) -> io::Result<()> {
    // Windows cannot open a directory; there the change itself is durable.
    match path.parent().map(File::open) {
        Some(Ok(dir)) => dir.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("networks").join("x").join("certificate");
        make_dir(path.parent().unwrap()).unwrap();
        // What a crash left, readable by all.
        fs::write(path.with_added_extension(DRAFT), b"half").unwrap();
        assert_eq!(read(&path, 9).unwrap(), None);
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path, 9).unwrap().as_deref(), Some(&b"two"[..]));
        assert!(read(&path, 2).is_err(), "no more is read than is expected");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o600);
            assert_eq!(mode(path.parent().unwrap()), 0o700);
        }
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }
}
