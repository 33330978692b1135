//! A model on its way in: groups in any order, from any number of threads.
//!
//! Order of every write: bytes, sync, bit. A group is hashed before it is written, so what is
//! visible to offers is right; it is durable after the next [`Partial::checkpoint`]. A crash costs
//! the groups since the last one and no hashing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use hive_protocol::group::GroupProof;
use hive_protocol::{Bitfield, BlockId, Geometry};

use crate::direct;
use crate::disk::DiskError;
use crate::index::{IndexError, rows};
use crate::live::{Access, Live, Place};
use crate::model::{Kind, State, now};
use crate::store::{Claim, Store, guard};

/// Why a group was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The bytes are not that group: whoever sent them lied, or their disk does.
    #[error("the bytes are not group {group}")]
    Mismatch {
        /// The group.
        group: u32,
    },
    /// The group hashes of its chunk are not here yet: see [`Partial::put_proof`].
    #[error("group {group} cannot be checked before its chunk's group hashes are here")]
    NoProof {
        /// The group.
        group: u32,
    },
    /// The model has no such group.
    #[error("group {group} of a model of {n_groups}")]
    OutOfRange {
        /// The group.
        group: u32,
        /// Groups of the model.
        n_groups: u32,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Why what was written is not known to be on the disk. The groups since the last checkpoint are
/// no longer in [`Partial::have`] and must be fetched again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file cannot be synced.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Why a model is not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// Groups are missing.
    #[error("{n_groups} groups are missing")]
    Missing {
        /// How many.
        n_groups: u32,
    },
    /// A file cannot be synced or renamed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl From<CheckpointError> for FinishError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Disk(error) => Self::Disk(error),
            CheckpointError::Index(error) => Self::Index(error),
        }
    }
}

/// A model that is being written. Cheap to clone; when the last clone is dropped, what was
/// checkpointed stays and the model can be begun again.
#[derive(Debug, Clone)]
pub struct Partial {
    store: Store,
    live: Arc<Live>,
    _claim: Arc<Claim>,
}

impl Partial {
    pub(crate) fn new(store: Store, live: Arc<Live>, claim: Claim) -> Self {
        Self { store, live, _claim: Arc::new(claim) }
    }

    /// The model's id.
    pub fn id(&self) -> BlockId {
        self.live.id
    }

    /// The model's chunks and groups.
    pub fn geometry(&self) -> &Geometry {
        &self.live.geometry
    }

    /// The groups that are written and verified, durable or not.
    pub fn have(&self) -> Bitfield {
        self.live.lock().written.clone()
    }

    /// How many groups are written and verified.
    pub fn have_count(&self) -> u32 {
        self.live.lock().written.count()
    }

    /// What groups of a chunk are checked against; `chunk` is its place in the geometry. Always
    /// there for a chunk of one group.
    pub fn proof(&self, chunk: usize) -> Option<GroupProof> {
        if chunk >= self.live.geometry.chunks().len() {
            return None;
        }
        // An index that cannot be read has no proof; the next write says what is the matter.
        self.store.proof(&self.live, chunk).ok().flatten().map(|proof| (*proof).clone())
    }

    /// Keeps a proof, and says whether it is of a chunk of this model.
    pub fn put_proof(&self, proof: GroupProof) -> bool {
        let Some(at) = self.live.geometry.position(&proof.chunk()) else { return false };
        if self.live.geometry.chunks()[at].size != proof.chunk_len() {
            return false;
        }
        let mut now = self.live.lock();
        if now.proofs[at].is_none() {
            now.proofs[at] = Some(Arc::new(proof));
            now.unsaved.push(at);
        }
        true
    }

    /// Verifies a group and writes it wherever the model has it. A group that is there already is
    /// left as it is.
    pub fn write(&self, group: u32, bytes: &[u8]) -> Result<(), WriteError> {
        let n_groups = self.live.geometry.n_groups();
        if group >= n_groups {
            return Err(WriteError::OutOfRange { group, n_groups });
        }
        if self.live.lock().written.contains(group) {
            return Ok(());
        }
        let (at, index) = self.live.locate(group);
        let proof = self.store.proof(&self.live, at)?.ok_or(WriteError::NoProof { group })?;
        if !proof.holds(index, bytes) {
            return Err(WriteError::Mismatch { group });
        }
        write_group(&self.store, &self.live, group, bytes)?;
        Ok(())
    }

    /// Makes everything that was written survive a power cut.
    pub fn checkpoint(&self) -> Result<(), CheckpointError> {
        checkpoint(&self.store, &self.live)
    }

    /// Declares the model whole and moves it to its place. Returns the file, or the directory of a
    /// tree. Fails, and changes nothing, while a group is missing.
    pub fn finish(&self) -> Result<PathBuf, FinishError> {
        self.checkpoint()?;
        finish(&self.store, &self.live)
    }
}

