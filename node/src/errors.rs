//! How what went wrong below becomes what a person reads.

use hive_api::{ErrorKind, HiveError};
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
