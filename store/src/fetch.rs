//! The beginning of a fetch: room, files, what is here already.

use std::path::Path;
use std::sync::Arc;

use hive_protocol::{Bitfield, BlockId, FileBlock, Manifest, Name, TreePath, codec};

use crate::disk::{DiskError, failed};
use crate::index::IndexError;
use crate::index::rows::{self, ChunkRow, FileRow, ModelRow};
use crate::layout;
use crate::live::{Live, join};
use crate::model::{Kind, State, Storage, Visibility, now};
use crate::partial::{CheckpointError, Partial, checkpoint};
use crate::space::{NoRoom, SpaceError, allocated};
use crate::store::Store;

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetching {
    /// The model.
    pub id: BlockId,
    /// What the id names.
    pub manifest: Manifest,
    /// Its files in the tree's order with their blocks; for a single file one, with the name that
    /// it gets here (see [`crate::file_name_for`]).
    pub files: Vec<(TreePath, FileBlock)>,
    /// What to call it here.
    pub name: Name,
    /// Who may have it, from the first verified group on.
    pub visibility: Visibility,
    /// Whether `gc` leaves it.
    pub pinned: bool,
}

/// Why a fetch cannot begin. Nothing was written unless `Disk` or `Index` says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// There is no room for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Somebody writes, adds or removes it right now.
    #[error("{id} is being written already")]
    InProgress {
        /// The model.
        id: BlockId,
    },
    /// Nothing of it is missing.
    #[error("{id} is here, whole")]
    Whole {
        /// The model.
        id: BlockId,
    },
    /// The files are not those of the manifest, or the manifest is not that of the id.
    #[error("the files do not make up {id}")]
    Manifest {
        /// The model.
        id: BlockId,
    },
    /// Its files cannot be made.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl From<SpaceError> for BeginError {
    fn from(error: SpaceError) -> Self {
        match error {
            SpaceError::NoRoom(error) => Self::NoRoom(error),
            SpaceError::Disk(error) => Self::Disk(error),
            SpaceError::Index(error) => Self::Index(error),
        }
    }
}

impl From<CheckpointError> for BeginError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Disk(error) => Self::Disk(error),
            CheckpointError::Index(error) => Self::Index(error),
        }
    }
}

/// The chunks of files, one after another.
pub(crate) fn chunk_rows<'a>(files: impl IntoIterator<Item = &'a FileBlock>) -> Vec<ChunkRow> {
    let mut chunks = Vec::new();
    for (seq, file) in files.into_iter().enumerate() {
        let mut offset = 0;
        for &(chunk, size) in file.chunks() {
            chunks.push(ChunkRow { chunk, size, seq: seq as u32, offset });
            offset += size;
        }
    }
    chunks
}

impl Fetching {
    /// The files' blocks and their encoding, if all of this belongs together.
    fn check(&self) -> Result<Vec<(BlockId, Vec<u8>)>, BeginError> {
        let wrong = || BeginError::Manifest { id: self.id };
        let blocks: Vec<_> = self
            .files
            .iter()
            .map(|(_, block)| {
                let bytes = codec::encode(block);
                (BlockId::of(&bytes), bytes)
            })
            .collect();
        let fits = match &self.manifest {
            Manifest::File(_) => blocks.len() == 1 && blocks[0].0 == self.id,
            Manifest::Tree(tree) => {
                self.manifest.id() == self.id
                    && tree.files().len() == self.files.len()
                    && tree.files().iter().zip(&self.files).zip(&blocks).all(
                        |((file, given), block)| {
                            *file.path() == given.0
                                && file.block() == block.0
                                && file.size() == given.1.size()
                        },
                    )
            }
        };
        if fits { Ok(blocks) } else { Err(wrong()) }
    }
}

impl Store {
    /// Begins a fetch, or goes on with one that was begun before: what the index calls durable is
    /// not hashed again. Room is checked before a byte is written. Chunks that other models in the
    /// store hold are copied from there, each hashed on its way, so this may take as long as that.
    pub fn begin(&self, fetching: &Fetching) -> Result<Partial, BeginError> {
        let id = fetching.id;
        let blocks = fetching.check()?;
        let claim = self.claim(id).ok_or(BeginError::InProgress { id })?;
        let model = self.inner.index.read(|txn| rows::model(txn, &id))?;
        let live = match model {
            Some(model) if model.state == State::Whole => return Err(BeginError::Whole { id }),
            Some(model) if !model.removing => self.resume(fetching, &model)?,
            _ => self.create(fetching, blocks)?,
        };
        self.fill_from_others(&live)?;
        checkpoint(self, &live)?;
        Ok(Partial::new(self.clone(), live, claim))
    }