/// Writes a verified group to all its places and says so.
pub(crate) fn write_group(
    store: &Store,
    live: &Live,
    group: u32,
    bytes: &[u8],
) -> Result<(), DiskError> {
    let (at, index) = live.locate(group);
    for &place in &live.places[at] {
        write_place(store, live, place, Live::offset(place, index), bytes)?;
    }
    let mut now = live.lock();
    now.written.insert(group);
    now.checked.insert(group);
    now.version += 1;
    Ok(())
}

fn write_place(
    store: &Store,
    live: &Live,
    place: Place,
    offset: u64,
    bytes: &[u8],
) -> Result<(), DiskError> {
    let write = |access| {
        let (file, path) = live.handle(place.file, access)?;
        store.inner.disk.write_at(&file, &path, offset, bytes)
    };
    if live.direct.takes(offset, bytes) {
        match write(Access::WriteDirect) {
            Err(error) if direct::is_refusal(&error.source) => live.direct.end(),
            result => return result,
        }
    }
    write(Access::Write)
}

/// Syncs what was written since the last checkpoint, then says so in the index.
pub(crate) fn checkpoint(store: &Store, live: &Live) -> Result<(), CheckpointError> {
    let _one = guard(&live.checkpointing);
    let (pending, unsaved, mut bits) = {
        let mut now = live.lock();
        let durable = &now.durable;
        let pending: Vec<u32> =
            now.written.iter().filter(|&group| !durable.contains(group)).collect();
        let unsaved: Vec<_> = std::mem::take(&mut now.unsaved)
            .into_iter()
            .filter_map(|at| now.proofs[at].clone().map(|proof| (at, proof)))
            .collect();
        (pending, unsaved, now.durable.clone())
    };
    if pending.is_empty() && unsaved.is_empty() {
        return Ok(());
    }
    for &group in &pending {
        bits.insert(group);
    }
    let positions: Vec<usize> = unsaved.iter().map(|(at, _)| *at).collect();
    let result = sync_groups(store, live, &pending).map_err(CheckpointError::from).and_then(|()| {
        let (id, bitmap, used) = (live.id, bits.to_bytes(), now() as i64);
        let write = store.inner.index.write(move |txn| {
            for (_, proof) in &unsaved {
                rows::put_proof(txn, &proof.chunk(), proof.hashes())?;
            }
            txn.execute(
                "UPDATE models SET last_used = ?2 WHERE id = ?1",
                rusqlite::params![id.0.0, used],
            )?;
            rows::put_bits(txn, &id, &bitmap)
        });
        Ok(write?)
    });
    let mut now = live.lock();
    if result.is_ok() {
        for group in pending {
            now.durable.insert(group);
        }
    } else {
        // After a failed sync the system may call lost pages clean: only new bytes can help.
        now.lose(pending);
        now.unsaved.extend(positions);
    }
    drop(now);
    result
}

fn sync_groups(store: &Store, live: &Live, groups: &[u32]) -> Result<(), DiskError> {
    let places = groups.iter().flat_map(|&group| &live.places[live.locate(group).0]);
    let files: BTreeSet<u32> = places.map(|place| place.file).collect();
    for file in files {
        let (file, path) = live.handle(file, Access::Write)?;
        store.inner.disk.sync(&file, &path)?;
    }
    Ok(())
}

/// Moves a model whose every group is durable to its place. Can be done again after a crash at any
/// point of it.
pub(crate) fn finish(store: &Store, live: &Live) -> Result<PathBuf, FinishError> {
    let _one = guard(&live.checkpointing);
    let inner = &store.inner;
    let (base, dir, owned, n_missing, n_files) = {
        let now = live.lock();
        let ours =
            (0..now.files.len() as u32).filter(|&at| now.files[at as usize].storage.is_ours());
        let owned: Vec<PathBuf> = ours.map(|at| now.path(at)).collect();
        let missing = now.durable.len() - now.durable.count();
        (now.base.clone(), now.dir.clone(), owned, missing, now.files.len())
    };
    if n_missing > 0 {
        return Err(FinishError::Missing { n_groups: n_missing });
    }
    for path in owned {
        inner.disk.set_read_only(&path, true)?;
    }
    let place = inner.layout.model(&dir);
    live.close();
    if base != place && !live.is_elsewhere() {
        inner.disk.rename(&base, &place)?;
        live.lock().base.clone_from(&place);
        inner.disk.sync_dir(&inner.layout.partials())?;
        inner.disk.sync_dir(&inner.layout.models())?;
    }
    let id = live.id;
    let kind = inner.index.write(move |txn| {
        rows::set_state(txn, &id, State::Whole, None)?;
        rows::model(txn, &id)
    })?;
    let mut now = live.lock();
    now.base = place;
    now.state = State::Whole;
    now.reason = None;
    now.version += 1;
    drop(now);
    let is_file = kind.is_some_and(|model| model.kind == Kind::File) && n_files == 1;
    Ok(live.path(is_file))
}
