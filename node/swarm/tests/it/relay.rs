//! What a relay gives, refuses and counts.
//!
//! A node that listens nowhere is as good as one behind a router that lets nobody in: it is reached
//! through a relay or not at all.

use std::time::Duration;

use futures::StreamExt;
use hive_protocol::chunk_message::{ChunkRequest, Range, Status};
use hive_protocol::limits::GROUP_LEN;
use hive_protocol::message::{Request, Response};
use hive_protocol::{BlockId, ChunkId};
use hive_swarm::exchange::{self, ExchangeEvent};
use hive_swarm::transport::security::Security;
use hive_swarm::transport::{self, Options};
use hive_swarm::{
    Budget, Config, FetchError, Peer, Refusal, RelayServer, RelayServing, ServerMode, SwarmEvent,
};
use libp2p::identity::Keypair;
use libp2p::swarm::{self, NetworkBehaviour, Swarm, SwarmEvent as Event};
use libp2p::{Multiaddr, relay};
use tokio::sync::mpsc;

use crate::support::{Node, config, id, soon, start};

/// A relay, and where it is.
async fn relay(server: RelayServer) -> (Node, String) {
    let limits = server.connection_limits();
    let dht_server = ServerMode::Always;
    let node = start(Config { relay_server: Some(server), limits, dht_server, ..config() });
    let at = node.client.listen_addrs().await.remove(0);
    (node, at)
}

fn hidden(relays: &[&str]) -> Node {
    let relays = relays.iter().map(|at| (*at).to_owned()).collect();
    start(Config { listen: Vec::new(), relays, ..config() })
}

/// A node that others reach through the relay.
async fn reserved(at: &str) -> Node {
    let mut node = hidden(&[at]);
    node.until(|event| match event {
        SwarmEvent::RelayReserved { .. } => Some(()),
        _ => None,
    })
    .await;
    node
}

/// The address of a peer through the relay.
fn through(relay: &str, peer: Peer) -> String {
    format!("{relay}/p2p-circuit/p2p/{peer}")
}

/// Waits until the relay stands as `fine` wants it.
async fn serving(relay: &Node, fine: impl Fn(&RelayServing) -> bool) -> RelayServing {
    let wait = async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        loop {
            let state = relay.client.relay_state().await.expect("a relay");
            if fine(&state) {
                return state;
            }
            pause.tick().await;
        }
    };
    soon("the state of the relay", wait).await
}

fn refused(state: &RelayServing, refusal: Refusal) -> u64 {
    state.refused.get(&refusal).copied().unwrap_or(0)
}

#[tokio::test]
async fn two_that_nobody_reaches_talk_through_a_relay_which_counts_it() {
    let (relay, at) = relay(RelayServer::default()).await;
    let mut server = reserved(&at).await;
    assert_eq!(serving(&relay, |state| state.reservations == 1).await.bytes_relayed, 0);

    let bytes = vec![7_u8; 1 << 20];
    server.answers(Response::Block(bytes.clone().into()));
    let dialer = hidden(&[]);
    dialer.client.dial(&through(&at, server.peer())).await.expect("a circuit");
    let answer = soon("it", dialer.client.request(server.peer(), Request::Block(id("it")))).await;
    assert_eq!(answer.expect("an answer"), Response::Block(bytes.into()));

    // Each byte once, though two connections carried it; the rest is handshakes and small talk.
    let state = serving(&relay, |state| state.bytes_relayed > 1 << 20).await;
    assert!(state.bytes_relayed < (1 << 20) + (256 << 10), "{state:?}");
    assert_eq!((state.circuits, state.circuits_opened), (1, 1));
    dialer.client.disconnect(server.peer()).await.expect("runs");
    serving(&relay, |state| state.circuits == 0).await;
    // A node that relays nothing says so.
    assert_eq!(dialer.client.relay_state().await, None);
}