    fn create(
        &self,
        fetching: &Fetching,
        blocks: Vec<(BlockId, Vec<u8>)>,
    ) -> Result<Arc<Live>, BeginError> {
        let inner = &self.inner;
        let id = fetching.id;
        self.require_room(Some(&id), fetching.manifest.size(), 0)?;
        let base = inner.layout.partial(&id);
        // What a crash left before the index knew of it.
        inner.stale.make_way(&base)?;
        let file =
            |((path, block), (id, _)): (&(TreePath, FileBlock), &(BlockId, Vec<u8>))| FileRow {
                path: path.clone(),
                block: *id,
                size: block.size(),
                sha256: None,
                storage: Storage::Fetched,
                source: None,
                fingerprint: None,
            };
        let files: Vec<FileRow> = fetching.files.iter().zip(&blocks).map(file).collect();
        if let Err(error) = self.make_files(&base, &files) {
            // A disk that has no room after all gets back what this took.
            let _ = inner.disk.remove_dirs(&base);
            return Err(error.into());
        }
        let chunks = chunk_rows(fetching.files.iter().map(|(_, block)| block));
        let model = self.new_row(
            id,
            &fetching.name,
            match fetching.manifest {
                Manifest::File(_) => Kind::File,
                Manifest::Tree(_) => Kind::Tree,
            },
            fetching.manifest.size(),
        )?;
        let model = ModelRow { visibility: fetching.visibility, pinned: fetching.pinned, ..model };
        let live = Live::new(&model, base, files.clone(), &chunks, None);
        let bitmap = Bitfield::empty(live.geometry.n_groups()).to_bytes();
        let manifest = fetching.manifest.encode();
        inner.index.write(move |txn| {
            rows::put_model(txn, &model, &files, &chunks, &bitmap)?;
            rows::put_block(txn, &id, &manifest, false)?;
            blocks.iter().try_for_each(|(id, bytes)| rows::put_block(txn, id, bytes, false))
        })?;
        let live = Arc::new(live);
        self.remember(Arc::clone(&live));
        Ok(live)
    }

    /// A new model's row with a directory name that no other model has.
    pub(crate) fn new_row(
        &self,
        id: BlockId,
        name: &Name,
        kind: Kind,
        size: u64,
    ) -> Result<ModelRow, IndexError> {
        let dir = layout::dir_name(name, &id);
        let taken = self.inner.index.read(|txn| {
            let mut taken =
                txn.prepare_cached("SELECT 1 FROM models WHERE dir = ?1 AND id <> ?2")?;
            taken.exists(rusqlite::params![dir, id.0.0])
        })?;
        // A directory that nobody's index knows is somebody's all the same.
        let taken = taken || self.inner.layout.model(&dir).exists();
        Ok(ModelRow {
            id,
            name: name.clone(),
            kind,
            size,
            visibility: Visibility::Local,
            pinned: true,
            state: State::Partial,
            reason: None,
            removing: false,
            dir: if taken { layout::long_dir_name(name, &id) } else { dir },
            added_at: now(),
            last_used: now(),
        })
    }

    /// Makes files with their lengths, and all directory entries durable.
    fn make_files(&self, base: &Path, files: &[FileRow]) -> Result<(), DiskError> {
        let disk = &self.inner.disk;
        let mut dirs = vec![base.to_owned()];
        disk.create_dirs(base)?;
        for file in files {
            let path = join(base, &file.path);
            let mut above = path.parent();
            while let Some(dir) =
                above.filter(|dir| *dir != base && !dirs.iter().any(|known| known == dir))
            {
                dirs.push(dir.to_owned());
                above = dir.parent();
            }
            if let Some(dir) = path.parent() {
                disk.create_dirs(dir)?;
            }
            let open = disk.create_file(&path)?;
            if open.metadata().map_err(failed("look at", &path))?.len() != file.size {
                disk.allocate(&open, &path, file.size)?;
            }
        }
        for dir in &dirs {
            disk.sync_dir(dir)?;
        }
        disk.sync_dir(&self.inner.layout.partials())
    }

