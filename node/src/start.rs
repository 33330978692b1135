//! Starts a node and ends it: keys, store, swarm, tasks, local API, and back in reverse order.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use hive_api::{ErrorKind, Hive, HiveError, Result};
use hive_protocol::NodeKey;
use hive_store::{self as store, Store};
use hive_swarm::{self as swarm, NodeIdentity, RelayServer};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{Config, Relay};
use crate::engines::Engines;
use crate::fetch::Fetches;
use crate::goodput::Goodput;
use crate::keys::{self, KeyError};
use crate::local::{Inner, Local, blocking, now};
use crate::networks::{self, Networks};
use crate::pull::Pulls;
use crate::reach::{self, Reach};
use crate::{announce, book, dnssd, errors, listen, serve};

/// Where the index keeps whose home it is, to notice a lost key.
const OWNER: &str = "identity/peer";

/// How long no new address has to come, and how often to look at most.
const SETTLE: Duration = Duration::from_millis(50);
const SETTLE_STEPS: usize = 20;

/// A running node. Dropping it ends its tasks without waiting; [`Node::shutdown`] waits.
pub struct Node {
    local: Local,
    addresses: Vec<String>,
    api: Option<hive_http::Server>,
    scrape: Option<hive_http::Scrape>,
    swarm_task: Option<JoinHandle<()>>,
}

impl Node {
    /// Starts a node: takes the home, listens, joins, serves. Returns when it can be used.
    ///
    /// # Errors
    ///
    /// The home is in use by another process or cannot be read, its key is lost, an address cannot
    /// be listened on, or the local API's port is taken.
    pub async fn start(config: Config) -> Result<Self> {
        let settings = config.clone();
        let (store, node_key, publisher_key) = blocking(move || open_home(&settings)).await?;
        let node = NodeKey(node_key.verifying_key().to_bytes());
        let (config, networks) = blocking(move || networks::open(config, node)).await?;
        let identity = NodeIdentity::from_ed25519_secret(node_key.to_bytes());
        let stop = CancellationToken::new();
        let started = if config.online {
            Some(start_swarm(&config, &networks, &store, &identity, &stop).await?)
        } else {
            None
        };
        let swarm = started.as_ref().map(|started| started.client.clone());
        let tasks = TaskTracker::new();
        let engines = Engines::new(&config, store.clone(), tasks.clone(), stop.clone());
        tasks.spawn(engines.clone().watch());
        let local = Local::new(Inner {
            config,
            store,
            swarm: swarm.clone(),
            peer: identity.peer(),
            node_key,
            publisher_key,
            fetches: Fetches::default(),
            engines,
            pulls: Pulls::default(),
            networks,
            catalog: Catalog::default(),
            reach: Reach::default(),
            goodput: Goodput::default(),
            clock: Clock::default(),
            offers: Notify::new(),
            asked: Notify::new(),
            asked_others: Mutex::new(None),
            uploaded: AtomicU64::new(0),
            downloaded: AtomicU64::new(0),
            metrics: hive_telemetry::metrics::Metrics::default(),
            started: Instant::now(),
            tasks,
            stop,
            stop_asked: CancellationToken::new(),
        });
        let (swarm_task, addresses) = match started {
            Some(started) => {
                let addresses = settled(&started.client).await;
                let tasks = &local.tasks;
                tasks.spawn(serve::serve_requests(local.clone(), started.requests));
                tasks.spawn(serve::serve_chunks(local.clone(), started.chunks));
                tasks.spawn(listen::run(local.clone(), started.gossip));
                if local.config.serve {
                    tasks.spawn(announce::run(local.clone()));
                }
                networks::spawn(&local);
                tasks.spawn(reach::run(local.clone()));
                if local.config.mdns {
                    tasks.spawn(dnssd::run(local.clone()));
                }
                tasks.spawn(book::run(local.clone(), started.client));
                (Some(started.task), addresses)
            }
            None => (None, Vec::new()),
        };
        let mut node = Self { local, addresses, api: None, scrape: None, swarm_task };
        match node.open_listeners().await {
            Ok(()) => Ok(node),
            Err(error) => {
                node.shutdown().await;
                Err(error)
            }
        }
    }

    async fn open_listeners(&mut self) -> Result<()> {
        let config = &self.local.config;
        if let Some(address) = config.api {
            self.api = Some(start_api(&self.local, address).await?);
        }
        if let Some(address) = config.metrics {
            let started = hive_http::Scrape::start(address, self.hive()).await;
            self.scrape = Some(started.map_err(|error| {
                let message = format!("cannot serve figures on {address}");
                HiveError::caused(ErrorKind::Failed, message, &error)
                    .hint("another program has the port; choose another with `--metrics ADDR`")
            })?);
        }
        Ok(())
    }

