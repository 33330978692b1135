//! Every bound on what a hub, an address or another program's files may make this node do.

use std::time::Duration;

/// Bytes in one JSON answer at most: a page of 1,000 files takes some 300 kB.
pub(crate) const JSON_LEN: usize = 8 << 20;

/// Pages of a listing at most.
pub(crate) const PAGES: usize = 64;

/// Files of a repository that are looked at. The largest have a few thousand.
pub(crate) const FILES: usize = 20_000;

/// Files of one model, as a tree may have them.
pub(crate) const FILES_PER_MODEL: usize = hive_protocol::limits::FILES_PER_TREE;

/// Files of all the models of a repository together: each set of weights counts what stands beside
/// it once more, so this bounds the product.
pub(crate) const MEMBERS: usize = 100_000;

/// Redirects that one request follows.
pub(crate) const REDIRECTS: usize = 5;

/// Files that are downloaded at once.
pub(crate) const PARALLEL: usize = 4;

/// Failures in a row, without a new byte between them, after which a request is given up.
pub(crate) const FAILURES: u32 = 5;

/// The longest pause that a hub may ask for; with more, the user decides.
pub(crate) const RETRY_AFTER: Duration = Duration::from_mins(5);

/// The longest pause between two attempts that nobody asked for.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// How long it may take to connect.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer in JSON may take from its first byte to its last.
pub(crate) const JSON_TIME: Duration = Duration::from_mins(1);

/// Addresses of one host that are tried.
pub(crate) const ADDRESSES: usize = 16;

/// Bytes of a received text that an error repeats.
pub(crate) const TOLD_LEN: usize = 200;

/// Bytes in a file that belongs to weights (tokenizer, configuration); the largest tokenizers
/// have some 40 MB.
pub(crate) const COMPANION_LEN: u64 = 256 << 20;

/// Bytes in a manifest of another program at most.
pub(crate) const MANIFEST_LEN: u64 = 1 << 20;

/// Directory entries looked at in other programs' caches, so that a huge or looping one ends.
pub(crate) const ENTRIES: usize = 50_000;

/// Levels below another program's directory that are looked into.
pub(crate) const DEPTH: usize = 6;