    fn resume(&self, fetching: &Fetching, model: &ModelRow) -> Result<Arc<Live>, BeginError> {
        let id = fetching.id;
        let live = self.live(&id)?.ok_or(BeginError::InProgress { id })?;
        let (base, n_foreign, on_disk) = {
            let now = live.lock();
            let foreign = now.files.iter().filter(|file| !file.storage.is_ours()).count();
            let taken = (0..now.files.len() as u32)
                .filter(|&at| now.files[at as usize].storage.is_ours())
                .map(|at| allocated(&now.path(at)).min(now.files[at as usize].size))
                .sum::<u64>();
            (now.base.clone(), foreign, taken)
        };
        self.require_room(Some(&id), model.size, on_disk)?;
        let partial = self.inner.layout.partial(&id);
        if base != partial {
            // First the index says that it is not whole, then it leaves its place.
            let row = model.clone();
            self.inner
                .index
                .write(move |txn| rows::set_state(txn, &row.id, State::Partial, None))?;
            live.lock().state = State::Partial;
            live.close();
            if base.exists() {
                self.inner.stale.make_way(&partial)?;
                self.inner.disk.rename(&base, &partial)?;
                self.inner.disk.sync_dir(&self.inner.layout.models())?;
                self.inner.disk.sync_dir(&self.inner.layout.partials())?;
            }
            live.lock().base.clone_from(&partial);
        }
        self.check_files(&live)?;
        let mut files = live.lock().files.clone();
        let foreign = if n_foreign > 0 { self.detach(&live, &mut files)? } else { Vec::new() };
        for file in files.iter().filter(|file| file.storage.is_ours()) {
            let path = join(&partial, &file.path);
            if path.exists() {
                self.inner.disk.set_read_only(&path, false)?;
            }
        }
        self.make_files(&partial, &files)?;
        for (file, open, path) in foreign {
            self.fill_from_own(&live, file, &open, &path)?;
        }
        Ok(live)
    }

    /// Files of ours that are gone or end early do not hold what should stand past their end.
    fn check_files(&self, live: &Live) -> Result<(), IndexError> {
        let lens: Vec<u64> = {
            let now = live.lock();
            let len = |(at, file): (usize, &FileRow)| match std::fs::metadata(now.path(at as u32)) {
                Ok(metadata) => metadata.len().min(file.size),
                Err(_) => 0,
            };
            now.files.iter().enumerate().map(len).collect()
        };
        let lost: Vec<u32> = {
            let now = live.lock();
            let is_lost = |group: &u32| {
                let (at, index) = live.locate(*group);
                let len = live.geometry.group_len(*group);
                live.places[at].iter().any(|place| {
                    let is_ours = now.files[place.file as usize].storage.is_ours();
                    is_ours && Live::offset(*place, index) + len > lens[place.file as usize]
                })
            };
            now.written.iter().filter(is_lost).collect()
        };
        if lost.is_empty() {
            Ok(())
        } else {
            self.quarantine(live, &lost, "a file is gone or ends early")
        }
    }

    /// Takes out all groups of chunks that stand in some files.
    pub(crate) fn lose_files(
        &self,
        live: &Live,
        files: &[u32],
        reason: &str,
    ) -> Result<(), IndexError> {
        let chunks = live.geometry.chunks().iter().zip(&live.places);
        let hit =
            chunks.filter(|(_, places)| places.iter().any(|place| files.contains(&place.file)));
        let groups: Vec<u32> = hit.flat_map(|(chunk, _)| chunk.groups()).collect();
        self.quarantine(live, &groups, reason)
    }

    /// Puts files of our own in place of links, whose owner may write them. Returns the open
    /// originals, to copy from them what is good.
    fn detach(
        &self,
        live: &Live,
        files: &mut [FileRow],
    ) -> Result<Vec<(u32, std::fs::File, std::path::PathBuf)>, BeginError> {
        let foreign: Vec<u32> =
            (0..files.len() as u32).filter(|&at| !files[at as usize].storage.is_ours()).collect();
        let mut open = Vec::new();
        let mut links = Vec::new();
        for &at in &foreign {
            let path = live.lock().path(at);
            // One that cannot be opened has nothing to copy from.
            if let Ok(file) = std::fs::File::open(&path) {
                open.push((at, file, path.clone()));
            }
            let file = &mut files[at as usize];
            if file.storage == Storage::Hardlink && path.exists() {
                links.push(path);
            }
            *file = FileRow {
                storage: Storage::Fetched,
                source: None,
                fingerprint: None,
                sha256: None,
                ..file.clone()
            };
        }
        self.lose_files(live, &foreign, "it is fetched anew in place of a link")?;
        live.close();
        // Before the rows say that the files are ours: nothing may be written through a link.
        for link in links {
            self.inner.disk.remove_file(&link)?;
        }
        let (id, rows_now) = (live.id, files.to_vec());
        self.inner.index.write(move |txn| {
            foreign.iter().try_for_each(|&at| rows::put_file(txn, &id, at, &rows_now[at as usize]))
        })?;
        live.lock().files = files.to_vec();
        Ok(open)
    }
}
