//! The manifests: a [`FileBlock`] lists a file's chunks, a [`Tree`] lists paths and file blocks.
//!
//! Their CIDs are the ids that people fetch. They hold what follows from the bytes and nothing else:
//! no name of a single file, no date, no licence. So two people who hold the same bytes hold the
//! same id. Names and opinions live in cards.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, Rules};
use crate::id::{BlockId, ChunkId};
use crate::limits::{BLOCK_LEN, CHUNK_LEN, CHUNKS_PER_FILE, FILES_PER_TREE, MODEL_LEN};
use crate::path::TreePath;

/// The version of both manifests.
pub const VERSION: u64 = 1;

/// Chunker 1, see [`crate::chunker`].
pub const CHUNKER: u64 = 1;

/// A file as its chunks in order. `{v:1, size, chunker, chunks:[[cid,size]…]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileBlock {
    v: u64,
    size: u64,
    chunker: u64,
    chunks: Vec<(ChunkId, u64)>,
}

impl FileBlock {
    /// Makes the block of a file that was cut by chunker 1.
    pub fn new(chunks: Vec<(ChunkId, u64)>) -> Result<Self, DecodeError> {
        let size = chunks.iter().try_fold(0u64, |sum, (_, size)| sum.checked_add(*size));
        let size = size.ok_or_else(|| DecodeError::rule("the chunks' sizes overflow"))?;
        let block = Self { v: VERSION, size, chunker: CHUNKER, chunks };
        block.check()?;
        Ok(block)
    }

    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The chunks in order with their sizes; none in an empty file.
    pub fn chunks(&self) -> &[(ChunkId, u64)] {
        &self.chunks
    }
}

impl Rules for FileBlock {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, VERSION)?;
        if self.chunker != CHUNKER {
            return Err(DecodeError::rule(format!("chunker {} is not known", self.chunker)));
        }
        if self.chunks.len() > CHUNKS_PER_FILE {
            return Err(DecodeError::rule(format!(
                "{} chunks, a file has at most {CHUNKS_PER_FILE}",
                self.chunks.len()
            )));
        }
        let mut sizes = HashMap::new();
        let mut sum = 0u64;
        for (id, size) in &self.chunks {
            if *size == 0 || *size > CHUNK_LEN {
                return Err(DecodeError::rule(format!("a chunk of {size} bytes")));
            }
            if sizes.insert(*id, *size).is_some_and(|other| other != *size) {
                return Err(DecodeError::rule("one chunk with two sizes"));
            }
            sum += size;
        }
        if sum != self.size {
            return Err(DecodeError::rule(format!(
                "the file has {} bytes, its chunks have {sum}",
                self.size
            )));
        }
        if sum > MODEL_LEN {
            return Err(DecodeError::rule(format!("{sum} bytes, a model has at most {MODEL_LEN}")));
        }
        Ok(())
    }
}

/// A file in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeFile(TreePath, BlockId, u64);

impl TreeFile {
    /// Names a file block and its size at a path.
    pub fn new(path: TreePath, block: BlockId, size: u64) -> Self {
        Self(path, block, size)
    }

    /// Where the file stands.
    pub fn path(&self) -> &TreePath {
        &self.0
    }

    /// Its file block.
    pub fn block(&self) -> BlockId {
        self.1
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.2
    }
}

/// A directory as its files, sorted by path. `{v:1, files:[[path, file cid, size]…]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    v: u64,
    files: Vec<TreeFile>,
}

impl Tree {
    /// Makes a tree of files in any order.
    pub fn new(mut files: Vec<TreeFile>) -> Result<Self, DecodeError> {
        files.sort_by(|a, b| a.path().cmp(b.path()));
        let tree = Self { v: VERSION, files };
        tree.check()?;
        // Long paths can make a block that nobody would read.
        let len = codec::encode(&tree).len();
        if len > BLOCK_LEN {
            return Err(DecodeError::TooLong { len, max: BLOCK_LEN });
        }
        Ok(tree)
    }

    /// The files, sorted by path.
    pub fn files(&self) -> &[TreeFile] {
        &self.files
    }

    /// Bytes in all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(TreeFile::size).sum()
    }
}

impl Rules for Tree {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, VERSION)?;
        if self.files.is_empty() || self.files.len() > FILES_PER_TREE {
            return Err(DecodeError::rule(format!(
                "{} files, a tree has 1 to {FILES_PER_TREE}",
                self.files.len()
            )));
        }
        let mut sum = 0u64;
        let mut sizes = HashMap::new();
        for file in &self.files {
            sum = sum.saturating_add(file.size());
            if sizes.insert(file.block(), file.size()).is_some_and(|other| other != file.size()) {
                return Err(DecodeError::rule("one file block with two sizes"));
            }
        }
        if sum > MODEL_LEN {
            return Err(DecodeError::rule(format!("{sum} bytes, a model has at most {MODEL_LEN}")));
        }
        if let Some(pair) = self.files.windows(2).find(|pair| pair[0].path() >= pair[1].path()) {
            return Err(DecodeError::rule(format!(
                "`{}` is out of order or twice",
                pair[1].path()
            )));
        }
        // Sorted by folded components, a path that is a prefix of another stands just before it.
        let mut folded: Vec<Vec<String>> = self
            .files
            .iter()
            .map(|file| file.path().folded().split('/').map(str::to_owned).collect())
            .collect();
        folded.sort();
        for pair in folded.windows(2) {
            if pair[0] == pair[1] {
                return Err(DecodeError::rule(format!(
                    "`{}` stands twice for a file system that ignores case",
                    pair[0].join("/")
                )));
            }
            if pair[1].starts_with(&pair[0]) {
                return Err(DecodeError::rule(format!(
                    "`{}` is both a file and a directory",
                    pair[0].join("/")
                )));
            }
        }
        Ok(())
    }
}

/// What an id that people fetch names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// One file.
    File(FileBlock),
    /// A directory.
    Tree(Tree),
}

impl Manifest {
    /// Reads a block that somebody sent for `id`: hash first, then form, then rules.
    pub fn verify(id: BlockId, bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > BLOCK_LEN {
            return Err(DecodeError::TooLong { len: bytes.len(), max: BLOCK_LEN });
        }
        if !id.names(bytes) {
            return Err(DecodeError::rule("the bytes do not hash to the id"));
        }
        Self::decode(bytes)
    }

    /// Reads a manifest of either kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        // A tree's second key, where it stands in version 1. Both kinds refuse unknown keys, so
        // this only chooses whose error is reported.
        let is_tree = bytes.get(4..10) == Some(b"\x65files");
        if is_tree {
            codec::decode(bytes, BLOCK_LEN).map(Self::Tree)
        } else {
            codec::decode(bytes, BLOCK_LEN).map(Self::File)
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::File(block) => codec::encode(block),
            Self::Tree(tree) => codec::encode(tree),
        }
    }

    /// The id of the model.
    pub fn id(&self) -> BlockId {
        BlockId::of(&self.encode())
    }

    /// Bytes in all files.
    pub fn size(&self) -> u64 {
        match self {
            Self::File(block) => block.size(),
            Self::Tree(tree) => tree.size(),
        }
    }
}

#[cfg(test)]
mod tests;
