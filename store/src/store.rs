//! The handle that everything else hangs on, and the registry of models in memory.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hive_protocol::group::GroupProof;
use hive_protocol::{Bitfield, BlockId, ChunkId};

use crate::disk::{Disk, DiskError};
use crate::index::rows::{self, ModelRow};
use crate::index::{Index, IndexError, schema};
use crate::layout::Layout;
use crate::live::Live;
use crate::model::State;
use crate::space::Limits;
use crate::stale::Stale;
use crate::{lock, recovery};

/// What bounds the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Bytes that copies and fetched models may take together; no bound if `None`.
    pub quota: Option<u64>,
    /// Bytes of the disk that stay free. By default 5 GiB or 5 % of the disk, whichever is more,
    /// but never over 10 % of it.
    pub reserve: Option<u64>,
}

/// Why a home directory cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by {}", home.display(), match pid { Some(pid) => format!("process {pid}"), None => "another process".to_owned() })]
    Locked {
        /// The home directory.
        home: PathBuf,
        /// The other process, if it left its number.
        pid: Option<u32>,
    },
    /// A newer hive wrote it; going on could lose what only that one understands.
    #[error("{} has schema {found}, this hive knows up to {known}: use the newer hive", path.display())]
    NewerSchema {
        /// The index.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema of this program.
        known: i64,
    },
    /// A file or directory in it cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl From<schema::SchemaError> for OpenError {
    fn from(error: schema::SchemaError) -> Self {
        match error {
            schema::SchemaError::Newer { path, found, known } => {
                Self::NewerSchema { path, found, known }
            }
            schema::SchemaError::Index(error) => Self::Index(error),
        }
    }
}

/// Models on disk. Cheap to clone; all calls may block on the disk.
///
/// The home directory stays locked until the last clone, [`Partial`](crate::Partial) and
/// [`Offer`](crate::Offer) are dropped.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) layout: Layout,
    pub(crate) limits: Limits,
    pub(crate) disk: Disk,
    pub(crate) index: Index,
    live: Mutex<HashMap<BlockId, Arc<Live>>>,
    /// Models that somebody writes, adds or removes right now.
    claimed: Mutex<HashSet<BlockId>>,
    /// Held while it is changed who may have a model.
    pub(crate) sharing: Mutex<()>,
    pub(crate) stale: Stale,
    /// Released last, after the index.
    _lock: File,
}

/// The right to change a model's files. One at a time; given back on drop.
#[derive(Debug)]
pub(crate) struct Claim {
    inner: Arc<Inner>,
    id: BlockId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        guard(&self.inner.claimed).remove(&self.id);
    }
}

