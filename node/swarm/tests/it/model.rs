//! `model/1` and `chunk/1` from the outside.

use bytes::Bytes;
use hive_protocol::ChunkId;
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Range, Status};
use hive_protocol::message::{Request, Response};
use hive_swarm::{Config, DialError, ExchangeEvent, RequestError, TransportKind, limits};
use tokio::task::JoinSet;

use crate::support::{Node, config, id, join, soon, start};

fn hello() -> Request {
    Request::Hello { features: Vec::new() }
}

async fn dial(from: &Node, to: &Node) {
    let address = to.client.listen_addrs().await.remove(0);
    assert_eq!(from.client.dial(&address).await, Ok(to.peer()));
}

#[tokio::test]
async fn a_request_is_answered_by_the_node() {
    let (asks, mut serves) = (start(config()), start(config()));
    dial(&asks, &serves).await;
    let ask = tokio::spawn({
        let (client, peer) = (asks.client.clone(), serves.peer());
        async move { client.request(peer, hello()).await }
    });
    let inbound = soon("the request", serves.started.requests.recv()).await.expect("runs");
    assert_eq!((inbound.peer, &inbound.request), (asks.peer(), &hello()));
    let answer = Response::Hello { features: vec!["x".to_owned()], agent: "test".to_owned() };
    inbound.reply.send(answer.clone());
    assert_eq!(ask.await.expect("no panic").expect("a response"), answer);
}

#[tokio::test]
async fn a_request_that_the_node_drops_is_answered_with_busy() {
    let (asks, mut serves) = (start(config()), start(config()));
    dial(&asks, &serves).await;
    let peer = serves.peer();
    let serve = async {
        drop(soon("the request", serves.started.requests.recv()).await);
    };
    let (response, ()) = tokio::join!(asks.client.request(peer, hello()), serve);
    assert!(matches!(response, Ok(Response::Busy { .. })), "{response:?}");
}

#[tokio::test]
async fn a_node_whose_queue_is_full_says_so_at_once() {
    let serves = start(config());
    let mut asking = JoinSet::new();
    let mut nodes = Vec::new();
    for _ in 0..limits::REQUEST_QUEUE / limits::ASKING_PER_PEER {
        let node = join(&[&serves]).await;
        for _ in 0..limits::ASKING_PER_PEER {
            let (client, peer) = (node.client.clone(), serves.peer());
            client.connect(peer).await.expect("a connection");
            asking.spawn(async move { client.request(peer, hello()).await });
        }
        nodes.push(node);
    }
    // Nobody takes them.
    let full = async {
        while serves.started.requests.len() < limits::REQUEST_QUEUE {
            tokio::task::yield_now().await;
        }
    };
    soon("a full queue", full).await;

    // One more from a peer that has its share, and one from a newcomer.
    let peer = serves.peer();
    let over = nodes[0].client.request(peer, hello()).await;
    assert!(matches!(over, Err(RequestError::TooMany)), "{over:?}");
    let late = join(&[&serves]).await;
    let response = soon("the answer", late.client.request(peer, hello())).await;
    assert!(matches!(response, Ok(Response::Busy { .. })), "{response:?}");
}

#[tokio::test]
async fn a_block_of_the_greatest_length_arrives() {
    let (asks, mut serves) = (start(config()), start(config()));
    dial(&asks, &serves).await;
    let block = vec![7; hive_protocol::limits::BLOCK_LEN];
    let response = Response::Block(block.into());
    serves.answers(response.clone());
    let got = asks.client.request(serves.peer(), Request::Block(id("block"))).await;
    assert!(got.expect("a response") == response);
}

#[tokio::test]
async fn a_request_connects_first_and_says_when_it_cannot() {
    let (asks, mut serves) = (start(config()), start(config()));
    serves.answers(Response::NotHeld);
    let nowhere = asks.client.request(serves.peer(), hello()).await;
    let peer = serves.peer();
    assert!(
        matches!(nowhere, Err(RequestError::Dial(DialError::NoAddress { peer: p })) if p == peer)
    );
    let oneself = asks.client.request(asks.peer(), hello()).await;
    assert!(matches!(oneself, Err(RequestError::Dial(DialError::Oneself))));

    dial(&asks, &serves).await;
    asks.client.disconnect(serves.peer()).await.expect("runs");
    // The address book has it now.
    let response = asks.client.request(serves.peer(), hello()).await;
    assert_eq!(response.expect("a response"), Response::NotHeld);
}

#[tokio::test]
async fn nodes_of_two_networks_do_not_answer_each_other() {
    let asks = start(config());
    let other = start(Config { network: "other".to_owned(), ..config() });
    dial(&asks, &other).await;
    let response = asks.client.request(other.peer(), hello()).await;
    assert!(matches!(response, Err(RequestError::Unsupported)), "{response:?}");
}

/// QUIC was there first; it carries the first request and TCP is connected for the next.
#[tokio::test]
async fn groups_come_over_quic_and_then_over_tcp() {
    let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned(), "/ip4/127.0.0.1/tcp/0".to_owned()];
    let (mut asks, mut serves) = (start(config()), start(Config { listen, ..config() }));
    let addresses = serves.client.listen_addrs().await;
    assert_eq!(addresses.len(), 2);
    let quic = addresses.iter().find(|address| address.contains("quic")).expect("QUIC");
    asks.client.dial(quic).await.expect("a connection");
    // It has said where else it is.
    asks.knows(serves.peer()).await;

    let server = serves.peer();
    let group = Bytes::from(vec![7; 1_000]);
    let range = Range { chunk: ChunkId::of(&group), size: group.len() as u64, first: 0, n: 1 };
    let request = ChunkRequest::new(id("model"), vec![range]);
    let serve = async {
        let inbound = soon("the request", serves.started.chunks.recv()).await.expect("runs");
        let response = ChunkResponse::ok(inbound.request.ranges.clone(), 3);
        let mut sending =
            inbound.reply.accept(&inbound.request, &response).await.expect("an asker");
        sending.send_group(&group).await.expect("an asker");
        sending.finish().await.expect("an asker");
        inbound.peer
    };
    let fetch = async {
        let mut events =
            asks.client.fetch_groups(server, request.clone(), false).await.expect("asked");
        let mut got = Vec::new();
        while let Some(event) = soon("an event", events.recv()).await {
            got.push(event);
        }
        got
    };
    let (peer, events) = tokio::join!(serve, fetch);
    assert_eq!(peer, asks.peer());
    assert!(matches!(&events[..], [
        ExchangeEvent::Header(header),
        ExchangeEvent::Group { bytes, .. },
        ExchangeEvent::End,
    ] if header.status == Status::Ok && *bytes == group));

    let peers = asks.client.peers().await;
    let state = peers.iter().find(|state| state.peer == serves.peer()).expect("known");
    assert!(state.connected && state.transports.contains(&TransportKind::Quic));

    // It also speaks TCP, which has been dialed meanwhile for what comes next.
    let both = async {
        loop {
            let peers = asks.client.peers().await;
            let state = peers.into_iter().find(|state| state.peer == server).expect("known");
            if state.transports.contains(&TransportKind::Tcp) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("a connection over TCP", both).await;
}
