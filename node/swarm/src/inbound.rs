//! What comes from peers and leaves the swarm for the node: requests, gossip, and news.

use std::time::Duration;
use std::time::SystemTime;

use bytes::Bytes;
use hive_protocol::chunk_message::ChunkRequest;
use hive_protocol::message::{Request, Response};
use tokio::sync::{mpsc, oneshot};

use crate::exchange::{self, TransportKind};
use crate::identity::Peer;

/// A `model/1` request of a peer, to be answered.
#[derive(Debug)]
pub struct InboundRequest {
    /// Who asks.
    pub peer: Peer,
    /// What.
    pub request: Request,
    /// Takes the answer.
    pub reply: Responder,
}

/// Answers one `model/1` request. Dropped without an answer, it tells the peer to come again.
#[derive(Debug)]
pub struct Responder {
    pub(crate) answer: oneshot::Sender<Response>,
}

impl Responder {
    /// Answers. Never blocks; when the peer has left, the answer goes nowhere.
    pub fn send(self, response: Response) {
        // The peer may have stopped waiting, which is its right.
        let _ = self.answer.send(response);
    }
}

/// A `chunk/1` request of a peer, to be answered.
#[derive(Debug)]
pub struct InboundChunks {
    /// Who asks.
    pub peer: Peer,
    /// What for.
    pub request: ChunkRequest,
    /// Takes the answer. Dropping it resets the stream.
    pub reply: exchange::Responder,
}

/// The `chunk/1` requests of all peers. While its queue is full, peers are told to come again.
#[derive(Debug)]
pub struct ChunkRequests {
    pub(crate) queue: mpsc::Receiver<exchange::Inbound>,
}

impl ChunkRequests {
    /// Waits for the next request; `None` when the swarm has ended. Cancel safe.
    pub async fn recv(&mut self) -> Option<InboundChunks> {
        let exchange::Inbound { peer, request, responder, .. } = self.queue.recv().await?;
        Some(InboundChunks { peer: Peer(peer), request, reply: responder })
    }
}

/// Announcements of other nodes. The author's signature as a node fits; what is announced is not
/// checked.
#[derive(Debug)]
pub enum Gossip {
    /// A signed [`hive_protocol::catalog::Head`].
    Head {
        /// The node that announces.
        source: Peer,
        /// The neighbour that passed it on.
        via: Peer,
        /// The announcement.
        bytes: Bytes,
        /// Takes what the node thinks of it.
        verdict: Verdict,
    },
    /// A signed [`hive_protocol::catalog::Capability`].
    Capability {
        /// The node that announces.
        source: Peer,
        /// The announcement.
        bytes: Bytes,
        /// Takes what the node thinks of it.
        verdict: Verdict,
    },
}

/// What is to become of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    Accept,
    Ignore,
    Reject,
}

/// Says what is to become of one announcement. Dropped, or late, it is ignored.
#[derive(Debug)]
pub struct Verdict {
    pub(crate) judgement: oneshot::Sender<Judgement>,
}

impl Verdict {
    /// It is good and new: others shall have it.
    pub fn accept(self) {
        self.give(Judgement::Accept);
    }

    /// It is of no use, and nobody's fault: a replay, or not understood.
    pub fn ignore(self) {
        self.give(Judgement::Ignore);
    }

    /// No honest node would have passed it on: forged, or malformed. Who did loses standing.
    pub fn reject(self) {
        self.give(Judgement::Reject);
    }

    fn give(self, judgement: Judgement) {
        // Too late is as good as ignored.
        let _ = self.judgement.send(judgement);
    }
}

/// What happened in the swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SwarmEvent {
    /// The first connection with a peer.
    PeerConnected {
        /// Who.
        peer: Peer,
    },
    /// The last connection with a peer has closed.
    PeerDisconnected {
        /// Who.
        peer: Peer,
    },
    /// A connected peer has said what it is.
    PeerIdentified {
        /// Who.
        peer: Peer,
        /// Its software and version, as it says.
        agent: String,
        /// What its owner calls it, as it says.
        name: Option<String>,
        /// Whether it speaks `model/1` of this network, or is just a libp2p node.
        speaks_hive: bool,
    },
    /// mDNS found a node of this network, and it is connected.
    PeerFound {
        /// Who.
        peer: Peer,
    },
    /// This node listens on one more address.
    NewListenAddr {
        /// The address, with this node at its end.
        address: String,
    },
    /// Others reach this node there.
    AddressConfirmed {
        /// The address, with this node at its end.
        address: String,
    },
    /// Others no longer reach this node there.
    AddressExpired {
        /// The address, with this node at its end.
        address: String,
    },
    /// A hole was punched: there is a direct connection where there was a relayed one.
    Punched {
        /// Who is on the other side.
        peer: Peer,
    },
    /// No hole could be punched: what there is with the peer goes through a relay.
    PunchFailed {
        /// Who is on the other side.
        peer: Peer,
        /// Why.
        reason: String,
    },
    /// What is known of this node's own reachability has changed.
    ReachabilityChanged {
        /// What it is now.
        reachability: Reachability,
    },
    /// A relay lets others reach this node.
    RelayReserved {
        /// The relay.
        relay: Peer,
    },
    /// A relay does so no longer.
    RelayLost {
        /// The relay.
        relay: Peer,
        /// Why.
        reason: String,
    },
    /// A peer was banned.
    Banned {
        /// Who.
        peer: Peer,
        /// Why.
        reason: String,
    },
}

