//! Nodes that exchange over real swarms, in memory and over TCP.

use std::time::Duration;

use futures::StreamExt;
use hive_protocol::chunk_message::{Range, Status};
use hive_protocol::limits::GROUP_LEN;
use hive_protocol::{BlockId, group};
use libp2p::Multiaddr;
use libp2p::core::transport::MemoryTransport;
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{self, Swarm, SwarmEvent, dummy};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::*;
use crate::transport::{self, Connections, security::Security};

type Work = Box<dyn FnOnce(&mut Swarm<Behaviour>) + Send>;
type Event = SwarmEvent<std::convert::Infallible>;

/// A swarm in a task of its own, which ends with the node.
struct Node {
    peer: PeerId,
    work: mpsc::Sender<Work>,
    events: mpsc::Receiver<Event>,
    queue: mpsc::Receiver<Inbound>,
    _task: JoinSet<()>,
}

fn memory(identity: &Keypair) -> Connections {
    transport::secure(MemoryTransport::new(), Security::new(identity).unwrap())
}

fn real(identity: &Keypair) -> Connections {
    transport::build(identity, &transport::Options::default()).unwrap()
}

impl Node {
    fn start(transport: fn(&Keypair) -> Connections) -> Self {
        let identity = Keypair::generate_ed25519();
        let peer = identity.public().to_peer_id();
        let (behaviour, queue) = Behaviour::new("test");
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_mins(1));
        let mut swarm = Swarm::new(transport(&identity), behaviour, peer, config);
        let (work, mut works) = mpsc::channel::<Work>(8);
        let (told, events) = mpsc::channel(1_000);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                tokio::select! {
                    Some(work) = works.recv() => work(&mut swarm),
                    event = swarm.select_next_some() => told.try_send(event).unwrap(),
                }
            }
        });
        Self { peer, work, events, queue, _task: task }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Swarm<Behaviour>) -> T + Send + 'static,
    ) -> T {
        let (tx, rx) = oneshot::channel();
        let work: Work = Box::new(move |swarm| drop(tx.send(work(swarm))));
        self.work.send(work).await.ok().unwrap();
        rx.await.unwrap()
    }

    async fn listen(&mut self, addr: &str) -> Multiaddr {
        let addr: Multiaddr = addr.parse().unwrap();
        self.with(|swarm| swarm.listen_on(addr)).await.unwrap();
        self.until(|event| match event {
            SwarmEvent::NewListenAddr { address, .. } => Some(address),
            _ => None,
        })
        .await
    }

    async fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.events.recv().await.unwrap()) {
                return found;
            }
        }
    }

    /// Makes one more connection to `addr`.
    async fn connect(&mut self, peer: PeerId, addr: Multiaddr) -> ConnectionId {
        let dial = DialOpts::peer_id(peer).addresses(vec![addr]).condition(PeerCondition::Always);
        self.with(|swarm| swarm.dial(dial.build())).await.unwrap();
        self.until(|event| match event {
            SwarmEvent::ConnectionEstablished { connection_id, .. } => Some(connection_id),
            SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
            _ => None,
        })
        .await
    }

    async fn ask(
        &self,
        connection: ConnectionId,
        ranges: Vec<Range>,
    ) -> Result<mpsc::Receiver<ExchangeEvent>, RequestError> {
        let (tx, rx) = mpsc::channel(2);
        let request = ChunkRequest::new(BlockId::of(b"model"), ranges);
        self.with(move |swarm| swarm.behaviour_mut().request(connection, request, tx)).await?;
        Ok(rx)
    }
}

/// A pair that is connected: the asker, the server and the asker's name for the connection.
async fn pair(transport: fn(&Keypair) -> Connections, addr: &str) -> (Node, Node, ConnectionId) {
    let (mut asker, mut server) = (Node::start(transport), Node::start(transport));
    let addr = server.listen(addr).await;
    let connection = asker.connect(server.peer, addr).await;
    (asker, server, connection)
}

/// `n` groups of a chunk of four and a bit.
fn groups(first: u32, n: u32) -> Range {
    Range { chunk: ChunkId::of(b"chunk"), size: 4 * GROUP_LEN + 5, first, n }
}

