//! The tables and how an older index becomes this version's. `docs/disk.md` explains each column.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::IndexError;

/// Each entry takes the schema one version further. Never changed, only appended to.
const MIGRATIONS: &[&str] = &["
CREATE TABLE meta (
    key     TEXT PRIMARY KEY NOT NULL,
    value   BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE blocks (
    id      BLOB PRIMARY KEY NOT NULL,
    bytes   BLOB NOT NULL,
    visible INTEGER NOT NULL
);
CREATE TABLE models (
    id         BLOB PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    kind       INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    visibility INTEGER NOT NULL,
    pinned     INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    reason     TEXT,
    removing   INTEGER NOT NULL DEFAULT 0,
    dir        TEXT NOT NULL UNIQUE COLLATE NOCASE,
    added_at   INTEGER NOT NULL,
    last_used  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX models_by_name ON models (name);
CREATE TABLE files (
    model       BLOB NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    path        TEXT NOT NULL,
    block       BLOB NOT NULL,
    size        INTEGER NOT NULL,
    sha256      BLOB,
    storage     INTEGER NOT NULL,
    source      TEXT,
    len         INTEGER,
    mtime_ns    INTEGER,
    inode       INTEGER,
    device      INTEGER,
    PRIMARY KEY (model, seq)
) WITHOUT ROWID;
CREATE INDEX files_by_block ON files (block);
CREATE TABLE chunks (
    model       BLOB NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    offset      INTEGER NOT NULL,
    chunk       BLOB NOT NULL,
    size        INTEGER NOT NULL,
    PRIMARY KEY (model, seq, offset)
) WITHOUT ROWID;
CREATE INDEX chunks_by_id ON chunks (chunk);
CREATE TABLE proofs (
    chunk       BLOB PRIMARY KEY NOT NULL,
    hashes      BLOB NOT NULL
);
CREATE TABLE bits (
    model       BLOB PRIMARY KEY NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    bitmap      BLOB NOT NULL
);
CREATE TABLE replay (
    publisher   BLOB NOT NULL,
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    PRIMARY KEY (publisher, name)
) WITHOUT ROWID;
CREATE TABLE peers (
    peer        BLOB PRIMARY KEY NOT NULL,
    blob        BLOB NOT NULL,
    updated     INTEGER NOT NULL
);
"];

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    /// A newer hive wrote it.
    #[error("{} has schema {found}, this hive knows up to {known}", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    /// It cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// The version that this program writes.
pub(crate) fn version() -> i64 {
    MIGRATIONS.len() as i64
}

/// Brings an index to this version, each step in a transaction of its own. Returns the version that
/// it had; 0 is an empty file.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<i64, SchemaError> {
    let failed =
        |source: rusqlite::Error| IndexError { path: path.to_owned(), source: source.into() };
    let found: i64 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if found < 0 || found > version() {
        return Err(SchemaError::Newer { path: path.to_owned(), found, known: version() });
    }
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let step = |connection: &mut Connection| {
            let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            txn.execute_batch(migration)?;
            txn.pragma_update(None, "user_version", at as i64 + 1)?;
            txn.commit()
        };
        step(connection).map_err(failed)?;
    }
    Ok(found)
}
