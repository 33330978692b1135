//! What a front may ask of a node.

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::add::{
    AddEvent, AddRequest, Discovered, Listing, PullEvent, PullRequest, QuantizeEvent,
    QuantizeRequest, Visibility,
};
use crate::doctor::Diagnosis;
use crate::error::HiveError;
use crate::fetch::{FetchEvent, FetchRequest};
use crate::model::{
    GcReport, ModelDetails, ModelSummary, Offer, ReadRequest, Reading, SearchRequest, VerifyEvent,
};
use crate::network::Networks;
use crate::peer::{Identity, PeerSummary};
use crate::run::{EmbedRequest, Embeddings, LoadedModel, RunEvent, RunRequest};
use crate::status::Status;

/// The result of a call.
pub type Result<T> = std::result::Result<T, HiveError>;

/// Things that happen while a call runs. The last item of a stream says how it ended; dropping a
/// stream stops what it reports, except where a method says otherwise.
pub type Events<T> = BoxStream<'static, Result<T>>;

/// A hive node, here or behind its local API.
#[async_trait]
pub trait Hive: Networks {
    /// Adds a file or a directory. Dropping the stream stops it.
    async fn add(&self, request: AddRequest) -> Result<Events<AddEvent>>;
    /// Fetches a model, or joins the fetch of it that is going on. Dropping the stream leaves a
    /// fetch that others follow and stops one that nobody follows; what is verified stays.
    async fn fetch(&self, request: FetchRequest) -> Result<Events<FetchEvent>>;
    /// Looks what a source offers, without downloading any of it.
    async fn look(&self, request: PullRequest) -> Result<Listing>;
    /// Adds a model from a hub, an address or another program's cache. Dropping the stream stops
    /// it; what is downloaded stays for the next time.
    async fn pull(&self, request: PullRequest) -> Result<Events<PullEvent>>;
    /// Models that other programs keep on this disk.
    async fn discover(&self) -> Result<Vec<Discovered>>;
    /// Makes a smaller model of one and adds it. Dropping the stream stops it.
    async fn quantize(&self, request: QuantizeRequest) -> Result<Events<QuantizeEvent>>;
    /// Follows a fetch that is going on; dropping the stream leaves it alone.
    async fn follow(&self, model: &str) -> Result<Events<FetchEvent>>;
    /// Continues a prompt with a model of the store or a file. Dropping the stream stops it.
    async fn run(&self, request: RunRequest) -> Result<Events<RunEvent>>;
    /// Makes vectors of texts with an embedding model.
    async fn embed(&self, request: EmbedRequest) -> Result<Embeddings>;
    /// The models that are loaded.
    async fn loaded(&self) -> Result<Vec<LoadedModel>>;
    /// Unloads a model; what it works at fails.
    async fn unload(&self, model: &str) -> Result<()>;
    /// The bytes of a file of a model in the store.
    async fn read(&self, request: ReadRequest) -> Result<Reading>;
    /// The models in the store, by name.
    async fn list(&self) -> Result<Vec<ModelSummary>>;
    /// All that is known of a model in the store: an id, an unambiguous name or prefix of an id.
    async fn show(&self, model: &str) -> Result<ModelDetails>;
    /// The bytes of a manifest, from the store or from peers, checked.
    async fn block(&self, cid: &str) -> Result<Vec<u8>>;
    /// Models that the network offers.
    async fn search(&self, request: SearchRequest) -> Result<Vec<Offer>>;
    /// Changes who may have a model.
    async fn share(&self, model: &str, visibility: Visibility) -> Result<ModelSummary>;
    /// Removes a model from the store and says how many bytes that freed.
    async fn remove(&self, model: &str) -> Result<u64>;
    /// Pins or unpins a model.
    async fn pin(&self, model: &str, pinned: bool) -> Result<ModelSummary>;
    /// Stops the fetch of a model; what is verified stays.
    async fn cancel(&self, model: &str) -> Result<()>;
    /// Removes all models without a pin, or says what that would remove.
    async fn gc(&self, dry_run: bool) -> Result<GcReport>;
    /// Hashes one model or all, quarantines what is damaged and, if asked, fetches it again.
    async fn verify(&self, model: Option<&str>, repair: bool) -> Result<Events<VerifyEvent>>;
    /// Connects to an address that ends in a peer id.
    async fn connect(&self, address: &str) -> Result<()>;
    /// The peers that are known, connected ones first.
    async fn peers(&self) -> Result<Vec<PeerSummary>>;
    /// Who the node is.
    async fn identity(&self) -> Result<Identity>;
    /// Figures for Prometheus, in its text format.
    async fn metrics(&self) -> Result<String>;
    /// How the node is.
    async fn status(&self) -> Result<Status>;
    /// Looks at everything that a support engineer would. Takes some seconds, writes a file into the
    /// home and removes it.
    async fn doctor(&self) -> Result<Diagnosis>;
    /// Ends the node in good order.
    async fn shutdown(&self) -> Result<()>;
}