/// What group `index` is made of.
fn group(index: u32) -> Bytes {
    Bytes::from(vec![index as u8; group::group_len(groups(0, 5).size, index) as usize])
}

/// Grants all and sends it.
async fn serve(inbound: Inbound) -> Result<(), SendError> {
    let response = ChunkResponse::ok(inbound.request.ranges.clone(), 1);
    let mut sending = inbound.responder.accept(&inbound.request, &response).await?;
    for range in response.ranges {
        for index in range.first..range.first + range.n {
            sending.send_group(&group(index)).await?;
        }
    }
    sending.finish().await
}

/// Everything that comes, the indices of groups whose bytes are right among it.
async fn hear(mut events: mpsc::Receiver<ExchangeEvent>) -> (Option<ChunkResponse>, Vec<u32>) {
    let (mut header, mut indices) = (None, Vec::new());
    while let Some(event) = events.recv().await {
        match event {
            ExchangeEvent::Header(response) => header = Some(response),
            ExchangeEvent::Part(_) => {}
            ExchangeEvent::Group { index, bytes, .. } => {
                assert!(bytes == group(index), "group {index}");
                indices.push(index);
            }
            ExchangeEvent::End => return (header, indices),
            ExchangeEvent::Failed(failure) => panic!("{failure}"),
        }
    }
    panic!("closed without an end")
}

async fn groups_arrive(transport: fn(&Keypair) -> Connections, addr: &str) {
    let (asker, mut server, connection) = pair(transport, addr).await;
    let events = asker.ask(connection, vec![groups(3, 2), groups(0, 1)]).await.unwrap();
    let served = async { serve(server.queue.recv().await.unwrap()).await };
    let (served, (header, indices)) = futures::join!(served, hear(events));
    served.unwrap();
    assert_eq!((header.unwrap().status, indices), (Status::Ok, vec![3, 4, 0]));
}

#[tokio::test]
async fn groups_arrive_in_memory() {
    groups_arrive(memory, "/memory/0").await;
}

#[tokio::test]
async fn groups_arrive_over_tcp() {
    groups_arrive(real, "/ip4/127.0.0.1/tcp/0").await;
}

#[tokio::test]
async fn groups_arrive_over_quic() {
    groups_arrive(real, "/ip4/127.0.0.1/udp/0/quic-v1").await;
}

async fn a_dropped_receiver_stops_the_server(transport: fn(&Keypair) -> Connections, addr: &str) {
    let (asker, mut server, connection) = pair(transport, addr).await;
    let mut events = asker.ask(connection, vec![groups(0, 4); 4]).await.unwrap();
    let inbound = server.queue.recv().await.unwrap();
    let hear = async {
        while !matches!(events.recv().await, Some(ExchangeEvent::Group { .. })) {}
        drop(events);
    };
    let (served, ()) = futures::join!(serve(inbound), hear);
    // At most what the windows hold was sent in vain, and nobody waited for a deadline.
    assert!(matches!(served, Err(SendError::Gone(_))), "{served:?}");
}

#[tokio::test]
async fn a_dropped_receiver_stops_the_server_in_memory() {
    a_dropped_receiver_stops_the_server(memory, "/memory/0").await;
}

#[tokio::test]
async fn a_dropped_receiver_stops_the_server_over_tcp() {
    a_dropped_receiver_stops_the_server(real, "/ip4/127.0.0.1/tcp/0").await;
}

#[tokio::test]
async fn a_dropped_receiver_stops_the_server_over_quic() {
    a_dropped_receiver_stops_the_server(real, "/ip4/127.0.0.1/udp/0/quic-v1").await;
}

async fn a_responder_knows_that_its_asker_has_left(
    transport: fn(&Keypair) -> Connections,
    addr: &str,
) {
    let (asker, mut server, connection) = pair(transport, addr).await;
    let events = asker.ask(connection, vec![groups(0, 1)]).await.unwrap();
    let mut responder = server.queue.recv().await.unwrap().responder;
    assert!(!responder.is_dropped());
    drop(events);
    let seen = async {
        while !responder.is_dropped() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), seen).await.expect("the reset arrives");
}

