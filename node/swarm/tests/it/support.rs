//! Nodes for tests.

use std::future::Future;
use std::time::Duration;

use hive_protocol::BlockId;
use hive_protocol::message::Response;
use hive_swarm::{Client, Config, NetworkState, NodeIdentity, Peer, Started, SwarmEvent};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

/// A test that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A node, stopped when it is dropped.
pub(crate) struct Node {
    pub(crate) client: Client,
    pub(crate) started: Started,
    pub(crate) events: broadcast::Receiver<SwarmEvent>,
    pub(crate) stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The configuration of a node that listens on TCP and shares loopback addresses.
pub(crate) fn config() -> Config {
    Config {
        network: "test".to_owned(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        allow_private: true,
        ..Config::default()
    }
}

/// Starts a node with an identity of its own.
pub(crate) fn start(config: Config) -> Node {
    start_as(&NodeIdentity::from_ed25519_secret(rand::random()), config)
}

/// Starts a node that is known already.
pub(crate) fn start_as(identity: &NodeIdentity, config: Config) -> Node {
    let stop = CancellationToken::new();
    let started = hive_swarm::start(identity, config, stop.clone()).expect("a node");
    let client = started.client.clone();
    Node { events: client.events(), client, started, stop }
}

/// Starts a node that joins through `others`.
pub(crate) async fn join(others: &[&Node]) -> Node {
    let mut bootstrap = Vec::new();
    for other in others {
        bootstrap.extend(other.client.listen_addrs().await);
    }
    start(Config { bootstrap, ..config() })
}

impl Node {
    pub(crate) fn peer(&self) -> Peer {
        self.client.peer()
    }

    /// Waits for an event that `pick` takes.
    pub(crate) async fn until<T>(&mut self, pick: impl Fn(&SwarmEvent) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the swarm runs");
                if let Some(picked) = pick(&event) {
                    return picked;
                }
            }
        };
        soon("the event", wait).await
    }

    /// Waits until the two know what the other is.
    pub(crate) async fn knows(&mut self, other: Peer) {
        self.until(|event| match event {
            SwarmEvent::PeerIdentified { peer, .. } if *peer == other => Some(()),
            _ => None,
        })
        .await;
    }

    /// Waits until the node stands in the network as `fine` wants it. (There is no event for most of
    /// it; a question to the loop is answered between two of its steps, so this does not spin.)
    pub(crate) async fn stands(&self, fine: impl Fn(&NetworkState) -> bool) -> NetworkState {
        let wait = async {
            let mut pause = tokio::time::interval(Duration::from_millis(20));
            loop {
                let state = self.client.network_state().await;
                if fine(&state) {
                    return state;
                }
                pause.tick().await;
            }
        };
        soon("the state", wait).await
    }

    /// Waits until it has told somebody of all that it provides.
    pub(crate) async fn announced(&self) {
        self.stands(|state| state.provided > 0 && state.announced == state.provided).await;
    }

    /// Answers all that it is asked with `response`, until it stops.
    pub(crate) fn answers(&mut self, response: Response) {
        let (_, closed) = mpsc::channel(1);
        let mut requests = std::mem::replace(&mut self.started.requests, closed);
        tokio::spawn(async move {
            while let Some(inbound) = requests.recv().await {
                inbound.reply.send(response.clone());
            }
        });
    }
}

/// The first provider that a search yields.
pub(crate) async fn provider(node: &Node, id: BlockId) -> Option<Peer> {
    let mut providers = node.client.providers(id).await;
    soon("the search", providers.recv()).await
}

/// An id of nothing in particular.
pub(crate) fn id(name: &str) -> BlockId {
    BlockId::of(name.as_bytes())
}
