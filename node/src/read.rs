//! `GET /v1/models/download`: the bytes of a model's files, piece by piece.
//!
//! Reads what the store vouches for when it is opened, and nothing else; a file that is written
//! while it is read is an error from there on. A piece is read when the reader asks for it, so a
//! slow reader takes no memory.

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::SystemTime;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hive_api::{ErrorKind, Events, HiveError, ModelFile, ReadRequest, Reading, Result};
use hive_protocol::Digest;
use hive_store::{self as store, Store};

use crate::errors;
use crate::library;
use crate::local::{Local, blocking};

/// Bytes in a piece.
const PIECE: u64 = 1 << 20;
/// Names of files that an error lists at most.
const NAMES: usize = 8;

impl Local {
    /// Opens a file of a model and reads a part of it.
    pub(crate) async fn read_file(&self, request: ReadRequest) -> Result<Reading> {
        let store = self.store.clone();
        blocking(move || open(&store, request)).await
    }
}

fn open(store: &Store, request: ReadRequest) -> Result<Reading> {
    let ReadRequest { model, file, start, len } = request;
    let id = library::resolve(store, &model)?;
    let index = |error| errors::store("cannot read the index", &error);
    let files = store.files(&id).map_err(index)?;
    let chosen = choose(&model, file.as_deref(), files)?;
    let open = store
        .open_verified(&id, Some(&chosen.path))
        .map_err(|error| cannot_open(&model, &error))?;
    if start > open.size {
        let message = format!("`{}` has {} bytes, none at {start}", chosen.path, open.size);
        return Err(HiveError::new(ErrorKind::Usage, message));
    }
    let len = len.unwrap_or(u64::MAX).min(open.size - start);
    let name = chosen.path.to_string();
    let source = Source::new(open.file, name, start, len)?;
    Ok(Reading {
        file: ModelFile {
            path: chosen.path.to_string(),
            cid: chosen.block.to_string(),
            size: chosen.size,
            sha256: chosen.sha256.map(|digest| Digest(digest).hex()),
        },
        start,
        len,
        bytes: source.pieces(),
    })
}

/// The file that is meant.
fn choose(
    model: &str,
    path: Option<&str>,
    mut files: Vec<store::ModelFile>,
) -> Result<store::ModelFile> {
    let Some(path) = path else {
        if files.len() == 1 {
            return Ok(files.remove(0));
        }
        let names: Vec<_> = files.iter().take(NAMES).map(|file| file.path.as_str()).collect();
        let more = if files.len() > NAMES { ", …" } else { "" };
        let message = format!("`{model}` has {} files: which one?", files.len());
        return Err(HiveError::new(ErrorKind::Usage, message)
            .hint(format!("name one with `file`: {}{more}", names.join(", "))));
    };
    let found = files.into_iter().find(|file| file.path.as_str() == path);
    found.ok_or_else(|| {
        HiveError::new(ErrorKind::NotFound, format!("`{model}` has no file `{path}`"))
            .hint(format!("`hive show {model}` lists its files"))
    })
}

fn cannot_open(model: &str, error: &store::OpenModelError) -> HiveError {
    use store::OpenModelError as E;
    match error {
        E::NotWhole { .. } => {
            HiveError::caused(ErrorKind::NotFound, format!("`{model}` is not all here"), error)
                .hint(format!("`hive fetch {model}` gets the rest"))
        }
        E::Changed { .. } | E::Damaged { .. } => {
            let message = format!("`{model}` is not what it was");
            HiveError::caused(ErrorKind::Verification, message, error)
                .hint("`hive verify --repair` fetches again what is damaged")
        }
        error => errors::store(format!("cannot open `{model}`"), error),
    }
}

/// A part of a file that is left to read.
struct Source {
    file: File,
    name: String,
    /// What the file was when the store vouched for it.
    seen: (u64, Option<SystemTime>),
    left: u64,
}

impl Source {
    fn new(mut file: File, name: String, start: u64, left: u64) -> Result<Self> {
        let failed =
            |error| HiveError::caused(ErrorKind::Failed, format!("cannot read `{name}`"), &error);
        let seen = looks(&file.metadata().map_err(failed)?);
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        Ok(Self { file, name, seen, left })
    }

    fn pieces(self) -> Events<Bytes> {
        stream::unfold(Some(self), |source| async {
            let source = source.filter(|source| source.left > 0)?;
            Some(match blocking(move || source.next()).await {
                Ok((piece, source)) => (Ok(piece), Some(source)),
                Err(error) => (Err(error), None),
            })
        })
        .boxed()
    }

    fn next(mut self) -> Result<(Bytes, Self)> {
        let len = self.left.min(PIECE);
        let mut piece = Vec::with_capacity(len as usize);
        let read = (&self.file).take(len).read_to_end(&mut piece);
        let now = read.and_then(|_| self.file.metadata()).map_err(|error| {
            HiveError::caused(ErrorKind::Failed, format!("cannot read `{}`", self.name), &error)
        })?;
        if piece.len() as u64 != len || looks(&now) != self.seen {
            let message = format!("`{}` changed while it was read", self.name);
            return Err(HiveError::new(ErrorKind::Verification, message)
                .hint("`hive verify` says whether it is still what it was"));
        }
        self.left -= len;
        Ok((piece.into(), self))
    }
}

/// By what a change of a file is noticed.
fn looks(metadata: &Metadata) -> (u64, Option<SystemTime>) {
    (metadata.len(), metadata.modified().ok())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn source(dir: &tempfile::TempDir, bytes: &[u8], start: u64, left: u64) -> Source {
        let path = dir.path().join("f");
        std::fs::write(&path, bytes).unwrap();
        Source::new(File::open(path).unwrap(), "f".into(), start, left).unwrap()
    }

    #[tokio::test]
    async fn a_part_is_read_in_pieces_and_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<u8> = (0..2 * PIECE + 77).map(|i| (i % 251) as u8).collect();
        for (start, len) in [(0, all.len()), (5, 10), (PIECE as usize - 1, 2), (3, 0)] {
            let pieces = source(&dir, &all, start as u64, len as u64).pieces();
            let read: Vec<Bytes> = pieces.map(|piece| piece.unwrap()).collect().await;
            assert!(read.iter().all(|piece| piece.len() as u64 <= PIECE));
            assert!(read.concat() == all[start..start + len], "{start} {len}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_written_meanwhile_is_an_error_and_the_last_item() {
        let dir = tempfile::tempdir().unwrap();
        let all = vec![1; 3 * PIECE as usize];
        let mut pieces = source(&dir, &all, 0, all.len() as u64).pieces();
        assert!(pieces.next().await.unwrap().is_ok());
        File::options().append(true).open(dir.path().join("f")).unwrap().write_all(b"x").unwrap();
        let error = pieces.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Verification, "{error}");
        assert!(pieces.next().await.is_none());
    }
}