#[tokio::test]
async fn a_responder_knows_that_its_asker_has_left_in_memory() {
    a_responder_knows_that_its_asker_has_left(memory, "/memory/0").await;
}

#[tokio::test]
async fn a_responder_knows_that_its_asker_has_left_over_tcp() {
    a_responder_knows_that_its_asker_has_left(real, "/ip4/127.0.0.1/tcp/0").await;
}

#[tokio::test]
async fn a_responder_knows_that_its_asker_has_left_over_quic() {
    a_responder_knows_that_its_asker_has_left(real, "/ip4/127.0.0.1/udp/0/quic-v1").await;
}

#[tokio::test]
async fn a_dropped_responder_fails_the_request() {
    let (asker, mut server, connection) = pair(memory, "/memory/0").await;
    let mut events = asker.ask(connection, vec![groups(0, 1)]).await.unwrap();
    drop(server.queue.recv().await.unwrap());
    let event = events.recv().await;
    assert!(matches!(event, Some(ExchangeEvent::Failed(Failure::Short))), "{event:?}");
}

#[tokio::test]
async fn an_answer_has_to_fit_the_request_and_its_groups_the_answer() {
    let (asker, mut server, connection) = pair(memory, "/memory/0").await;
    let _events = asker.ask(connection, vec![groups(0, 2)]).await.unwrap();
    let inbound = server.queue.recv().await.unwrap();
    let response = ChunkResponse::ok(vec![groups(1, 1)], 1);
    let accepted = inbound.responder.accept(&inbound.request, &response).await;
    assert!(matches!(accepted, Err(SendError::NotAnAnswer)));

    let _events = asker.ask(connection, vec![groups(0, 2)]).await.unwrap();
    let inbound = server.queue.recv().await.unwrap();
    let response = ChunkResponse::ok(vec![groups(0, 1)], 1);
    let mut sending = inbound.responder.accept(&inbound.request, &response).await.unwrap();
    let sent = sending.send_group(&Bytes::from_static(b"short")).await;
    assert!(matches!(sent, Err(SendError::WrongGroup { len: 5, .. })));
}

#[tokio::test]
async fn a_hundred_requests_keep_to_the_connection_that_they_name() {
    let (mut asker, mut server) = (Node::start(memory), Node::start(memory));
    let addr = server.listen("/memory/0").await;
    let other = asker.connect(server.peer, addr.clone()).await;
    let named = asker.connect(server.peer, addr).await;
    let peer = server.peer;
    let known = asker.with(move |swarm| {
        swarm.behaviour().connections(&peer).map(|info| info.id).collect::<Vec<_>>()
    });
    assert_eq!(known.await, [other, named]);

    let served = asker.ask(other, vec![groups(4, 1)]).await.unwrap();
    let inbound = server.queue.recv().await.unwrap();
    let unnamed = inbound.connection;
    let (_, _) = futures::join!(serve(inbound), hear(served));
    for _ in 0..100 {
        let events = asker.ask(named, vec![groups(4, 1)]).await.unwrap();
        let inbound = server.queue.recv().await.unwrap();
        assert_ne!(inbound.connection, unnamed);
        let (served, _) = futures::join!(serve(inbound), hear(events));
        served.unwrap();
    }
}

#[tokio::test]
async fn a_full_queue_answers_busy() {
    let (mut asker, mut server) = (Node::start(memory), Node::start(memory));
    let addr = server.listen("/memory/0").await;
    let mut waiting = Vec::new();
    while waiting.len() < limits::INBOUND_QUEUE {
        let connection = asker.connect(server.peer, addr.clone()).await;
        for _ in 0..limits::OUTBOUND_PER_CONNECTION {
            waiting.push(asker.ask(connection, vec![groups(0, 1)]).await.unwrap());
        }
    }
    // Nothing is taken from the queue; when it is full the next is told so.
    let connection = asker.connect(server.peer, addr).await;
    let events = asker.ask(connection, vec![groups(0, 1)]).await.unwrap();
    let (header, indices) = hear(events).await;
    let header = header.unwrap();
    assert_eq!((header.status, header.retry_ms), (Status::Busy, limits::RETRY_MS));
    assert!(indices.is_empty());
}

