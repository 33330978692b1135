//! Nodes that nobody can dial, and what goes over the relay that brings them together.

use bytes::Bytes;
use futures::FutureExt;
use hive_protocol::ChunkId;
use hive_protocol::chunk_message::{ChunkRequest, Range};
use hive_protocol::message::{Request, Response};
use hive_swarm::{
    Config, FetchError, Link, Punch, Reachability, RelayServer, SwarmEvent, TransportKind,
};

use crate::support::{Node, config, id, provider, soon, start};

fn relay() -> Node {
    start(Config { relay_server: Some(RelayServer::default()), ..config() })
}

/// A node that listens nowhere, joined through a relay.
async fn guest(relay: &Node) -> Node {
    let bootstrap = relay.client.listen_addrs().await;
    start(Config { listen: Vec::new(), bootstrap, ..config() })
}

/// Where others reach the guest, once the relay lets them.
async fn circuit(guest: &Node) -> String {
    let state = guest.stands(|state| !state.external.is_empty()).await;
    state.external[0].clone()
}

async fn links(node: &Node, other: &Node) -> Vec<Link> {
    let peers = node.client.peers().await;
    let state = peers.into_iter().find(|state| state.peer == other.peer());
    state.map(|state| state.links).unwrap_or_default()
}

#[tokio::test]
async fn a_node_that_listens_nowhere_is_reached_through_a_relay_and_is_no_dht_server() {
    let relay = relay();
    let mut guest = guest(&relay).await;
    guest.answers(Response::NotHeld);
    let address = circuit(&guest).await;
    assert!(address.contains("p2p-circuit"), "{address}");
    let stands = guest.stands(|state| state.reachability == Reachability::Relayed).await;
    // libp2p's own choice would have been a server, at an address that only a relay keeps up.
    assert!(!stands.dht_server);
    assert_eq!(stands.relays.len(), 1);
    assert!(stands.relays[0].reserved && stands.relays[0].trouble.is_none());

    let asks = start(config());
    asks.client.dial(&address).await.expect("a circuit");
    let [link] = &links(&asks, &guest).await[..] else { panic!("one connection") };
    assert_eq!((link.relay, link.transport), (Some(relay.peer()), TransportKind::Relay));
    let answer = asks.client.request(guest.peer(), Request::Block(id("model"))).await;
    assert_eq!(answer.expect("an answer"), Response::NotHeld);
}

#[tokio::test]
async fn a_node_behind_a_relay_is_found_as_a_provider() {
    let relay = relay();
    let guest = guest(&relay).await;
    circuit(&guest).await;
    guest.client.provide(id("model")).await.expect("runs");
    guest.announced().await;

    let asks = start(Config { bootstrap: relay.client.listen_addrs().await, ..config() });
    assert_eq!(provider(&asks, id("model")).await, Some(guest.peer()));
    soon("a connection", asks.client.connect(guest.peer())).await.expect("reachable");
    assert!(links(&asks, &guest).await.iter().all(|link| link.relay == Some(relay.peer())));
}

#[tokio::test]
async fn no_bulk_goes_over_a_relay_that_is_for_finding_each_other() {
    let relay = relay();
    let mut guest = guest(&relay).await;
    let address = circuit(&guest).await;
    let asks = start(config());
    asks.client.dial(&address).await.expect("a circuit");

    let group = Bytes::from_static(b"bytes");
    let range = Range { chunk: ChunkId::of(&group), size: group.len() as u64, first: 0, n: 1 };
    let request = ChunkRequest::new(id("model"), vec![range]);
    for over_relay in [false, true] {
        let asked = asks.client.fetch_groups(guest.peer(), request.clone(), over_relay);
        let refused = soon("an answer", asked).await.expect_err("only a relay");
        assert!(matches!(refused, FetchError::OnlyRelayed { offered: false, .. }), "{refused}");
    }
    assert!(guest.started.chunks.recv().now_or_never().is_none(), "nobody was asked for bytes");
}

