//! How what went wrong below becomes what a person reads.

use std::net::SocketAddr;

use hive_api::{ErrorKind, HiveError};
use hive_http::ServeError;
use hive_store as store;

/// The task that was to answer is gone: the node is stopping.
pub(crate) fn stopping() -> HiveError {
    HiveError::new(ErrorKind::Failed, "the node is stopping")
}

/// A blocking task ended without a result, which only a bug can do.
pub(crate) fn panicked(error: &tokio::task::JoinError) -> HiveError {
    HiveError::caused(ErrorKind::Failed, "a task of this node failed", error)
        .hint("this is a bug in hive; the log has more")
}

/// The node was started without a network.
pub(crate) fn offline() -> HiveError {
    HiveError::new(ErrorKind::Unreachable, "this node has no network")
}

/// The disk or the index failed.
pub(crate) fn store(
    message: impl Into<String>,
    error: &(dyn std::error::Error + 'static),
) -> HiveError {
    if store::is_full(error) {
        return HiveError::caused(ErrorKind::NoSpace, message, error)
            .hint("free some space and run the same command again; what is verified is kept");
    }
    HiveError::caused(ErrorKind::Failed, message, error)
}

/// The local API cannot be served: its address is taken, or its files cannot be kept.
pub(crate) fn api(address: SocketAddr, error: &ServeError) -> HiveError {
    let message = format!("cannot serve the local API on {address}");
    match error {
        ServeError::Access(_) => store(message, error),
        error => HiveError::caused(ErrorKind::Failed, message, error).hint(
            "another program has the port; choose another with `--api ADDR`, or turn it off with \
             `--api off`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A node on a full disk cannot write `api.addr`. It said that another program has the port, and
    /// ended with 1 in place of 5.
    #[test]
    fn a_full_disk_is_not_taken_for_a_port_that_is_in_use() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4484));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = hive_http::AccessError::Write { path: "api.addr".into(), source: full };
        assert_eq!(api(address, &error.into()).kind, ErrorKind::NoSpace);

        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        let error = api(address, &ServeError::Bind { address, source: taken });
        assert_eq!(error.kind, ErrorKind::Failed);
        assert!(error.hint.is_some_and(|hint| hint.contains("--api ADDR")));
    }
}
