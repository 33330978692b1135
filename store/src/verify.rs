//! A look at every byte of a model.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use hive_protocol::{BlockId, TreePath};

use crate::disk::{DiskError, failed, read_at};
use crate::hash::Sha;
use crate::index::IndexError;
use crate::live::{Live, Place};
use crate::model::{Progress, State};
use crate::store::Store;

/// A megabyte that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's path in the tree; its name for a single file.
    pub path: TreePath,
    /// Where the group begins, from the start of the file.
    pub offset: u64,
    /// Bytes in the group.
    pub len: u64,
    /// What is the matter.
    pub reason: String,
}

/// What a look at every byte found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Bytes hashed.
    pub bytes: u64,
    /// What is not as it should be. It was quarantined.
    pub damaged: Vec<Damage>,
}

/// Why not every byte was looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The store has no such model.
    #[error("no model {id} here")]
    NotFound {
        /// What was asked for.
        id: BlockId,
    },
    /// The caller's progress callback ended it.
    #[error("stopped")]
    Stopped,
    /// Files of its own cannot be reached.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Store {
    /// Hashes every group that the index calls durable, at every place of it. What is wrong is
    /// named and quarantined: after [`Store::begin`] only those groups have to be fetched again.
    /// Learns the SHA-256 of files on the way.
    pub fn verify(
        &self,
        id: &BlockId,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<VerifyReport, VerifyError> {
        let live = self.live(id)?.ok_or(VerifyError::NotFound { id: *id })?;
        let n_files = live.lock().files.len() as u32;
        let mut report = VerifyReport { bytes: 0, damaged: Vec::new() };
        let mut bad = BTreeSet::new();
        for file in 0..n_files {
            self.verify_file(&live, file, &mut report, &mut bad, progress)?;
        }
        if let Some(first) = report.damaged.first() {
            let groups: Vec<u32> = bad.into_iter().collect();
            let reason = format!("{} at {}: {}", first.path, first.offset, first.reason);
            self.quarantine(&live, &groups, &reason)?;
        }
        Ok(report)
    }

    /// What was found to be damaged earlier and is not here since: there is nothing of it to hash.
    /// What lies together is one damage.
    pub fn lost(&self, id: &BlockId) -> Result<Vec<Damage>, IndexError> {
        let Some(live) = self.live(id)? else { return Ok(Vec::new()) };
        let (state, reason, durable, files) = {
            let now = live.lock();
            (now.state, now.reason.clone(), now.durable.clone(), now.files.clone())
        };
        let mut lost: Vec<Damage> = Vec::new();
        if state != State::Damaged {
            return Ok(lost);
        }
        let reason = reason.unwrap_or_default();
        for (file, row) in (0..).zip(&files) {
            for (at, place) in in_order(&live, file) {
                let groups = live.geometry.chunks()[at].groups();
                for group in groups.filter(|group| !durable.contains(*group)) {
                    let (_, index) = live.locate(group);
                    let (offset, len) =
                        (Live::offset(place, index), live.geometry.group_len(group));
                    match lost.last_mut() {
                        Some(last) if last.path == row.path && last.offset + last.len == offset => {
                            last.len += len;
                        }
                        _ => lost.push(Damage {
                            path: row.path.clone(),
                            offset,
                            len,
                            reason: reason.clone(),
                        }),
                    }
                }
            }
        }
        // It was not its groups; perhaps bytes past an end.
        if let (true, Some(first)) = (lost.is_empty(), files.first()) {
            lost.push(Damage { path: first.path.clone(), offset: first.size, len: 0, reason });
        }
        Ok(lost)
    }

    fn verify_file(
        &self,
        live: &Live,
        file: u32,
        report: &mut VerifyReport,
        bad: &mut BTreeSet<u32>,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), VerifyError> {
        let (row, path, state) = {
            let now = live.lock();
            (now.files[file as usize].clone(), now.path(file), now.state)
        };
        let damage =
            |offset, len, reason: String| Damage { path: row.path.clone(), offset, len, reason };
        let open = match std::fs::File::open(&path) {
            Ok(open) => open,
            Err(error) => {
                report.damaged.push(damage(0, row.size, format!("cannot be opened: {error}")));
                let places = live.places.iter().zip(live.geometry.chunks());
                let hit =
                    places.filter(|(places, _)| places.iter().any(|place| place.file == file));
                bad.extend(hit.flat_map(|(_, chunk)| chunk.groups()));
                return Ok(());
            }
        };
        if state == State::Whole {
            let len = open.metadata().map_err(failed("look at", &path))?.len();
            if len > row.size {
                report.damaged.push(damage(
                    row.size,
                    len - row.size,
                    "bytes past the end".to_owned(),
                ));
            }
        }
        // Only a file that is all there has a SHA-256.
        let mut sha = if state == State::Whole && row.sha256.is_none() {
            Some(Sha::start(&path)?)
        } else {
            None
        };
        let n_damaged = report.damaged.len();
        for (at, place) in in_order(live, file) {
            let chunk = live.geometry.chunks()[at];
            let proof = self.proof(live, at)?;
            for group in chunk.groups() {
                if !live.lock().durable.contains(group) {
                    continue;
                }
                let (_, index) = live.locate(group);
                let (offset, len) = (Live::offset(place, index), live.geometry.group_len(group));
                let mut buf = sha.as_mut().map_or_else(Vec::new, Sha::buffer);
                let reason = match read_at(&open, offset, len as usize, &mut buf) {
                    Err(error) => Some(format!("cannot be read: {error}")),
                    Ok(n_bytes) if (n_bytes as u64) < len => Some("the file ends early".to_owned()),
                    Ok(_) => match &proof {
                        Some(proof) if proof.holds(index, &buf) => None,
                        Some(_) => Some("not the bytes that were stored".to_owned()),
                        None => Some("its group hashes are lost".to_owned()),
                    },
                };
                if let Some(reason) = reason {
                    report.damaged.push(damage(offset, len, reason));
                    bad.insert(group);
                }
                if let Some(sha) = &mut sha {
                    sha.update(buf);
                }
                report.bytes += len;
                if progress(Progress { bytes: report.bytes, total: live.size }).is_break() {
                    return Err(VerifyError::Stopped);
                }
            }
        }
        if let Some(sha) = sha
            && report.damaged.len() == n_damaged
        {
            self.keep_sha256(live, file, sha.finish())?;
        }
        Ok(())
    }
}

/// A file's chunks from its beginning to its end.
fn in_order(live: &Live, file: u32) -> Vec<(usize, Place)> {
    let all = live
        .places
        .iter()
        .enumerate()
        .flat_map(|(at, places)| places.iter().map(move |place| (at, *place)));
    let mut of_file: Vec<_> = all.filter(|(_, place)| place.file == file).collect();
    of_file.sort_by_key(|(_, place)| place.offset);
    of_file
}