#[tokio::test]
async fn once_there_is_a_direct_connection_nothing_goes_over_the_relay() {
    let relay = relay();
    let mut guest = guest(&relay).await;
    guest.answers(Response::NotHeld);
    let address = circuit(&guest).await;
    let asks = start(config());
    asks.client.dial(&address).await.expect("a circuit");
    assert_eq!(links(&asks, &guest).await.len(), 1);

    // As a hole punch ends: the two are connected another way.
    let direct = asks.client.listen_addrs().await.remove(0);
    let (dialing, mut events) = (guest.client.clone(), asks.client.events());
    tokio::spawn(async move { dialing.dial(&direct).await });
    let punched = async { while !matches!(events.recv().await, Ok(SwarmEvent::Punched { .. })) {} };
    soon("the punch", punched).await;

    let requests = (0..100).map(|_| asks.client.request(guest.peer(), Request::Block(id("model"))));
    for answer in soon("the answers", futures::future::join_all(requests)).await {
        // 32 at once are as many as one peer is asked; the others are told so.
        assert!(matches!(answer, Ok(Response::NotHeld) | Err(hive_swarm::RequestError::TooMany)));
    }
    let links = links(&asks, &guest).await;
    assert!(links.iter().all(|link| link.relay.is_none()) && links.len() == 1, "{links:?}");
    let peers = asks.client.peers().await;
    let state = peers.iter().find(|state| state.peer == guest.peer()).expect("connected");
    assert_eq!(state.punch, Some(Punch::Succeeded));
}

#[tokio::test]
async fn a_relay_that_comes_back_is_asked_again() {
    let identity = hive_swarm::NodeIdentity::from_ed25519_secret([9; 32]);
    let server = Config { relay_server: Some(RelayServer::default()), ..config() };
    let stop = tokio_util::sync::CancellationToken::new();
    let first = hive_swarm::start(&identity, server.clone(), stop.clone()).expect("a relay");
    let bootstrap = first.client.listen_addrs().await;
    let listen = vec![bootstrap[0].split("/p2p/").next().expect("an address").to_owned()];
    let mut guest = start(Config { listen: Vec::new(), bootstrap, ..config() });
    circuit(&guest).await;

    stop.cancel();
    soon("the end", first.task).await.expect("no panic");
    guest.until(|event| matches!(event, SwarmEvent::RelayLost { .. }).then_some(())).await;
    guest.stands(|state| state.external.is_empty()).await;

    let again = Config { listen, ..server };
    let stop = tokio_util::sync::CancellationToken::new();
    let _second = hive_swarm::start(&identity, again, stop.clone()).expect("a relay");
    circuit(&guest).await;
    stop.cancel();
}

#[tokio::test]
async fn a_peer_of_which_only_the_id_is_known_is_found_behind_its_relay() {
    let relay = relay();
    let mut guest = guest(&relay).await;
    guest.answers(Response::NotHeld);
    circuit(&guest).await;

    // It has heard of the guest as the author of something, and was told no address.
    let asks = start(Config { bootstrap: relay.client.listen_addrs().await, ..config() });
    asks.stands(|state| state.dht_peers > 0).await;
    let asked = asks.client.request(guest.peer(), Request::Block(id("model")));
    assert_eq!(soon("an answer", asked).await.expect("found"), Response::NotHeld);

    let nobody = hive_swarm::NodeIdentity::from_ed25519_secret([77; 32]).peer();
    let refused = soon("an answer", asks.client.connect(nobody)).await.expect_err("nobody");
    assert!(matches!(refused, hive_swarm::DialError::NoAddress { .. }), "{refused}");
}

#[tokio::test]
async fn whoever_looks_for_a_peer_that_has_gone_is_told_each_time() {
    let relay = relay();
    let mut guest = guest(&relay).await;
    circuit(&guest).await;
    guest.client.provide(id("model")).await.expect("runs");
    guest.announced().await;
    guest.stop.cancel();
    soon("the end", &mut guest.started.task).await.expect("no panic");

    // The DHT still says where it was, which leads nowhere.
    let asks = start(Config { bootstrap: relay.client.listen_addrs().await, ..config() });
    asks.stands(|state| state.dht_peers > 0).await;
    for _ in 0..3 {
        let told = soon("an answer", asks.client.connect(guest.peer())).await;
        told.expect_err("it has gone");
    }
}
