//! A way to ask things of the swarm.

use std::time::Duration;

use hive_protocol::BlockId;
use hive_protocol::chunk_message::ChunkRequest;
use hive_protocol::limits::{CAPABILITY_LEN, HEAD_LEN};
use hive_protocol::message::{Request, Response};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::book::KnownPeer;
use crate::error::{AnnounceError, BootstrapError, DialError, FetchError, RequestError, Stopped};
use crate::exchange::ExchangeEvent;
use crate::identity::Peer;
use crate::inbound::{NetworkState, PeerState, SwarmEvent};
use crate::limits::{GROUPS_WAITING, PROVIDERS_PER_SEARCH};
use crate::relaying::RelayServing;

/// Takes an answer.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// What can be announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    Head,
    Capability,
}

impl Topic {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Head, Self::Capability];

    /// Bytes in an announcement at most.
    pub(crate) fn max_len(self) -> usize {
        match self {
            Self::Head => HEAD_LEN,
            Self::Capability => CAPABILITY_LEN,
        }
    }
}

/// What a client asks of the loop.
#[derive(Debug)]
pub(crate) enum Command {
    ListenAddrs(Reply<Vec<String>>),
    Dial { address: String, reply: Reply<Result<Peer, DialError>> },
    Connect { peer: Peer, reply: Reply<Result<(), DialError>> },
    Disconnect { peer: Peer, reply: Reply<()> },
    Providers { id: BlockId, found: mpsc::Sender<Peer> },
    Provide { id: BlockId, reply: Reply<()> },
    Unprovide { id: BlockId, reply: Reply<()> },
    Request { peer: Peer, request: Request, reply: Reply<Result<Response, RequestError>> },
    Fetch { peer: Peer, fetch: Fetch },
    Peers(Reply<Vec<PeerState>>),
    Connected(Reply<Vec<Peer>>),
    Ban { peer: Peer, time: Duration, reason: String, reply: Reply<()> },
    Unban { peer: Peer, reply: Reply<()> },
    Announce { topic: Topic, bytes: Vec<u8>, reply: Reply<()> },
    Bootstrap(Reply<Result<(), BootstrapError>>),
    NetworkState(Reply<NetworkState>),
    RelayState(Reply<Option<RelayServing>>),
    AddressBook(Reply<Vec<KnownPeer>>),
}

/// Groups that somebody wants.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) request: ChunkRequest,
    /// Whether it may go over a relay that allows it.
    pub(crate) over_relay: bool,
    pub(crate) events: mpsc::Sender<ExchangeEvent>,
    pub(crate) reply: Reply<Result<(), FetchError>>,
}

/// A way to ask things of the swarm. Cheap to clone; the swarm ends with the last one.
///
/// Every method is cancel safe: dropping its future abandons what it asked.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) peer: Peer,
    pub(crate) commands: mpsc::Sender<Command>,
    /// A receiver, since a sender here would keep listeners waiting when the swarm has ended.
    pub(crate) events: EventSource,
}

/// Where receivers of [`SwarmEvent`]s come from.
#[derive(Debug)]
pub(crate) struct EventSource(pub(crate) broadcast::Receiver<SwarmEvent>);

impl Clone for EventSource {
    fn clone(&self) -> Self {
        Self(self.0.resubscribe())
    }
}

impl Client {
    /// The name that peers know this node by.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Hears what happens from now on. A receiver that lags loses the oldest events; it ends with
    /// the swarm.
    pub fn events(&self) -> broadcast::Receiver<SwarmEvent> {
        self.events.0.resubscribe()
    }

    /// Where others can dial this node, with its id at the end. Waits until it listens wherever it
    /// shall; empty when it only dials.
    pub async fn listen_addrs(&self) -> Vec<String> {
        self.call(Command::ListenAddrs).await.unwrap_or_default()
    }

    /// Connects to an address, be it private, and says who is there. With a peer at its end, it is
    /// that peer or none.
    pub async fn dial(&self, address: &str) -> Result<Peer, DialError> {
        let address = address.to_owned();
        self.call(|reply| Command::Dial { address, reply }).await?
    }

    /// Connects to a peer wherever the address book or the DHT's routing table has it. At once if
    /// it is connected.
    pub async fn connect(&self, peer: Peer) -> Result<(), DialError> {
        self.call(|reply| Command::Connect { peer, reply }).await?
    }

    /// Closes all connections with a peer.
    pub async fn disconnect(&self, peer: Peer) -> Result<(), Stopped> {
        self.call(|reply| Command::Disconnect { peer, reply }).await
    }

