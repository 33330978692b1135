//! Gets blocks (manifests) from peers, each checked against its id before anything else sees it.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use hive_api::{ErrorKind, HiveError, Result};
use hive_protocol::limits::{BLOCK_LEN, CHUNKS_LISTED_PER_MODEL};
use hive_protocol::manifest::TreeFile;
use hive_protocol::message::{Request, Response};
use hive_protocol::{BlockId, FileBlock, Geometry, Manifest, TreePath, codec};
use hive_swarm::{Client, Peer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Running, sources};
use crate::errors;
use crate::local::{Local, blocking};

/// Peers asked at once for one block.
const ASKED: usize = 8;
/// File blocks asked for at once.
const FILES: usize = 8;
/// How long a peer that sends bytes of another hash is banned.
const BAN: Duration = Duration::from_hours(1);

/// The search for a block: who was found so far, and who lied.
pub(crate) struct Blocks<'a> {
    pub(crate) local: &'a Local,
    pub(crate) swarm: &'a Client,
    /// Candidates, as [`sources`] finds them.
    pub(crate) found: mpsc::Receiver<Peer>,
    /// Everybody who was found, each once, in the order found.
    pub(crate) peers: Vec<Peer>,
    /// Peers that sent other bytes than were asked for.
    pub(crate) liars: Vec<Peer>,
    /// The fetch that the block is for, which may want to wait; `None` for a block alone.
    pub(crate) running: Option<&'a Running>,
}

enum Answer {
    Block(Vec<u8>),
    Lie,
    Nothing,
}

async fn ask(swarm: Client, peer: Peer, id: BlockId) -> (Peer, Answer) {
    let answer = match swarm.request(peer, Request::Block(id)).await {
        Ok(Response::Block(bytes)) if id.names(&bytes) => Answer::Block(bytes.into_vec()),
        Ok(Response::Block(_)) => Answer::Lie,
        Ok(_) => Answer::Nothing,
        Err(error) => {
            tracing::debug!(%peer, %error, "no block");
            Answer::Nothing
        }
    };
    (peer, answer)
}

impl Blocks<'_> {
    /// Gets a block from whoever has it first.
    pub(crate) async fn get(&mut self, id: BlockId) -> Result<Vec<u8>> {
        let mut asked = JoinSet::new();
        let mut next = 0;
        let timeout = self.local.config.provider_timeout;
        let mut give_up = Instant::now() + timeout;
        loop {
            while asked.len() < ASKED && next < self.peers.len() {
                let peer = self.peers[next];
                next += 1;
                if !self.liars.contains(&peer) {
                    asked.spawn(ask(self.swarm.clone(), peer, id));
                }
            }
            tokio::select! {
                Some(candidate) = self.found.recv() => {
                    match self.peers.iter().position(|peer| *peer == candidate) {
                        None => self.peers.push(candidate),
                        // Seen again in a later round: it may have the block by now.
                        Some(at) if at < next => {
                            self.peers.remove(at);
                            self.peers.push(candidate);
                            next -= 1;
                        }
                        Some(_) => {}
                    }
                }
                Some(Ok((peer, answer))) = asked.join_next() => match answer {
                    Answer::Block(bytes) => return Ok(bytes),
                    Answer::Lie => {
                        tracing::warn!(%peer, %id, "sent other bytes than were asked for");
                        self.liars.push(peer);
                        let banned = self.swarm.ban(peer, BAN, "sent a block with another hash").await;
                        banned.map_err(|_| errors::stopping())?;
                        give_up = give_up.max(Instant::now() + timeout / 4);
                    }
                    Answer::Nothing => {}
                },
                () = tokio::time::sleep_until(give_up), if !self.running.is_some_and(Running::waits) => {
                    return Err(nobody(self.local, self.swarm, &id.to_string(), &self.liars).await);
                }
                // The search was cancelled, nobody is left to answer, and `wait` knows no end.
                else => return Err(errors::stopping()),
            }
        }
    }

    /// Gets the manifest of a model and, of a tree, every file block. What is here already is not
    /// asked for.
    pub(crate) async fn manifest(
        &mut self,
        id: BlockId,
    ) -> Result<(Manifest, Vec<(Option<TreePath>, FileBlock)>)> {
        let bytes = self.here_or_get(id).await?;
        let manifest = Manifest::verify(id, &bytes).map_err(|error| {
            HiveError::caused(ErrorKind::Verification, format!("{id} is no manifest"), &error)
                .hint("whoever made this id made it wrong; it is the same from everybody")
        })?;
        let tree = match &manifest {
            Manifest::File(block) => return Ok((manifest.clone(), vec![(None, block.clone())])),
            Manifest::Tree(tree) => tree,
        };
        // Whoever gave the tree has its file blocks too, most likely: ask for several at once, and
        // search only for those that this does not bring.
        let (local, swarm, peers) = (self.local, self.swarm, self.peers.clone());
        let failed = Mutex::new(HashSet::new());
        let mut quick = futures::stream::iter(tree.files().iter().map(TreeFile::block))
            .map(|block| quick(local, swarm, &peers, &failed, block))
            .buffered(FILES);
        let mut files = Vec::new();
        let mut listed = 0;
        for file in tree.files() {
            let bytes = match quick.next().await.transpose()?.flatten() {
                Some(bytes) => bytes,
                None => self.get(file.block()).await?,
            };
            let wrong = |what: String| {
                HiveError::new(ErrorKind::Verification, format!("`{}` {what}", file.path()))
            };
            let block: FileBlock = codec::decode(&bytes, BLOCK_LEN)
                .map_err(|error| wrong(format!("has no valid file block: {error}")))?;
            if block.size() != file.size() {
                let (said, has) = (file.size(), block.size());
                return Err(wrong(format!(
                    "has {said} bytes in the tree and {has} in its file block"
                )));
            }
            listed += block.chunks().len();
            if listed > CHUNKS_LISTED_PER_MODEL {
                return Err(wrong(format!(
                    "takes the model over {CHUNKS_LISTED_PER_MODEL} chunks in all its files"
                )));
            }
            files.push((Some(file.path().clone()), block));
        }
        let chunks =
            files.iter().flat_map(|(_, block): &(_, FileBlock)| block.chunks().iter().copied());
        Geometry::checked(chunks).map_err(|error| {
            HiveError::caused(ErrorKind::Verification, format!("{id} describes no model"), &error)
        })?;
        drop(quick);
        Ok((manifest, files))
    }

    async fn here_or_get(&mut self, id: BlockId) -> Result<Vec<u8>> {
        match here(self.local, id).await? {
            Some(bytes) => Ok(bytes),
            None => self.get(id).await,
        }
    }
}

