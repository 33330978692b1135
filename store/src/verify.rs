//! A look at every byte of a model.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use hive_protocol::{Bitfield, BlockId, TreePath};

use crate::disk::{DiskError, failed, read_at};
use crate::fingerprint::Fingerprint;
use crate::hash::Sha;
use crate::index::IndexError;
use crate::index::rows::{self, FileRow};
use crate::live::{Live, Place};
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
    /// What each file was when its hashing began.
    seen: BTreeMap<u32, Fingerprint>,
    /// Groups that are wrong at some place.
    wrong: BTreeSet<u32>,
    /// Those of them that counted until now.
    lost: BTreeSet<u32>,
    /// Groups that did not count any more and are right at some place.
    back: BTreeSet<u32>,
}

impl Look {
    fn wrong(&mut self, group: u32, counted: bool) {
        self.wrong.insert(group);
        if counted {
            self.lost.insert(group);
        }
    }

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
        let reason = look.report.damaged.first();
        let reason =
            reason.map(|first| format!("{} at {}: {}", first.path, first.offset, first.reason));
        let lost: Vec<u32> = look.lost.iter().copied().collect();
        let state = live.lock().state;
        if let Some(reason) = &reason
            && (!lost.is_empty() || state == State::Whole)
        {
            self.quarantine(&live, &lost, reason)?;
        }
        look.report.is_back = self.regain(&live, &look, reason)?;
        // It may have been found in the meantime, by who read it for a peer.
        let now = live.lock();
        if let (State::Damaged, [], Some(first)) =
            (now.state, look.report.damaged.as_slice(), now.files.first())
        {
            let reason = now.reason.clone().unwrap_or_default();
            let damage = Damage { path: first.path.clone(), offset: 0, len: 0, reason };
            look.report.damaged.push(damage);
        }
        drop(now);
        Ok(look.report)
    }

    /// Counts groups of a damaged model again that are what they should be: their owner put them
    /// back, or their disk is there again. If nothing is wrong with it any more, it is whole; else the
    /// reason is what is. Says whether it became whole.
    fn regain(
        &self,
        live: &Live,
        look: &Look,
        reason: Option<String>,
    ) -> Result<bool, VerifyError> {
        // Nobody fetches, adds or removes it meanwhile.
        let Some(_claim) = self.claim(live.id) else { return Ok(false) };
        let _one = guard(&live.checkpointing);
        let (mut bits, files) = {
            let now = live.lock();
            if now.state != State::Damaged || now.gone {
                return Ok(false);
            }
            (now.durable.clone(), now.files.clone())
        };
        live.close();
        let mut changed = BTreeSet::new();
        for (at, row) in (0..).zip(&files) {
            if !self.is_settled(live, at, row, look.seen.get(&at))? {
                changed.insert(at);
            }
        }
        let is_same = |group: &u32| {
            let places = &live.places[live.locate(*group).0];
            places.iter().all(|place| !changed.contains(&place.file))
        };
        let back: Vec<u32> = look.back.difference(&look.wrong).copied().filter(is_same).collect();
        let is_whole = reason.is_none() && changed.is_empty();
        if back.is_empty() && !is_whole {
            return Ok(false);
        }
        for &group in &back {
            bits.insert(group);
        }
        let is_whole = is_whole && bits.is_full();
        let state = if is_whole { State::Whole } else { State::Damaged };
        let reason = reason.filter(|_| !is_whole);
        let (id, bitmap, why) = (live.id, bits.to_bytes(), reason.clone());
        self.inner.index.write(move |txn| {
            rows::put_bits(txn, &id, &bitmap)?;
            rows::set_state(txn, &id, state, why.as_deref())
        })?;
        let mut now = live.lock();
        for &group in &back {
            now.written.insert(group);
            now.durable.insert(group);
        }
        now.checked = Bitfield::empty(now.checked.len());
        now.version += 1;
        (now.state, now.reason) = (state, reason);
        Ok(is_whole)
    }

    /// Whether a file still is the one that was hashed, and stays so when the power fails. What is not
    /// ours is hashed again anyway when it is used.
    fn is_settled(
        &self,
        live: &Live,
        at: u32,
        row: &FileRow,
        seen: Option<&Fingerprint>,
    ) -> Result<bool, VerifyError> {
        let path = live.lock().path(at);
        let Ok(open) = std::fs::File::open(&path) else { return Ok(false) };
        let print = Fingerprint::of(&open.metadata().map_err(failed("look at", &path))?);
        if seen != Some(&print) {
            return Ok(false);
        }
        // Windows syncs only who may write.
        if row.storage.is_ours() && cfg!(unix) {
            self.inner.disk.sync(&open, &path)?;
            if let Some(dir) = path.parent() {
                self.inner.disk.sync_dir(dir)?;
            }
        }
        Ok(true)
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
                let durable = live.lock().durable.clone();
                for group in hit.flat_map(|(_, chunk)| chunk.groups()) {
                    look.wrong(group, durable.contains(group));
                }
                return Ok(());
            }
        };
        let metadata = open.metadata().map_err(failed("look at", &path))?;
        look.seen.insert(file, Fingerprint::of(&metadata));
        if state != State::Partial {
            let len = metadata.len();
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
                    look.wrong(group, !was_lost);
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
