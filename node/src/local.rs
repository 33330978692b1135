//! The node behind the trait: what every use case shares.

use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use ed25519_dalek::SigningKey;
use hive_api::{
    AddEvent, AddRequest, Diagnosis, Discovered, EmbedRequest, Embeddings, Events, FetchEvent,
    FetchRequest, GcReport, Hive, HiveError, Identity, Listing, LoadedModel, ModelDetails,
    ModelSummary, Offer, PeerSummary, PullEvent, PullRequest, QuantizeEvent, QuantizeRequest,
    Result, RunEvent, RunRequest, SearchRequest, Status, VerifyEvent, Visibility,
};
use hive_store::Store;
use hive_swarm as swarm;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::Config;
use crate::engines::Engines;
use crate::errors;
use crate::fetch::Fetches;
use crate::goodput::Goodput;
use crate::networks::Networks;
use crate::pull::Pulls;
use crate::reach::Reach;

/// A node in this process. Cheap to clone; all clones are one node.
#[derive(Clone)]
pub(crate) struct Local(Arc<Inner>);

/// What the use cases share. Each field says who changes it.
pub(crate) struct Inner {
    /// What the node was started with; nobody changes it.
    pub(crate) config: Config,
    /// The models on disk.
    pub(crate) store: Store,
    /// The way to the network; `None` in a node without one.
    pub(crate) swarm: Option<swarm::Client>,
    /// Who this node is.
    pub(crate) peer: swarm::Peer,
    /// Signs heads and capabilities.
    pub(crate) node_key: SigningKey,
    /// Signs cards and the delegation to the node's key.
    pub(crate) publisher_key: SigningKey,
    /// Fetches that are going on.
    pub(crate) fetches: Fetches,
    /// Models that come from hubs, addresses and other programs right now.
    pub(crate) pulls: Pulls,
    /// Models that are loaded.
    pub(crate) engines: Engines,
    /// The private network that this node is in, and the files of all that the home knows.
    pub(crate) networks: Networks,
    /// What other nodes announced.
    pub(crate) catalog: Catalog,
    /// What peers say of their routers.
    pub(crate) reach: Reach,
    /// How fast chunks go to and from each peer.
    pub(crate) goodput: Goodput,
    /// What others' clocks say of ours.
    pub(crate) clock: Clock,
    /// Wakes the announcer: what this node offers has changed.
    pub(crate) offers: Notify,
    /// Wakes the announcer: a peer asked for what this node offers.
    pub(crate) asked: Notify,
    /// When this node asked the others last.
    pub(crate) asked_others: Mutex<Option<Instant>>,
    /// Bytes served to peers.
    pub(crate) uploaded: AtomicU64,
    /// Bytes that came from peers and were verified.
    pub(crate) downloaded: AtomicU64,
    /// Requests of the local API, counted.
    pub(crate) metrics: hive_telemetry::metrics::Metrics,
    /// When the node started.
    pub(crate) started: Instant,
    /// Every task of the node; [`crate::Node::shutdown`] awaits them.
    pub(crate) tasks: TaskTracker,
    /// Ends every task.
    pub(crate) stop: CancellationToken,
    /// Somebody asked for the end over a front.
    pub(crate) stop_asked: CancellationToken,
}

impl Deref for Local {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Local {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The way to the network, or the error that there is none.
    pub(crate) fn swarm(&self) -> Result<&swarm::Client> {
        self.swarm.as_ref().ok_or_else(errors::offline)
    }

    /// Full addresses that others can dial.
    pub(crate) async fn addresses(&self) -> Vec<String> {
        match &self.swarm {
            Some(swarm) => swarm.listen_addrs().await,
            None => Vec::new(),
        }
    }

    /// What this node offers may have changed: announce it soon.
    pub(crate) fn offers_changed(&self) {
        self.offers.notify_one();
    }
}

/// Runs something that blocks (disk, hashing, a model's header) off the network's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(errors::panicked(&error)),
    }
}

