//! Waits for what another program does to files: each change of a directory is an event of the kernel.
//!
//! Owns no process and no file. Elsewhere than on Linux it only looks once.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

/// Waits until `holds`, which is asked at once and again whenever a file in `dir` is made, written or
/// renamed; fails with `what` when `patience` is over.
#[cfg(target_os = "linux")]
pub(crate) fn until(
    dir: &Path,
    patience: Duration,
    what: &str,
    mut holds: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    use std::time::Instant;

    use anyhow::Context as _;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    let reason = || format!("cannot watch `{}`", dir.display());
    let events = inotify::init(CreateFlags::CLOEXEC).with_context(reason)?;
    let changes = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO;
    inotify::add_watch(&events, dir, changes).with_context(reason)?;
    let start = Instant::now();
    let mut seen = [0; 4096];
    // Watched first and asked then, so that nothing happens between the two unseen.
    while !holds() {
        let left = patience.saturating_sub(start.elapsed());
        ensure!(!left.is_zero(), "{what}");
        let timeout = Timespec::try_from(left)?;
        if poll(&mut [PollFd::new(&events, PollFlags::IN)], Some(&timeout))? > 0 {
            rustix::io::read(&events, &mut seen)?;
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn until(
    _: &Path,
    _: Duration,
    what: &str,
    mut holds: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    ensure!(holds(), "{what}");
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_appears_ends_the_wait_and_one_that_does_not_fails_it() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("pid");
        std::thread::scope(|scope| {
            scope.spawn(|| std::fs::write(&path, "1"));
            until(dir.path(), Duration::from_secs(20), "no file came", || path.exists())
        })?;
        let never = until(dir.path(), Duration::from_millis(1), "nothing came", || false);
        assert_eq!(never.unwrap_err().to_string(), "nothing came");
        Ok(())
    }
}
