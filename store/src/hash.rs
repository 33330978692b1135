//! One pass over a file: its chunks, their group hashes and its SHA-256.
//!
//! BLAKE3 runs on the thread that reads, SHA-256 on a second one a few buffers behind, so a pass
//! takes as long as the slower of the two and not as long as both.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use hive_protocol::FileBlock;
use hive_protocol::chunker::{self, Sniff};
use hive_protocol::codec::DecodeError;
use hive_protocol::group::{ChunkHasher, GroupProof};
use sha2::{Digest as _, Sha256};

use crate::disk::{DiskError, failed, read_at};

/// Bytes read at once.
const BUFFER_LEN: u64 = 1 << 20;

/// Buffers between the two threads.
const N_BUFFERS: usize = 4;

/// What a pass over a file gives.
#[derive(Debug)]
pub(crate) struct Hashed {
    pub(crate) block: FileBlock,
    pub(crate) proofs: Vec<GroupProof>,
    pub(crate) sha256: [u8; 32],
}

/// Why a pass ended early.
#[derive(Debug)]
pub(crate) enum HashError {
    Disk(DiskError),
    /// The file has no longer the length that it had.
    Changed,
    /// The caller's `on_bytes` said so.
    Stopped,
    /// More than a manifest can hold.
    Manifest(DecodeError),
}

impl From<DiskError> for HashError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// Sees bytes at their offset, in order, and may end the pass.
pub(crate) type OnBytes<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), HashError>;

/// Where chunker 1 cuts a file.
pub(crate) fn cuts(file: &File, path: &Path, len: u64) -> Result<Vec<u64>, HashError> {
    let mut prefix = Vec::new();
    loop {
        match chunker::sniff(&prefix, len) {
            Sniff::Cuts(cuts) => return Ok(cuts),
            Sniff::NeedMore(at_least) => {
                // Grow by half at least, so that a parser that asks little by little is no burden.
                let wanted = at_least.max(prefix.len() as u64 * 3 / 2).max(1 << 16).min(len);
                let have = prefix.len();
                let more = wanted as usize - have;
                let n_bytes =
                    read_at(file, have as u64, more, &mut prefix).map_err(failed("read", path))?;
                if more == 0 || n_bytes < more {
                    return Err(HashError::Changed);
                }
            }
        }
    }
}

/// Hashes a file of `len` bytes. `on_bytes` sees all bytes in order before they count.
pub(crate) fn hash_file(
    file: &File,
    path: &Path,
    len: u64,
    on_bytes: OnBytes<'_>,
) -> Result<Hashed, HashError> {
    let cuts = cuts(file, path, len)?;
    let mut sha = Sha::start(path)?;
    let mut proofs = Vec::with_capacity(cuts.len());
    let mut offset = 0;
    for cut in cuts {
        let mut chunk = ChunkHasher::new();
        let end = offset + cut;
        while offset < end {
            let wanted = (end - offset).min(BUFFER_LEN) as usize;
            let mut buf = sha.buffer();
            if read_at(file, offset, wanted, &mut buf).map_err(failed("read", path))? < wanted {
                return Err(HashError::Changed);
            }
            on_bytes(offset, &buf)?;
            chunk.update(&buf);
            offset += wanted as u64;
            sha.update(buf);
        }
        proofs.push(chunk.finish());
    }
    let chunks = proofs.iter().map(|proof| (proof.chunk(), proof.chunk_len())).collect();
    let block = FileBlock::new(chunks).map_err(HashError::Manifest)?;
    Ok(Hashed { block, proofs, sha256: sha.finish() })
}

/// SHA-256 on a thread of its own. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Sha {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    n_buffers: usize,
    thread: JoinHandle<[u8; 32]>,
}

impl Sha {
    pub(crate) fn start(path: &Path) -> Result<Self, DiskError> {
        let (full, to_hash) = sync_channel::<Vec<u8>>(N_BUFFERS);
        let (to_empty, empty) = sync_channel(N_BUFFERS);
        let run = move || {
            let mut sha = Sha256::new();
            for mut buf in to_hash {
                sha.update(&buf);
                buf.clear();
                // The other end is gone when no more buffers are wanted.
                let _ = to_empty.send(buf);
            }
            sha.finalize().into()
        };
        let builder = std::thread::Builder::new().name("hive-sha256".to_owned());
        let thread = builder.spawn(run).map_err(failed("start a thread to hash", path))?;
        Ok(Self { full, empty, n_buffers: 0, thread })
    }

    /// An empty buffer, as soon as there is one.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        if self.n_buffers < N_BUFFERS {
            self.n_buffers += 1;
            return Vec::with_capacity(BUFFER_LEN as usize);
        }
        self.empty.recv().unwrap_or_default()
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, buf: Vec<u8>) {
        // Its thread ends after us; if it panicked, `finish` says so.
        let _ = self.full.send(buf);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        drop(self.full);
        drop(self.empty);
        self.thread.join().expect("hashing cannot panic")
    }
}