/// Locks what no panic can leave half changed.
pub(crate) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens a home directory, makes it if there is none, and puts right what a crash left.
    pub fn open(home: &Path, options: Options) -> Result<Self, OpenError> {
        Self::open_on(home, options, Disk::default())
    }

    pub(crate) fn open_on(home: &Path, options: Options, disk: Disk) -> Result<Self, OpenError> {
        let layout = Layout::create(home, &disk)?;
        let lock = lock::take(&layout)?;
        let index = Index::open(&layout.index(), disk.clone())?;
        disk.sync_dir(layout.home())?;
        let inner = Inner {
            limits: Limits { quota: options.quota, reserve: options.reserve },
            layout,
            stale: Stale::new(disk.clone()),
            disk,
            index,
            live: Mutex::default(),
            claimed: Mutex::default(),
            sharing: Mutex::default(),
            _lock: lock,
        };
        let store = Self { inner: Arc::new(inner) };
        recovery::recover(&store)?;
        Ok(store)
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        self.inner.layout.home()
    }

    /// Claims a model, unless somebody has.
    pub(crate) fn claim(&self, id: BlockId) -> Option<Claim> {
        let new = guard(&self.inner.claimed).insert(id);
        new.then(|| Claim { inner: Arc::clone(&self.inner), id })
    }

    pub(crate) fn is_claimed(&self, id: &BlockId) -> bool {
        guard(&self.inner.claimed).contains(id)
    }

    /// The models in memory.
    pub(crate) fn in_memory(&self) -> Vec<Arc<Live>> {
        guard(&self.inner.live).values().cloned().collect()
    }

    /// A model, if it is in memory.
    pub(crate) fn peek(&self, id: &BlockId) -> Option<Arc<Live>> {
        guard(&self.inner.live).get(id).cloned()
    }

    /// A model, from memory or from the index.
    pub(crate) fn live(&self, id: &BlockId) -> Result<Option<Arc<Live>>, IndexError> {
        if let Some(live) = self.peek(id) {
            return Ok(Some(live));
        }
        let parts = self.inner.index.read(|txn| {
            let Some(model) = rows::model(txn, id)? else { return Ok(None) };
            let (files, chunks) = (rows::files(txn, id)?, rows::chunks(txn, id)?);
            Ok(Some((model, files, chunks, rows::bits(txn, id)?)))
        })?;
        let Some((model, files, chunks, bits)) = parts else { return Ok(None) };
        if model.removing {
            return Ok(None);
        }
        let mut live = Live::new(&model, self.base(&model), files, &chunks, None);
        if let Some(bits) =
            bits.and_then(|bits| Bitfield::from_bytes(&bits, live.geometry.n_groups()))
        {
            let now = live.lock_mut();
            now.durable = bits.clone();
            now.written = bits;
        }
        // Whoever came first stays: two of one model would not know of each other's bits.
        let live = Arc::clone(guard(&self.inner.live).entry(*id).or_insert_with(|| Arc::new(live)));
        // It may have been removed since the row was read; then nobody else would forget it.
        let row = self.inner.index.read(|txn| rows::model(txn, id))?;
        if row.is_none_or(|model| model.removing) {
            self.forget(id);
            return Ok(None);
        }
        Ok(Some(live))
    }

    /// Puts a model into memory, in place of what was there.
    pub(crate) fn remember(&self, live: Arc<Live>) {
        guard(&self.inner.live).insert(live.id, live);
    }

    /// Takes a model out of memory. Offers of it that are still around give nothing any more.
    pub(crate) fn forget(&self, id: &BlockId) {
        if let Some(live) = guard(&self.inner.live).remove(id) {
            live.lock().gone = true;
            live.close();
        }
    }

    /// The directory that a model's files are in.
    pub(crate) fn base(&self, model: &ModelRow) -> PathBuf {
        match model.state {
            State::Partial => self.inner.layout.partial(&model.id),
            State::Whole | State::Damaged => self.inner.layout.model(&model.dir),
        }
    }

    /// The proof of a chunk of a model, from memory or from the index.
    pub(crate) fn proof(
        &self,
        live: &Live,
        at: usize,
    ) -> Result<Option<Arc<GroupProof>>, IndexError> {
        if let Some(proof) = &live.lock().proofs[at] {
            return Ok(Some(Arc::clone(proof)));
        }
        let chunk = live.geometry.chunks()[at];
        let proof = self.stored_proof(&chunk.id, chunk.size)?.map(Arc::new);
        if let Some(proof) = &proof {
            live.lock().proofs[at].get_or_insert_with(|| Arc::clone(proof));
        }
        Ok(proof)
    }

    /// A proof from the index, folded again: the index is not above doubt.
    pub(crate) fn stored_proof(
        &self,
        chunk: &ChunkId,
        size: u64,
    ) -> Result<Option<GroupProof>, IndexError> {
        let hashes = self.inner.index.read(|txn| rows::proof(txn, chunk))?;
        Ok(hashes.and_then(|hashes| GroupProof::verify(*chunk, size, hashes).ok()))
    }

    /// Records that groups are not what they should be. A model that is being fetched just misses
    /// them again; any other is damaged from now on and not run, and what else it has is hashed once
    /// more before a peer gets it.
    pub(crate) fn quarantine(
        &self,
        live: &Live,
        groups: &[u32],
        reason: &str,
    ) -> Result<(), IndexError> {
        let _one = guard(&live.checkpointing);
        let (state, bitmap) = {
            let mut now = live.lock();
            if now.gone {
                return Ok(());
            }
            now.lose(groups.iter().copied());
            if now.state != State::Partial {
                now.state = State::Damaged;
                now.reason = Some(reason.to_owned());
                now.checked = Bitfield::empty(now.checked.len());
            }
            (now.state, now.durable.to_bytes())
        };
        tracing::warn!(model = live.id.short(), reason, "damaged");
        let (id, reason) = (live.id, reason.to_owned());
        self.inner.index.write(move |txn| {
            rows::put_bits(txn, &id, &bitmap)?;
            let reason = (state == State::Damaged).then_some(reason.as_str());
            rows::set_state(txn, &id, state, reason)
        })
    }
}
