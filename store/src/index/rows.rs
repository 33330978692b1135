//! The statements, and rows as types.

use std::path::PathBuf;

use hive_protocol::{BlockId, ChunkId, Digest, Name, TreePath};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::fingerprint::Fingerprint;
use crate::model::{Kind, State, Storage, Visibility};

/// A row of `models`.
#[derive(Debug, Clone)]
pub(crate) struct ModelRow {
    pub(crate) id: BlockId,
    pub(crate) name: Name,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) visibility: Visibility,
    pub(crate) pinned: bool,
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    pub(crate) removing: bool,
    pub(crate) dir: String,
    pub(crate) added_at: u64,
    pub(crate) last_used: u64,
}

/// A row of `files`.
#[derive(Debug, Clone)]
pub(crate) struct FileRow {
    pub(crate) path: TreePath,
    pub(crate) block: BlockId,
    pub(crate) size: u64,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) storage: Storage,
    /// Where a reference points.
    pub(crate) source: Option<PathBuf>,
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// A chunk in a file of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkRow {
    pub(crate) chunk: ChunkId,
    pub(crate) size: u64,
    pub(crate) seq: u32,
    pub(crate) offset: u64,
}

fn bad(column: &str) -> rusqlite::Error {
    let error = FromSqlError::Other(format!("`{column}` holds what it cannot hold").into());
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, Box::new(error))
}

fn digest(row: &Row<'_>, column: &str) -> rusqlite::Result<Digest> {
    Ok(Digest(row.get(column)?))
}

fn number<T>(row: &Row<'_>, column: &str, from: fn(i64) -> Option<T>) -> rusqlite::Result<T> {
    from(row.get(column)?).ok_or_else(|| bad(column))
}

impl ModelRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: BlockId(digest(row, "id")?),
            name: row.get::<_, String>("name")?.parse().map_err(|_| bad("name"))?,
            kind: number(row, "kind", Kind::from_number)?,
            size: row.get::<_, i64>("size")? as u64,
            visibility: number(row, "visibility", Visibility::from_number)?,
            pinned: row.get("pinned")?,
            state: number(row, "state", State::from_number)?,
            reason: row.get("reason")?,
            removing: row.get("removing")?,
            dir: row.get("dir")?,
            added_at: row.get::<_, i64>("added_at")? as u64,
            last_used: row.get::<_, i64>("last_used")? as u64,
        })
    }
}

impl FileRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let fingerprint = match row.get::<_, Option<i64>>("len")? {
            Some(len) => Some(Fingerprint {
                len: len as u64,
                mtime_ns: row.get("mtime_ns")?,
                inode: row.get::<_, i64>("inode")? as u64,
                device: row.get::<_, i64>("device")? as u64,
            }),
            None => None,
        };
        Ok(Self {
            path: row.get::<_, String>("path")?.parse().map_err(|_| bad("path"))?,
            block: BlockId(digest(row, "block")?),
            size: row.get::<_, i64>("size")? as u64,
            sha256: row.get("sha256")?,
            storage: number(row, "storage", Storage::from_number)?,
            source: row.get::<_, Option<Vec<u8>>>("source")?.map(path_from_bytes),
            fingerprint,
        })
    }
}

/// A path as the index keeps it: its bytes on Unix, UTF-8 elsewhere.
fn path_bytes(path: &std::path::Path) -> Vec<u8> {
    #[cfg(unix)]
    return std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
    #[cfg(not(unix))]
    return path.to_string_lossy().into_owned().into_bytes();
}

fn path_from_bytes(bytes: Vec<u8>) -> PathBuf {
    #[cfg(unix)]
    return PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes));
    #[cfg(not(unix))]
    return PathBuf::from(String::from_utf8_lossy(&bytes).into_owned());
}

/// Writes a model with its files and chunks, in place of what was there under its id.
pub(crate) fn put_model(
    txn: &Transaction<'_>,
    model: &ModelRow,
    files: &[FileRow],
    chunks: &[ChunkRow],
    bitmap: &[u8],
) -> rusqlite::Result<()> {
    txn.execute("DELETE FROM models WHERE id = ?1", [&model.id.0.0])?;
    txn.execute(
        "INSERT INTO models (id, name, kind, size, visibility, pinned, state, reason, removing, dir, added_at, last_used)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            model.id.0.0,
            model.name.as_str(),
            model.kind.number(),
            model.size as i64,
            model.visibility.number(),
            model.pinned,
            model.state.number(),
            model.reason,
            model.removing,
            model.dir,
            model.added_at as i64,
            model.last_used as i64,
        ],
    )?;
    for (seq, file) in files.iter().enumerate() {
        put_file(txn, &model.id, seq as u32, file)?;
    }
    let mut insert = txn.prepare_cached(
        "INSERT INTO chunks (model, seq, offset, chunk, size) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for row in chunks {
        insert.execute(params![
            model.id.0.0,
            row.seq,
            row.offset as i64,
            row.chunk.0.0,
            row.size as i64
        ])?;
    }
    put_bits(txn, &model.id, bitmap)
}

