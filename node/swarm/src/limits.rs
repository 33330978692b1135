//! Every bound of this crate that the wire format does not set, in one place.
//!
//! What a message may hold stands in [`hive_protocol::limits`], what `chunk/1` may do in
//! [`crate::exchange::limits`].

use std::time::Duration;

/// Commands of clients that wait for the loop. A client that finds it full waits.
pub const COMMANDS: usize = 256;

/// Events that a slow listener may lag behind before it loses the oldest.
pub const EVENTS: usize = 1_024;

/// `model/1` requests that wait for the node. When it is full the peer is told to come again.
pub const REQUEST_QUEUE: usize = 64;

/// `model/1` requests of all peers that the node has taken and not yet answered.
pub const SERVING: usize = 256;

/// Of these, requests of one peer.
pub const SERVING_PER_PEER: usize = 32;

/// When a peer that was refused for want of room may ask again.
pub const RETRY_MS: u64 = 500;

/// `model/1` streams of a connection, both ways together. What comes in beyond is dropped without
/// an answer, so this is more than all of the other bounds let happen.
pub const STREAMS_PER_CONNECTION: usize = 128;

/// Requests of ours to one peer that run at once, so that no peer fills the connection's streams.
pub const ASKING_PER_PEER: usize = 32;

/// How long a `model/1` request may take in all: a block of 4 MiB at 3 Mbit/s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Groups that wait between a connection and whoever fetches them; more would only be memory.
pub const GROUPS_WAITING: usize = 2;

/// Callers that wait for connections, over all peers.
pub const DIAL_WAITERS: usize = 1_024;

/// Failed dials after which a peer leaves the routing table.
pub const DIAL_FAILURES: u32 = 3;

/// Peers whose failed dials are counted.
pub const FAILING_PEERS: usize = 1_024;

/// How long a connection lives that nothing uses.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Peers in the address book.
pub const BOOK_PEERS: usize = 1_000;

/// Addresses of a peer in the address book.
pub const BOOK_ADDRESSES: usize = 8;

/// Addresses of one peer that are looked at, of an identify message or a provider record.
pub const ADDRESSES_SEEN: usize = 16;

/// Bytes in an address that is kept or passed on.
pub const ADDRESS_LEN: usize = 128;

/// Private addresses that may be dialed although private ones in general may not.
pub const EXCEPTIONS: usize = 1_024;

/// Peers that are banned at once; when full, the ban that ends first makes room.
pub const BANS: usize = 4_096;

/// Bytes of a peer's agent text, or of a ban's reason, that are kept.
pub const TEXT_LEN: usize = 128;

/// Peers of other networks that mDNS found and that are not dialed again.
pub const STRANGERS: usize = 1_024;

/// Addresses of a peer in the routing table. With [`ADDRESS_LEN`] this keeps 20 peers at 9 KiB of a
/// Kademlia message's 16.
pub const ROUTING_ADDRESSES: usize = 3;

/// Provider records of all peers. A record takes some 500 bytes.
pub const RECORDS: usize = 100_000;

/// Provider records of one source. A node that offers more than this is asked directly.
pub const RECORDS_PER_SOURCE: usize = 2_048;

/// Provider records of one key. An answer has [`PROVIDERS_PER_ANSWER`], by chance.
pub const RECORDS_PER_KEY: usize = 256;

/// Addresses in a provider record.
pub const RECORD_ADDRESSES: usize = 4;

/// Providers in one answer.
pub const PROVIDERS_PER_ANSWER: usize = 20;

/// Bytes of providers in one answer. The peers nearer to the key, of which each answer has up to 20
/// more, leave that much of 14 KiB.
pub const PROVIDER_BYTES_PER_ANSWER: usize = 5 << 10;

/// Provider records that a source may send at once, and how many more a second.
pub const RECORD_BURST: f64 = 2_048.0;
/// See [`RECORD_BURST`].
pub const RECORDS_PER_SECOND: f64 = 30.0;

/// Sources whose rates are watched. When none has calmed down, a new one is refused.
pub const METERED: usize = 4_096;

/// How long a provider record lives.
pub const RECORD_TTL: Duration = Duration::from_hours(24);

/// How often dead provider records are thrown out.
pub const SWEEP_INTERVAL: Duration = Duration::from_mins(10);

/// How often what is provided is announced again, give or take a tenth: four times in
/// [`RECORD_TTL`], so that three may fail.
pub const REPROVIDE_INTERVAL: Duration = Duration::from_hours(6);

/// When an announcement that reached nobody is tried again.
pub const REPROVIDE_RETRY: Duration = Duration::from_secs(30);

/// How long to wait, once an address was confirmed, for more of them.
pub const REPROVIDE_DEBOUNCE: Duration = Duration::from_secs(1);

/// Announcements that run at once.
pub const ANNOUNCING: usize = 10;

/// Ids that this node provides.
pub const PROVIDED: usize = 65_536;

/// Searches for providers that run at once.
pub const SEARCHES: usize = 256;

/// Providers that one search yields.
pub const PROVIDERS_PER_SEARCH: usize = 64;

/// Pauses before a search that found nobody is tried again.
pub const SEARCH_PAUSES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(1_500), Duration::from_millis(4_500)];

/// How long one query in the DHT may take.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a node without any connection dials its bootstrap nodes, at first and at last.
pub const REJOIN_FIRST: Duration = Duration::from_secs(2);
/// See [`REJOIN_FIRST`].
pub const REJOIN_LAST: Duration = Duration::from_mins(1);

/// Known peers that are dialed to join, besides the bootstrap nodes.
pub const REJOIN_PEERS: usize = 8;

/// How often the loop looks at its timers.
pub const TICK: Duration = Duration::from_millis(250);

/// Gossip messages that wait for the node, and as many that it has taken and not judged. When full,
/// a message is ignored: its author will announce again.
pub const GOSSIP_QUEUE: usize = 256;

/// How long the node may take to judge a gossip message; after that it is ignored.
pub const VERDICT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the same gossip bytes are recognised.
pub const GOSSIP_DUPLICATES: Duration = Duration::from_mins(5);

/// Gossip messages of one author that may come at once, and how many more a second.
pub const GOSSIP_BURST: f64 = 20.0;
/// See [`GOSSIP_BURST`].
pub const GOSSIP_PER_SECOND: f64 = 0.2;

/// Gossip messages through one neighbour that may come at once, and how many more a second.
pub const FORWARD_BURST: f64 = 512.0;
/// See [`FORWARD_BURST`].
pub const FORWARDS_PER_SECOND: f64 = 20.0;

/// Bytes in one gossip frame: a message has at most 2 KiB, control messages may be longer.
pub const GOSSIP_FRAME: usize = 32 << 10;

/// How long the loop's own tasks may take to end.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
