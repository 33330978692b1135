//! Models that are on this machine already.
//!
//! Each file gets its place first (reflink, hard link, reference, copy) and is hashed there, so
//! that what was hashed is what is kept. From there on it goes the way of a fetch whose groups are
//! all durable.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hive_protocol::codec::DecodeError;
use hive_protocol::manifest::TreeFile;
use hive_protocol::path::PathError;
use hive_protocol::{Bitfield, BlockId, Manifest, Name, Tree, TreePath};

use crate::disk::{DiskError, failed};
use crate::fetch::chunk_rows;
use crate::fingerprint::Fingerprint;
use crate::hash::{HashError, Hashed, hash_file};
use crate::index::IndexError;
use crate::index::rows::{self, FileRow, ModelRow};
use crate::live::{Live, join};
use crate::model::{Kind, Progress, State, Storage, Visibility};
use crate::partial::{FinishError, finish};
use crate::remove::ModelError;
use crate::space::{NoRoom, SpaceError};
use crate::store::Store;

mod walk;

pub(crate) use walk::Found;

/// How a path is added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddOptions {
    /// What to call it; by default its file name.
    pub name: Option<Name>,
    /// Who may have it; by default nobody, or as it was if it is here already.
    pub visibility: Option<Visibility>,
    /// Leave the files where they are and remember the place.
    pub link: bool,
}

/// A file that is added as part of a model that somebody else put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddFile {
    /// Its path in the model.
    pub path: TreePath,
    /// Where it is.
    pub from: PathBuf,
    /// It was downloaded for this, is on the store's file system and becomes the store's own. Its
    /// old name is the caller's to remove; where names cannot be shared it is gone already.
    pub take: bool,
    /// The SHA-256 that it must have.
    pub sha256: Option<[u8; 32]>,
}

/// A model that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its id.
    pub id: BlockId,
    /// Its name here.
    pub name: Name,
    /// Bytes in all its files.
    pub size: u64,
    /// Distinct chunks.
    pub n_chunks: u64,
    /// How it is stored; the least shared way when files differ.
    pub storage: Storage,
    /// The file, or the tree's directory.
    pub path: PathBuf,
    /// What was left out: version control, caches, what the desktop drops.
    pub skipped: Vec<PathBuf>,
}

/// Why a path was not added. Nothing of it stays in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// A name that a tree cannot have.
    #[error("{} cannot be in a model: rename it", path.display())]
    Path {
        /// The file or directory.
        path: PathBuf,
        /// The rule that it breaks.
        #[source]
        source: PathError,
    },
    /// A socket, a device, a pipe, a link to a directory, or a name that is not Unicode.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What it is not.
        path: PathBuf,
    },
    /// A directory without files.
    #[error("{} has no files", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody wrote the file while it was hashed.
    #[error("{} changed while it was read: add it again when nothing writes it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file is not the one that it was said to be.
    #[error("{} does not have the SHA-256 that it should have", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
    },
    /// More files or chunks than a manifest can hold.
    #[error("{} does not fit a manifest", path.display())]
    Manifest {
        /// What was added.
        path: PathBuf,
        /// The limit.
        #[source]
        source: DecodeError,
    },
    /// The caller's progress callback ended it.
    #[error("stopped")]
    Stopped,
    /// The model is being fetched, added or removed right now.
    #[error("{id} is being written")]
    InUse {
        /// The model.
        id: BlockId,
    },
    /// There is no room for a copy.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// A file cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl From<SpaceError> for AddError {
    fn from(error: SpaceError) -> Self {
        match error {
            SpaceError::NoRoom(error) => Self::NoRoom(error),
            SpaceError::Disk(error) => Self::Disk(error),
            SpaceError::Index(error) => Self::Index(error),
        }
    }
}

/// A file that has its place and was hashed there.
struct Kept {
    row: FileRow,
    hashed: Hashed,
}

/// Bytes done, and whether to go on.
struct Meter<'a> {
    now: Progress,
    report: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
}

