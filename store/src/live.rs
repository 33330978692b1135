//! A model in memory: its geometry, where each chunk stands, and which groups are good.
//!
//! One [`Live`] exists for each model in use, shared by the fetch that writes it and the offers
//! that read it, so a group is served as soon as it is verified.
//!
//! Invariant: a bit in `written` means that the bytes at every place of that group were hashed and
//! found right, by this process or before the bit in the index was set.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hive_protocol::group::{self, GroupProof};
use hive_protocol::limits::GROUP_LEN;
use hive_protocol::{Bitfield, BlockId, ChunkId, Geometry, TreePath};

use crate::direct::{self, Direct};
use crate::disk::{DiskError, failed, read_at};
use crate::index::rows::{ChunkRow, FileRow, ModelRow};
use crate::model::{State, Storage, Visibility};

/// Files of one model that are kept open; a tree may have thousands.
const OPEN_FILES: usize = 32;

/// Where a chunk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: u32,
    pub(crate) offset: u64,
}

/// A model in memory.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: BlockId,
    pub(crate) size: u64,
    pub(crate) geometry: Geometry,
    /// For each chunk of the geometry, everywhere it stands.
    pub(crate) places: Vec<Vec<Place>>,
    changing: Mutex<Changing>,
    handles: Mutex<Vec<Handle>>,
    /// Whether what arrives goes past the page cache.
    pub(crate) direct: Direct,
    /// Held while the index is told of bits, so that what it is told last is what holds.
    pub(crate) checkpointing: Mutex<()>,
}

/// What changes while a model is in memory.
#[derive(Debug)]
pub(crate) struct Changing {
    /// The directory that its files are in, but for references.
    pub(crate) base: PathBuf,
    pub(crate) dir: String,
    pub(crate) files: Vec<FileRow>,
    pub(crate) visibility: Visibility,
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    /// Whether it was removed, and offers of it that are still around give nothing any more.
    pub(crate) gone: bool,
    /// Groups whose bytes are on the disk and right.
    pub(crate) written: Bitfield,
    /// Those of them that the index names.
    pub(crate) durable: Bitfield,
    /// Groups that this process hashed, on their way in or when it read them.
    pub(crate) checked: Bitfield,
    pub(crate) proofs: Vec<Option<Arc<GroupProof>>>,
    /// Chunks whose proof is not in the index yet.
    pub(crate) unsaved: Vec<usize>,
    /// Grows with every change of `written` that others should know.
    pub(crate) version: u64,
}

#[derive(Debug)]
struct Handle {
    file: u32,
    access: Access,
    open: Arc<File>,
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// Reading too.
    Write,
    /// Writing past the page cache, and nothing else.
    WriteDirect,
}

impl Access {
    /// Whether a file that is open for this may be used for that.
    fn covers(self, other: Self) -> bool {
        self == other || (self, other) == (Self::Write, Self::Read)
    }
}

