//! Small things that the node and the swarm keep between runs: blocks, replay state, peers, and
//! whatever has a key.

use hive_protocol::{BlockId, NodeKey};
use rusqlite::{OptionalExtension, params};

use crate::index::{IndexError, rows};
use crate::model::{Visibility, now};
use crate::store::Store;

/// An entry of the address book. What the bytes mean is the swarm's affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The peer.
    pub peer: Vec<u8>,
    /// What is known of it.
    pub blob: Vec<u8>,
    /// Seconds since 1970.
    pub updated: u64,
}

/// Where the id of this node's catalog list is kept.
const LIST: &str = "catalog/list";
/// Rows of replay state kept at most; beyond that the lowest versions of cards, which are times, go.
const REPLAY_ROWS: i64 = 100_000;

impl Store {
    /// Keeps a block under the id that its bytes have. `visible`: any peer may have it (a card, a
    /// catalog list); else only through a model that names it.
    pub fn put_block(&self, bytes: &[u8], visible: bool) -> Result<BlockId, IndexError> {
        let (id, bytes) = (BlockId::of(bytes), bytes.to_vec());
        self.inner.index.write(move |txn| rows::put_block(txn, &id, &bytes, visible))?;
        Ok(id)
    }

    /// Keeps a catalog list as a block that any peer may have, in place of the one before: what it
    /// named may be private by now.
    pub fn put_list(&self, bytes: &[u8]) -> Result<BlockId, IndexError> {
        let (id, bytes) = (BlockId::of(bytes), bytes.to_vec());
        self.inner.index.write(move |txn| {
            let before: Option<Vec<u8>> = txn
                .query_row("SELECT value FROM meta WHERE key = ?1", [LIST], |row| row.get(0))
                .optional()?;
            if let Some(before) = before.filter(|before| *before != id.0.0) {
                txn.execute("DELETE FROM blocks WHERE id = ?1 AND visible = 1", [before])?;
            }
            rows::put_block(txn, &id, &bytes, true)?;
            txn.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                params![LIST, id.0.0],
            )
        })?;
        Ok(id)
    }

    /// A block's bytes, which are those of the id.
    pub fn block(&self, id: &BlockId) -> Result<Option<Vec<u8>>, IndexError> {
        let block = self.inner.index.read(|txn| rows::block(txn, id))?;
        Ok(block.map(|(bytes, _)| bytes).filter(|bytes| id.names(bytes)))
    }

    /// A block's bytes, if peers may have it: it is visible itself, or it is the manifest of a
    /// model or of a file in a model that is not local.
    pub fn block_for_peer(&self, id: &BlockId) -> Result<Option<Vec<u8>>, IndexError> {
        let block = self.inner.index.read(|txn| {
            let Some((bytes, visible)) = rows::block(txn, id)? else { return Ok(None) };
            let mut named = txn.prepare_cached(
                "SELECT 1 FROM models WHERE visibility <> ?2 AND removing = 0
                 AND (id = ?1 OR id IN (SELECT model FROM files WHERE block = ?1))",
            )?;
            let may = visible || named.exists(params![id.0.0, Visibility::Local.number()])?;
            Ok(may.then_some(bytes))
        })?;
        Ok(block.filter(|bytes| id.names(bytes)))
    }

    /// The highest version of a statement that was acted on.
    pub fn replay(&self, publisher: &NodeKey, name: &str) -> Result<Option<u64>, IndexError> {
        self.inner.index.read(|txn| {
            let mut version = txn
                .prepare_cached("SELECT version FROM replay WHERE publisher = ?1 AND name = ?2")?;
            let version = version.query_row(params![publisher.0, name], |row| row.get::<_, i64>(0));
            Ok(version.optional()?.map(|version| version as u64))
        })
    }

    /// Takes note of many statements at once and says of each whether it is at least as new as all
    /// before it: the same one again is no rollback. The state of statements that strangers make
    /// costs them nothing and us a row, so of these a bounded number is kept.
    pub fn advance_all(
        &self,
        entries: Vec<(NodeKey, String, u64)>,
    ) -> Result<Vec<bool>, IndexError> {
        self.inner.index.write(move |txn| {
            let n_rows: i64 = txn.query_row("SELECT count(*) FROM replay", [], |row| row.get(0))?;
            if n_rows + entries.len() as i64 > REPLAY_ROWS {
                txn.execute(
                    "DELETE FROM replay WHERE (publisher, name) IN
                     (SELECT publisher, name FROM replay WHERE name LIKE 'card/%' ORDER BY version LIMIT ?1)",
                    [entries.len() as i64 + REPLAY_ROWS / 10],
                )?;
            }
            let mut put = txn.prepare_cached(
                "INSERT INTO replay (publisher, name, version) VALUES (?1, ?2, ?3)
                 ON CONFLICT (publisher, name) DO UPDATE SET version = excluded.version
                 WHERE excluded.version >= version",
            )?;
            entries
                .iter()
                .map(|(publisher, name, version)| {
                    let Ok(version) = i64::try_from(*version) else { return Ok(false) };
                    Ok(put.execute(params![publisher.0, name, version])? > 0)
                })
                .collect()
        })
    }

    /// Takes note of a statement and says whether it is newer than all before it. On the disk
    /// before this returns, so act on it after. Versions past 2^63 are never newer.
    pub fn advance(
        &self,
        publisher: &NodeKey,
        name: &str,
        version: u64,
    ) -> Result<bool, IndexError> {
        let Ok(version) = i64::try_from(version) else { return Ok(false) };
        let (publisher, name) = (publisher.0, name.to_owned());
        let n_changed = self.inner.index.write(move |txn| {
            txn.execute(
                "INSERT INTO replay (publisher, name, version) VALUES (?1, ?2, ?3)
                 ON CONFLICT (publisher, name) DO UPDATE SET version = excluded.version
                 WHERE excluded.version > version",
                params![publisher, name, version],
            )
        })?;
        Ok(n_changed > 0)
    }

    /// Puts a peer into the address book, in place of what was known of it.
    pub fn put_peer(&self, peer: &[u8], blob: &[u8]) -> Result<(), IndexError> {
        let (peer, blob) = (peer.to_vec(), blob.to_vec());
        self.inner.index.write(move |txn| {
            let sql = "INSERT OR REPLACE INTO peers (peer, blob, updated) VALUES (?1, ?2, ?3)";
            txn.execute(sql, params![peer, blob, now() as i64]).map(drop)
        })
    }

    /// The address book, the newest entry first.
    pub fn peers(&self) -> Result<Vec<Peer>, IndexError> {
        self.inner.index.read(|txn| {
            let mut peers = txn.prepare_cached(
                "SELECT peer, blob, updated FROM peers ORDER BY updated DESC, peer",
            )?;
            let peer = |row: &rusqlite::Row<'_>| {
                Ok(Peer {
                    peer: row.get(0)?,
                    blob: row.get(1)?,
                    updated: row.get::<_, i64>(2)? as u64,
                })
            };
            peers.query_map([], peer)?.collect()
        })
    }

    /// Takes a peer out of the address book.
    pub fn forget_peer(&self, peer: &[u8]) -> Result<(), IndexError> {
        let peer = peer.to_vec();
        self.inner
            .index
            .write(move |txn| txn.execute("DELETE FROM peers WHERE peer = ?1", [peer]).map(drop))
    }

    /// A value that was kept under a key.
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, IndexError> {
        self.inner.index.read(|txn| {
            let mut value = txn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
            value.query_row([key], |row| row.get(0)).optional()
        })
    }

    /// Keeps a value under a key.
    pub fn set_meta(&self, key: &str, value: &[u8]) -> Result<(), IndexError> {
        let (key, value) = (key.to_owned(), value.to_vec());
        self.inner.index.write(move |txn| {
            txn.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
                params![key, value],
            )
            .map(drop)
        })
    }
}