/// Writes one file's row.
pub(crate) fn put_file(
    txn: &Transaction<'_>,
    model: &BlockId,
    seq: u32,
    file: &FileRow,
) -> rusqlite::Result<()> {
    let print = file.fingerprint;
    txn.prepare_cached(
        "INSERT OR REPLACE INTO files (model, seq, path, block, size, sha256, storage, source, len, mtime_ns, inode, device)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        model.0.0,
        seq,
        file.path.as_str(),
        file.block.0.0,
        file.size as i64,
        file.sha256,
        file.storage.number(),
        file.source.as_deref().map(path_bytes),
        print.map(|print| print.len as i64),
        print.map(|print| print.mtime_ns),
        print.map(|print| print.inode as i64),
        print.map(|print| print.device as i64),
    ])?;
    Ok(())
}

pub(crate) fn put_bits(
    txn: &Transaction<'_>,
    model: &BlockId,
    bitmap: &[u8],
) -> rusqlite::Result<()> {
    txn.execute(
        "INSERT OR REPLACE INTO bits (model, bitmap) VALUES (?1, ?2)",
        params![model.0.0, bitmap],
    )?;
    Ok(())
}

pub(crate) fn put_proof(
    txn: &Transaction<'_>,
    chunk: &ChunkId,
    hashes: &[[u8; 32]],
) -> rusqlite::Result<()> {
    txn.prepare_cached("INSERT OR REPLACE INTO proofs (chunk, hashes) VALUES (?1, ?2)")?
        .execute(params![chunk.0.0, hashes.as_flattened()])?;
    Ok(())
}

/// Keeps a block. One that is visible stays so.
pub(crate) fn put_block(
    txn: &Transaction<'_>,
    id: &BlockId,
    bytes: &[u8],
    visible: bool,
) -> rusqlite::Result<()> {
    txn.prepare_cached(
        "INSERT INTO blocks (id, bytes, visible) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET visible = max(visible, excluded.visible)",
    )?
    .execute(params![id.0.0, bytes, visible])?;
    Ok(())
}

pub(crate) fn set_state(
    txn: &Transaction<'_>,
    id: &BlockId,
    state: State,
    reason: Option<&str>,
) -> rusqlite::Result<()> {
    txn.execute(
        "UPDATE models SET state = ?2, reason = ?3 WHERE id = ?1",
        params![id.0.0, state.number(), reason],
    )?;
    Ok(())
}

