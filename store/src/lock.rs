//! One process per home directory.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::time::Duration;

use crate::disk::failed;
use crate::layout::Layout;
use crate::store::OpenError;

/// How often, and how many times, to look for the number of a process that has just taken the lock.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: u32 = 40;

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
            return Err(OpenError::Locked {
                home: layout.home().to_owned(),
                pid: holder(|| number(&file)),
            });
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

/// The process that has the lock. It writes its number after it took the lock; until then the file
/// is empty or has the number of one that was killed.
fn holder(mut look: impl FnMut() -> io::Result<Option<u32>>) -> Option<u32> {
    let mut found = None;
    for _ in 0..LOOKS {
        // On Windows a locked file cannot be read; then the number stays unknown.
        found = look().ok()?;
        if found.is_some_and(is_alive) {
            break;
        }
        std::thread::sleep(LOOK);
    }
    found
}

fn number(mut file: &File) -> io::Result<Option<u32>> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text.trim().parse().ok())
}

#[cfg(unix)]
fn is_alive(pid: u32) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};

    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // Somebody else's process may not be signalled, and is there.
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
}

#[cfg(not(unix))]
fn is_alive(_pid: u32) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A number that no process has: it was one of ours, and is reaped.
    fn dead() -> u32 {
        let mut child = std::process::Command::new("true").spawn().expect("it starts");
        child.wait().expect("it ends");
        child.id()
    }

    /// Nodes that start at once: the lock is taken, and its number not written yet. What stands
    /// there is nothing, or the number of a process that was killed; neither is what a person
    /// should be told.
    #[test]
    fn who_comes_second_waits_for_the_number_of_the_first() {
        let ours = std::process::id();
        let mut seen = [Some(dead()), None, Some(ours)].into_iter();
        assert_eq!(holder(|| Ok(seen.next().flatten())), Some(ours));
        assert_eq!(seen.next(), None, "it looked until the number was there");
    }

    /// One that cannot be found out is not waited for for ever.
    #[test]
    fn a_number_that_never_comes_is_given_up() {
        let mut looks = 0;
        let none = holder(|| {
            looks += 1;
            Ok(None)
        });
        assert_eq!((none, looks), (None, LOOKS));
    }
}
