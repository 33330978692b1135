//! What the store promises, tried on real directories; the crash tests are in `crash`.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hive_protocol::group::{ChunkHasher, GroupProof};
use hive_protocol::limits::{CHUNK_LEN, GROUP_LEN};
use hive_protocol::manifest::TreeFile;
use hive_protocol::{BlockId, ChunkId, FileBlock, Manifest, Name, Tree, TreePath, codec};

use crate::disk::Disk;
use crate::{AddOptions, Added, Fetching, Options, Partial, Progress, Store, Visibility};

mod arriving;
mod crash;
mod damage;
mod direct;
mod fetching;
mod holding;
mod taking;

/// Bytes that depend on a seed and nothing else.
pub(crate) fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key("hive-store test")
        .update(seed.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

pub(crate) fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A temporary directory with a store in it, opened again and again.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn open(&self) -> Store {
        self.open_on(Disk::default()).unwrap()
    }

    pub(crate) fn open_on(&self, disk: Disk) -> Result<Store, crate::OpenError> {
        Store::open_on(&self.home(), Options { quota: None, reserve: Some(0) }, disk)
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

pub(crate) fn add(store: &Store, path: &Path) -> Added {
    let options = AddOptions { visibility: Some(Visibility::Public), ..AddOptions::default() };
    store.add(path, &options, &mut go_on).unwrap()
}

/// A model in memory, to fetch from.
pub(crate) struct Original {
    pub(crate) fetching: Fetching,
    pub(crate) files: Vec<(TreePath, Vec<u8>)>,
    chunks: HashMap<ChunkId, (GroupProof, Vec<u8>)>,
}

impl Original {
    pub(crate) fn file(name: &str, bytes: Vec<u8>) -> Self {
        Self::new(name, vec![(name.parse().unwrap(), bytes)], false)
    }

    pub(crate) fn tree(name: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let files = files.iter().map(|(path, bytes)| (path.parse().unwrap(), bytes.clone()));
        Self::new(name, files.collect(), true)
    }

    fn new(name: &str, mut files: Vec<(TreePath, Vec<u8>)>, is_tree: bool) -> Self {
        files.sort();
        let mut chunks = HashMap::new();
        let mut blocks = Vec::new();
        for (path, bytes) in &files {
            let pieces = bytes.chunks(CHUNK_LEN as usize).map(|piece| {
                let mut hasher = ChunkHasher::new();
                hasher.update(piece);
                let proof = hasher.finish();
                chunks.insert(proof.chunk(), (proof.clone(), piece.to_vec()));
                (proof.chunk(), piece.len() as u64)
            });
            blocks.push((path.clone(), FileBlock::new(pieces.collect()).unwrap()));
        }
        let manifest = if is_tree {
            let file = |(path, block): &(TreePath, FileBlock)| {
                TreeFile::new(path.clone(), BlockId::of(&codec::encode(block)), block.size())
            };
            Manifest::Tree(Tree::new(blocks.iter().map(file).collect()).unwrap())
        } else {
            Manifest::File(blocks[0].1.clone())
        };
        let fetching = Fetching {
            id: manifest.id(),
            manifest,
            files: blocks,
            name: name.parse::<Name>().unwrap(),
            visibility: Visibility::Public,
            pinned: true,
        };
        Self { fetching, files, chunks }
    }

    pub(crate) fn id(&self) -> BlockId {
        self.fetching.id
    }

    /// What a peer would send.
    pub(crate) fn group(&self, partial: &Partial, group: u32) -> &[u8] {
        let geometry = partial.geometry();
        let chunk = geometry.chunks()[geometry.chunk_of(group)];
        let start = u64::from(group - chunk.first_group) * GROUP_LEN;
        let end = chunk.size.min(start + GROUP_LEN);
        &self.chunks[&chunk.id].1[start as usize..end as usize]
    }

    pub(crate) fn put_proofs(&self, partial: &Partial) {
        for chunk in partial.geometry().chunks() {
            assert!(partial.put_proof(self.chunks[&chunk.id].0.clone()));
        }
    }

    /// Fetches everything that is missing and returns how many groups that were.
    pub(crate) fn fetch_rest(&self, partial: &Partial) -> u32 {
        self.put_proofs(partial);
        let missing: Vec<u32> = partial.have().missing().collect();
        for &group in &missing {
            partial.write(group, self.group(partial, group)).unwrap();
        }
        missing.len() as u32
    }

    /// Fetches the model into a store.
    pub(crate) fn fetch(&self, store: &Store) -> PathBuf {
        let partial = store.begin(&self.fetching).unwrap();
        self.fetch_rest(&partial);
        partial.finish().unwrap()
    }

    /// Asserts that what is on the disk is this.
    #[track_caller]
    pub(crate) fn assert_is_at(&self, path: &Path) {
        for (inside, bytes) in &self.files {
            let file = match self.fetching.manifest {
                Manifest::File(_) => path.to_owned(),
                Manifest::Tree(_) => path.join(inside.as_str()),
            };
            assert!(std::fs::read(&file).unwrap() == *bytes, "{} has other bytes", file.display());
        }
    }
}