    /// What fronts see of the node.
    pub fn hive(&self) -> Arc<dyn Hive> {
        Arc::new(self.local.clone())
    }

    /// The node's peer id.
    pub fn peer(&self) -> String {
        self.local.peer.to_string()
    }

    /// Full addresses that others can dial.
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// Where the local API is, if it is on.
    pub fn api_addr(&self) -> Option<SocketAddr> {
        self.api.as_ref().map(hive_http::Server::address)
    }

    /// Ticks when what the node knows of others may have changed: who is there, what they announced.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.local.catalog.changes()
    }

    /// How the node stands in the network; `None` in a node without one.
    pub async fn network_state(&self) -> Option<swarm::NetworkState> {
        match &self.local.swarm {
            Some(swarm) => Some(swarm.network_state().await),
            None => None,
        }
    }

    /// Where figures are served without a token, if they are.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.scrape.as_ref().map(hive_http::Scrape::address)
    }

    /// The node itself, for what is not for fronts.
    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    /// Resolves when somebody asked for the node's end over a front. Cancel safe.
    pub async fn stopped(&self) {
        self.local.stop_asked.cancelled().await;
    }

    /// Ends the node in good order and waits for all of it.
    pub async fn shutdown(mut self) {
        if let Some(api) = self.api.take() {
            api.shutdown().await;
        }
        if let Some(scrape) = self.scrape.take() {
            scrape.shutdown().await;
        }
        if let Some(swarm) = &self.local.swarm {
            book::save(&self.local, swarm).await;
        }
        self.local.stop.cancel();
        self.local.tasks.close();
        self.local.tasks.wait().await;
        if let Some(task) = self.swarm_task.take()
            && let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!(%error, "the swarm's task failed");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.local.stop.cancel();
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("local", &self.local).field("api", &self.api_addr()).finish()
    }
}

/// The addresses, once they are all there: listening on every interface becomes an address each, one
/// after another.
async fn settled(client: &swarm::Client) -> Vec<String> {
    let mut addresses = client.listen_addrs().await;
    for _ in 0..SETTLE_STEPS {
        tokio::time::sleep(SETTLE).await;
        let now = client.listen_addrs().await;
        if now.len() == addresses.len() {
            break;
        }
        addresses = now;
    }
    addresses
}

fn open_home(config: &Config) -> Result<(Store, SigningKey, SigningKey)> {
    let home = &config.home;
    let options = store::Options { quota: config.quota, reserve: config.reserve };
    let store = Store::open(home, options).map_err(|error| {
        let message = format!("cannot open the home `{}`", home.display());
        match &error {
            store::OpenError::Locked { .. } => {
                HiveError::caused(ErrorKind::Failed, message, &error).hint(
                    "another command there ends by itself: wait for it; a node that runs there is \
                     talked to through its local API, if that is on, or stopped; or give another \
                     home with `--home`",
                )
            }
            store::OpenError::NewerSchema { .. } => {
                HiveError::caused(ErrorKind::Failed, message, &error)
                    .hint("a newer hive wrote it; use that one, or another home")
            }
            store::OpenError::Index(index) if index.is_damaged() => {
                HiveError::caused(ErrorKind::Failed, message, &error).hint(
                    "the models are untouched: restore `index.sqlite` from a backup, or move it \
                     and its `-wal` away and `hive add` what is in `models`",
                )
            }
            error => errors::store(message, error),
        }
    })?;
    let key = |error: KeyError| {
        if store::is_full(&error) {
            return errors::store("cannot keep this home's keys", &error);
        }
        HiveError::caused(ErrorKind::Failed, "cannot use this home's keys", &error)
            .hint("restore the file from a backup, or make it readable to you alone (chmod 600)")
    };
    let path = home.join(keys::IDENTITY);
    let owner =
        store.meta(OWNER).map_err(|error| errors::store("cannot read the index", &error))?;
    let node_key = match keys::read(&path).map_err(key)? {
        Some(found) => found,
        None if owner.is_some() && !config.reset_identity => {
            return Err(HiveError::new(
                ErrorKind::Failed,
                format!("`{}` is missing, and with it this node's identity", path.display()),
            )
            .hint("restore it from a backup, or make a new identity: `hive id --reset`"));
        }
        None => keys::create(&path).map_err(key)?,
    };
    let peer = NodeIdentity::from_ed25519_secret(node_key.to_bytes()).peer().to_string();
    if owner.as_deref() != Some(peer.as_bytes()) {
        let kept = store.set_meta(OWNER, peer.as_bytes());
        kept.map_err(|error| errors::store("cannot write the index", &error))?;
    }
    let path = home.join(keys::PUBLISHER);
    let publisher_key = match keys::read(&path).map_err(key)? {
        Some(found) => found,
        None => keys::create(&path).map_err(key)?,
    };
    Ok((store, node_key, publisher_key))
}

