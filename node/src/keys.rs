//! The two secrets of a home: the node's key and the publisher's key, 32 bytes each, mode 0600.
//!
//! Never logs a key and never replaces one: a home that had an identity and lost the file is an
//! error until the user says that a new one is wanted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

/// Where the node's key stands in a home.
pub(crate) const IDENTITY: &str = "identity.key";
/// Where the publisher's key stands in a home.
pub(crate) const PUBLISHER: &str = "publisher.key";

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use the key file `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not a key.
    #[error("`{}` has {len} bytes, a key has 32", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        len: usize,
    },
    /// Somebody else can read the file.
    #[error("`{}` can be read by others (mode {mode:03o})", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Reads a key; `None` when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<SigningKey>, KeyError> {
    let error = |source| KeyError::Io { path: path.to_owned(), source };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(error(source)),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(error)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Readable { path: path.to_owned(), mode });
        }
    }
    let secret = <[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| KeyError::NotAKey { path: path.to_owned(), len: bytes.len() })?;
    Ok(Some(SigningKey::from_bytes(&secret)))
}

/// Makes a key and writes it where there is none. Written whole under another name first, so that
/// a crash leaves no half key.
pub(crate) fn create(path: &Path) -> Result<SigningKey, KeyError> {
    let error = |source| KeyError::Io { path: path.to_owned(), source };
    let key = SigningKey::from_bytes(&rand::random());
    let draft = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&draft).map_err(error)?;
    file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(error)?;
    fs::rename(&draft, path).map_err(error)?;
    if let Some(dir) = path.parent() {
        // Windows cannot open a directory; there the rename itself is durable.
        if let Ok(dir) = File::open(dir) {
            dir.sync_all().map_err(error)?;
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(IDENTITY);
        assert!(read(&path).unwrap().is_none());
        let key = create(&path).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().to_bytes(), key.to_bytes());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(read(&path), Err(KeyError::Readable { mode: 0o644, .. })));
        }
    }

    #[test]
    fn a_file_of_another_length_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(IDENTITY);
        create(&path).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&[0]).unwrap();
        assert!(matches!(read(&path), Err(KeyError::NotAKey { len: 33, .. })));
    }
}
