//! Reading for peers: only what is verified, and only what may be seen.
//!
//! A group of a file that hive wrote is hashed the first time this process reads it and trusted
//! from then on. A group of a link is hashed every time before it is given out, because its owner
//! may write it at any moment; no look at the file's times could promise as much.

use std::path::PathBuf;
use std::sync::Arc;

use hive_protocol::limits::CHUNK_LEN;
use hive_protocol::{Bitfield, BlockId, ChunkId, Geometry};

use crate::disk::DiskError;
use crate::index::IndexError;
use crate::index::rows::{self, ModelRow};
use crate::live::{Live, Place};
use crate::model::{State, Visibility};
use crate::store::Store;

/// Why a group is not given out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is not here, not verified yet, or not for peers (any more).
    #[error("not held")]
    NotHeld,
    /// It is not what it should be. The model was quarantined.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is the matter.
        reason: String,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// A model, or a file of a tree, as peers may read it. Cheap to clone. It follows what happens to
/// the model: more groups as they come, what is left of it once it is damaged, nothing once it is
/// local or removed.
#[derive(Debug, Clone)]
pub struct Offer {
    store: Store,
    id: BlockId,
    live: Arc<Live>,
    /// For a file of a tree: its own geometry, and the place of each of its chunks in the tree's.
    part: Option<Arc<(Geometry, Vec<usize>)>>,
}

impl Offer {
    /// The id that is offered.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// Its chunks and groups.
    pub fn geometry(&self) -> &Geometry {
        match &self.part {
            Some(part) => &part.0,
            None => &self.live.geometry,
        }
    }

    /// Grows with every change of [`Self::have`], over restarts too.
    pub fn version(&self) -> u64 {
        self.live.lock().version
    }

    /// The groups that can be read, durable or not.
    pub fn have(&self) -> Bitfield {
        let now = self.live.lock();
        if !now.is_offered() {
            return Bitfield::empty(self.geometry().n_groups());
        }
        let Some(part) = &self.part else { return now.written.clone() };
        let (geometry, positions) = &**part;
        let mut have = Bitfield::empty(geometry.n_groups());
        for (chunk, &at) in geometry.chunks().iter().zip(positions) {
            let first = self.live.geometry.chunks()[at].first_group;
            for group in chunk.groups() {
                if now.written.contains(group - chunk.first_group + first) {
                    have.insert(group);
                }
            }
        }
        have
    }

    /// Appends a verified group to `buf` and returns its length. `size` is what the asker takes for
    /// the chunk's; another one is another chunk, which is not held.
    pub fn read_group(
        &self,
        chunk: &ChunkId,
        size: u64,
        index: u32,
        buf: &mut Vec<u8>,
    ) -> Result<usize, ReadError> {
        let at = self.live.geometry.position(chunk).ok_or(ReadError::NotHeld)?;
        let placed = self.live.geometry.chunks()[at];
        if placed.size != size || index >= placed.groups().len() as u32 {
            return Err(ReadError::NotHeld);
        }
        let group = placed.first_group + index;
        let place = self.live.places[at][0];
        let trusted = {
            let now = self.live.lock();
            if !now.is_offered() || !now.written.contains(group) {
                return Err(ReadError::NotHeld);
            }
            // Of what is damaged its owner may be putting right what is wrong.
            let is_ours = now.files[place.file as usize].storage.is_ours();
            is_ours && now.state != State::Damaged && now.checked.contains(group)
        };
        let start = buf.len();
        let result = self.read(at, place, group, trusted, buf);
        if result.is_err() {
            buf.truncate(start);
        }
        result
    }

    fn read(
        &self,
        at: usize,
        place: Place,
        group: u32,
        trusted: bool,
        buf: &mut Vec<u8>,
    ) -> Result<usize, ReadError> {
        let start = buf.len();
        self.live.read(place, group, buf)?;
        let bytes = &buf[start..];
        let whole = bytes.len() as u64 == self.live.geometry.group_len(group);
        if whole && trusted {
            return Ok(bytes.len());
        }
        let (_, index) = self.live.locate(group);
        let proof = self.store.proof(&self.live, at)?.ok_or(ReadError::NotHeld)?;
        if whole && proof.holds(index, bytes) {
            let mut now = self.live.lock();
            if now.written.contains(group) {
                now.checked.insert(group);
            }
            return Ok(bytes.len());
        }
        let offset = Live::offset(place, index);
        let path = self.live.lock().path(place.file);
        let reason = if whole {
            format!("the megabyte at {offset} is not what was stored")
        } else {
            format!("the file ends in the megabyte at {offset}")
        };
        self.store.quarantine(&self.live, &[group], &format!("{}: {reason}", path.display()))?;
        Err(ReadError::Damaged { path, reason })
    }
}