/// Forgets a model and what only it needed.
pub(crate) fn delete_model(txn: &Transaction<'_>, id: &BlockId) -> rusqlite::Result<()> {
    let blocks: Vec<[u8; 32]> = txn
        .prepare("SELECT block FROM files WHERE model = ?1 UNION SELECT ?1")?
        .query_map([&id.0.0], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let chunks: Vec<[u8; 32]> = txn
        .prepare("SELECT DISTINCT chunk FROM chunks WHERE model = ?1")?
        .query_map([&id.0.0], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    txn.execute("DELETE FROM models WHERE id = ?1", [&id.0.0])?;
    let mut block = txn.prepare(
        "DELETE FROM blocks WHERE id = ?1 AND visible = 0
         AND NOT EXISTS (SELECT 1 FROM files WHERE block = ?1) AND NOT EXISTS (SELECT 1 FROM models WHERE id = ?1)",
    )?;
    for id in blocks {
        block.execute([id])?;
    }
    let mut proof = txn.prepare(
        "DELETE FROM proofs WHERE chunk = ?1 AND NOT EXISTS (SELECT 1 FROM chunks WHERE chunk = ?1)",
    )?;
    for chunk in chunks {
        proof.execute([chunk])?;
    }
    Ok(())
}

pub(crate) fn model(txn: &Transaction<'_>, id: &BlockId) -> rusqlite::Result<Option<ModelRow>> {
    txn.prepare_cached("SELECT * FROM models WHERE id = ?1")?
        .query_row([&id.0.0], ModelRow::read)
        .optional()
}

pub(crate) fn models(txn: &Transaction<'_>) -> rusqlite::Result<Vec<ModelRow>> {
    txn.prepare_cached("SELECT * FROM models ORDER BY name, id")?
        .query_map([], ModelRow::read)?
        .collect()
}

pub(crate) fn files(txn: &Transaction<'_>, id: &BlockId) -> rusqlite::Result<Vec<FileRow>> {
    txn.prepare_cached("SELECT * FROM files WHERE model = ?1 ORDER BY seq")?
        .query_map([&id.0.0], FileRow::read)?
        .collect()
}

/// A model's chunks, file by file and by offset.
pub(crate) fn chunks(txn: &Transaction<'_>, id: &BlockId) -> rusqlite::Result<Vec<ChunkRow>> {
    let read = |row: &Row<'_>| {
        Ok(ChunkRow {
            chunk: ChunkId(digest(row, "chunk")?),
            size: row.get::<_, i64>("size")? as u64,
            seq: row.get("seq")?,
            offset: row.get::<_, i64>("offset")? as u64,
        })
    };
    txn.prepare_cached("SELECT * FROM chunks WHERE model = ?1 ORDER BY seq, offset")?
        .query_map([&id.0.0], read)?
        .collect()
}

pub(crate) fn bits(txn: &Transaction<'_>, id: &BlockId) -> rusqlite::Result<Option<Vec<u8>>> {
    txn.prepare_cached("SELECT bitmap FROM bits WHERE model = ?1")?
        .query_row([&id.0.0], |row| row.get(0))
        .optional()
}

pub(crate) fn proof(
    txn: &Transaction<'_>,
    chunk: &ChunkId,
) -> rusqlite::Result<Option<Vec<[u8; 32]>>> {
    let bytes: Option<Vec<u8>> = txn
        .prepare_cached("SELECT hashes FROM proofs WHERE chunk = ?1")?
        .query_row([&chunk.0.0], |row| row.get(0))
        .optional()?;
    Ok(bytes.map(|bytes| bytes.as_chunks::<32>().0.to_vec()))
}

pub(crate) fn block(
    txn: &Transaction<'_>,
    id: &BlockId,
) -> rusqlite::Result<Option<(Vec<u8>, bool)>> {
    txn.prepare_cached("SELECT bytes, visible FROM blocks WHERE id = ?1")?
        .query_row([&id.0.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// The models that have a file with this block.
pub(crate) fn models_with_file(
    txn: &Transaction<'_>,
    block: &BlockId,
) -> rusqlite::Result<Vec<ModelRow>> {
    txn.prepare_cached(
        "SELECT * FROM models WHERE id IN (SELECT model FROM files WHERE block = ?1) ORDER BY state, id",
    )?
    .query_map([&block.0.0], ModelRow::read)?
    .collect()
}

/// The models that have a chunk, with the first place of it in each.
pub(crate) fn models_with_chunk(
    txn: &Transaction<'_>,
    chunk: &ChunkId,
) -> rusqlite::Result<Vec<ModelRow>> {
    txn.prepare_cached(
        "SELECT * FROM models WHERE id IN (SELECT model FROM chunks WHERE chunk = ?1) ORDER BY state, id",
    )?
    .query_map([&chunk.0.0], ModelRow::read)?
    .collect()
}

/// A place of a chunk in a whole model.
#[derive(Debug)]
pub(crate) struct SourceRow {
    pub(crate) model: BlockId,
    pub(crate) dir: String,
    pub(crate) file: FileRow,
    pub(crate) offset: u64,
}

/// Where whole models have a chunk, but for one model; a few are enough.
pub(crate) fn sources(
    txn: &Transaction<'_>,
    chunk: &ChunkId,
    except: &BlockId,
) -> rusqlite::Result<Vec<SourceRow>> {
    let read = |row: &Row<'_>| {
        Ok(SourceRow {
            model: BlockId(digest(row, "model")?),
            dir: row.get("dir")?,
            file: FileRow::read(row)?,
            offset: row.get::<_, i64>("chunk_offset")? as u64,
        })
    };
    txn.prepare_cached(
        "SELECT f.*, m.dir AS dir, c.offset AS chunk_offset FROM chunks c
         JOIN models m ON m.id = c.model JOIN files f ON f.model = c.model AND f.seq = c.seq
         WHERE c.chunk = ?1 AND m.state = 0 AND m.removing = 0 AND m.id <> ?2 LIMIT 4",
    )?
    .query_map([&chunk.0.0, &except.0.0], read)?
    .collect()
}
