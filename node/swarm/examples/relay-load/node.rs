//! Nodes that listen nowhere, each at an address of its own, and that do what no honest node would.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Range};
use hive_protocol::limits::{CHUNK_LEN, GROUP_LEN};
use hive_protocol::{BlockId, ChunkId};
use hive_swarm::exchange::{self, ExchangeEvent};
use hive_swarm::transport::security::Security;
use hive_swarm::transport::{self, Connections};
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::relay::client::Event as RelayEvent;
use libp2p::swarm::{self, ConnectionId, NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, relay};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use crate::{AnyError, PATIENCE};

/// TCP from one address of this machine.
struct From(Ipv4Addr);

impl Transport for From {
    type Output = Compat<tokio::net::TcpStream>;
    type Error = std::io::Error;
    type ListenerUpgrade = BoxFuture<'static, std::io::Result<Self::Output>>;
    type Dial = BoxFuture<'static, std::io::Result<Self::Output>>;

    fn listen_on(
        &mut self,
        _: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        _: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        let (mut parts, source) = (address.iter(), self.0);
        let (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port))) = (parts.next(), parts.next())
        else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        Ok(Box::pin(async move {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((source, 0)))?;
            let stream = socket.connect(SocketAddr::from((IpAddr::V4(ip), port))).await?;
            stream.set_nodelay(true)?;
            Ok(stream.compat())
        }))
    }

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Poll::Pending
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    circuits: relay::client::Behaviour,
    exchange: exchange::Behaviour,
}

/// What a node shall do.
pub(crate) enum Ask {
    /// Says whether the relay took it.
    Reserve(oneshot::Sender<bool>),
    /// Says whether there is a circuit.
    Dial(PeerId, oneshot::Sender<bool>),
    /// Closes the circuit that was dialed last.
    Close(oneshot::Sender<()>),
    /// Takes groups of a peer and says how many bytes came.
    Take(PeerId, oneshot::Sender<u64>),
}

/// A node that listens nowhere.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) peer: PeerId,
    asks: mpsc::Sender<Ask>,
}

impl Node {
    pub(crate) fn start(source: Ipv4Addr, relay: &str) -> Result<Self, AnyError> {
        let identity = Keypair::generate_ed25519();
        let peer = identity.public().to_peer_id();
        let (transport, circuits) = relay::client::new(peer);
        let security = Security::new(&identity)?;
        let circuit: Connections = transport::secure(transport, security.clone());
        let connections = transport::either(circuit, transport::secure(From(source), security));
        let (mut exchange, inbound) = exchange::Behaviour::new("test");
        let relay: Multiaddr = relay.parse()?;
        if let Some(Protocol::P2p(relay)) = relay.iter().last() {
            // It serves over any relay, as no honest node would.
            exchange.set_relay(relay, true);
        }
        let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(PATIENCE);
        let swarm = Swarm::new(connections, Behaviour { circuits, exchange }, peer, config);
        let (asks, queue) = mpsc::channel(4);
        tokio::spawn(run(swarm, queue, relay));
        tokio::spawn(give(inbound));
        Ok(Self { peer, asks })
    }

    pub(crate) async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, AnyError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| "a node has ended")?;
        Ok(tokio::time::timeout(PATIENCE, answer).await??)
    }
}

/// Drives a node. It keeps the circuit that it dialed last.
async fn run(mut swarm: Swarm<Behaviour>, mut asks: mpsc::Receiver<Ask>, relay: Multiaddr) {
    let mut reserving: Option<oneshot::Sender<bool>> = None;
    let mut dialing: HashMap<ConnectionId, (oneshot::Sender<bool>, PeerId)> = HashMap::new();
    let mut last: Option<ConnectionId> = None;
    loop {
        tokio::select! {
            ask = asks.recv() => match ask {
                None => return,
                Some(Ask::Reserve(reply)) => {
                    let listening = swarm.listen_on(relay.clone().with(Protocol::P2pCircuit));
                    reserving = listening.is_ok().then_some(reply);
                }
                Some(Ask::Dial(peer, reply)) => {
                    if let Some(last) = last.take() {
                        swarm.close_connection(last);
                    }
                    let to = relay.clone().with(Protocol::P2pCircuit).with(Protocol::P2p(peer));
                    let opts = swarm::dial_opts::DialOpts::peer_id(peer)
                        .condition(swarm::dial_opts::PeerCondition::Always)
                        .addresses(vec![to])
                        .build();
                    let id = opts.connection_id();
                    if swarm.dial(opts).is_ok() {
                        dialing.insert(id, (reply, peer));
                    }
                }
                Some(Ask::Close(reply)) => {
                    if let Some(last) = last.take() {
                        swarm.close_connection(last);
                    }
                    answer(Some(reply), ());
                }
                Some(Ask::Take(peer, reply)) => {
                    let exchange = &mut swarm.behaviour_mut().exchange;
                    let connection = exchange.connections(&peer).map(|info| info.id).next();
                    let (events, told) = mpsc::channel(2);
                    if let Some(connection) = connection
                        && exchange.request(connection, groups(), events).is_ok()
                    {
                        tokio::spawn(count(told, reply));
                    }
                }
            },
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(BehaviourEvent::Circuits(
                    RelayEvent::ReservationReqAccepted { renewal: false, .. },
                )) => answer(reserving.take(), true),
                SwarmEvent::ListenerClosed { .. } => {
                    answer(reserving.take(), false);
                }
                SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                    if let Some((reply, _)) = dialing.remove(&connection_id) {
                        last = Some(connection_id);
                        answer(Some(reply), true);
                    }
                }
                SwarmEvent::OutgoingConnectionError { connection_id, .. } => {
                    if let Some((reply, _)) = dialing.remove(&connection_id) {
                        answer(Some(reply), false);
                    }
                }
                _ => {}
            },
        }
    }
}

/// Answers whoever still waits.
fn answer<T>(reply: Option<oneshot::Sender<T>>, value: T) {
    if let Some(reply) = reply {
        let _ = reply.send(value);
    }
}

/// As much as one request may ask for.
fn groups() -> ChunkRequest {
    let (chunk, size) = (ChunkId::of(b"chunk"), CHUNK_LEN);
    ChunkRequest::new(BlockId::of(b"model"), vec![Range { chunk, size, first: 0, n: 16 }])
}

/// Gives whatever is asked for.
async fn give(mut inbound: mpsc::Receiver<exchange::Inbound>) {
    let group = Bytes::from(vec![7; GROUP_LEN as usize]);
    while let Some(exchange::Inbound { request, responder, .. }) = inbound.recv().await {
        let group = group.clone();
        tokio::spawn(async move {
            let response = ChunkResponse::ok(request.ranges.clone(), 0);
            let Ok(mut sending) = responder.accept(&request, &response).await else { return };
            for range in &request.ranges {
                for _ in range.group_lens() {
                    if sending.send_group(&group).await.is_err() {
                        return;
                    }
                }
            }
            // Whoever was cut off has heard the end already.
            let _ = sending.finish().await;
        });
    }
}

async fn count(mut told: mpsc::Receiver<ExchangeEvent>, reply: oneshot::Sender<u64>) {
    let mut n = 0;
    while let Some(event) = told.recv().await {
        if let ExchangeEvent::Group { bytes, .. } = event {
            n += bytes.len() as u64;
        }
    }
    answer(Some(reply), n);
}
