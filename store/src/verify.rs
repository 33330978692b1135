//! A look at every byte of a model.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use hive_protocol::{BlockId, TreePath};

use crate::disk::{DiskError, failed, read_at};
use crate::hash::Sha;
use crate::index::{IndexError, rows};
use crate::live::{Access, Live, Place};
use crate::model::{Progress, State};
use crate::store::{Store, guard};

/// A piece of a file that is not what it should be: groups that lie together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's path in the tree; its name for a single file.
    pub path: TreePath,
    /// Where it begins, from the start of the file.
    pub offset: u64,
    /// Bytes in it.
    pub len: u64,
    /// What is the matter.
    pub reason: String,
}

/// What a look at every byte found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Bytes hashed.
    pub bytes: u64,
    /// What is not as it should be. It was quarantined.
    pub damaged: Vec<Damage>,
    /// Whether it was damaged, and all of it is what it should be again.
    pub is_back: bool,
}

/// What was seen so far.
#[derive(Default)]
struct Look {
    report: VerifyReport,
    /// Groups that are wrong at some place.
    wrong: BTreeSet<u32>,
    /// Groups that did not count any more and are right at some place.
    back: BTreeSet<u32>,
}

impl Look {
    fn damaged(&mut self, damage: Damage) {
        match self.report.damaged.last_mut() {
            Some(last)
                if last.path == damage.path
                    && last.reason == damage.reason
                    && last.offset + last.len == damage.offset =>
            {
                last.len += damage.len;
            }
            _ => self.report.damaged.push(damage),
        }
    }
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
    /// Hashes every group that the index calls durable, at every place of it, and of a damaged model
    /// the others too. What is wrong is named and quarantined: after [`Store::begin`] only those
    /// groups have to be fetched again. What was damaged and is right again counts again. Learns the
    /// SHA-256 of files on the way.
    pub fn verify(
        &self,
        id: &BlockId,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<VerifyReport, VerifyError> {
        let live = self.live(id)?.ok_or(VerifyError::NotFound { id: *id })?;
        let n_files = live.lock().files.len() as u32;
        let mut look = Look::default();
        for file in 0..n_files {
            self.verify_file(&live, file, &mut look, progress)?;
        }
        let Look { mut report, wrong, back } = look;
        // A chunk may stand in several places.
        let back: Vec<u32> = back.difference(&wrong).copied().collect();
        report.is_back = self.regain(&live, &back, report.damaged.is_empty())?;
        if let Some(first) = report.damaged.first() {
            let is_known = {
                let now = live.lock();
                let was_lost = !wrong.iter().any(|&group| now.durable.contains(group));
                now.state == State::Damaged && was_lost
            };
            if !is_known {
                let reason = format!("{} at {}: {}", first.path, first.offset, first.reason);
                let groups: Vec<u32> = wrong.into_iter().collect();
                self.quarantine(&live, &groups, &reason)?;
            }
        }
        Ok(report)
    }

    /// Counts groups of a damaged model again that are what they should be: their owner put them
    /// back, or their disk is there again. If nothing is wrong with it any more, it is whole. Says
    /// whether it became so.
    fn regain(&self, live: &Live, groups: &[u32], all_right: bool) -> Result<bool, VerifyError> {
        let _one = guard(&live.checkpointing);
        let mut bits = {
            let now = live.lock();
            if now.state != State::Damaged || (groups.is_empty() && !all_right) {
                return Ok(false);
            }
            now.durable.clone()
        };
        let places = groups.iter().flat_map(|&group| &live.places[live.locate(group).0]);
        let files: BTreeSet<u32> = places.map(|place| place.file).collect();
        // What was put back may be on its way to the disk. Windows syncs only who may write.
        for file in files.into_iter().filter(|_| cfg!(unix)) {
            let (open, path) = live.handle(file, Access::Read)?;
            self.inner.disk.sync(&open, &path)?;
        }
        for &group in groups {
            bits.insert(group);
        }
        let is_whole = all_right && bits.is_full();
        let (id, bitmap) = (live.id, bits.to_bytes());
        self.inner.index.write(move |txn| {
            rows::put_bits(txn, &id, &bitmap)?;
            if is_whole { rows::set_state(txn, &id, State::Whole, None) } else { Ok(()) }
        })?;
        let mut now = live.lock();
        for &group in groups {
            now.written.insert(group);
            now.durable.insert(group);
        }
        now.version += 1;
        if is_whole {
            (now.state, now.reason) = (State::Whole, None);
        }
        Ok(is_whole)
    }

    fn verify_file(
        &self,
        live: &Live,
        file: u32,
        look: &mut Look,
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
                look.damaged(damage(0, row.size, format!("cannot be opened: {error}")));
                let places = live.places.iter().zip(live.geometry.chunks());
                let hit =
                    places.filter(|(places, _)| places.iter().any(|place| place.file == file));
                look.wrong.extend(hit.flat_map(|(_, chunk)| chunk.groups()));
                return Ok(());
            }
        };
        if state != State::Partial {
            let len = open.metadata().map_err(failed("look at", &path))?.len();
            if len > row.size {
                let past = "bytes past the end".to_owned();
                look.damaged(damage(row.size, len - row.size, past));
            }
        }
        // Only a file that is all there has a SHA-256.
        let mut sha = if state == State::Whole && row.sha256.is_none() {
            Some(Sha::start(&path)?)
        } else {
            None
        };
        let n_damaged = look.report.damaged.len();
        for (at, place) in in_order(live, file) {
            let chunk = live.geometry.chunks()[at];
            let proof = self.proof(live, at)?;
            for group in chunk.groups() {
                let was_lost = !live.lock().durable.contains(group);
                if was_lost && state != State::Damaged {
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
                    look.damaged(damage(offset, len, reason));
                    look.wrong.insert(group);
                } else if was_lost {
                    look.back.insert(group);
                }
                if let Some(sha) = &mut sha {
                    sha.update(buf);
                }
                look.report.bytes += len;
                if progress(Progress { bytes: look.report.bytes, total: live.size }).is_break() {
                    return Err(VerifyError::Stopped);
                }
            }
        }
        if let Some(sha) = sha
            && look.report.damaged.len() == n_damaged
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
