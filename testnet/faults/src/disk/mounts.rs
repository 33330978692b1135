//! File systems of our own: images on loop devices, and memory. Unmounted when dropped; and should
//! the program be killed, they go with its namespace.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// A file system that is mounted.
#[derive(Debug)]
pub(crate) struct Mount {
    at: PathBuf,
}

/// Runs a program that comes with a system, and says where to get it.
pub(crate) fn tool<A: AsRef<OsStr>>(
    program: &str,
    package: &str,
    args: impl IntoIterator<Item = A>,
) -> anyhow::Result<()> {
    let ended = Command::new(program).args(args).output().with_context(|| {
        format!("cannot run `{program}`; Debian and Ubuntu have it: apt-get install {package}")
    })?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "`{program}`: {} {}", ended.status, said.trim());
    Ok(())
}

fn require_root() -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this scenario mounts file systems: run it as root, on a machine with loop devices"
    );
    Ok(())
}

impl Mount {
    /// Makes a file system of so many MiB in an image beside `at` and mounts it there.
    pub(crate) fn new(kind: &str, mib: u64, at: &Path) -> anyhow::Result<Self> {
        let image = at.with_extension("img");
        Self::make(kind, mib, &image)?;
        Self::image(&image, at)
    }

    /// Makes a file system in an image.
    pub(crate) fn make(kind: &str, mib: u64, image: &Path) -> anyhow::Result<()> {
        require_root()?;
        std::fs::File::create(image)?.set_len(mib << 20)?;
        let image = image.as_os_str();
        if kind == "xfs" {
            let options = ["-q", "-m", "reflink=1"].map(OsStr::new);
            tool("mkfs.xfs", "xfsprogs", options.into_iter().chain([image]))
        } else {
            let options = ["-q", "-F"].map(OsStr::new);
            tool("mkfs.ext4", "e2fsprogs", options.into_iter().chain([image]))
        }
    }

    /// Mounts an image.
    pub(crate) fn image(image: &Path, at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at)?;
        let words = [OsStr::new("-o"), OsStr::new("loop"), image.as_os_str(), at.as_os_str()];
        tool("mount", "mount", words)?;
        Ok(Self { at: at.to_owned() })
    }

    /// Mounts memory.
    pub(crate) fn memory(mib: u64, at: &Path) -> anyhow::Result<Self> {
        require_root()?;
        std::fs::create_dir_all(at)?;
        let size = format!("size={mib}m");
        let words = ["-t", "tmpfs", "-o", &size, "hive-faults"].map(OsStr::new);
        tool("mount", "mount", words.into_iter().chain([at.as_os_str()]))?;
        Ok(Self { at: at.to_owned() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// What ext4 does when its journal cannot be written: from now on it is read-only, whoever has
    /// files open in it.
    pub(crate) fn abort(&self) -> anyhow::Result<()> {
        let words = ["-o", "remount,abort"].map(OsStr::new);
        tool("mount", "mount", words.into_iter().chain([self.at.as_os_str()]))
    }

    /// Unmounts it; fails while files in it are open.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        tool("umount", "mount", [self.at.as_os_str()])
        // Dropping it now finds nothing to do.
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What a failed scenario left open must not keep the directory: it goes when that ends.
        let _ = Command::new("umount").args(["-q", "-l"]).arg(&self.at).output();
    }
}
