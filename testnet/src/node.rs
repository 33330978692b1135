//! A node with a home of its own that is gone with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use futures::StreamExt;
use hive_api::{AddEvent, AddRequest, Added, FetchRequest, Hive, PeerSummary, Visibility};
use hive_node::{Config, DhtServer, Faults, NetworkState, Node, Peer};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::fetch::Fetch;
use crate::wait::within;

/// A node's configuration on the loopback, in a network: any free port, no multicast.
pub fn config(network: &str) -> Config {
    Config {
        network: network.to_owned(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        mdns: false,
        allow_private: true,
        dht_server: DhtServer::Always,
        reserve: Some(0),
        ..Config::default()
    }
}

/// A running node, or one that was killed.
#[derive(Debug)]
pub struct TestNode {
    config: Config,
    node: Option<Node>,
    peer: String,
    address: String,
    files: TempDir,
    /// Last, so that it is removed after the node has gone.
    home: TempDir,
}

impl TestNode {
    /// Starts a node in a fresh home.
    ///
    /// # Errors
    ///
    /// The node cannot start.
    pub async fn start(mut config: Config) -> anyhow::Result<Self> {
        let home = tempfile::tempdir().context("a home for a node")?;
        let files = tempfile::tempdir().context("a place for files to add")?;
        config.home = home.path().to_owned();
        config.faults.get_or_insert_default();
        let mut this =
            Self { config, node: None, peer: String::new(), address: String::new(), files, home };
        this.restart().await?;
        Ok(this)
    }

    /// Starts the node again in its home, after [`Self::kill`] or [`Self::shutdown`].
    ///
    /// # Errors
    ///
    /// The node cannot start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        // A killed node's last thread may take a moment to let go of the home.
        let lock = self.home.path().join("lock");
        let free = tokio::task::spawn_blocking(move || until_unlocked(&lock));
        within("the home to be free", free).await???;
        let node = Node::start(self.config.clone()).await?;
        self.peer = node.peer();
        self.address = node.addresses().into_iter().next().unwrap_or_default();
        self.node = Some(node);
        Ok(())
    }

    /// Ends the node without a word to anybody.
    pub fn kill(&mut self) {
        drop(self.node.take());
    }

    /// Ends the node in good order.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub async fn shutdown(&mut self) -> anyhow::Result<()> {
        match self.node.take() {
            Some(node) => within("a node to end", node.shutdown()).await,
            None => Ok(()),
        }
    }

    /// The node as a front sees it.
    pub fn hive(&self) -> Arc<dyn Hive> {
        self.node.as_ref().expect("the node runs").hive()
    }

    /// Its peer id.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Its full address.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Its peer id, parsed.
    pub fn id(&self) -> Peer {
        self.peer.parse().expect("a node's id is one")
    }

    /// What its links suffer.
    pub fn faults(&self) -> Faults {
        self.config.faults.clone().expect("set when it was started")
    }

    /// Ticks when what the node knows of others may have changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.node.as_ref().expect("the node runs").changes()
    }

    /// How it stands in the network.
    pub async fn network_state(&self) -> NetworkState {
        let node = self.node.as_ref().expect("the node runs");
        node.network_state().await.expect("it has a network")
    }

    /// Its home.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file that can be added.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.files.path().join(name);
        std::fs::write(&path, bytes).with_context(|| format!("writing `{}`", path.display()))?;
        Ok(path)
    }

    /// Adds bytes under a file name.
    ///
    /// # Errors
    ///
    /// They cannot be added.
    pub async fn add(
        &self,
        name: &str,
        bytes: &[u8],
        visibility: Visibility,
    ) -> anyhow::Result<Added> {
        let path = self.write(name, bytes)?;
        self.add_path(&path, visibility).await
    }

    /// Adds a file or a directory.
    ///
    /// # Errors
    ///
    /// It cannot be added.
    pub async fn add_path(&self, path: &Path, visibility: Visibility) -> anyhow::Result<Added> {
        let request = AddRequest {
            path: path.to_owned(),
            name: None,
            visibility: Some(visibility),
            link: false,
            license: None,
        };
        let adding = async {
            let mut events = self.hive().add(request).await?;
            while let Some(event) = events.next().await {
                if let AddEvent::Done(added) = event? {
                    return Ok(added);
                }
            }
            anyhow::bail!("an add without an end")
        };
        within("a file to be added", adding).await?
    }

    /// Starts to fetch.
    ///
    /// # Errors
    ///
    /// The fetch is refused at once.
    pub async fn fetch(&self, model: &str) -> anyhow::Result<Fetch> {
        self.fetch_with(FetchRequest { model: model.to_owned(), ..FetchRequest::default() }).await
    }

    /// Starts to fetch from a peer that the user names.
    ///
    /// # Errors
    ///
    /// The fetch is refused at once.
    pub async fn fetch_from(&self, model: &str, address: &str) -> anyhow::Result<Fetch> {
        let from = vec![address.to_owned()];
        self.fetch_with(FetchRequest { model: model.to_owned(), from, ..FetchRequest::default() })
            .await
    }

    /// Starts to fetch.
    ///
    /// # Errors
    ///
    /// The fetch is refused at once.
    pub async fn fetch_with(&self, request: FetchRequest) -> anyhow::Result<Fetch> {
        let stream = within("a fetch to start", self.hive().fetch(request)).await??;
        Ok(Fetch::new(stream))
    }

    /// Connects to a full address.
    ///
    /// # Errors
    ///
    /// It cannot be reached.
    pub async fn connect(&self, address: &str) -> anyhow::Result<()> {
        within("a connection", self.hive().connect(address)).await?.map_err(Into::into)
    }

    /// What the node knows of a peer.
    ///
    /// # Errors
    ///
    /// The node does not answer.
    pub async fn knows(&self, peer: &str) -> anyhow::Result<Option<PeerSummary>> {
        let peers = within("the peers", self.hive().peers()).await??;
        Ok(peers.into_iter().find(|known| known.peer == peer))
    }

    /// Whether a peer is banned here.
    ///
    /// # Errors
    ///
    /// The node does not answer.
    pub async fn has_banned(&self, peer: &str) -> anyhow::Result<bool> {
        Ok(self.knows(peer).await?.is_some_and(|known| known.banned_secs.is_some()))
    }

    /// Bytes served to peers since the node started.
    ///
    /// # Errors
    ///
    /// The node does not answer.
    pub async fn uploaded(&self) -> anyhow::Result<u64> {
        Ok(within("the status", self.hive().status()).await??.uploaded)
    }
}

/// Waits until nobody has a home's lock; a home without one is free.
fn until_unlocked(lock: &Path) -> std::io::Result<()> {
    match std::fs::File::options().read(true).write(true).open(lock) {
        // Closing the file lets the lock go again.
        Ok(file) => file.lock(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
