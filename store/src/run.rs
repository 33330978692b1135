//! Files of models, to be opened by whoever runs them.

use std::fs::File;
use std::path::PathBuf;
use std::time::SystemTime;

use hive_protocol::{BlockId, TreePath};

use crate::disk::{DiskError, failed};
use crate::fingerprint::Fingerprint;
use crate::hash::{HashError, hash_file};
use crate::index::{IndexError, rows};
use crate::live::Live;
use crate::model::{State, now};
use crate::store::Store;

/// A file of a model whose bytes are those that its id names.
#[derive(Debug)]
pub struct VerifiedFile {
    /// The file, open for reading.
    pub file: File,
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
}

/// Why a file of a model cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenModelError {
    /// The store has no such model, or the model no such file.
    #[error("no {what} here")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// It is not all here.
    #[error("{id} is not whole: {missing} groups are missing")]
    NotWhole {
        /// The model.
        id: BlockId,
        /// Groups that are missing.
        missing: u32,
    },
    /// Something in it was found wrong before.
    #[error("{id} is damaged ({reason}): fetch or add it again")]
    Damaged {
        /// The model.
        id: BlockId,
        /// What was found.
        reason: String,
    },
    /// The owner of a linked file wrote it.
    #[error("{} changed since it was added: `hive add` it again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Store {
    /// Opens a file of a whole model: `id` is the model's, or that of a file in one; `path` says
    /// which file of a tree. A file that hive wrote was verified as it came. A link whose
    /// fingerprint changed is hashed again, which takes a pass over it; if it holds other bytes
    /// now, the model is quarantined.
    pub fn open_verified(
        &self,
        id: &BlockId,
        path: Option<&TreePath>,
    ) -> Result<VerifiedFile, OpenModelError> {
        let (live, at) = self.find_whole_file(id, path)?;
        let (on_disk, row) = {
            let now = live.lock();
            (now.path(at), now.files[at as usize].clone())
        };
        let open = match File::open(&on_disk) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let reason = format!("{} is gone", on_disk.display());
                // A reference may be on a disk that comes back.
                if row.source.is_none() {
                    self.lose_files(&live, &[at], &reason)?;
                }
                return Err(OpenModelError::Damaged { id: live.id, reason });
            }
            Err(source) => return Err(failed("open", &on_disk)(source).into()),
        };
        let metadata = open.metadata().map_err(failed("look at", &on_disk))?;
        match row.fingerprint {
            Some(print) if print.holds(&metadata) => {}
            Some(_) => self.hash_link(&live, at, &open, &on_disk)?,
            None if metadata.len() == row.size => {}
            None => {
                let reason = format!("{} has another length", on_disk.display());
                self.lose_files(&live, &[at], &reason)?;
                return Err(OpenModelError::Damaged { id: live.id, reason });
            }
        }
        let (model, used) = (live.id, now() as i64);
        self.inner.index.write(move |txn| {
            let sql = "UPDATE models SET last_used = ?2 WHERE id = ?1";
            txn.execute(sql, rusqlite::params![model.0.0, used]).map(drop)
        })?;
        Ok(VerifiedFile { file: open, path: on_disk, size: row.size })
    }

    /// The SHA-256 of a file of a whole model: remembered, or computed and remembered.
    pub fn sha256(&self, id: &BlockId, path: &TreePath) -> Result<[u8; 32], OpenModelError> {
        let (live, at) = self.find_whole_file(id, Some(path))?;
        let (on_disk, row) = {
            let now = live.lock();
            (now.path(at), now.files[at as usize].clone())
        };
        if let Some(sha256) = row.sha256 {
            return Ok(sha256);
        }
        let file = File::open(&on_disk).map_err(failed("open", &on_disk))?;
        let hashed = self.hash_again(&live, at, &file, &on_disk)?;
        self.keep_sha256(&live, at, hashed)?;
        Ok(hashed)
    }

    pub(crate) fn keep_sha256(
        &self,
        live: &Live,
        at: u32,
        sha256: [u8; 32],
    ) -> Result<(), IndexError> {
        live.lock().files[at as usize].sha256 = Some(sha256);
        let id = live.id;
        self.inner.index.write(move |txn| {
            let sql = "UPDATE files SET sha256 = ?3 WHERE model = ?1 AND seq = ?2";
            txn.execute(sql, rusqlite::params![id.0.0, at, sha256]).map(drop)
        })
    }

    fn find_whole_file(
        &self,
        id: &BlockId,
        path: Option<&TreePath>,
    ) -> Result<(std::sync::Arc<Live>, u32), OpenModelError> {
        let (live, at) = self.find_file(id, path)?;
        let now = live.lock();
        if now.state == State::Partial {
            let missing = now.written.len() - now.written.count();
            return Err(OpenModelError::NotWhole { id: live.id, missing });
        }
        drop(now);
        Ok((live, at))
    }

    /// Finds a file of a model that is whole or on its way.
    pub(crate) fn find_file(
        &self,
        id: &BlockId,
        path: Option<&TreePath>,
    ) -> Result<(std::sync::Arc<Live>, u32), OpenModelError> {
        let not_found = || OpenModelError::NotFound {
            what: match path {
                Some(path) => format!("file `{path}` of {id}"),
                None => format!("single file {id}"),
            },
        };
        let mut candidates: Vec<_> = self.live(id)?.into_iter().collect();
        if candidates.is_empty() {
            for model in self.inner.index.read(|txn| rows::models_with_file(txn, id))? {
                candidates.extend(self.live(&model.id)?);
            }
        }
        let live = candidates.into_iter().next().ok_or_else(not_found)?;
        let now = live.lock();
        if now.state == State::Damaged {
            let reason = now.reason.clone().unwrap_or_default();
            return Err(OpenModelError::Damaged { id: live.id, reason });
        }
        let at = match path {
            Some(path) => now.files.iter().position(|file| file.path == *path),
            None if live.id != *id => now.files.iter().position(|file| file.block == *id),
            None => (now.files.len() == 1).then_some(0),
        };
        let at = at.ok_or_else(not_found)? as u32;
        drop(now);
        Ok((live, at))
    }

    /// Hashes a link whose fingerprint does not hold: either it is as it was, and the fingerprint
    /// is renewed, or the model is quarantined.
    fn hash_link(
        &self,
        live: &Live,
        at: u32,
        file: &File,
        path: &std::path::Path,
    ) -> Result<(), OpenModelError> {
        let look = || {
            let metadata = file.metadata().map_err(failed("look at", path))?;
            Ok::<_, DiskError>(Fingerprint::of(&metadata))
        };
        let (started, before) = (SystemTime::now(), look()?);
        self.hash_again(live, at, file, path)?;
        if look()? != before {
            return Err(OpenModelError::Changed { path: path.to_owned() });
        }
        let print = before.settled(started);
        let mut row = live.lock().files[at as usize].clone();
        row.fingerprint = Some(print);
        live.lock().files[at as usize] = row.clone();
        let id = live.id;
        self.inner.index.write(move |txn| rows::put_file(txn, &id, at, &row))?;
        Ok(())
    }

    /// Hashes a file, quarantines it if it is not what was stored, and returns its SHA-256.
    fn hash_again(
        &self,
        live: &Live,
        at: u32,
        file: &File,
        path: &std::path::Path,
    ) -> Result<[u8; 32], OpenModelError> {
        let (block, size, is_ours) = {
            let now = live.lock();
            let row = &now.files[at as usize];
            (row.block, row.size, row.storage.is_ours())
        };
        let len = file.metadata().map_err(failed("look at", path))?.len();
        let hashed = if len == size {
            hash_file(file, path, len, &mut |_, _| Ok(()))
        } else {
            Err(HashError::Changed)
        };
        match hashed {
            Ok(hashed) if BlockId::of(&hive_protocol::codec::encode(&hashed.block)) == block => {
                Ok(hashed.sha256)
            }
            Err(HashError::Disk(error)) => Err(error.into()),
            Ok(_) | Err(_) => {
                let what =
                    if is_ours { "is not what was stored" } else { "changed since it was added" };
                self.lose_files(live, &[at], &format!("{} {what}", path.display()))?;
                Err(OpenModelError::Changed { path: path.to_owned() })
            }
        }
    }
}
