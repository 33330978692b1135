//! Files that are measured with: made, compared, copied.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;

/// Bytes written and compared at a time.
const PIECE: usize = 8 << 20;

/// Writes random bytes that follow from `seed`.
pub(crate) fn write_random(path: &Path, seed: u64, size: u64) -> anyhow::Result<()> {
    let reason = || format!("cannot write `{}`", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(reason)?);
    let mut left = size;
    for number in 0.. {
        let len = left.min(PIECE as u64) as usize;
        let piece = hive_testnet::sample::bytes((seed + number) << 32, len);
        file.write_all(&piece).with_context(reason)?;
        left -= piece.len() as u64;
        if left == 0 {
            break;
        }
    }
    file.into_inner()?.sync_all().with_context(reason)
}

/// Whether a file is the first `size` bytes of another.
pub(crate) fn begins(original: &Path, size: u64, path: &Path) -> anyhow::Result<bool> {
    let open = |path: &Path| {
        File::open(path).with_context(|| format!("cannot compare `{}`", path.display()))
    };
    let (mut one, mut other) = (open(original)?.take(size), open(path)?);
    if other.metadata()?.len() != size {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let n = one.read(&mut a)?;
        if n == 0 {
            return Ok(true);
        }
        if other.read_exact(&mut b[..n]).is_err() || a[..n] != b[..n] {
            return Ok(false);
        }
    }
}

/// Seconds that a plain copy takes: what the disk and the memory give to a program that does not
/// send, decrypt or verify.
pub(crate) fn copy_seconds(dir: &Path, file: &Path) -> anyhow::Result<f64> {
    let path = dir.join("copy.bin");
    let (mut from, mut to) = (File::open(file)?, File::create(&path)?);
    let mut piece = vec![0; 1 << 20];
    let start = Instant::now();
    loop {
        match from.read(&mut piece)? {
            0 => break,
            n => to.write_all(&piece[..n])?,
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_differs_or_is_short_is_told_from_a_whole_one() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let (original, copy) = (dir.path().join("a"), dir.path().join("b"));
        write_random(&original, 1, 3_000)?;
        std::fs::copy(&original, &copy)?;
        assert!(begins(&original, 3_000, &copy)?);
        let mut bytes = std::fs::read(&copy)?;
        std::fs::write(&copy, &bytes[..2_000])?;
        assert!(begins(&original, 2_000, &copy)?);
        assert!(!begins(&original, 3_000, &copy)?);
        bytes[2_999] ^= 1;
        std::fs::write(&copy, &bytes)?;
        assert!(!begins(&original, 3_000, &copy)?);
        Ok(())
    }
}
