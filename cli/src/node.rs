//! The node that a command talks to: the one that runs on the home, or one of its own.
//!
//! The only file that knows `hive_node`. Everything else sees `dyn Hive`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hive_api::{Diagnosis, ErrorKind, Hive, HiveError, Result};
use hive_http::Remote;
use hive_node::{Config, DhtServer, Relay};
use hive_protocol::membership::InviteCode;

use crate::failure::usage;
use crate::settings::{Dht, Settings, external};

pub(crate) use hive_node::{Node, TINY_MODEL, public_hosts};

/// How often, and how many times, to look whether a node that is starting is ready.
const STARTING_LOOK: Duration = Duration::from_millis(100);
const STARTING_LOOKS: u32 = 50;

/// Where a node listens that lives as long as a command.
const ANY_PORT: [&str; 4] =
    ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1"];

/// Runs a model if that is what this process was started for (`hive infer`, which the node writes
/// and no person), and says how it ended.
pub(crate) fn infer_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let is_infer = args.next().is_some_and(|arg| arg == hive_node::INFER) && args.next().is_none();
    is_infer.then(hive_node::infer)
}

/// What a command needs of a node that it starts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The store and the engine; no socket is opened.
    Disk,
    /// The network too. Others may talk to this node while it lasts, so that `hive status` tells of
    /// a fetch in another window.
    Network,
}

/// A node at hand.
pub(crate) enum Handle {
    /// It runs already.
    Remote(Arc<Remote>),
    /// It runs in this process, for this command.
    Here(Box<Node>),
}

impl Handle {
    /// Finds the node of the home, or starts one.
    pub(crate) async fn open(settings: &Settings, need: Need) -> Result<Self> {
        if let Some(remote) = Remote::discover(&settings.home).await? {
            return Ok(Self::Remote(Arc::new(remote)));
        }
        let online = need == Need::Network;
        let api = online.then(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        // The router is not asked to let others in to a node that is gone in a moment.
        let own = Config { metrics: None, upnp: false, ..config(settings)? };
        let mut config = Config { online, api, ..own };
        if settings.is_default("listen") {
            // Nobody comes back to a node that lives for a command; the known port is for `join`,
            // which may be running on another home.
            config.listen = ANY_PORT.map(str::to_owned).to_vec();
        }
        match Node::start(config).await {
            Ok(node) => Ok(Self::Here(Box::new(node))),
            // The node of the home may be starting: `hive join & hive invite`.
            Err(error) => match starting(&settings.home).await {
                Some(remote) => Ok(Self::Remote(Arc::new(remote))),
                None => Err(error),
            },
        }
    }

    /// What the node can be asked.
    pub(crate) fn hive(&self) -> Arc<dyn Hive> {
        match self {
            Self::Remote(remote) => Arc::<Remote>::clone(remote),
            Self::Here(node) => node.hive(),
        }
    }

    /// Whether the node was there before the command and stays after it.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// Ends a node of our own in good order.
    pub(crate) async fn close(self) {
        if let Self::Here(node) = self {
            node.shutdown().await;
        }
    }
}

/// Waits for a node that has taken the home and is not ready yet; `None` if nobody has it.
async fn starting(home: &Path) -> Option<Remote> {
    let lock = std::fs::File::open(home.join("lock")).ok()?;
    let held = || matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock));
    let mut look = tokio::time::interval(STARTING_LOOK);
    for _ in 0..STARTING_LOOKS {
        if !held() {
            return None;
        }
        look.tick().await;
        if let Ok(Some(remote)) = Remote::discover(home).await {
            return Some(remote);
        }
    }
    None
}

/// Whether a node runs on the home.
pub(crate) async fn is_running(settings: &Settings) -> bool {
    matches!(Remote::discover(&settings.home).await, Ok(Some(_)))
}

/// Starts the node of `hive join`, which is the only one of its home; with a code, in the network
/// that it leads to.
pub(crate) async fn start(settings: &Settings, invite: Option<InviteCode>) -> Result<Node> {
    refuse_second(&settings.home).await?;
    Node::start(Config { invite, ..config(settings)? }).await
}

