//! Knows the connections and sends each request to the one it names.
//!
//! It never chooses: [`Behaviour::connections`] says what there is and what is known of each, the
//! caller decides.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use hive_protocol::chunk_message::ChunkRequest;
use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::{AddressChange, ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::sync::{Semaphore, mpsc};

use crate::address::relay_of;

use super::ask::Ask;
use super::buffers::Buffers;
use super::handler::Handler;
use super::limits::{INBOUND_QUEUE, OUTBOUND_PER_CONNECTION};
use super::traffic::{Carried, Traffic};
use super::{ExchangeEvent, Inbound};

/// What a connection runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// TCP: preferred for bulk.
    Tcp,
    /// QUIC.
    Quic,
    /// WebSocket over TCP, for networks that let nothing else out.
    WebSocket,
    /// Another peer's relay, whatever is below: not for bulk.
    Relay,
    /// Memory, in tests; anything that is none of the others.
    Other,
}

impl TransportKind {
    /// Reads the kind off an address.
    pub fn of(addr: &Multiaddr) -> Self {
        let mut kind = Self::Other;
        for protocol in addr {
            match protocol {
                Protocol::P2pCircuit => return Self::Relay,
                Protocol::Tcp(_) => kind = Self::Tcp,
                Protocol::Ws(_) | Protocol::Wss(_) => kind = Self::WebSocket,
                Protocol::QuicV1 | Protocol::Quic => kind = Self::Quic,
                _ => {}
            }
        }
        kind
    }
}

/// A connection to a peer.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Names it in [`Behaviour::request`].
    pub id: ConnectionId,
    /// Who is on the other side.
    pub peer: PeerId,
    /// What it runs over.
    pub kind: TransportKind,
    /// Where the other side is.
    pub remote_addr: Multiaddr,
    /// The peer that it goes through, if it does.
    pub relay: Option<PeerId>,
    /// The address of this machine that it left from, or came to.
    pub local: Option<IpAddr>,
    /// Since when it is there.
    pub since: Instant,
    /// Whether this node began it.
    pub outbound: bool,
}

impl ConnectionInfo {
    /// Whether it goes through another peer.
    pub fn is_relayed(&self) -> bool {
        self.kind == TransportKind::Relay
    }
}

/// Why a request was not even begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no such connection, or no longer.
    #[error("no such connection")]
    NotConnected,
    /// As many requests as a connection may have run already.
    #[error("{OUTBOUND_PER_CONNECTION} requests run on this connection")]
    Full,
}

/// The relay that a connection goes through.
fn relay(endpoint: &ConnectedPoint) -> Option<PeerId> {
    match endpoint {
        ConnectedPoint::Dialer { address, .. } => relay_of(address),
        ConnectedPoint::Listener { local_addr, .. } => relay_of(local_addr),
    }
}

