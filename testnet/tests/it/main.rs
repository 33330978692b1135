//! What a network of nodes promises, shown with nodes and with peers that lie.

#![expect(
    clippy::print_stdout,
    reason = "figures, and what was skipped, for whoever runs a test alone"
)]

mod arriving;
mod churn;
mod follow;
mod gemma;
mod liars;
mod naming;
mod partition;
mod swarming;
mod visibility;

type TestResult = anyhow::Result<()>;

const MIB: u64 = 1 << 20;

/// An odd length near some MiB, so that no chunk and no group ends where another rule would end it.
const fn mib(n: usize) -> usize {
    n * (1 << 20) - 123
}

/// A search for a text.
fn find(text: &str) -> hive_api::SearchRequest {
    hive_api::SearchRequest { text: text.to_owned(), ..hive_api::SearchRequest::default() }
}

/// Waits until the node sees a model in the catalog, and says whose it is.
async fn offered(node: &hive_testnet::TestNode, text: &str) -> anyhow::Result<hive_api::Offer> {
    hive_testnet::wait::eventually("an offer in the catalog", node.changes(), async || {
        node.hive().search(find(text)).await.ok()?.into_iter().next()
    })
    .await
}
