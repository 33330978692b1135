//! What a node is started with, every default settled by whoever resolved it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hive_api::Visibility;
pub use hive_swarm::ServerMode as DhtServer;

/// How a node runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything of this node: keys, index, models.
    pub home: PathBuf,
    /// Whether to open sockets at all. Off, the node is a store and an engine.
    pub online: bool,
    /// The public network's name.
    pub network: String,
    /// Multiaddrs to listen on; none to dial only.
    pub listen: Vec<String>,
    /// Full addresses of nodes to join through.
    pub bootstrap: Vec<String>,
    /// Addresses that others reach this node under, when it cannot see them itself.
    pub external: Vec<String>,
    /// Whether to find nodes on the local network by multicast.
    pub mdns: bool,
    /// Whether loopback and private addresses are announced and dialed.
    pub allow_private: bool,
    /// Whether to answer others' DHT queries.
    pub dht_server: DhtServer,
    /// What the node calls itself.
    pub node_name: Option<String>,
    /// Who may have what is added without saying.
    pub share: Visibility,
    /// Bytes a second served to peers at most.
    pub upload_limit: Option<u64>,
    /// Bytes that the store may take.
    pub quota: Option<u64>,
    /// Bytes of the disk that fetches leave free.
    pub reserve: Option<u64>,
    /// Where to serve the local API.
    pub api: Option<SocketAddr>,
    /// The program that runs models, each in a process of its own: it calls [`crate::infer`] when
    /// its first argument is [`crate::INFER`]. `None` runs them in this process, which a broken
    /// model can take along.
    pub worker: Option<PathBuf>,
    /// How long a model stays loaded after its last request; for ever if `None`.
    pub keep_alive: Option<Duration>,
    /// Bytes of memory that models may take together; by default what the machine has, with what
    /// the system needs left over.
    pub model_memory: Option<u64>,
    /// Requests that a model works at together.
    pub places: u32,
    /// Requests that may wait for a model that has no place.
    pub queue: u32,
    /// Whether to make a new identity for a home that lost its key.
    pub reset_identity: bool,
    /// How long a fetch looks for somebody who has the model, and how long it goes on with nobody
    /// to ask.
    pub provider_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            home: PathBuf::from("."),
            online: true,
            network: "main".into(),
            listen: Vec::new(),
            bootstrap: Vec::new(),
            external: Vec::new(),
            mdns: true,
            allow_private: false,
            dht_server: DhtServer::Auto,
            node_name: None,
            share: Visibility::Local,
            upload_limit: None,
            quota: None,
            reserve: None,
            api: None,
            worker: None,
            keep_alive: Some(Duration::from_mins(5)),
            model_memory: None,
            places: 4,
            queue: 16,
            reset_identity: false,
            provider_timeout: Duration::from_secs(20),
        }
    }
}
