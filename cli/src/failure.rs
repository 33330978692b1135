//! What a command failed with, from whichever layer, as one [`HiveError`].

use std::io;

use hive_api::{ErrorKind, HiveError};

/// A request that makes no sense.
pub(crate) fn usage(message: impl Into<String>) -> HiveError {
    HiveError::new(ErrorKind::Usage, message)
}

/// A file that could not be written. A full disk has an exit code of its own.
pub(crate) fn unwritten(message: impl Into<String>, error: &io::Error) -> HiveError {
    HiveError::caused(kind(error), message, error)
}

fn kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        _ => ErrorKind::Failed,
    }
}

/// Whether the reader of our output went away, which is how `hive ls | head -1` ends well.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    // Nodes tell of their own pipes in words, so this one is ours.
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// The error with all its causes; its kind is the first that one of them has.
pub(crate) fn describe(error: &anyhow::Error) -> HiveError {
    let mut described = HiveError { kind: ErrorKind::Failed, messages: Vec::new(), hint: None };
    let mut kind = None;
    for cause in error.chain() {
        if let Some(told) = cause.downcast_ref::<HiveError>() {
            kind = kind.or(Some(told.kind));
            described.hint = described.hint.or_else(|| told.hint.clone());
            described.messages.extend(told.messages.iter().cloned());
        } else {
            let told = cause.downcast_ref::<io::Error>().map(self::kind);
            kind = kind.or(told.filter(|kind| *kind != ErrorKind::Failed));
            described.messages.push(cause.to_string());
        }
    }
    described.kind = kind.unwrap_or(ErrorKind::Failed);
    described
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn context_goes_first_and_kind_and_hint_are_kept() {
        let told = HiveError::new(ErrorKind::NoSpace, "disk is full").hint("`hive gc`");
        let error = Err::<(), _>(told).context("cannot fetch `x`").unwrap_err();
        let described = describe(&error);
        assert_eq!(described.kind, ErrorKind::NoSpace);
        assert_eq!(described.messages, ["cannot fetch `x`", "disk is full"]);
        assert_eq!(described.hint.as_deref(), Some("`hive gc`"));
    }

    #[test]
    fn a_full_disk_is_told_as_one_whatever_was_written() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = Err::<(), _>(full()).context("cannot write `x`").unwrap_err();
        assert_eq!(describe(&error).kind, ErrorKind::NoSpace);
        assert_eq!(unwritten("cannot write `x`", &full()).kind, ErrorKind::NoSpace);
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(unwritten("cannot write `x`", &other).kind, ErrorKind::Failed);
    }
}