/// A block from here, or from the first peer that gives it; `None` when the search has to go on.
async fn quick(
    local: &Local,
    swarm: &Client,
    peers: &[Peer],
    failed: &Mutex<HashSet<Peer>>,
    id: BlockId,
) -> Result<Option<Vec<u8>>> {
    if let Some(bytes) = here(local, id).await? {
        return Ok(Some(bytes));
    }
    for peer in peers.iter().take(ASKED) {
        if failed.lock().expect("no holder of this lock panics").contains(peer) {
            continue;
        }
        match ask(swarm.clone(), *peer, id).await {
            (_, Answer::Block(bytes)) => return Ok(Some(bytes)),
            (_, Answer::Lie) => {
                let banned = swarm.ban(*peer, BAN, "sent a block with another hash").await;
                banned.map_err(|_| errors::stopping())?;
            }
            (_, Answer::Nothing) => {}
        }
        // One that failed once is not waited for again, file after file.
        failed.lock().expect("no holder of this lock panics").insert(*peer);
    }
    Ok(None)
}

/// A block of this store.
async fn here(local: &Local, id: BlockId) -> Result<Option<Vec<u8>>> {
    let store = local.store.clone();
    blocking(move || {
        store.block(&id).map_err(|error| errors::store("cannot read the index", &error))
    })
    .await
}

/// Gets one block, from here or from peers.
pub(crate) async fn one(local: &Local, id: BlockId, cancel: &CancellationToken) -> Result<Vec<u8>> {
    if let Some(bytes) = here(local, id).await? {
        return Ok(bytes);
    }
    let swarm = local.swarm()?;
    let found = sources::start(local, swarm, id, Vec::new(), cancel.clone());
    let mut blocks =
        Blocks { local, swarm, found, peers: Vec::new(), liars: Vec::new(), running: None };
    blocks.get(id).await
}

/// Why nobody gave what was asked for.
pub(crate) async fn nobody(local: &Local, swarm: &Client, what: &str, liars: &[Peer]) -> HiveError {
    if !liars.is_empty() {
        let names: Vec<String> = liars.iter().map(ToString::to_string).collect();
        let who = names.join(", ");
        return HiveError::new(
            ErrorKind::Verification,
            format!("{what}: everybody who offered it sent wrong bytes ({who}); they are banned for an hour"),
        )
        .hint("name somebody whom you trust with `--from`, or wait for another with `--wait`");
    }
    let connected = swarm.network_state().await.connected;
    if connected > 0 {
        return HiveError::new(
            ErrorKind::NotFound,
            format!("nobody of {connected} connected peers and those they know has {what}"),
        )
        .hint("check the id, name a peer with `--from`, or wait for one with `--wait`");
    }
    // Nobody was to be reached, or nobody is known who could be.
    if swarm.address_book().await.is_empty() && local.config.bootstrap.is_empty() {
        return HiveError::new(ErrorKind::NotFound, format!("{what} is not here, and no other node is known"))
            .hint("give an address to join through: `hive config set bootstrap ADDR`, or `--bootstrap ADDR` here");
    }
    HiveError::new(ErrorKind::Unreachable, format!("{what} is not here, and no peer can be reached"))
        .hint("check the network and the bootstrap addresses (`hive config`), or give one with `--bootstrap ADDR`")
}
