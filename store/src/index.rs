//! `index.sqlite`: what the store knows of the disk.
//!
//! One thread owns the write side and commits one transaction a job, so a caller that got its
//! answer knows that the change survives a power cut. Readers have connections of their own and
//! never wait for the writer (WAL). No other process may open it, so that what the connections share
//! is in memory and not in a mapped file, whose pages a full disk cannot fill (SIGBUS). The tables
//! are in `schema`, the statements in `rows`.
//!
//! Invariant: nothing is written here that the disk does not hold already.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use self::reserve::Reserve;
use crate::disk::Disk;

mod reserve;
pub(crate) mod rows;
pub(crate) mod schema;

/// Jobs that may wait for the writer; the next caller waits itself.
const QUEUE_LEN: usize = 64;

/// Read connections that are kept open.
const READERS: usize = 4;

/// SQLite's way to the files that one process has to itself (<https://sqlite.org/vfs.html>).
#[cfg(unix)]
const VFS: Option<&str> = Some("unix-excl");
#[cfg(not(unix))]
const VFS: Option<&str> = None;

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    match VFS {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    }
}

/// The index cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the index {} failed", path.display())]
pub struct IndexError {
    /// The index's file.
    pub path: PathBuf,
    /// What SQLite or the system said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl IndexError {
    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        self.code() == Some(rusqlite::ErrorCode::DiskFull)
    }

    /// Whether the file is not an index any more: another attempt will not help.
    pub fn is_damaged(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};

        matches!(self.code(), Some(DatabaseCorrupt | NotADatabase))
    }

    fn code(&self) -> Option<rusqlite::ErrorCode> {
        let sqlite = self.source.downcast_ref::<rusqlite::Error>();
        sqlite.and_then(rusqlite::Error::sqlite_error_code)
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle on the index.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    /// Whether it was empty when it was opened.
    is_new: bool,
    disk: Disk,
    reserve: Reserve,
    readers: Mutex<Vec<Connection>>,
    jobs: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Index {
    /// Opens the index, makes it or brings it to this version's schema.
    pub(crate) fn open(path: &Path, disk: Disk) -> Result<Self, schema::SchemaError> {
        let failed =
            |source: rusqlite::Error| IndexError { path: path.to_owned(), source: source.into() };
        let reserve = Reserve::new(path.with_extension("reserve"), disk.clone());
        reserve.give_way();
        let mut connection = connect(path, OpenFlags::default()).map_err(failed)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
            )
            .map_err(failed)?;
        let is_new = schema::migrate(&mut connection, path)? == 0;
        reserve.keep();
        let (jobs, queue) = sync_channel::<Job>(QUEUE_LEN);
        let writer = std::thread::Builder::new()
            .name("hive-index".to_owned())
            .spawn(move || {
                for job in queue {
                    job(&mut connection);
                }
            })
            .map_err(|source| IndexError { path: path.to_owned(), source: source.into() })?;
        Ok(Self {
            path: path.to_owned(),
            is_new,
            disk,
            reserve,
            readers: Mutex::default(),
            jobs: Some(jobs),
            writer: Some(writer),
        })
    }

    /// Whether it was empty when it was opened.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    fn failed(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> IndexError {
        IndexError { path: self.path.clone(), source: source.into() }
    }

    /// Runs statements in one transaction and returns when it is on disk, or not at all.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, IndexError> {
        let (reply, answer) = sync_channel(1);
        let (disk, path, reserve) = (self.disk.clone(), self.path.clone(), self.reserve.clone());
        let job = Box::new(move |connection: &mut Connection| {
            let run = || -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
                reserve.give_way();
                let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let value = change(&txn)?;
                disk.commit(&path)?;
                txn.commit()?;
                Ok(value)
            };
            // A caller that is gone does not mind.
            let _ = reply.send(run());
        });
        let jobs = self.jobs.as_ref().expect("the queue is there until the index is dropped");
        jobs.send(job).map_err(|_| self.failed("its thread ended"))?;
        let result = answer.recv().map_err(|_| self.failed("its thread ended"))?;
        result.map_err(|source| self.failed(source))
    }

    /// Runs statements on one snapshot.
    pub(crate) fn read<T>(
        &self,
        question: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let pooled = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let run = || {
            let mut connection = match pooled {
                Some(connection) => connection,
                None => connect(
                    &self.path,
                    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                )?,
            };
            let txn = connection.transaction()?;
            let value = question(&txn)?;
            drop(txn);
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < READERS {
                readers.push(connection);
            }
            Ok(value)
        };
        run().map_err(|source: rusqlite::Error| self.failed(source))
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // The writer goes last: who closes last brings the log into the index and removes it, which
        // a connection that only reads cannot.
        self.readers.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has answered nobody; there is nothing to add here.
            let _ = writer.join();
        }
        // What was given up for a full disk is free again with the log.
        self.reserve.keep();
    }
}
