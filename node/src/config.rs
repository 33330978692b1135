//! What a node is started with, every default settled by whoever resolved it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hive_api::Visibility;
use hive_protocol::membership::InviteCode;
pub use hive_swarm::{FaultCounts, Faults, NetworkState, Peer, ServerMode as DhtServer, Tally};

use crate::reach::why::{host, is_private};

/// What a relay gives, and to whom; what is `None` is as `hive-swarm` thinks best.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relay {
    /// Whether circuits may carry models.
    pub allow_bulk: bool,
    /// How many bytes each then.
    pub circuit_bytes: Option<u64>,
    /// Ids of the peers that may use it; all if empty.
    pub allow: Vec<String>,
    /// Bytes that one peer may move within an hour.
    pub peer_bytes: Option<u64>,
    /// Time that one peer's circuits may take within an hour.
    pub peer_time: Option<Duration>,
    /// Bytes that one network of addresses may move within an hour.
    pub network_bytes: Option<u64>,
    /// Time that one network's circuits may take within an hour.
    pub network_time: Option<Duration>,
    /// Peers that it keeps reachable at once.
    pub reservations: Option<u32>,
    /// Circuits at once.
    pub circuits: Option<u32>,
    /// The files of the certificate that WebSocket over TLS shows, and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// How a node runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything of this node: keys, index, models.
    pub home: PathBuf,
    /// Whether to open sockets at all. Off, the node is a store and an engine.
    pub online: bool,
    /// The network: a public one's name, or the name or id of a private one that the home knows.
    pub network: String,
    /// The code to get into a private network with, which then is the network.
    pub invite: Option<InviteCode>,
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
    /// Full addresses of relays to be reached through, besides bootstrap nodes that relay.
    pub relays: Vec<String>,
    /// Whether to be reached through relays, and to punch holes, where nobody gets in directly.
    pub traverse: bool,
    /// Whether to ask the router to let others in (UPnP).
    pub upnp: bool,
    /// Whether no packet may leave the private ranges: static peers and multicast, no names, no
    /// relays, no hubs.
    pub lan_only: bool,
    /// What to relay for others, if anything.
    pub relay: Option<Relay>,
    /// Whether to offer and serve the models that are here. A relay does not.
    pub serve: bool,
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
    /// Where to serve figures for Prometheus without a token, also to other machines.
    pub metrics: Option<SocketAddr>,
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
    /// Faults of this node's links: for tests and testnets, `None` elsewhere.
    pub faults: Option<Faults>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            home: PathBuf::from("."),
            online: true,
            network: "main".into(),
            invite: None,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            external: Vec::new(),
            mdns: true,
            allow_private: false,
            dht_server: DhtServer::Auto,
            relays: Vec::new(),
            traverse: true,
            upnp: false,
            lan_only: false,
            relay: None,
            serve: true,
            node_name: None,
            share: Visibility::Local,
            upload_limit: None,
            quota: None,
            reserve: None,
            api: None,
            metrics: None,
            worker: None,
            keep_alive: Some(Duration::from_mins(5)),
            model_memory: None,
            places: 4,
            queue: 16,
            reset_identity: false,
            provider_timeout: Duration::from_secs(20),
            faults: None,
        }
    }
}

impl Config {
    /// Whether an address may be dialed: a node that keeps to the LAN dials private ones alone, and
    /// asks nobody what a name means.
    pub(crate) fn may_dial(&self, address: &str) -> bool {
        !self.lan_only || host(address).is_some_and(is_private)
    }
}