/// What a relay gives: as its operator says, else as the swarm thinks best.
fn relay_server(relay: &Relay) -> Result<RelayServer> {
    let mut server = if relay.allow_bulk { RelayServer::bulk() } else { RelayServer::default() };
    server.bulk_circuit_bytes = relay.circuit_bytes.unwrap_or(server.bulk_circuit_bytes);
    let set = |budget: &mut swarm::Budget, bytes: Option<u64>, time: Option<Duration>| {
        budget.bytes = bytes.unwrap_or(budget.bytes);
        budget.time = time.unwrap_or(budget.time);
    };
    set(&mut server.per_peer, relay.peer_bytes, relay.peer_time);
    set(&mut server.per_network, relay.network_bytes, relay.network_time);
    let count = |said: Option<u32>, best: usize| said.map_or(best, |count| count as usize);
    server.max_reservations = count(relay.reservations, server.max_reservations);
    server.max_circuits = count(relay.circuits, server.max_circuits);
    server.certificate =
        relay.certificate.clone().map(|(chain, key)| swarm::CertificateFiles { chain, key });
    for peer in &relay.allow {
        server.allow.push(peer.parse().map_err(|error: swarm::PeerParseError| {
            let message = format!("`{peer}` is no peer's id");
            HiveError::caused(ErrorKind::Usage, message, &error)
                .hint("`hive id` prints a node's: 12D3KooW…")
        })?);
    }
    Ok(server)
}

/// The addresses that may be dialed.
fn within_reach(config: &Config, addresses: &[String]) -> Vec<String> {
    let near = |address: &&String| {
        let near = config.may_dial(address);
        if !near {
            tracing::warn!(%address, "not dialed: this node keeps to the LAN (`lan-only`)");
        }
        near
    };
    addresses.iter().filter(near).cloned().collect()
}

async fn start_swarm(
    config: &Config,
    networks: &Networks,
    store: &Store,
    identity: &NodeIdentity,
    stop: &CancellationToken,
) -> Result<swarm::Started> {
    let store = store.clone();
    let known_peers = blocking({
        let network = networks.private();
        move || book::load(&store, network.as_deref(), now())
    })
    .await?;
    let relay = config.relay.as_ref().map(relay_server).transpose()?;
    let swarm_config = swarm::Config {
        network: config.network.clone(),
        listen: config.listen.clone(),
        bootstrap: within_reach(config, &config.bootstrap),
        relays: within_reach(config, &config.relays),
        traverse: config.traverse && !config.lan_only,
        upnp: config.upnp && !config.lan_only,
        limits: relay.as_ref().map_or_else(swarm::Limits::default, RelayServer::connection_limits),
        relay_server: relay,
        lan_only: config.lan_only,
        external: config.external.clone(),
        mdns: config.mdns,
        dht_server: config.dht_server,
        agent: crate::AGENT.into(),
        node_name: config.node_name.clone(),
        // What is left of the world when it ends at the LAN.
        allow_private: config.allow_private || config.lan_only,
        known_peers,
        faults: config.faults.clone(),
        membership: networks.membership(),
    };
    swarm::start(identity, swarm_config, stop.clone()).map_err(|error| {
        let kind = match &error {
            swarm::StartError::Network { .. } | swarm::StartError::Address { .. } | swarm::StartError::NodeName { .. } => {
                ErrorKind::Usage
            }
            _ => ErrorKind::Failed,
        };
        let hint = match &error {
            swarm::StartError::Listen { .. } => {
                "another program has the port; choose others with `--listen`, or dial only with `--listen none`"
            }
            _ => "`hive config` shows every setting and where it comes from",
        };
        HiveError::caused(kind, "cannot start the network", &error).hint(hint)
    })
}

async fn start_api(local: &Local, address: SocketAddr) -> Result<hive_http::Server> {
    let mut options = hive_http::Options::new(&local.config.home, address);
    let metrics = local.metrics.clone();
    options.observer = Some(Arc::new(move |served: &hive_http::Served<'_>| {
        metrics.count(served.method, served.route, served.status, served.seconds);
    }));
    let started = hive_http::Server::start(options, Arc::new(local.clone())).await;
    started.map_err(|error| errors::api(address, &error))
}