impl Meter<'_> {
    fn add(&mut self, n_bytes: usize) -> Result<(), HashError> {
        self.now.bytes += n_bytes as u64;
        match (self.report)(self.now) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(HashError::Stopped),
        }
    }
}

/// Distinguishes adds of one process that run at once.
static N_ADDS: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// Adds a file or a directory and says how its bytes are kept: one pass of reading and, where
    /// the file system can share blocks or names, no second copy. What is here already stays as it
    /// is ([`Storage::Present`]), but for a name or a visibility that is given.
    pub fn add(
        &self,
        path: &Path,
        options: &AddOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Added, AddError> {
        self.add_walked(path, &walk::walk(path)?, options, progress)
    }

    /// Adds files that are in several places as one model: the one file, or a tree of them.
    /// Otherwise as [`add`](Self::add).
    pub fn add_files(
        &self,
        name: &Name,
        files: &[AddFile],
        is_file: bool,
        options: &AddOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Added, AddError> {
        let found = walk::listed(name, files, is_file)?;
        self.add_walked(Path::new(name.as_str()), &found, options, progress)
    }

    /// Refuses `size` bytes that are to come, of which `present` are on the disk already, if the
    /// quota or the disk has no room for them.
    pub fn check_room(&self, size: u64, present: u64) -> Result<(), SpaceError> {
        self.require_room(None, size, present)
    }

    /// Where files are put together that are to be [taken](AddFile::take).
    pub fn downloads(&self) -> PathBuf {
        self.inner.layout.downloads()
    }

    fn add_walked(
        &self,
        path: &Path,
        found: &Found,
        options: &AddOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Added, AddError> {
        let n_add = N_ADDS.fetch_add(1, Ordering::Relaxed);
        let staging =
            self.inner.layout.partials().join(format!("add-{}-{n_add}", std::process::id()));
        // In a container every process may have the same number.
        self.inner.stale.make_way(&staging)?;
        let result = self.add_found(path, found, options, &staging, progress);
        if staging.exists() {
            // Whatever is left there is nobody's; the next start would remove it too.
            let _ = self.inner.disk.remove_dirs(&staging);
        }
        result
    }

    fn add_found(
        &self,
        path: &Path,
        found: &Found,
        options: &AddOptions,
        staging: &Path,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Added, AddError> {
        let total = found.files.iter().map(|file| file.len).sum();
        let mut meter = Meter { now: Progress { bytes: 0, total }, report: progress };
        let mut files = Vec::with_capacity(found.files.len());
        for file in &found.files {
            files.push(self.keep(file, options.link, staging, &mut meter)?);
        }
        let manifest = manifest(found.kind, &files)
            .map_err(|source| AddError::Manifest { path: path.to_owned(), source })?;
        let id = manifest.id();
        let claim = self.claim(id).ok_or(AddError::InUse { id })?;
        let name = options.name.clone().unwrap_or_else(|| found.name.clone());
        let old = self.inner.index.read(|txn| rows::model(txn, &id))?;
        if let Some(old) = &old {
            if old.state == State::Whole && !old.removing && self.is_as_hashed(&id)? {
                return self.already_here(old, options, found);
            }
            // Half fetched or damaged, and here is all of it.
            self.remove_claimed(old).map_err(|error| match error {
                ModelError::Disk(error) => AddError::Disk(error),
                ModelError::Index(error) => AddError::Index(error),
                _ => AddError::InUse { id },
            })?;
        }
        let model = self.new_row(id, &name, found.kind, manifest.size())?;
        let visibility =
            options.visibility.or(old.map(|old| old.visibility)).unwrap_or(Visibility::Local);
        let model = ModelRow { visibility, ..model };
        let storage = files.iter().map(|file| file.row.storage).max().unwrap_or(Storage::Copy);
        let live = self.enter(model, manifest, files, staging)?;
        let n_chunks = live.geometry.chunks().len() as u64;
        let path = finish(self, &live).map_err(|error| match error {
            FinishError::Disk(error) => AddError::Disk(error),
            FinishError::Index(error) => AddError::Index(error),
            FinishError::Missing { .. } => AddError::Changed { path: path.to_owned() },
        })?;
        drop(claim);
        Ok(Added {
            id,
            name,
            size: live.size,
            n_chunks,
            storage,
            path,
            skipped: found.skipped.clone(),
        })
    }

    /// Gives a file its place and hashes it there.
    fn keep(
        &self,
        file: &walk::FoundFile,
        link: bool,
        staging: &Path,
        meter: &mut Meter<'_>,
    ) -> Result<Kept, AddError> {
        let started = SystemTime::now();
        let source = File::open(&file.from).map_err(failed("open", &file.from))?;
        let look = |file: &File, path: &Path| {
            file.metadata()
                .map(|metadata| Fingerprint::of(&metadata))
                .map_err(failed("look at", path))
        };
        let before = look(&source, &file.from)?;
        let place = join(staging, &file.path);
        let storage = self.place(file, link, &place, meter.now)?;
        let changed = || AddError::Changed { path: file.from.clone() };
        let ended = |error| match error {
            HashError::Disk(error) => AddError::Disk(error),
            HashError::Changed => changed(),
            HashError::Stopped => AddError::Stopped,
            HashError::Manifest(source) => AddError::Manifest { path: file.from.clone(), source },
        };
        let disk = &self.inner.disk;
        let hashed = match storage {
            Storage::Copy => {
                let copy = disk.create_file(&place)?;
                disk.allocate(&copy, &place, before.len)?;
                let hashed = hash_file(&source, &file.from, before.len, &mut |offset, bytes| {
                    disk.write_at(&copy, &place, offset, bytes)?;
                    meter.add(bytes.len())
                })
                .map_err(ended)?;
                disk.sync(&copy, &place)?;
                hashed
            }
            Storage::Reflink | Storage::Hardlink | Storage::Fetched => {
                let kept = File::open(&place).map_err(failed("open", &place))?;
                let kept_len = kept.metadata().map_err(failed("look at", &place))?.len();
                let on_bytes = &mut |_, bytes: &[u8]| meter.add(bytes.len());
                let hashed = hash_file(&kept, &place, kept_len, on_bytes).map_err(ended)?;
                // The bytes are the original's, which may be young itself.
                disk.sync(&kept, &place)?;
                hashed
            }
            _ => {
                let on_bytes = &mut |_, bytes: &[u8]| meter.add(bytes.len());
                hash_file(&source, &file.from, before.len, on_bytes).map_err(ended)?
            }
        };
        if file.sha256.is_some_and(|expected| expected != hashed.sha256) {
            return Err(AddError::Digest { path: file.from.clone() });
        }
        // A reflink stays as it is whatever happens to the original now.
        if storage != Storage::Reflink && look(&source, &file.from)? != before {
            return Err(changed());
        }
        let row = FileRow {
            path: file.path.clone(),
            block: BlockId::of(&hive_protocol::codec::encode(&hashed.block)),
            size: hashed.block.size(),
            sha256: Some(hashed.sha256),
            storage,
            source: (storage == Storage::Reference).then(|| file.from.clone()),
            fingerprint: (!storage.is_ours()).then(|| before.settled(started)),
        };
        Ok(Kept { row, hashed })
    }

    /// Finds the most shared way to keep a file, and does it but for a copy's bytes.
    fn place(
        &self,
        file: &walk::FoundFile,
        link: bool,
        place: &Path,
        now: Progress,
    ) -> Result<Storage, AddError> {
        if link && !file.take {
            return Ok(Storage::Reference);
        }
        let disk = &self.inner.disk;
        if let Some(dir) = place.parent() {
            disk.create_dirs(dir)?;
        }
        if file.take {
            // A second name first: if this ends halfway, the download has lost nothing.
            if disk.hard_link(&file.from, place).is_err() {
                disk.rename(&file.from, place)?;
            }
            return Ok(Storage::Fetched);
        }
        if disk.reflink(&file.from, place).is_ok() {
            return Ok(Storage::Reflink);
        }
        // What a reflink that failed halfway may leave.
        if place.exists() {
            disk.remove_file(place)?;
        }
        if disk.hard_link(&file.from, place).is_ok() {
            return Ok(Storage::Hardlink);
        }
        // Where one file has to be copied the others will be too: better said before than halfway.
        self.require_room(None, now.total, now.bytes)?;
        Ok(Storage::Copy)
    }

    /// Makes what was staged durable and tells the index of it.
    fn enter(
        &self,
        model: ModelRow,
        manifest: Manifest,
        files: Vec<Kept>,
        staging: &Path,
    ) -> Result<Arc<Live>, AddError> {
        let inner = &self.inner;
        let base = inner.layout.partial(&model.id);
        if files.iter().any(|file| file.row.storage != Storage::Reference) {
            sync_dirs(self, staging)?;
            inner.stale.make_way(&base)?;
            inner.disk.rename(staging, &base)?;
            inner.disk.sync_dir(&inner.layout.partials())?;
        }
        let chunks = chunk_rows(files.iter().map(|file| &file.hashed.block));
        let file_rows: Vec<FileRow> = files.iter().map(|file| file.row.clone()).collect();
        let n_groups =
            hive_protocol::Geometry::new(chunks.iter().map(|row| (row.chunk, row.size))).n_groups();
        let bits = Bitfield::full(n_groups);
        let live =
            Arc::new(Live::new(&model, base, file_rows.clone(), &chunks, Some(bits.clone())));
        inner.index.write(move |txn| {
            rows::put_model(txn, &model, &file_rows, &chunks, &bits.to_bytes())?;
            rows::put_block(txn, &model.id, &manifest.encode(), false)?;
            for file in &files {
                let bytes = hive_protocol::codec::encode(&file.hashed.block);
                rows::put_block(txn, &file.row.block, &bytes, false)?;
                for proof in file.hashed.proofs.iter().filter(|proof| !proof.hashes().is_empty()) {
                    rows::put_proof(txn, &proof.chunk(), proof.hashes())?;
                }
            }
            Ok(())
        })?;
        self.remember(Arc::clone(&live));
        Ok(live)
    }

    /// Whether a whole model still is what was hashed, as far as its owner's files go.
    fn is_as_hashed(&self, id: &BlockId) -> Result<bool, IndexError> {
        let Some(live) = self.live(id)? else { return Ok(false) };
        let files = live.lock().files.clone();
        // Opening looks at the length or the fingerprint, and hashes what is in doubt.
        Ok(files.iter().all(|file| self.open_verified(id, Some(&file.path)).is_ok()))
    }

    fn already_here(
        &self,
        old: &ModelRow,
        options: &AddOptions,
        found: &Found,
    ) -> Result<Added, AddError> {
        let id = old.id;
        let gone = |error| match error {
            ModelError::Disk(error) => AddError::Disk(error),
            ModelError::Index(error) => AddError::Index(error),
            _ => AddError::InUse { id },
        };
        if let Some(name) = &options.name {
            self.rename(&id, name).map_err(gone)?;
        }
        if let Some(visibility) = options.visibility {
            self.set_visibility(&id, visibility).map_err(gone)?;
        }
        let model = self.get(&id)?.ok_or(AddError::InUse { id })?;
        Ok(Added {
            id,
            name: model.name,
            size: model.size,
            n_chunks: self.n_chunks(&id)?,
            storage: Storage::Present,
            path: model.path,
            skipped: found.skipped.clone(),
        })
    }
}

fn manifest(kind: Kind, files: &[Kept]) -> Result<Manifest, DecodeError> {
    if let (Kind::File, [only]) = (kind, files) {
        return Ok(Manifest::File(only.hashed.block.clone()));
    }
    let file = |file: &Kept| TreeFile::new(file.row.path.clone(), file.row.block, file.row.size);
    Tree::new(files.iter().map(file).collect()).map(Manifest::Tree)
}

/// Syncs a directory and all below it.
fn sync_dirs(store: &Store, dir: &Path) -> Result<(), DiskError> {
    for entry in std::fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        if path.is_dir() {
            sync_dirs(store, &path)?;
        }
    }
    store.inner.disk.sync_dir(dir)
}