/// Where packets to an address leave from now. Connecting a UDP socket sends nothing.
fn local_ip(remote: &Multiaddr) -> Option<IpAddr> {
    let (ip, any): (IpAddr, IpAddr) = match remote.iter().next()? {
        Protocol::Ip4(ip) => (ip.into(), Ipv4Addr::UNSPECIFIED.into()),
        Protocol::Ip6(ip) => (ip.into(), Ipv6Addr::UNSPECIFIED.into()),
        _ => return None,
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((ip, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[derive(Debug)]
struct Connection {
    info: ConnectionInfo,
    slots: Arc<Semaphore>,
    traffic: Arc<Traffic>,
}

/// Speaks `chunk/1` on all connections.
#[derive(Debug)]
pub struct Behaviour {
    protocol: StreamProtocol,
    inbound: mpsc::Sender<Inbound>,
    connections: HashMap<ConnectionId, Connection>,
    by_peer: HashMap<PeerId, Vec<ConnectionId>>,
    /// Relays whose circuits may carry groups.
    bulk_relays: HashSet<PeerId>,
    /// Asks for the handlers, at most as many as the connections have slots.
    asks: VecDeque<(PeerId, ConnectionId, Ask)>,
    waker: Option<Waker>,
    buffers: Weak<Buffers>,
}

impl Behaviour {
    /// Speaks the protocol of `network`. Peers' requests come out of the queue; while it is full
    /// they are told to come again.
    pub fn new(network: &str) -> (Self, mpsc::Receiver<Inbound>) {
        let protocol = StreamProtocol::try_from_owned(format!("/hive/{network}/chunk/1"))
            .expect("the name starts with a slash");
        let (inbound, queue) = mpsc::channel(INBOUND_QUEUE);
        let behaviour = Self {
            protocol,
            inbound,
            connections: HashMap::new(),
            by_peer: HashMap::new(),
            bulk_relays: HashSet::new(),
            asks: VecDeque::new(),
            waker: None,
            buffers: Weak::new(),
        };
        (behaviour, queue)
    }

    /// All connections.
    pub fn all(&self) -> impl Iterator<Item = &ConnectionInfo> {
        self.connections.values().map(|connection| &connection.info)
    }

    /// The connections to `peer`, oldest first.
    pub fn connections(&self, peer: &PeerId) -> impl Iterator<Item = &ConnectionInfo> {
        let ids = self.by_peer.get(peer).into_iter().flatten();
        ids.filter_map(|id| self.connections.get(id)).map(|connection| &connection.info)
    }

    /// What a connection has brought so far; nothing if there is none.
    pub fn carried(&self, connection: ConnectionId) -> Carried {
        self.connections.get(&connection).map(|known| known.traffic.sum()).unwrap_or_default()
    }

    /// Ends what runs on a connection ([`super::Failure::Withdrawn`]), to be asked elsewhere.
    pub fn withdraw(&self, connection: ConnectionId) {
        if let Some(known) = self.connections.get(&connection) {
            known.traffic.withdraw();
        }
    }

    /// Asks over `connection` and no other. What comes goes to `events`; while that is full the
    /// stream is not read, and when its receiver is dropped the stream is reset.
    pub fn request(
        &mut self,
        connection: ConnectionId,
        request: ChunkRequest,
        events: mpsc::Sender<ExchangeEvent>,
    ) -> Result<(), RequestError> {
        let Connection { info, slots, traffic } =
            self.connections.get(&connection).ok_or(RequestError::NotConnected)?;
        let slot = Arc::clone(slots).try_acquire_owned().map_err(|_| RequestError::Full)?;
        let buffers = self.buffers.upgrade().unwrap_or_default();
        self.buffers = Arc::downgrade(&buffers);
        let ask = Ask::new(request, events, buffers, traffic.begin(), slot);
        self.asks.push_back((info.peer, connection, ask));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    /// Notes whether a relay lets groups through. On circuits of one that does not, whoever asks
    /// for groups is refused: what its owner did not offer is not taken.
    pub fn set_relay(&mut self, relay: PeerId, allows_bulk: bool) {
        if allows_bulk {
            self.bulk_relays.insert(relay);
        } else {
            self.bulk_relays.remove(&relay);
        }
    }

    fn handler(&self, peer: PeerId, connection: ConnectionId, address: &Multiaddr) -> Handler {
        let serves = relay_of(address).is_none_or(|relay| self.bulk_relays.contains(&relay));
        Handler::new(self.protocol.clone(), peer, connection, self.inbound.clone(), serves)
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let remote_addr = endpoint.get_remote_address().clone();
        let kind = if endpoint.is_relayed() {
            TransportKind::Relay
        } else {
            TransportKind::of(&remote_addr)
        };
        let (relay, outbound) = (relay(endpoint), endpoint.is_dialer());
        let since = Instant::now();
        let local = if relay.is_none() { local_ip(&remote_addr) } else { None };
        let info = ConnectionInfo { id, peer, kind, remote_addr, relay, local, since, outbound };
        let slots = Arc::new(Semaphore::new(OUTBOUND_PER_CONNECTION));
        self.connections.insert(id, Connection { info, slots, traffic: Arc::default() });
        self.by_peer.entry(peer).or_default().push(id);
    }

    fn on_closed(&mut self, peer: PeerId, id: ConnectionId) {
        self.connections.remove(&id);
        self.asks.retain(|(_, connection, _)| *connection != id);
        if let Some(ids) = self.by_peer.get_mut(&peer) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local_addr: &Multiaddr,
        _remote_addr: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection, local_addr))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        _role_override: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection, addr))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => self.on_established(peer_id, connection_id, endpoint),
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.on_closed(peer_id, connection_id);
            }
            FromSwarm::AddressChange(AddressChange { connection_id, new, .. }) => {
                if let Some(connection) = self.connections.get_mut(&connection_id) {
                    connection.info.remote_addr = new.get_remote_address().clone();
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((peer_id, connection, event)) = self.asks.pop_front() {
            let handler = NotifyHandler::One(connection);
            return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