impl Live {
    pub(crate) fn new(
        model: &ModelRow,
        base: PathBuf,
        files: Vec<FileRow>,
        chunks: &[ChunkRow],
        bits: Option<Bitfield>,
    ) -> Self {
        let geometry = Geometry::new(chunks.iter().map(|row| (row.chunk, row.size)));
        let mut places = vec![Vec::new(); geometry.chunks().len()];
        for row in chunks {
            let at = geometry.position(&row.chunk).expect("the geometry was made of these chunks");
            places[at].push(Place { file: row.seq, offset: row.offset });
        }
        let n_groups = geometry.n_groups();
        let written =
            bits.filter(|bits| bits.len() == n_groups).unwrap_or_else(|| Bitfield::empty(n_groups));
        let proofs = geometry.chunks().iter().map(|chunk| lone(chunk.id, chunk.size)).collect();
        let changing = Changing {
            base,
            dir: model.dir.clone(),
            files,
            visibility: model.visibility,
            state: model.state,
            reason: model.reason.clone(),
            gone: false,
            durable: written.clone(),
            checked: Bitfield::empty(n_groups),
            written,
            proofs,
            unsaved: Vec::new(),
            version: first_version(),
        };
        Self {
            id: model.id,
            size: model.size,
            geometry,
            places,
            changing: Mutex::new(changing),
            handles: Mutex::default(),
            direct: Direct::default(),
            checkpointing: Mutex::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_mut(&mut self) -> &mut Changing {
        self.changing.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chunk of a group, and which of its groups it is.
    pub(crate) fn locate(&self, group: u32) -> (usize, u32) {
        let at = self.geometry.chunk_of(group);
        (at, group - self.geometry.chunks()[at].first_group)
    }

    /// Where a group stands in a place of its chunk.
    pub(crate) fn offset(place: Place, index: u32) -> u64 {
        place.offset + u64::from(index) * GROUP_LEN
    }

    /// An open file of the model.
    pub(crate) fn handle(
        &self,
        file: u32,
        access: Access,
    ) -> Result<(Arc<File>, PathBuf), DiskError> {
        let path = self.lock().path(file);
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = handles.iter().position(|h| h.file == file && h.access.covers(access)) {
            let handle = handles.remove(at);
            let open = Arc::clone(&handle.open);
            handles.push(handle);
            return Ok((open, path));
        }
        drop(handles);
        let open = Arc::new(self.open(file, access, &path)?);
        handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|handle| handle.file != file || !access.covers(handle.access));
        if handles.len() >= OPEN_FILES {
            handles.remove(0);
        }
        handles.push(Handle { file, access, open: Arc::clone(&open) });
        Ok((open, path))
    }

    pub(crate) fn open(&self, file: u32, access: Access, path: &Path) -> Result<File, DiskError> {
        let mut options = File::options();
        options.read(access != Access::WriteDirect).write(access != Access::Read);
        if access == Access::WriteDirect {
            direct::bypass(&mut options);
        }
        options
            .open(path)
            .or_else(|error| {
                // It may have been renamed into place since we asked where it is.
                let now = self.lock().path(file);
                if now == path { Err(error) } else { options.open(&now) }
            })
            .map_err(failed("open", path))
    }

    /// Closes all files: they are about to be renamed, removed or replaced.
    pub(crate) fn close(&self) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Reads a group from one of its places to the end of `buf`; fewer bytes if the file ends early.
    pub(crate) fn read(
        &self,
        place: Place,
        group: u32,
        buf: &mut Vec<u8>,
    ) -> Result<(), DiskError> {
        let (_, index) = self.locate(group);
        let len = self.geometry.group_len(group) as usize;
        self.direct.end();
        let (file, path) = self.handle(place.file, Access::Read)?;
        read_at(&file, Self::offset(place, index), len, buf).map_err(failed("read", &path))?;
        Ok(())
    }

    /// Whether every file of it belongs to somebody else and stays where it is.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.lock().files.iter().all(|file| file.storage == Storage::Reference)
    }

    /// The file of a single-file model, or the directory of a tree.
    pub(crate) fn path(&self, is_file: bool) -> PathBuf {
        let now = self.lock();
        if is_file { now.path(0) } else { root(&now.base, &now.files) }
    }
}

/// The directory of a tree: its own, or that of the original if all of it is referenced.
pub(crate) fn root(base: &Path, files: &[FileRow]) -> PathBuf {
    let Some(first) = files.first() else { return base.to_owned() };
    match &first.source {
        Some(source) if files.iter().all(|file| file.storage == Storage::Reference) => {
            let n_components = first.path.components().count();
            source.ancestors().nth(n_components).unwrap_or(source).to_owned()
        }
        _ => base.to_owned(),
    }
}

impl Changing {
    /// Where a file is.
    pub(crate) fn path(&self, file: u32) -> PathBuf {
        let row = &self.files[file as usize];
        on_disk(&self.base, row)
    }

    /// Whether peers may have it.
    pub(crate) fn is_offered(&self) -> bool {
        self.visibility != Visibility::Local && !self.gone
    }

    /// Takes groups out: they are not what they should be, or may not be on the disk.
    pub(crate) fn lose(&mut self, groups: impl IntoIterator<Item = u32>) {
        for group in groups {
            self.written.remove(group);
            self.durable.remove(group);
            self.checked.remove(group);
        }
        self.version += 1;
    }
}

/// Where a file is whose model is in `base`.
pub(crate) fn on_disk(base: &Path, file: &FileRow) -> PathBuf {
    match &file.source {
        Some(source) if file.storage == Storage::Reference => source.clone(),
        _ => join(base, &file.path),
    }
}

/// A tree's path below a directory.
pub(crate) fn join(base: &Path, path: &TreePath) -> PathBuf {
    let mut joined = base.to_owned();
    joined.extend(path.components());
    joined
}

/// The proof of a chunk of one group, which needs nothing from anybody.
pub(crate) fn lone(chunk: ChunkId, size: u64) -> Option<Arc<GroupProof>> {
    (group::n_groups(size) == 1)
        .then(|| GroupProof::verify(chunk, size, Vec::new()).ok().map(Arc::new))
        .flatten()
}

/// Microseconds since 1970: more than this model's version was before the last restart, because
/// no disk takes a million groups a second.
fn first_version() -> u64 {
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    age.map_or(1, |age| age.as_micros() as u64)
}
