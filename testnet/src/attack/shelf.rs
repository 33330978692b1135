//! The files of a directory as somebody without a doubt gives them out: what a peer asks for is read
//! and sent, whatever has become of it since its hashes were made.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context as _;
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Status};
use hive_protocol::limits::GROUP_LEN;
use hive_protocol::manifest::{Tree, TreeFile};
use hive_protocol::message::{Groups, Have, Request, Response};
use hive_protocol::path::TreePath;
use hive_protocol::{BlockId, ChunkId, Manifest};
use serde_bytes::ByteBuf;

use crate::sample::Sample;

/// See the module.
#[derive(Debug)]
pub struct Shelf {
    id: BlockId,
    blocks: HashMap<BlockId, Vec<u8>>,
    chunks: HashMap<ChunkId, Chunk>,
}

/// Where a chunk is, and what its groups once hashed to.
#[derive(Debug)]
struct Chunk {
    path: PathBuf,
    start: u64,
    hashes: Vec<u8>,
}

impl Shelf {
    /// A directory: each file by its path in it, with the bytes that it should have, and where it is.
    ///
    /// # Errors
    ///
    /// They are no directory that anybody may have.
    pub fn new<'a>(
        files: impl IntoIterator<Item = (String, &'a [u8], PathBuf)>,
    ) -> anyhow::Result<Self> {
        let (mut blocks, mut chunks, mut tree) = (HashMap::new(), HashMap::new(), Vec::new());
        for (name, bytes, path) in files {
            let sample = Sample::new(bytes.to_vec());
            let mut start = 0;
            for chunk in sample.geometry().chunks() {
                let proof = sample.proof(&chunk.id).context("a chunk of the sample")?;
                let (path, hashes) = (path.clone(), proof.hashes().concat());
                chunks.insert(chunk.id, Chunk { path, start, hashes });
                start += chunk.size;
            }
            let place = name.parse::<TreePath>().with_context(|| format!("`{name}`"))?;
            tree.push(TreeFile::new(place, sample.id(), sample.len()));
            blocks.insert(sample.id(), sample.manifest().encode());
        }
        let tree = Manifest::Tree(Tree::new(tree)?);
        let id = tree.id();
        blocks.insert(id, tree.encode());
        Ok(Self { id, blocks, chunks })
    }

    /// The directory's id.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// Answers a question of `model/1`.
    pub(super) fn question(&self, body: &[u8]) -> Vec<u8> {
        let response = match Request::decode(body) {
            Ok(Request::Block(id)) => match self.blocks.get(&id) {
                Some(block) => Response::Block(ByteBuf::from(block.clone())),
                None => Response::NotHeld,
            },
            Ok(Request::Have { .. }) => Response::Have(Have { version: 1, groups: Groups::All }),
            Ok(Request::GroupHashes(chunks)) => {
                let of = |id| self.chunks.get(id).map(|chunk| chunk.hashes.clone());
                let hashes = chunks.iter().map(|id| ByteBuf::from(of(id).unwrap_or_default()));
                Response::GroupHashes(hashes.collect())
            }
            Ok(Request::Hello { .. }) => {
                Response::Hello { features: Vec::new(), agent: "gullible/1".to_owned() }
            }
            _ => Response::Unsupported,
        };
        response.encode()
    }

    /// Answers a request of `chunk/1`: the header, and what the files hold there now.
    pub(super) fn chunks(&self, body: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let refusal = (ChunkResponse::refuse(Status::NotHeld, 0).encode(), Vec::new());
        let Ok(request) = ChunkRequest::decode(body) else { return refusal };
        let mut bytes = Vec::new();
        for range in &request.ranges {
            let Some(chunk) = self.chunks.get(&range.chunk) else { return refusal };
            let Ok(file) = std::fs::read(&chunk.path) else { return refusal };
            let start = (chunk.start + u64::from(range.first) * GROUP_LEN) as usize;
            let part = file.get(start..start + range.len() as usize);
            let Some(part) = part else { return refusal };
            bytes.extend_from_slice(part);
        }
        (ChunkResponse::ok(request.ranges.clone(), 1).encode(), bytes)
    }
}
