//! A file of a model that is being fetched, as its reader sees it: which bytes of it are here.
//!
//! Invariant: what [`Arriving::bytes`] says of a group that [`Arriving::have`] names was hashed and
//! found right before.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use hive_protocol::limits::GROUP_LEN;
use hive_protocol::{Bitfield, BlockId, TreePath};

use crate::live::{Access, Live};
use crate::run::OpenModelError;
use crate::store::Store;

/// A file of a model that may still be arriving. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Arriving {
    live: Arc<Live>,
    file: u32,
    size: u64,
    /// Where chunks stand in the file, ascending: offset, and place in the geometry.
    chunks: Arc<Vec<(u64, usize)>>,
}

impl Store {
    /// A file of a model that is here in part or whole; `path` says which one of a tree. Reads
    /// nothing of it.
    pub fn arriving(
        &self,
        id: &BlockId,
        path: Option<&TreePath>,
    ) -> Result<Arriving, OpenModelError> {
        let (live, file) = self.find_file(id, path)?;
        let size = live.lock().files[file as usize].size;
        let places = live.places.iter().enumerate();
        let ours = places.flat_map(|(at, places)| places.iter().map(move |place| (at, place)));
        let ours = ours.filter(|(_, place)| place.file == file);
        let mut chunks: Vec<_> = ours.map(|(at, place)| (place.offset, at)).collect();
        chunks.sort_unstable();
        Ok(Arriving { live, file, size, chunks: Arc::new(chunks) })
    }
}

impl Arriving {
    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of its first chunk, which in a file of weights is the header.
    pub fn head(&self) -> Range<u64> {
        let first = self.chunks.first().map_or(0, |&(_, at)| self.live.geometry.chunks()[at].size);
        0..first
    }

    /// Opens it for reading. The open file is good also when it is renamed into its place.
    pub fn open(&self) -> Result<(File, PathBuf), OpenModelError> {
        let path = self.live.lock().path(self.file);
        self.live.direct.end();
        let open = self.live.open(self.file, Access::Read, &path)?;
        Ok((open, path))
    }

    /// The groups of the model that are written and verified, of all its files.
    pub fn have(&self) -> Bitfield {
        self.live.lock().written.clone()
    }

    /// Where a group stands in this file: nowhere, or at several places.
    pub fn bytes(&self, group: u32) -> Vec<Range<u64>> {
        if group >= self.live.geometry.n_groups() {
            return Vec::new();
        }
        let (at, index) = self.live.locate(group);
        let len = self.live.geometry.group_len(group);
        let places = self.live.places[at].iter().filter(|place| place.file == self.file);
        let start = |offset: u64| offset + u64::from(index) * GROUP_LEN;
        places.map(|place| start(place.offset)..start(place.offset) + len).collect()
    }

    /// The groups that bytes of this file are in, in the file's order.
    pub fn groups(&self, bytes: &Range<u64>) -> Vec<Range<u32>> {
        let first = self.chunks.partition_point(|(offset, _)| *offset <= bytes.start);
        let mut groups: Vec<Range<u32>> = Vec::new();
        for &(offset, at) in &self.chunks[first.saturating_sub(1)..] {
            if bytes.end <= offset {
                break;
            }
            let chunk = self.live.geometry.chunks()[at];
            let end = bytes.end.min(offset + chunk.size);
            let start = bytes.start.max(offset);
            if end <= start {
                continue;
            }
            let index = |byte: u64| ((byte - offset) / GROUP_LEN) as u32 + chunk.first_group;
            let more = index(start)..index(end - 1) + 1;
            match groups.last_mut() {
                Some(last) if last.end == more.start => last.end = more.end,
                _ => groups.push(more),
            }
        }
        groups
    }
}
