//! One process per home directory.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};

use crate::disk::failed;
use crate::layout::Layout;
use crate::store::OpenError;

/// Takes the lock and leaves our process number in it. The system takes it back when the file is
/// closed, however the process ends.
pub(crate) fn take(layout: &Layout) -> Result<File, OpenError> {
    let path = layout.lock();
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&path).map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // On Windows a locked file cannot be read; then the number stays unknown.
            let _ = file.read_to_string(&mut text);
            let pid = text.trim().parse().ok();
            return Err(OpenError::Locked { home: layout.home().to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source).into()),
    }
    let mut leave = || {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    leave().map_err(failed("write", &path))?;
    Ok(file)
}