/// Starts the node of `hive relay`: it is asked much, offers no models and can be reached by all.
pub(crate) async fn start_relay(settings: &Settings, invite: Option<InviteCode>) -> Result<Node> {
    refuse_second(&settings.home).await?;
    let mut settings = settings.clone();
    settings.listen = relay_listens(&settings);
    let certificate = match (settings.wss_cert.take(), settings.wss_key.take()) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(usage("`wss-cert` and `wss-key` go together: a certificate and its key")),
    };
    let serving = settings.serving.clone();
    let relay = Relay {
        allow_bulk: serving.allow_bulk,
        circuit_bytes: serving.circuit_bytes,
        allow: serving.allow,
        peer_bytes: serving.peer_bytes,
        peer_time: serving.peer_time,
        network_bytes: serving.network_bytes,
        network_time: serving.network_time,
        reservations: serving.reservations,
        circuits: serving.circuits,
        certificate,
    };
    let config = config(&settings)?;
    Node::start(Config {
        invite,
        relay: Some(relay),
        serve: false,
        // A relay needs no relay, and no router that lets others in to it.
        relays: Vec::new(),
        traverse: false,
        upnp: false,
        dht_server: DhtServer::Always,
        ..config
    })
    .await
}

/// Where a relay listens.
pub(crate) fn relay_listens(settings: &Settings) -> Vec<String> {
    let hosts = ["/ip4/0.0.0.0", "/ip6/::"];
    let wss = |port: u16| hosts.map(|host| format!("{host}/tcp/{port}/tls/ws"));
    settings.listen.iter().cloned().chain(settings.wss.into_iter().flat_map(wss)).collect()
}

/// Checks the home's node, or one that is started for that.
pub(crate) async fn diagnose(settings: &Settings) -> Result<Diagnosis> {
    match Remote::discover(&settings.home).await? {
        Some(remote) => remote.doctor().await,
        None => hive_node::doctor(config(settings)?).await,
    }
}

/// Gives a home a new identity, and says which.
pub(crate) async fn reset_identity(settings: &Settings) -> Result<String> {
    refuse_second(&settings.home).await?;
    let config = Config { online: false, api: None, reset_identity: true, ..config(settings)? };
    let node = Node::start(config).await?;
    let peer = node.peer();
    node.shutdown().await;
    Ok(peer)
}

async fn refuse_second(home: &Path) -> Result<()> {
    let Some(remote) = Remote::discover(home).await? else { return Ok(()) };
    let process = remote.pid().map_or_else(String::new, |pid| format!(" in process {pid}"));
    let message = format!("a node runs on `{}` already{process}", home.display());
    Err(HiveError::new(ErrorKind::Failed, message)
        .hint("`hive status` asks it how it is; another node needs another `--home`"))
}

fn config(settings: &Settings) -> Result<Config> {
    let settings = settings.clone();
    let external = external::expand(&settings.external, &settings.listen)
        .map_err(|why| usage(format!("wrong value for `external`: {why}")))?;
    Ok(Config {
        home: settings.home,
        online: true,
        network: settings.network,
        invite: None,
        listen: settings.listen,
        bootstrap: settings.bootstrap,
        external,
        relays: settings.relay,
        traverse: !settings.no_relays,
        upnp: settings.upnp,
        lan_only: settings.lan_only,
        relay: None,
        serve: true,
        metrics: settings.metrics,
        mdns: settings.mdns,
        allow_private: settings.allow_private,
        dht_server: match settings.dht {
            Dht::Auto => DhtServer::Auto,
            Dht::Always => DhtServer::Always,
            Dht::Never => DhtServer::Never,
        },
        node_name: settings.name,
        share: settings.share,
        upload_limit: settings.upload_limit,
        quota: settings.quota,
        reserve: settings.reserve,
        api: settings.api,
        // A system that cannot say where this program is runs models in this process.
        worker: std::env::current_exe().ok(),
        keep_alive: settings.keep_alive,
        model_memory: settings.model_memory,
        places: settings.places,
        queue: settings.queue,
        reset_identity: false,
        provider_timeout: settings.provider_timeout,
        faults: None,
    })
}