    /// Looks in the DHT for peers that say they have `id`, each once, this node and banned ones left
    /// out. They are being dialed when they come out; [`request`](Self::request) waits for that.
    ///
    /// A search without result is repeated three times within some seconds. The receiver ends with
    /// the search; dropping it ends the search.
    pub async fn providers(&self, id: BlockId) -> mpsc::Receiver<Peer> {
        let (found, receiver) = mpsc::channel(PROVIDERS_PER_SEARCH);
        // When the swarm has ended, so does the receiver.
        let _ = self.commands.send(Command::Providers { id, found }).await;
        receiver
    }

    /// Announces from now on that this node has `id`: at once, again when its addresses change or
    /// the network grows, and every few hours. Returns when that is noted.
    pub async fn provide(&self, id: BlockId) -> Result<(), Stopped> {
        self.call(|reply| Command::Provide { id, reply }).await
    }

    /// Announces `id` no more. What others were told dies within a day.
    pub async fn unprovide(&self, id: BlockId) -> Result<(), Stopped> {
        self.call(|reply| Command::Unprovide { id, reply }).await
    }

    /// Asks a peer and waits for its answer, connecting first if need be. What it answers is well
    /// formed and otherwise unchecked.
    pub async fn request(&self, peer: Peer, request: Request) -> Result<Response, RequestError> {
        self.call(|reply| Command::Request { peer, request, reply }).await?
    }

    /// Asks a peer for groups, connecting first if need be, over the connection that suits bulk
    /// best. Whoever does not take events slows the sender down; dropping the receiver resets the
    /// stream.
    ///
    /// Of a connection that is only tried the first group is asked, and so no more granted.
    ///
    /// Where there is nothing but a relay, it waits some seconds for a hole to be punched. Then it
    /// goes over the relay if both its owner and `over_relay` allow that, and fails otherwise
    /// ([`FetchError::OnlyRelayed`]).
    pub async fn fetch_groups(
        &self,
        peer: Peer,
        request: ChunkRequest,
        over_relay: bool,
    ) -> Result<mpsc::Receiver<ExchangeEvent>, FetchError> {
        let (events, receiver) = mpsc::channel(GROUPS_WAITING);
        let fetch =
            |reply| Command::Fetch { peer, fetch: Fetch { request, over_relay, events, reply } };
        self.call(fetch).await??;
        Ok(receiver)
    }

    /// What is known of the peers that are connected, banned or in the address book.
    pub async fn peers(&self) -> Vec<PeerState> {
        self.call(Command::Peers).await.unwrap_or_default()
    }

    /// The peers with a connection.
    pub async fn connected(&self) -> Vec<Peer> {
        self.call(Command::Connected).await.unwrap_or_default()
    }

    /// Closes all connections with a peer and has none for some time.
    pub async fn ban(&self, peer: Peer, time: Duration, reason: &str) -> Result<(), Stopped> {
        let reason = reason.to_owned();
        self.call(|reply| Command::Ban { peer, time, reason, reply }).await
    }

    /// Ends a ban.
    pub async fn unban(&self, peer: Peer) -> Result<(), Stopped> {
        self.call(|reply| Command::Unban { peer, reply }).await
    }

    /// Announces a signed [`hive_protocol::catalog::Head`]: now, or as soon as somebody listens.
    pub async fn announce_head(&self, bytes: Vec<u8>) -> Result<(), AnnounceError> {
        self.announce(Topic::Head, bytes).await
    }

    /// Announces a signed [`hive_protocol::catalog::Capability`] likewise.
    pub async fn announce_capability(&self, bytes: Vec<u8>) -> Result<(), AnnounceError> {
        self.announce(Topic::Capability, bytes).await
    }

    /// Joins the DHT anew: dials the bootstrap nodes, and looks for neighbours.
    pub async fn bootstrap(&self) -> Result<(), BootstrapError> {
        self.call(Command::Bootstrap).await?
    }

    /// How this node stands in the network.
    pub async fn network_state(&self) -> NetworkState {
        self.call(Command::NetworkState).await.unwrap_or_default()
    }

    /// What this node relays for others; nothing if it is no relay.
    pub async fn relay_state(&self) -> Option<RelayServing> {
        self.call(Command::RelayState).await.unwrap_or_default()
    }

    /// The address book, to be kept for the next start ([`crate::Config::known_peers`]).
    pub async fn address_book(&self) -> Vec<KnownPeer> {
        self.call(Command::AddressBook).await.unwrap_or_default()
    }

    async fn announce(&self, topic: Topic, bytes: Vec<u8>) -> Result<(), AnnounceError> {
        let (len, max) = (bytes.len(), topic.max_len());
        if len > max {
            return Err(AnnounceError::TooLong { len, max });
        }
        Ok(self.call(|reply| Command::Announce { topic, bytes, reply }).await?)
    }

    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}