/// Whether peers may have a model.
fn is_offered(model: &ModelRow) -> bool {
    model.visibility != Visibility::Local && !model.removing
}

impl Store {
    /// What peers may read of a model, or of a file of one. `None` if it is not here or local: a peer
    /// cannot tell which.
    pub fn offer(&self, id: &BlockId) -> Result<Option<Offer>, IndexError> {
        let live = match self.peek(id) {
            Some(live) => Some(live),
            None => self.live(id)?,
        };
        let own = live.filter(|live| live.lock().is_offered());
        let own = own.map(|live| Offer { store: self.clone(), id: *id, live, part: None });
        if own.as_ref().is_some_and(|own| own.live.lock().state != State::Damaged) {
            return Ok(own);
        }
        // A file of a tree; whole trees come first.
        let holders = self.inner.index.read(|txn| rows::models_with_file(txn, id))?;
        let is_better = |model: &&ModelRow| own.is_none() || model.state == State::Whole;
        let trees = holders.iter().filter(|model| is_offered(model) && model.id != *id);
        for model in trees.filter(is_better) {
            let Some(live) = self.live(&model.id)? else { continue };
            let file = live.lock().files.iter().position(|file| file.block == *id);
            let Some(file) = file else { continue };
            let chunks = self.inner.index.read(|txn| rows::chunks(txn, &model.id))?;
            let of_file = chunks.iter().filter(|row| row.seq as usize == file);
            let geometry = Geometry::new(of_file.map(|row| (row.chunk, row.size)));
            let positions: Option<Vec<usize>> =
                geometry.chunks().iter().map(|chunk| live.geometry.position(&chunk.id)).collect();
            let Some(positions) = positions else { continue };
            let part = Some(Arc::new((geometry, positions)));
            return Ok(Some(Offer { store: self.clone(), id: *id, live, part }));
        }
        Ok(own)
    }

    /// What peers may read of some model that has a chunk; one that has all of it, if there is one.
    pub fn offer_chunk(&self, chunk: &ChunkId) -> Result<Option<Offer>, IndexError> {
        let holders = self.inner.index.read(|txn| rows::models_with_chunk(txn, chunk))?;
        let mut second_best = None;
        for model in holders.iter().filter(|model| is_offered(model)) {
            let Some(live) = self.live(&model.id)? else { continue };
            let Some(at) = live.geometry.position(chunk) else { continue };
            let all = {
                let now = live.lock();
                live.geometry.chunks()[at].groups().all(|group| now.written.contains(group))
            };
            let offer = Offer { store: self.clone(), id: model.id, live, part: None };
            if all {
                return Ok(Some(offer));
            }
            second_best.get_or_insert(offer);
        }
        Ok(second_best)
    }

    /// Which chunks peers can have from here, all of them.
    pub fn have_chunks(&self, chunks: &[ChunkId]) -> Result<Vec<bool>, IndexError> {
        let held = |chunk| {
            let Some(offer) = self.offer_chunk(chunk)? else { return Ok(false) };
            let Some(at) = offer.live.geometry.position(chunk) else { return Ok(false) };
            let now = offer.live.lock();
            Ok(offer.live.geometry.chunks()[at].groups().all(|group| now.written.contains(group)))
        };
        chunks.iter().map(held).collect()
    }

    /// The group hashes of a chunk of some model that peers may read; an empty list for a chunk
    /// of one group, whose id is its only hash.
    pub fn group_hashes(&self, chunk: &ChunkId) -> Result<Option<Vec<[u8; 32]>>, IndexError> {
        let Some(offer) = self.offer_chunk(chunk)? else { return Ok(None) };
        let Some(at) = offer.live.geometry.position(chunk) else { return Ok(None) };
        let proof = self.proof(&offer.live, at)?;
        Ok(proof.map(|proof| proof.hashes().to_vec()))
    }

    /// The ids to announce: public models of which something can be read, and the large files of
    /// public trees.
    pub fn provided(&self) -> Result<Vec<BlockId>, IndexError> {
        let models = self.inner.index.read(rows::models)?;
        let mut ids = Vec::new();
        for model in models {
            if !is_offered(&model) || model.visibility != Visibility::Public {
                continue;
            }
            if model.state != State::Whole {
                let Some(live) = self.live(&model.id)? else { continue };
                if live.lock().written.count() == 0 {
                    continue;
                }
            }
            let files = self.inner.index.read(|txn| rows::files(txn, &model.id))?;
            ids.push(model.id);
            for file in files.iter().filter(|file| file.size >= CHUNK_LEN && file.block != model.id)
            {
                if model.state == State::Whole
                    || self.offer(&file.block)?.is_some_and(|offer| offer.have().count() > 0)
                {
                    ids.push(file.block);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}
