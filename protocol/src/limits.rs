//! Every bound on what a peer, a block or a file may make this node do, in one place.
//!
//! Each constant says why it has its value. A test for each exceeds it by one.

/// Bytes in a chunk at most: the unit of content address, storage and dedupe. 64 MiB keeps a
/// 70 GB model at some 1,100 names, few enough to list in one block.
pub const CHUNK_LEN: u64 = 64 << 20;

/// Bytes in a group, the unit of request, verification and blame: what a liar can cost.
pub const GROUP_LEN: u64 = 1 << 20;

/// Groups in a chunk at most.
pub const GROUPS_PER_CHUNK: usize = (CHUNK_LEN / GROUP_LEN) as usize;

/// Bytes after which chunker 1 closes a chunk at the next tensor border: smaller chunks cost more
/// names than they save bytes.
pub const CHUNK_CLOSE_LEN: u64 = 4 << 20;

/// Chunks in a file at most, so that a file block stays under [`BLOCK_LEN`]. Cut every 64 MiB this
/// is a file of 2 TiB.
pub const CHUNKS_PER_FILE: usize = 32_768;

/// Files in a tree at most. The largest model repositories have a few hundred.
pub const FILES_PER_TREE: usize = 16_384;

/// Distinct chunks in one model at most, over all its files.
pub const CHUNKS_PER_MODEL: usize = 65_536;

/// Chunks listed in all file blocks of one model at most, repeated ones counted each time: what a
/// tree of many files can make its reader hold.
pub const CHUNKS_LISTED_PER_MODEL: usize = 4 * CHUNKS_PER_MODEL;

/// Bytes in a model at most, 2^48: sums of two of them still fit an `i64`, as SQLite wants it.
pub const MODEL_LEN: u64 = 1 << 48;

/// Bytes in a block (file block, tree, card, catalog list) at most.
pub const BLOCK_LEN: usize = 4 << 20;

/// Nesting of maps and arrays in any DAG-CBOR that is read at most. Ours need 5.
pub const CBOR_DEPTH: usize = 16;

/// Bytes in a header that is parsed (GGUF, safetensors) at most; a vocabulary of a million tokens
/// takes some 30 MB.
pub const HEADER_LEN: u64 = 64 << 20;

/// Bytes in a path's component, as file systems have it.
pub const PATH_COMPONENT_LEN: usize = 255;

/// Components in a path at most.
pub const PATH_DEPTH: usize = 16;

/// Bytes in a path at most, so that it fits below a home directory on every platform.
pub const PATH_LEN: usize = 1_024;

/// Bytes in a name at most.
pub const NAME_LEN: usize = 200;

/// Bytes in a `model/1` request at most.
pub const REQUEST_LEN: usize = 64 << 10;

/// Bytes in a `model/1` reply at most: a block and room for its envelope.
pub const RESPONSE_LEN: usize = BLOCK_LEN + (64 << 10);

/// Chunks named in one `GroupHashes` request at most: 256 answers of 2 KiB are half a megabyte.
pub const CHUNKS_PER_HASH_REQUEST: usize = 256;

/// Chunks named in one `HaveChunks` request at most; their CIDs have to fit [`REQUEST_LEN`].
pub const CHUNKS_PER_HAVE_REQUEST: usize = 1_024;

/// Ranges in one `chunk/1` request at most.
pub const RANGES_PER_REQUEST: usize = 16;

/// Bytes asked for in one `chunk/1` request at most; what one request can cost to serve, and what
/// a peer that turns liar can waste.
pub const REQUEST_PAYLOAD_LEN: u64 = 16 << 20;

/// Bytes in a `chunk/1` request or response header at most.
pub const CHUNK_HEADER_LEN: usize = 64 << 10;

/// Bytes in a gossiped head at most.
pub const HEAD_LEN: usize = 512;

/// Bytes in a gossiped capability at most.
pub const CAPABILITY_LEN: usize = 2 << 10;

/// Bytes in a signed card at most.
pub const CARD_LEN: usize = 16 << 10;

/// Cards in one catalog list at most.
pub const CARDS_PER_LIST: usize = 4_096;

/// Bytes in any text field of a card at most.
pub const TEXT_LEN: usize = 1_024;

/// Entries in a list or map of a card at most (parents, digests, ext, critical).
pub const CARD_ENTRIES: usize = 64;

/// Seconds that a signed statement may be dated ahead of the reader's clock.
pub const CLOCK_SKEW_SECS: u64 = 300;

/// Seconds that a signed statement lives at most.
pub const STATEMENT_TTL_SECS: u64 = 400 * 24 * 3600;

/// Seconds that a gossiped statement (a head, a capability) lives at most. Replays after that are
/// expired, before that they are caught by their sequence number.
pub const GOSSIP_TTL_SECS: u64 = 24 * 3600;

/// Seconds that a certificate of a private network, or its revocation list, lives at most: ten
/// years. A network at home has nobody who renews certificates; what must end earlier is revoked.
pub const MEMBERSHIP_TTL_SECS: u64 = 3_653 * 24 * 3600;

/// Bytes in a signed certificate at most. Ours have some 250; the rest is for `ext`.
pub const CERTIFICATE_LEN: usize = 2 << 10;

/// Certificates that a network can revoke. The list never shrinks, so a network that has revoked
/// this many starts anew.
pub const REVOKED_SERIALS: usize = 4_096;

/// Bytes in a signed revocation list at most: 17 for each serial, and room for the rest.
pub const REVOCATIONS_LEN: usize = 17 * REVOKED_SERIALS + 1_024;

/// Bytes in a redemption of an invite at most; they have 154.
pub const REDEMPTION_LEN: usize = 192;

/// Bytes in the first message of the membership handshake, which strangers send, too: they have 54.
pub const HELLO_LEN: usize = 64;

/// Bytes in any other message of the membership handshake: a certificate and a revocation list.
pub const HANDSHAKE_LEN: usize = 128 << 10;

/// Addresses in an invite code at most.
pub const INVITE_ADDRESSES: usize = 8;

/// Bytes in one of them at most: a relay's circuit by name, with both peer ids.
pub const INVITE_ADDRESS_LEN: usize = 256;

/// Bytes in what an invite code calls the network.
pub const INVITE_NAME_LEN: usize = 64;

/// Characters in an invite code at most, spaces included: the above in base32, twice over.
pub const INVITE_TEXT_LEN: usize = 8 << 10;
