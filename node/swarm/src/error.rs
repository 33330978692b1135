//! How calls to the swarm end when they do not succeed.

use std::io;

use crate::exchange::limits::OUTBOUND_PER_CONNECTION;
use crate::identity::Peer;
use crate::limits::{ASKING_PER_PEER, REQUEST_TIMEOUT};

/// Whose doing a failure was. Retry, reputation and what is shown follow from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This node's, or its machine's.
    Ours,
    /// The peer's: no honest one would have caused it.
    Theirs,
    /// The caller's.
    Callers,
    /// Networks and machines fail.
    Nobodys,
}

/// The swarm has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the network is stopped")]
pub struct Stopped;

impl Stopped {
    /// Whose doing it was.
    pub fn fault(&self) -> Fault {
        Fault::Ours
    }
}

/// Why a swarm did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No name for a network.
    #[error("`{name}` is no network's name: 1 to 64 of a-z, 0-9 and -")]
    Network {
        /// What was given.
        name: String,
    },
    /// No name for a node or its software.
    #[error("`{name}` is no node's name: 1 to 128 bytes without control characters")]
    NodeName {
        /// What was given.
        name: String,
    },
    /// Not an address.
    #[error("`{address}` is not a multiaddr")]
    Address {
        /// What was given.
        address: String,
    },
    /// A bootstrap address without its peer.
    #[error("bootstrap address {address} does not end in /p2p/<peer>")]
    BootstrapPeer {
        /// The address.
        address: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A membership of another network than the configured one.
    #[error("the membership is of network {network}, the configuration names `{name}`")]
    OtherNetwork {
        /// What the configuration names.
        name: String,
        /// The membership's network.
        network: String,
    },
    /// A membership of another node.
    #[error("the membership is of another node than {peer}, which this is")]
    OtherNode {
        /// This node.
        peer: Peer,
    },
    /// QUIC would write the keys of connections to a file.
    #[error("SSLKEYLOGFILE is set, and would give away every connection's keys")]
    KeyLog,
    /// The transports cannot be set up.
    #[error("cannot set up the transports")]
    Transport(#[source] crate::transport::TransportError),
    /// Nodes on the local network cannot be looked for.
    #[error("cannot set up mDNS")]
    Mdns(#[source] io::Error),
    /// A protocol cannot be set up.
    #[error("cannot set up {protocol}: {reason}")]
    Protocol {
        /// Which.
        protocol: &'static str,
        /// Why.
        reason: String,
    },
}

impl StartError {
    /// Whose doing it was.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Network { .. }
            | Self::NodeName { .. }
            | Self::Address { .. }
            | Self::BootstrapPeer { .. }
            | Self::OtherNetwork { .. }
            | Self::OtherNode { .. } => Fault::Callers,
            _ => Fault::Ours,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Not an address.
    #[error("`{address}` is not a multiaddr")]
    Address {
        /// What was given.
        address: String,
    },
    /// Nobody has said where the peer is.
    #[error("no address of {peer} is known")]
    NoAddress {
        /// The peer.
        peer: Peer,
    },
    /// The peer is banned here.
    #[error("{peer} is banned")]
    Banned {
        /// The peer.
        peer: Peer,
    },
    /// Another peer answered.
    #[error("{peer} answered instead")]
    WrongPeer {
        /// Who answered.
        peer: Peer,
    },
    /// The peer is this node.
    #[error("that is this node itself")]
    Oneself,
    /// Nobody answered, or not so that a connection came of it.
    #[error("cannot connect to {target}: {reason}")]
    Unreachable {
        /// The peer or address.
        target: String,
        /// What each address answered.
        reason: String,
    },
    /// This node sets up as many connections as it may.
    #[error("too many connections are being set up")]
    TooMany,
    /// The swarm has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl DialError {
    /// Whose doing it was.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Address { .. } | Self::Banned { .. } | Self::Oneself => Fault::Callers,
            Self::NoAddress { .. } | Self::WrongPeer { .. } | Self::Unreachable { .. } => {
                Fault::Nobodys
            }
            Self::TooMany | Self::Stopped(_) => Fault::Ours,
        }
    }
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection to ask over.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The peer did not answer in time.
    #[error("no response within {REQUEST_TIMEOUT:?}")]
    Timeout,
    /// The connection closed before the response.
    #[error("the connection closed")]
    Closed,
    /// The peer does not speak `model/1`.
    #[error("the peer does not answer questions about models")]
    Unsupported,
    /// The response is none.
    #[error("the response cannot be read")]
    Malformed(#[source] io::Error),
    /// As many requests run with this peer as may.
    #[error("{ASKING_PER_PEER} requests run with this peer already")]
    TooMany,
    /// The request is longer than a peer would read, or the stream broke.
    #[error("the stream broke")]
    Io(#[source] io::Error),
    /// The swarm has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl RequestError {
    /// Whose doing it was.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Dial(error) => error.fault(),
            Self::Malformed(_) => Fault::Theirs,
            Self::Timeout | Self::Closed | Self::Unsupported | Self::Io(_) => Fault::Nobodys,
            Self::TooMany | Self::Stopped(_) => Fault::Ours,
        }
    }
}

/// Why groups are not even asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There is no connection to ask over.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The only connections go through a relay, which is not for bulk.
    #[error("the peer is reached through a relay only, and no hole could be punched to it")]
    OnlyRelayed {
        /// Who.
        peer: Peer,
        /// Whether the relay's owner allows bulk, so that only the asker's leave is missing.
        offered: bool,
    },
    /// As many requests run with this peer as may.
    #[error("{OUTBOUND_PER_CONNECTION} requests run with this peer already")]
    TooMany,
    /// The swarm has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl FetchError {
    /// Whose doing it was.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Dial(error) => error.fault(),
            Self::OnlyRelayed { .. } => Fault::Nobodys,
            Self::TooMany | Self::Stopped(_) => Fault::Ours,
        }
    }
}

/// Why an announcement is not gossiped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// Nobody would take it.
    #[error("an announcement of {len} bytes, at most {max} are taken")]
    TooLong {
        /// Its length.
        len: usize,
        /// The most.
        max: usize,
    },
    /// The swarm has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl AnnounceError {
    /// Whose doing it was.
    pub fn fault(&self) -> Fault {
        match self {
            Self::TooLong { .. } => Fault::Callers,
            Self::Stopped(_) => Fault::Ours,
        }
    }
}

/// Why the DHT was not joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// No node of the DHT is known. Those of the configuration are being dialed.
    #[error("no other node of the network is known")]
    NoKnownPeers,
    /// The nodes that are known did not answer.
    #[error("the nodes of the network did not answer")]
    Failed,
    /// The swarm has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl BootstrapError {
    /// Whose doing it was.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoKnownPeers | Self::Failed => Fault::Nobodys,
            Self::Stopped(_) => Fault::Ours,
        }
    }
}