#[tokio::test]
async fn a_peer_over_its_bytes_is_cut_off_and_refused_for_that() {
    let per_peer = Budget { bytes: 1 << 20, ..RelayServer::default().per_peer };
    let (relay, at) = relay(RelayServer { per_peer, ..RelayServer::default() }).await;
    let mut server = reserved(&at).await;
    server.answers(Response::Block(vec![7_u8; 2 << 20].into()));
    let mut dialer = hidden(&[]);
    let peer = server.peer();
    dialer.client.dial(&through(&at, peer)).await.expect("a circuit");
    // Whether the answer makes it is a race with the meter.
    let _ = dialer.client.request(peer, Request::Block(id("it"))).await;

    disconnected(&mut dialer, peer).await;
    // It asks again and is told no; whom it called has lost nothing.
    dialer.client.dial(&through(&at, peer)).await.expect_err("refused");
    let state = serving(&relay, |state| refused(state, Refusal::PeerBytes) > 0).await;
    assert_eq!((state.peers_over_budget, state.circuits, state.reservations), (1, 0, 1));
    assert_eq!(state.networks_over_budget, 0);
    // A stranger is not to blame, and what was refused is not kept from him.
    reserved(&at).await;
}

#[tokio::test]
async fn circuit_time_is_a_budget_too() {
    let per_peer = Budget { time: Duration::from_millis(500), ..RelayServer::default().per_peer };
    let (relay, at) = relay(RelayServer { per_peer, ..RelayServer::default() }).await;
    let server = reserved(&at).await;
    let (mut dialer, peer) = (hidden(&[]), server.peer());
    dialer.client.dial(&through(&at, peer)).await.expect("a circuit");
    disconnected(&mut dialer, peer).await;
    dialer.client.dial(&through(&at, peer)).await.expect_err("refused");
    let state = serving(&relay, |state| refused(state, Refusal::PeerTime) > 0).await;
    assert_eq!(state.peers_over_budget, 1);
}

