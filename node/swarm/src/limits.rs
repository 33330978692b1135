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

/// Provider records of all peers. A record takes some 500 bytes, and up to a kilobyte and a half with
/// as many and as long addresses as it may have.
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

/// Peers that vanished without a word and are looked for.
pub const VANISHED: usize = 256;

/// How long they are looked for: a laptop that sleeps for longer comes back by itself.
pub const VANISHED_TIME: Duration = Duration::from_hours(1);

/// How often they are looked for at last. At first it is as for a node without connections.
pub const SEEK_LAST: Duration = Duration::from_mins(10);

/// How often the loop looks at its timers.
pub const TICK: Duration = Duration::from_millis(250);

/// Addresses that are proposed as this node's own, until the network changes.
pub const CANDIDATES: usize = 16;

/// Of these, addresses that one host has seen: TCP's and QUIC's.
pub const CANDIDATES_PER_OBSERVER: usize = 2;

/// How often addresses that nobody has checked yet are given to somebody to dial.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// How often a quiet connection is tried, and how long an answer may take.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// See [`PING_INTERVAL`].
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Relays that a node is reached through at once.
pub const RELAYS: usize = 2;

/// Relays that are remembered.
pub const RELAYS_KNOWN: usize = 64;

/// How long a node without a checked address of its own waits before it asks a relay.
pub const RELAY_AFTER: Duration = Duration::from_secs(2);

/// Relays whose connections are kept for what they see of this node.
pub const RELAYS_HELD: usize = 4;

/// How long a relay may take to accept.
pub const RESERVATION_TIMEOUT: Duration = Duration::from_secs(20);

/// When a relay that failed is asked again, at first and at last.
pub const RELAY_RETRY_FIRST: Duration = Duration::from_secs(2);
/// See [`RELAY_RETRY_FIRST`].
pub const RELAY_RETRY_LAST: Duration = Duration::from_mins(1);

/// A circuit that may carry more than this is for bulk, one that may not is for finding each other.
pub const SIGNALLING_BYTES: u64 = 8 << 20;

/// How long those who want bulk wait for a hole to be punched.
pub const PUNCH_WAIT: Duration = Duration::from_secs(15);

/// Two connections that two peers begin within this may have crossed each other.
pub const CROSSING: Duration = Duration::from_secs(2);

/// How long a hole punch may take: three attempts of 15 s at most.
pub const PUNCH_TIMEOUT: Duration = Duration::from_secs(50);

/// How long a hole punch that failed keeps others from waiting for one to the same peer.
pub const PUNCH_MEMORY: Duration = Duration::from_mins(5);

/// Refusals of a kind that a private network's node logs, before it logs ever fewer.
pub const REFUSALS_TOLD: u64 = 64;

/// Holes that are kept open while nothing goes through them.
pub const HOLES_HELD: usize = 32;

/// Requests for bulk that wait for holes to be punched, over all peers.
pub const PUNCH_WAITERS: usize = 256;

/// Peers whose hole punches are remembered.
pub const PUNCHES: usize = 1_024;

/// Hosts whose word about where they see this node is kept.
pub const OBSERVERS: usize = 32;

/// How long a node that is connected and that nobody reaches waits before it says so.
pub const UNREACHABLE_AFTER: Duration = Duration::from_secs(30);

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

/// How long proving membership of a private network may take, an invite's way to an admin included.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer that is refused may take to read why.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Peers each way that may show certificates and revocation lists at once. The others wait in line,
/// of whom libp2p lets in no more than `Limits::pending`. It costs 128 KiB each.
pub const HANDSHAKES: usize = 32;

/// Invites that are being redeemed through this node at once.
pub const REDEEMING: usize = 16;

/// How long an admin may take to answer: it has to write to its disk.
pub const REDEEM_TIMEOUT: Duration = Duration::from_secs(6);

/// Redemptions that wait for the loop to send them to an admin.
pub const FORWARDS: usize = 16;

/// Admins that are asked about one invite, one after another.
pub const ADMINS_ASKED: usize = 3;

/// Members of a private network whose certificates are remembered; more than there can be
/// connections.
pub const MEMBERS: usize = 4_096;

/// Events of membership that a slow listener may lag behind before it loses the oldest.
pub const MEMBERSHIP_EVENTS: usize = 256;

/// How long the loop's own tasks may take to end.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a circuit where bulk is allowed, unless the operator says otherwise.
pub const BULK_BYTES: u64 = 1 << 30;

/// How long a reservation at this relay lasts. It is renewed at three quarters of that.
pub const RESERVATION_TIME: Duration = Duration::from_hours(1);

/// What a budget of a relay is for.
pub const BUDGET_WINDOW: Duration = Duration::from_hours(1);

/// Peers whose use of this relay is remembered. When all are within their window, whoever used
/// least makes room.
pub const BUDGETED_PEERS: usize = 16_384;

/// Networks of addresses, likewise.
pub const BUDGETED_NETWORKS: usize = 4_096;

/// Reservations and circuits that a peer may ask for at once, and how many more a second.
pub const PEER_ASK_BURST: f64 = 64.0;
/// See [`PEER_ASK_BURST`].
pub const PEER_ASKS_PER_SECOND: f64 = 1.0;

/// Reservations and circuits that a network of addresses may ask for at once, and how many more a
/// second: an office of 250 starts in the morning, with two relays and four friends each.
pub const NETWORK_ASK_BURST: f64 = 1_500.0;
/// See [`NETWORK_ASK_BURST`].
pub const NETWORK_ASKS_PER_SECOND: f64 = 16.0;

/// Refusals of one peer that are logged for the operator at once, and how many more a second. The
/// rest is counted.
pub const REFUSALS_LOGGED: f64 = 4.0;
/// See [`REFUSALS_LOGGED`].
pub const REFUSALS_LOGGED_PER_SECOND: f64 = 1.0 / 60.0;
