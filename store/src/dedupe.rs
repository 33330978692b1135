//! Groups that other files on this disk hold. Copied, where the file system can by sharing blocks,
//! and hashed as they are copied: what a file held when it was added, it may not hold now.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hive_protocol::group::GroupProof;
use hive_protocol::{BlockId, ChunkId};

use crate::disk::{DiskError, failed, read_at};
use crate::fetch::BeginError;
use crate::index::rows;
use crate::live::{Access, Live, Place, on_disk};
use crate::partial::write_group;
use crate::store::Store;

/// Somewhere else on this disk where a chunk should be.
struct Source {
    model: BlockId,
    path: PathBuf,
    offset: u64,
}

impl Store {
    /// Copies chunks that other whole models hold.
    pub(crate) fn fill_from_others(&self, live: &Arc<Live>) -> Result<(), BeginError> {
        for (at, chunk) in live.geometry.chunks().iter().enumerate() {
            let missing: Vec<u32> = {
                let now = live.lock();
                chunk.groups().filter(|&group| !now.written.contains(group)).collect()
            };
            if missing.is_empty() {
                continue;
            }
            for source in self.sources(&live.id, &chunk.id)? {
                let Some(proof) = self.proof(live, at)? else { break };
                let Ok(file) = File::open(&source.path) else { continue };
                let bad =
                    self.copy_groups(live, &missing, &proof, (&file, &source.path, source.offset))?;
                if bad.is_empty() {
                    break;
                }
                if let Some(other) = self.live(&source.model)?
                    && let Some(theirs) = other.geometry.position(&chunk.id)
                {
                    let first = other.geometry.chunks()[theirs].first_group;
                    let groups: Vec<u32> =
                        bad.iter().map(|group| group - chunk.first_group + first).collect();
                    let reason = format!("{} is not what was stored", source.path.display());
                    self.quarantine(&other, &groups, &reason)?;
                }
            }
        }
        Ok(())
    }

    /// Copies the groups of a file that was linked and is damaged, those that are still good.
    pub(crate) fn fill_from_own(
        &self,
        live: &Live,
        file: u32,
        open: &File,
        path: &Path,
    ) -> Result<(), BeginError> {
        for (at, chunk) in live.geometry.chunks().iter().enumerate() {
            let Some(place) = live.places[at].iter().find(|place| place.file == file) else {
                continue;
            };
            let missing: Vec<u32> = {
                let now = live.lock();
                chunk.groups().filter(|&group| !now.written.contains(group)).collect()
            };
            if let Some(proof) = self.proof(live, at)? {
                self.copy_groups(live, &missing, &proof, (open, path, place.offset))?;
            }
        }
        Ok(())
    }

    /// Where whole models have a chunk.
    fn sources(&self, except: &BlockId, chunk: &ChunkId) -> Result<Vec<Source>, BeginError> {
        let found = self.inner.index.read(|txn| rows::sources(txn, chunk, except))?;
        let source = |found: rows::SourceRow| Source {
            path: on_disk(&self.inner.layout.model(&found.dir), &found.file),
            model: found.model,
            offset: found.offset,
        };
        Ok(found.into_iter().map(source).collect())
    }

    /// Copies groups of one chunk that begins in another file at an offset. Returns those that are
    /// not what they should be there.
    fn copy_groups(
        &self,
        live: &Live,
        groups: &[u32],
        proof: &GroupProof,
        from: (&File, &Path, u64),
    ) -> Result<Vec<u32>, DiskError> {
        let (source, source_path, start) = from;
        let mut bad = Vec::new();
        let mut buf = Vec::new();
        for &group in groups {
            let (at, index) = live.locate(group);
            let offset = Live::offset(Place { file: 0, offset: start }, index);
            let len = live.geometry.group_len(group);
            buf.clear();
            let first = live.places[at][0];
            let (file, path) = live.handle(first.file, Access::Write)?;
            let to = Live::offset(first, index);
            let shared = self.inner.disk.copy_range((source, offset), (&file, to, &path), len)?;
            let (read_from, at_offset, name) =
                if shared { (&*file, to, path.as_path()) } else { (source, offset, source_path) };
            read_at(read_from, at_offset, len as usize, &mut buf).map_err(failed("read", name))?;
            if !proof.holds(index, &buf) {
                bad.push(group);
                continue;
            }
            if shared && live.places[at].len() == 1 {
                let mut now = live.lock();
                now.written.insert(group);
                now.checked.insert(group);
                now.version += 1;
            } else {
                write_group(self, live, group, &buf)?;
            }
        }
        Ok(bad)
    }
}
