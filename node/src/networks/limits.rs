//! Every bound on what private networks may make this home hold.

/// Private networks that a home knows at most. A person has a handful.
pub(crate) const NETWORKS: usize = 64;

/// Invites of one network that are kept at most. Those that ended unused are forgotten, so this
/// counts the ones that are good still and the ones that somebody came in with.
pub(crate) const INVITES: usize = 1_024;

/// Nodes that one invite may let in at most.
pub(crate) const USES: u32 = 1_000;

/// Nodes that came in with any invite of one network at most, some 10 MB on disk.
pub(crate) const REDEEMED: usize = 10_000;

/// Seconds that an invite may be redeemed at most: a year. A code that lies around longer is found.
pub(crate) const INVITE_SECS: u64 = 366 * 24 * 3600;

/// Addresses of a network that are kept at most.
pub(crate) const ADDRESSES: usize = 16;

/// Addresses of this node that an invite carries besides the network's own: each makes the code
/// some 150 characters longer, and the QR code larger.
pub(crate) const OWN_ADDRESSES: usize = 4;

/// Characters of a network's id that name it at least.
pub(crate) const ID_PREFIX: usize = 8;

/// Characters of an invite's public key that name it at least.
pub(crate) const INVITE_PREFIX: usize = 6;

/// Bytes in `network.json` that are read at most.
pub(crate) const RECORD_LEN: u64 = 64 << 10;

/// Bytes in `invites.json` that are read at most; [`REDEEMED`] entries and [`INVITES`] fit.
pub(crate) const BOOK_LEN: u64 = 32 << 20;

/// Bytes in any other file of a network that are read at most: a revocation list is the longest.
pub(crate) const FILE_LEN: u64 = 128 << 10;

/// Redemptions that wait for the admin's task. While it is full, invitees are told to come again.
pub(crate) const REDEEM_QUEUE: usize = 32;

/// A certificate that has fewer seconds left is renewed: by an admin itself, by others with a new
/// invite. A month.
pub(crate) const RENEW_SECS: u64 = 30 * 24 * 3600;