#[tokio::test]
async fn a_connection_has_room_for_so_many_requests_each_way() {
    let (asker, mut server, connection) = pair(memory, "/memory/0").await;
    let mut waiting = Vec::new();
    let mut held = Vec::new();
    for _ in 0..limits::OUTBOUND_PER_CONNECTION {
        waiting.push(asker.ask(connection, vec![groups(0, 1)]).await.unwrap());
        held.push(server.queue.recv().await.unwrap());
    }
    let one_more = asker.ask(connection, vec![groups(0, 1)]).await;
    assert_eq!(one_more.err(), Some(RequestError::Full));

    // The asker forgets a request that the server still holds: it may ask again, and hears that
    // the server has no room.
    drop(waiting.pop());
    let events = loop {
        match asker.ask(connection, vec![groups(0, 1)]).await {
            Ok(events) => break events,
            Err(error) => assert_eq!(error, RequestError::Full),
        }
    };
    assert_eq!(hear(events).await.0.unwrap().status, Status::Busy);

    // Room again on both sides.
    drop(held);
    for mut events in waiting {
        while events.recv().await.is_some() {}
    }
    let events = asker.ask(connection, vec![groups(0, 1)]).await.unwrap();
    let (served, _) = futures::join!(serve(server.queue.recv().await.unwrap()), hear(events));
    served.unwrap();
}

#[tokio::test]
async fn a_closed_connection_fails_what_runs_on_it_and_takes_no_more() {
    let (asker, mut server, connection) = pair(memory, "/memory/0").await;
    let mut events = asker.ask(connection, vec![groups(0, 1)]).await.unwrap();
    let _inbound = server.queue.recv().await.unwrap();
    assert!(asker.with(move |swarm| swarm.close_connection(connection)).await);
    let event = events.recv().await;
    assert!(
        matches!(event, Some(ExchangeEvent::Failed(Failure::ConnectionClosed | Failure::Short))),
        "{event:?}"
    );
    let mut asker = asker;
    asker.until(|event| matches!(event, SwarmEvent::ConnectionClosed { .. }).then_some(())).await;
    let asked = asker.ask(connection, vec![groups(0, 1)]).await;
    assert_eq!(asked.err(), Some(RequestError::NotConnected));
}

#[tokio::test]
async fn a_peer_without_the_protocol_is_told_apart() {
    let mut asker = Node::start(memory);
    let identity = Keypair::generate_ed25519();
    let peer = identity.public().to_peer_id();
    let config =
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_mins(1));
    let mut other = Swarm::new(memory(&identity), dummy::Behaviour, peer, config);
    other.listen_on("/memory/0".parse().unwrap()).unwrap();
    let SwarmEvent::NewListenAddr { address, .. } = other.select_next_some().await else {
        panic!("it listens first")
    };
    let asking = async {
        let connection = asker.connect(peer, address).await;
        asker.ask(connection, vec![groups(0, 1)]).await.unwrap().recv().await
    };
    let event = tokio::select! {
        event = asking => event,
        () = async { loop { other.select_next_some().await; } } => unreachable!("it runs on"),
    };
    assert!(matches!(event, Some(ExchangeEvent::Failed(Failure::Unsupported))), "{event:?}");
}

#[test]
fn an_address_says_what_a_connection_runs_over() {
    let kind = |addr: &str| TransportKind::of(&addr.parse().unwrap());
    assert_eq!(kind("/ip4/1.2.3.4/tcp/4483"), TransportKind::Tcp);
    assert_eq!(kind("/ip4/1.2.3.4/udp/4483/quic-v1"), TransportKind::Quic);
    assert_eq!(
        kind(
            "/ip4/1.2.3.4/tcp/4483/p2p/12D3KooWPjfimoHiKRZJkayzxoRfjS57ZeYzyT9WrMNysbxB9zG6/p2p-circuit"
        ),
        TransportKind::Relay
    );
    assert_eq!(kind("/memory/7"), TransportKind::Other);
}
