//! Nodes that know each other: one of them is where the others join.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;
use hive_node::{Config, Faults};
use tokio::sync::watch;

use crate::liar::{Liar, Lie};
use crate::node::{TestNode, config};
use crate::sample::Sample;
use crate::wait::{any_of, eventually};

/// A network of its own on the loopback, with one node to join through and `N` that did. It begins
/// whole; what its links suffer is said while it runs.
#[derive(Debug)]
pub struct Mesh<const N: usize = 0> {
    network: String,
    /// The node that all others join through. It has no models.
    pub bootstrap: TestNode,
    /// The nodes that it began with.
    pub nodes: [TestNode; N],
    /// Of every node that was started here.
    faults: Mutex<Vec<Faults>>,
}

impl Mesh {
    /// Starts a network that is its bootstrap node alone. The others come one by one.
    ///
    /// # Errors
    ///
    /// The node cannot start.
    pub async fn empty() -> anyhow::Result<Self> {
        Self::start().await
    }
}

impl<const N: usize> Mesh<N> {
    /// Starts the network's first node and `N` that know its address and nothing else, and the log
    /// that `HIVE_LOG` asks for. All have joined when it returns.
    ///
    /// # Errors
    ///
    /// A node cannot start or join.
    pub async fn start() -> anyhow::Result<Self> {
        static MESHES: AtomicU32 = AtomicU32::new(0);
        if let Ok(filter) = std::env::var("HIVE_LOG") {
            let log = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer();
            // Another test of this process may have begun the log already.
            let _ = log.try_init();
        }
        let number = MESHES.fetch_add(1, Ordering::Relaxed);
        let network = format!("test-{}-{number}", std::process::id());
        let bootstrap = TestNode::start(config(&network)).await?;
        let faults = Mutex::new(vec![bootstrap.faults()]);
        let empty = Mesh { network, bootstrap, nodes: [], faults };
        let nodes = try_join_all((0..N).map(|_| empty.node())).await?;
        let Mesh { network, bootstrap, faults, .. } = empty;
        let nodes = nodes.try_into().ok().context("as many as were started")?;
        Ok(Self { network, bootstrap, nodes, faults })
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Ticks when what one of the nodes that it began with knows of others may have changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        any_of(self.nodes.iter().chain([&self.bootstrap]).map(TestNode::changes))
    }

    /// Starts a node that knows the bootstrap's address and nothing else.
    ///
    /// # Errors
    ///
    /// The node cannot start or join.
    pub async fn node(&self) -> anyhow::Result<TestNode> {
        self.node_with(|_| {}).await
    }

    /// Starts a node like [`Self::node`], its configuration changed.
    ///
    /// # Errors
    ///
    /// The node cannot start or join.
    pub async fn node_with(&self, change: impl FnOnce(&mut Config)) -> anyhow::Result<TestNode> {
        let mut config = config(&self.network);
        config.bootstrap = vec![self.bootstrap.address()];
        change(&mut config);
        let node = self.start_node(config).await?;
        eventually("a node to join", node.changes(), async || {
            node.hive().status().await.ok().filter(|status| status.connected > 0)
        })
        .await?;
        Ok(node)
    }

    /// Starts a node that knows nobody, with the default patience.
    ///
    /// # Errors
    ///
    /// The node cannot start.
    pub async fn stranger(&self) -> anyhow::Result<TestNode> {
        self.stranger_with(|config| config.provider_timeout = Config::default().provider_timeout)
            .await
    }

    /// Starts a node like [`Self::stranger`] that soon gives up, its configuration changed.
    ///
    /// # Errors
    ///
    /// The node cannot start.
    pub async fn stranger_with(
        &self,
        change: impl FnOnce(&mut Config),
    ) -> anyhow::Result<TestNode> {
        let mut config = config(&self.network);
        config.provider_timeout = Duration::from_secs(4);
        change(&mut config);
        self.start_node(config).await
    }

    async fn start_node(&self, config: Config) -> anyhow::Result<TestNode> {
        let node = TestNode::start(config).await?;
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(node.faults());
        Ok(node)
    }

    /// Starts a liar of this network that knows nobody. It has no faults but its own.
    ///
    /// # Errors
    ///
    /// The liar cannot start.
    pub async fn liar(&self, lie: Lie, sample: &Sample) -> anyhow::Result<Liar> {
        Liar::start(&self.network, lie, vec![sample.clone()]).await
    }

    /// Cuts the link between two nodes, silently: what is sent over it waits, dials hang.
    pub fn cut(&self, one: &TestNode, other: &TestNode) {
        one.faults().cut(other.id());
        other.faults().cut(one.id());
    }

    /// Cuts every link between two groups of nodes.
    pub fn cut_between(&self, some: &[&TestNode], others: &[&TestNode]) {
        for one in some {
            for other in others {
                self.cut(one, other);
            }
        }
    }

    /// Makes a node's way to all others slow: so many bytes a second each way, and all that arrives
    /// does so that much later.
    pub fn slow(&self, node: &TestNode, bytes_per_second: u64, delay: Duration) {
        node.faults().slow(bytes_per_second, delay);
    }

    /// Makes every link of the network whole and quick again.
    pub fn heal(&self) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Faults::heal);
    }
}