/// What is known of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// Who.
    pub peer: Peer,
    /// Whether there is a connection.
    pub connected: bool,
    /// Where it is: of a connected peer where the connections lead, else what the book has.
    pub addresses: Vec<String>,
    /// What the connections run over.
    pub transports: Vec<TransportKind>,
    /// The connections.
    pub links: Vec<Link>,
    /// What became of the attempt to punch a hole to it, if there was one.
    pub punch: Option<Punch>,
    /// How long the last ping took.
    pub rtt: Option<Duration>,
    /// Its software and version, as it says.
    pub agent: Option<String>,
    /// What its owner calls it, as it says.
    pub name: Option<String>,
    /// Until when it is banned, if it is.
    pub banned_until: Option<SystemTime>,
}

/// One connection with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it runs over; `Relay` whatever is below.
    pub transport: TransportKind,
    /// Where the other side is.
    pub address: String,
    /// The relay that it goes through, if it does.
    pub relay: Option<Peer>,
    /// Whether the relay lets so much through that bulk may go over it.
    pub allows_bulk: bool,
    /// How long it has been there.
    pub age: Duration,
    /// Whether this node began it.
    pub outbound: bool,
}

/// What became of an attempt to punch a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Punch {
    /// It goes on.
    Running,
    /// There is a direct connection.
    Succeeded,
    /// There is none.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How a router between this node and the others maps its ports (RFC 4787 §4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum NatMapping {
    /// Too few have said where they see this node.
    #[default]
    Unknown,
    /// Others see this node where it is.
    None,
    /// One port for all: holes can be punched.
    EndpointIndependent,
    /// Another port for each (symmetric): nobody can know where to knock.
    AddressDependent,
}

/// Whether others reach this node, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Reachability {
    /// Nobody has said yet.
    #[default]
    Unknown,
    /// At an address of its own that was checked.
    Direct,
    /// Through relays only; holes may be punched.
    Relayed,
    /// Not at all; it reaches others.
    Unreachable,
}

/// A relay that this node uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayState {
    /// Which.
    pub relay: Peer,
    /// Whether it has accepted.
    pub reserved: bool,
    /// Whether it lets bulk through.
    pub allows_bulk: bool,
    /// Why there is no reservation, if there was one or an attempt.
    pub trouble: Option<String>,
}

/// What became of asking the router for a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Upnp {
    /// It was not asked.
    #[default]
    Off,
    /// It has not answered yet.
    Asking,
    /// There is none that speaks UPnP.
    NoGateway,
    /// Its own address is private: there is another router behind it.
    NotRoutable,
    /// It says that others reach this node there; whether they do is checked like any address.
    Mapped {
        /// Where.
        addresses: Vec<String>,
    },
}

/// How this node stands in the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkState {
    /// Peers with a connection.
    pub connected: usize,
    /// Whether this node answers questions of the DHT.
    pub dht_server: bool,
    /// Peers in the routing table.
    pub dht_peers: usize,
    /// Where this node listens, with its id at the end.
    pub listening: Vec<String>,
    /// Where others reach it, with its id at the end.
    pub external: Vec<String>,
    /// Whether others reach this node.
    pub reachability: Reachability,
    /// How the router maps TCP ports.
    pub tcp_mapping: NatMapping,
    /// How the router maps UDP ports.
    pub udp_mapping: NatMapping,
    /// Where others see this node; whether anybody can dial it there is another question.
    pub observed: Vec<String>,
    /// The relays that it uses.
    pub relays: Vec<RelayState>,
    /// What the router says.
    pub upnp: Upnp,
    /// Ids that it provides.
    pub provided: usize,
    /// Of these, those that another node was told of.
    pub announced: usize,
}
