//! Nodes that know each other: one of them is where the others join.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hive_node::Config;

use crate::liar::{Liar, Lie};
use crate::node::{TestNode, config};
use crate::sample::Sample;
use crate::wait::eventually;

/// A network of its own on the loopback, with one node to join through.
#[derive(Debug)]
pub struct Mesh {
    network: String,
    /// The node that all others join through. It has no models.
    pub bootstrap: TestNode,
}

impl Mesh {
    /// Starts the network's first node, and the log that `HIVE_LOG` asks for.
    ///
    /// # Errors
    ///
    /// The node cannot start.
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
        Ok(Self { network, bootstrap })
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.network
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
        let node = TestNode::start(config).await?;
        eventually("a node to join", async || {
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
        TestNode::start(config).await
    }

    /// Starts a liar of this network that knows nobody.
    ///
    /// # Errors
    ///
    /// The liar cannot start.
    pub async fn liar(&self, lie: Lie, sample: &Sample) -> anyhow::Result<Liar> {
        Liar::start(&self.network, lie, vec![sample.clone()]).await
    }
}
