//! A directory as the GGUF file that a converter would have made of it.
//!
//! Nothing is converted beforehand: the header and the vectors are in memory, and the matrices are
//! read from the files of the directory when somebody reads the place where they would stand. So
//! the loader, the checks and the quantiser know one format, and a model of 16 GB costs no second
//! file of that size.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// What stands at a place of the file.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// Bytes that were made.
    Given(Vec<u8>),
    /// A tensor as it stands in a file of the directory.
    Stored { file: usize, offset: u64, len: u64 },
    /// Rows that stand in another order, see [`Change::Interleave`](super::names::Change).
    Interleaved { file: usize, offset: u64, row_len: u64, n_rows: u64, n_heads: u64 },
}

impl Bytes {
    fn len(&self) -> u64 {
        match *self {
            Self::Given(ref bytes) => bytes.len() as u64,
            Self::Stored { len, .. } => len,
            Self::Interleaved { row_len, n_rows, .. } => row_len * n_rows,
        }
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct View {
    files: Vec<File>,
    /// Where each stretch begins, ascending; what is between two of them is zeros.
    stretches: Vec<(u64, Bytes)>,
    len: u64,
    at: u64,
}

impl View {
    /// Puts a file together of stretches in ascending order.
    pub(crate) fn new(files: Vec<File>, stretches: Vec<(u64, Bytes)>) -> Self {
        let len = stretches.last().map_or(0, |(start, bytes)| start + bytes.len());
        Self { files, stretches, len, at: 0 }
    }
}

impl Read for View {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let after = self.stretches.partition_point(|(start, _)| *start <= self.at);
        let next = self.stretches.get(after).map_or(self.len, |(start, _)| *start);
        let Some((start, bytes)) = after.checked_sub(1).map(|index| &self.stretches[index]) else {
            return Ok(0);
        };
        let at = self.at - start;
        let limit = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(out.len());
        let n = if bytes.len() <= at {
            // Padding.
            let n = limit(next.saturating_sub(self.at));
            out[..n].fill(0);
            n
        } else {
            let (file, offset, n) = match *bytes {
                Bytes::Given(ref bytes) => {
                    let bytes = &bytes[at as usize..];
                    let n = bytes.len().min(out.len());
                    out[..n].copy_from_slice(&bytes[..n]);
                    self.at += n as u64;
                    return Ok(n);
                }
                Bytes::Stored { file, offset, len } => (file, offset + at, limit(len - at)),
                Bytes::Interleaved { file, offset, row_len, n_rows, n_heads } => {
                    let (row, within) = (at / row_len, at % row_len);
                    let (head, index) = (row / (n_rows / n_heads), row % (n_rows / n_heads));
                    let half = n_rows / n_heads / 2;
                    let from = head * 2 * half + index % 2 * half + index / 2;
                    (file, offset + from * row_len + within, limit(row_len - within))
                }
            };
            let file = &mut self.files[file];
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(&mut out[..n])?;
            n
        };
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for View {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// Two heads of six rows: 0 3 1 4 2 5 of each.
    fn view() -> (View, Vec<u8>) {
        let mut file = tempfile::tempfile().expect("there is room");
        let stored: Vec<u8> = (0..64).collect();
        file.write_all(&stored).expect("there is room");
        let mut whole = vec![7; 5];
        whole.resize(8, 0);
        whole.extend(&stored[10..20]);
        whole.resize(32, 0);
        for head in 0..2 {
            for row in [0, 3, 1, 4, 2, 5] {
                let start = 4 + 3 * (6 * head + row);
                whole.extend(&stored[start..start + 3]);
            }
        }
        let stretches = vec![
            (0, Bytes::Given(vec![7; 5])),
            (8, Bytes::Stored { file: 0, offset: 10, len: 10 }),
            (32, Bytes::Interleaved { file: 0, offset: 4, row_len: 3, n_rows: 12, n_heads: 2 }),
        ];
        (View::new(vec![file], stretches), whole)
    }

    proptest! {
        #[test]
        fn any_stretch_of_the_file_is_read(start in 0_u64..80, len in 0_usize..80) {
            let (mut view, whole) = view();
            let mut read = Vec::new();
            view.seek(SeekFrom::Start(start)).expect("it is a place");
            view.take(len as u64).read_to_end(&mut read).expect("the file is whole");
            let start = whole.len().min(start as usize);
            prop_assert_eq!(&read[..], &whole[start..whole.len().min(start + len)]);
        }
    }

    #[test]
    fn the_end_is_where_the_last_stretch_ends() {
        let (mut view, whole) = view();
        assert_eq!(view.seek(SeekFrom::End(0)).expect("it has an end"), whole.len() as u64);
        assert_eq!(view.read(&mut [0; 4]).expect("nothing is there"), 0);
        assert!(view.seek(SeekFrom::Current(-1_000)).is_err());
    }
}