/// Waits until a node has no connection with the peer any more.
async fn disconnected(node: &mut Node, peer: Peer) {
    node.until(|event| match event {
        SwarmEvent::PeerDisconnected { peer: other } => Some(()).filter(|()| *other == peer),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn a_relay_with_a_list_is_for_nobody_else() {
    let allow = vec![hidden(&[]).peer()];
    let (relay, at) = relay(RelayServer { allow, ..RelayServer::default() }).await;
    let mut stranger = hidden(&[&at]);
    stranger
        .until(|event| match event {
            SwarmEvent::RelayLost { .. } => Some(()),
            _ => None,
        })
        .await;
    let state = serving(&relay, |state| refused(state, Refusal::NotAllowed) > 0).await;
    assert_eq!(state.reservations, 0);
}

/// libp2p's own bound would let two through where it says one.
#[tokio::test]
async fn a_bound_for_each_peer_is_what_it_says() {
    let server = RelayServer { max_circuits_per_peer: 1, ..RelayServer::default() };
    let (relay, at) = relay(server).await;
    let (one, other) = tokio::join!(reserved(&at), reserved(&at));
    let dialer = hidden(&[]);
    dialer.client.dial(&through(&at, one.peer())).await.expect("the first");
    dialer.client.dial(&through(&at, other.peer())).await.expect_err("the second");
    let state = serving(&relay, |state| !state.refused.is_empty()).await;
    assert_eq!(state.refused, [(Refusal::PeerCircuits, 1)].into());
    let nobody = hidden(&[]).peer();
    hidden(&[]).client.dial(&through(&at, nobody)).await.expect_err("not there");
    serving(&relay, |state| refused(state, Refusal::NoReservation) == 1).await;
}

/// It says nothing of relaying before it knows where it is: a reservation would hold no address.
#[tokio::test]
async fn a_relay_that_knows_no_address_of_its_own_offers_nothing() {
    let server = || Some(RelayServer::default());
    let lost = Config { relay_server: server(), allow_private: false, ..config() };
    let lost = start(lost);
    let at = lost.client.listen_addrs().await.remove(0);
    let mut node = hidden(&[&at]);
    node.until(|event| match event {
        SwarmEvent::RelayLost { .. } => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(lost.client.relay_state().await.expect("a relay").reservations, 0);

    let external = vec!["/ip4/127.0.0.1/tcp/4483".to_owned()];
    let config = Config { relay_server: server(), allow_private: false, external, ..config() };
    let told = start(config);
    reserved(&told.client.listen_addrs().await.remove(0)).await;
}

#[derive(NetworkBehaviour)]
struct Hostile {
    circuits: relay::client::Behaviour,
    exchange: exchange::Behaviour,
}

/// A node that asks for groups over whatever there is.
fn hostile() -> Swarm<Hostile> {
    let identity = Keypair::generate_ed25519();
    let (transport, circuits) = relay::client::new(identity.public().to_peer_id());
    let circuit = transport::secure(transport, Security::new(&identity).expect("security"));
    let mut options = Options::default();
    options.dns = false;
    let direct = transport::build(&identity, &options).expect("transports");
    let (exchange, _) = exchange::Behaviour::new("test");
    Swarm::new(
        transport::either(circuit, direct),
        Hostile { circuits, exchange },
        identity.public().to_peer_id(),
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_mins(1)),
    )
}

fn groups() -> ChunkRequest {
    let size = 4 * GROUP_LEN;
    let chunk = ChunkId::of(&[1_u8; 8]);
    ChunkRequest::new(BlockId::of(b"model"), vec![Range { chunk, size, first: 0, n: 4 }])
}

/// Asks `server` for groups through the relay, whatever that allows, and says what came of it.
async fn take(relay: &str, server: Peer) -> Vec<ExchangeEvent> {
    let mut swarm = hostile();
    let to: Multiaddr = through(relay, server).parse().expect("an address");
    swarm.dial(to).expect("dials");
    let (events, mut told) = mpsc::channel(8);
    let mut all = Vec::new();
    let took = async {
        loop {
            tokio::select! {
                event = swarm.select_next_some() => match event {
                    Event::ConnectionEstablished { peer_id, connection_id, .. }
                        if peer_id.to_string() == server.to_string() =>
                    {
                        let exchange = &mut swarm.behaviour_mut().exchange;
                        exchange.request(connection_id, groups(), events.clone()).expect("asked");
                    }
                    Event::OutgoingConnectionError { error, .. } => panic!("{error}"),
                    _ => {}
                },
                event = told.recv() => {
                    let event = event.expect("a sender is here");
                    let ends = matches!(event, ExchangeEvent::End | ExchangeEvent::Failed(_));
                    all.push(event);
                    if ends {
                        return;
                    }
                }
            }
        }
    };
    soon("an answer", took).await;
    all
}

#[tokio::test]
async fn not_a_byte_of_bulk_goes_over_a_relay_that_does_not_allow_it() {
    let (relay, at) = relay(RelayServer::default()).await;
    let mut server = reserved(&at).await;
    // One that plays by the rules does not even ask.
    let dialer = hidden(&[]);
    dialer.client.dial(&through(&at, server.peer())).await.expect("a circuit");
    let fetch = dialer.client.fetch_groups(server.peer(), groups(), true);
    let refused = soon("a refusal", fetch).await.expect_err("not over this relay");
    assert_eq!(refused, FetchError::OnlyRelayed { peer: server.peer(), offered: false });

    // One that does not is told no, and the node behind never hears of it.
    match take(&at, server.peer()).await.as_slice() {
        [ExchangeEvent::Header(header), ExchangeEvent::End] => {
            assert_eq!((header.status, header.ranges.len()), (Status::Unsupported, 0));
        }
        other => panic!("{other:?}"),
    }
    let heard = futures::FutureExt::now_or_never(server.started.chunks.recv());
    assert!(heard.is_none(), "{heard:?}");
    let state = serving(&relay, |state| state.circuits_opened == 2).await;
    assert!(state.bytes_relayed < 128 << 10, "{state:?}");
}

#[tokio::test]
async fn bulk_goes_over_a_relay_that_both_allow() {
    let (_relay, at) = relay(RelayServer::bulk()).await;
    let mut server = reserved(&at).await;
    let dialer = hidden(&[&at]);
    dialer.client.dial(&through(&at, server.peer())).await.expect("a circuit");
    let without = soon("no", dialer.client.fetch_groups(server.peer(), groups(), false)).await;
    let offered = FetchError::OnlyRelayed { peer: server.peer(), offered: true };
    assert_eq!(without.expect_err("nobody here allowed it"), offered);
    let with = dialer.client.fetch_groups(server.peer(), groups(), true);
    let _events = soon("leave", with).await.expect("both allow it");
    let asked = soon("the request", server.started.chunks.recv()).await.expect("asked");
    assert_eq!(asked.peer, dialer.peer());
}