/// Sends the last event of a stream. Its reader may have left, which is its right; one that does not
/// read does not hold up the end of the node.
pub(crate) async fn send_last<T>(events: &mpsc::Sender<T>, last: T, stop: &CancellationToken) {
    tokio::select! {
        // If there is room, it is told also at the end.
        biased;
        _ = events.send(last) => {}
        () = stop.cancelled() => {}
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[async_trait]
impl Hive for Local {
    async fn add(&self, request: AddRequest) -> Result<Events<AddEvent>> {
        Ok(self.add_path(request))
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Events<FetchEvent>> {
        self.fetch_model(request).await
    }

    async fn look(&self, request: PullRequest) -> Result<Listing> {
        self.look_at(request).await
    }

    async fn pull(&self, request: PullRequest) -> Result<Events<PullEvent>> {
        Ok(self.pull_model(request))
    }

    async fn discover(&self) -> Result<Vec<Discovered>> {
        self.discover_models().await
    }

    async fn follow(&self, model: &str) -> Result<Events<FetchEvent>> {
        self.watch_fetch(model)
    }

    async fn run(&self, request: RunRequest) -> Result<Events<RunEvent>> {
        self.run_model(request).await
    }

    async fn embed(&self, request: EmbedRequest) -> Result<Embeddings> {
        self.embed_texts(request).await
    }

    async fn loaded(&self) -> Result<Vec<LoadedModel>> {
        Ok(self.loaded_models())
    }

    async fn unload(&self, model: &str) -> Result<()> {
        self.unload_model(model).await
    }

    async fn quantize(&self, request: QuantizeRequest) -> Result<Events<QuantizeEvent>> {
        self.quantize_model(request)
    }

    async fn list(&self) -> Result<Vec<ModelSummary>> {
        self.list_models().await
    }

    async fn show(&self, model: &str) -> Result<ModelDetails> {
        self.show_model(model.to_owned()).await
    }

    async fn block(&self, cid: &str) -> Result<Vec<u8>> {
        self.block_bytes(cid.to_owned()).await
    }

    async fn search(&self, request: SearchRequest) -> Result<Vec<Offer>> {
        self.search_catalog(request).await
    }

    async fn share(&self, model: &str, visibility: Visibility) -> Result<ModelSummary> {
        self.share_model(model.to_owned(), visibility).await
    }

    async fn remove(&self, model: &str) -> Result<u64> {
        match self.remove_download(model).await? {
            Some(freed) => Ok(freed),
            None => self.remove_model(model.to_owned()).await,
        }
    }

    async fn pin(&self, model: &str, pinned: bool) -> Result<ModelSummary> {
        self.pin_model(model.to_owned(), pinned).await
    }

    async fn cancel(&self, model: &str) -> Result<()> {
        self.cancel_fetch(model)
    }

    async fn gc(&self, dry_run: bool) -> Result<GcReport> {
        let report = self.collect_garbage(dry_run).await?;
        self.collect_downloads(report).await
    }

    async fn verify(&self, model: Option<&str>, repair: bool) -> Result<Events<VerifyEvent>> {
        self.verify_models(model.map(str::to_owned), repair).await
    }

    async fn connect(&self, address: &str) -> Result<()> {
        self.connect_to(address).await
    }

    async fn peers(&self) -> Result<Vec<PeerSummary>> {
        self.known_peers().await
    }

    async fn identity(&self) -> Result<Identity> {
        Ok(Identity { peer: self.peer.to_string(), addresses: self.addresses().await })
    }

    async fn read(&self, request: hive_api::ReadRequest) -> Result<hive_api::Reading> {
        self.read_file(request).await
    }

    async fn metrics(&self) -> Result<String> {
        self.figures_text().await
    }

    async fn status(&self) -> Result<Status> {
        self.node_status().await
    }

    async fn doctor(&self) -> Result<Diagnosis> {
        self.diagnose().await
    }

    async fn shutdown(&self) -> Result<()> {
        self.stop_asked.cancel();
        Ok(())
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("peer", &self.peer).field("home", &self.config.home).finish()
    }
}

/// A text that should be an id, with an error that says what it is instead.
pub(crate) fn parse_id(text: &str) -> Result<hive_protocol::BlockId> {
    use hive_protocol::id::IdError;
    text.parse().map_err(|error: IdError| {
        let is_chunk = text.parse::<hive_protocol::ChunkId>().is_ok();
        let hint = if is_chunk {
            "this names a chunk, a part of a file; give the id of the file or the directory"
        } else {
            "ids are what `hive add` and `hive ls` print: bafyr…"
        };
        HiveError::caused(
            hive_api::ErrorKind::Usage,
            format!("`{text}` is no id of a model"),
            &error,
        )
        .hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_who_does_not_read_holds_up_no_end() {
        let (events, mut reader) = mpsc::channel(1);
        let stop = CancellationToken::new();
        stop.cancel();
        send_last(&events, 1, &stop).await;
        send_last(&events, 2, &stop).await;
        drop(events);
        assert_eq!((reader.recv().await, reader.recv().await), (Some(1), None));
    }
}
