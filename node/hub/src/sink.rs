//! A file on its way in: its bytes so far, and the check that runs along.
//!
//! Every call may block. A part is named by the digest that it shall have, so that it is never
//! gone on with for another file. What an earlier run left is hashed again before anything is
//! added to it.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::digest::{Check, Promise, read_into};

/// Characters in a validator that is kept.
const ETAG_LEN: usize = 256;

/// The part of a file that is here.
#[derive(Debug)]
pub(crate) struct Sink {
    path: PathBuf,
    file: File,
    check: Check,
    promise: Promise,
    size: u64,
    len: u64,
    /// Whether some of it was here before this run.
    pub(crate) inherited: bool,
}

impl Sink {
    /// Opens a part, new or begun earlier.
    pub(crate) fn open(path: PathBuf, promise: Promise, size: u64) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut sink = Self {
            path,
            file,
            check: Check::new(promise, size),
            promise,
            size,
            len: 0,
            inherited: false,
        };
        let here = sink.file.metadata()?.len();
        if here > size {
            sink.restart()?;
        } else if here > 0 {
            sink.len = read_into(&mut sink.check, &sink.file)?;
            sink.inherited = true;
        }
        Ok(sink)
    }

    /// Bytes here.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that the whole file has.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes at the end.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.len))?;
        self.file.write_all(bytes)?;
        self.check.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what is here.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.check = Check::new(self.promise, self.size);
        self.len = 0;
        self.inherited = false;
        remove(&self.etag_path())
    }

    /// Puts the whole file in its place, if it is the one that was promised; whether it was.
    pub(crate) fn finish(&mut self, place: &Path) -> io::Result<bool> {
        let check = std::mem::replace(&mut self.check, Check::new(self.promise, self.size));
        if self.len != self.size || !check.holds() {
            self.restart()?;
            return Ok(false);
        }
        self.file.sync_all()?;
        if let Some(dir) = place.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::rename(&self.path, place)?;
        remove(&self.etag_path())?;
        Ok(true)
    }

    /// Takes the part away.
    pub(crate) fn discard(self) -> io::Result<()> {
        remove(&self.etag_path())?;
        remove(&self.path)
    }

    /// What the server called these bytes, for `If-Range`.
    pub(crate) fn etag(&self) -> Option<String> {
        let text = fs::read_to_string(self.etag_path()).ok()?;
        (text.len() <= ETAG_LEN).then_some(text)
    }

    /// Remembers what the server calls these bytes.
    pub(crate) fn set_etag(&self, etag: Option<&str>) -> io::Result<()> {
        match etag.filter(|etag| etag.len() <= ETAG_LEN) {
            Some(etag) => fs::write(self.etag_path(), etag),
            None => remove(&self.etag_path()),
        }
    }

    fn etag_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".etag");
        path.into()
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
