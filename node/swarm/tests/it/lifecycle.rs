//! Starting, connecting, banning, ending.

use std::time::Duration;

use hive_protocol::message::Request;
use hive_swarm::{Config, DialError, NodeIdentity, RequestError, StartError, Stopped, SwarmEvent};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::support::{Node, config, id, join, soon, start};

async fn address(node: &Node) -> String {
    node.client.listen_addrs().await.remove(0)
}

#[tokio::test]
async fn stopping_ends_every_task_and_every_wait() {
    let other = start(config());
    let mut node = join(&[&other]).await;
    node.stands(|state| state.connected > 0).await;
    // Nobody answers it.
    let request = tokio::spawn({
        let (client, peer) = (node.client.clone(), other.peer());
        async move { client.request(peer, Request::Block(id("model"))).await }
    });
    let mut providers = node.client.providers(id("model")).await;

    node.stop.cancel();
    soon("the end", &mut node.started.task).await.expect("no panic");
    assert!(matches!(
        soon("an answer", request).await.expect("no panic"),
        Err(RequestError::Stopped(Stopped))
    ));
    assert_eq!(soon("the end", providers.recv()).await, None);
    assert_eq!(node.client.provide(id("model")).await, Err(Stopped));
    assert_eq!(node.client.dial("/ip4/127.0.0.1/tcp/1").await, Err(DialError::Stopped(Stopped)));
    assert!(node.started.requests.recv().await.is_none());
    assert!(node.started.chunks.recv().await.is_none());
    assert!(node.started.gossip.recv().await.is_none());
    loop {
        match node.events.recv().await {
            Err(RecvError::Closed) => break,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
        }
    }
}

#[tokio::test]
async fn a_swarm_ends_with_its_last_client() {
    let identity = NodeIdentity::from_ed25519_secret([1; 32]);
    let started = hive_swarm::start(&identity, config(), CancellationToken::new()).expect("a node");
    drop(started.client);
    soon("the end", started.task).await.expect("no panic");
}

#[tokio::test]
async fn a_banned_peer_is_disconnected_and_refused_until_the_ban_is_over() {
    let mut bans = start(config());
    let mut banned = start(config());
    let (peer, bans_at) = (banned.peer(), address(&bans).await);
    banned.client.dial(&bans_at).await.expect("a connection");
    bans.knows(peer).await;

    bans.client.ban(peer, Duration::from_hours(1), "forged a group").await.expect("runs");
    bans.until(|event| match event {
        SwarmEvent::Banned { peer: p, reason } if *p == peer => {
            assert_eq!(reason, "forged a group");
            Some(())
        }
        _ => None,
    })
    .await;
    let left = |event: &SwarmEvent| match event {
        SwarmEvent::PeerDisconnected { peer } => Some(*peer),
        _ => None,
    };
    assert_eq!(bans.until(left).await, peer);
    assert_eq!(banned.until(left).await, bans.peer());
    assert_eq!(bans.client.connect(peer).await, Err(DialError::Banned { peer }));
    assert!(bans.client.providers(id("model")).await.recv().await.is_none());
    let state = bans.client.peers().await.into_iter().find(|state| state.peer == peer);
    assert!(state.expect("known").banned_until.is_some());

    // The banned one may get as far as a handshake, but no answer.
    let request = banned.client.request(bans.peer(), Request::Block(id("model"))).await;
    assert!(request.is_err(), "{request:?}");

    // A ban ends by itself.
    bans.client.ban(peer, Duration::ZERO, "a short one").await.expect("runs");
    let lifted = async {
        while bans.client.dial(&address(&banned).await).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the ban", lifted).await;
}

#[tokio::test]
async fn a_dial_says_who_answered_or_why_nobody_did() {
    let (dials, other) = (start(config()), start(config()));
    let full = address(&other).await;
    let (bare, _) = full.split_once("/p2p/").expect("a full address");
    assert_eq!(dials.client.dial(bare).await, Ok(other.peer()));
    assert_eq!(dials.client.dial(&full).await, Ok(other.peer()));

    let third = start(config());
    let wrong = format!("{bare}/p2p/{}", third.peer());
    let expected = DialError::WrongPeer { peer: other.peer() };
    assert_eq!(dials.client.dial(&wrong).await, Err(expected));

    let oneself = dials.client.dial(&address(&dials).await).await;
    assert_eq!(oneself, Err(DialError::Oneself));
    assert!(matches!(dials.client.dial("nonsense").await, Err(DialError::Address { .. })));
    // Nobody listens on port 1 here, and nobody is told that by a timeout.
    let nobody = dials.client.dial("/ip4/127.0.0.1/tcp/1").await;
    match nobody {
        Err(DialError::Unreachable { reason, .. }) => {
            assert!(reason.contains("/ip4/127.0.0.1/tcp/1: "), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

/// On a public network a private address is dialed when a person asks for it.
#[tokio::test]
async fn an_explicit_dial_may_be_private() {
    let public = || start(Config { allow_private: false, ..config() });
    let (dials, mut other) = (public(), public());
    dials.client.dial(&address(&other).await).await.expect("a connection");
    other.knows(dials.peer()).await;
    // But none of it is told to others.
    assert_eq!(other.client.network_state().await.dht_peers, 0);
    let known = other.client.address_book().await;
    assert!(known.is_empty(), "{known:?}");
}

#[tokio::test]
async fn an_address_book_brings_a_node_back_without_bootstrap_nodes() {
    let mut friend = start(config());
    let node = join(&[&friend]).await;
    friend.knows(node.peer()).await;
    node.stands(|state| state.dht_peers > 0).await;
    let book = node.client.address_book().await;
    let known = book.iter().find(|known| known.peer == friend.peer()).expect("in the book");
    assert!(known.last_seen > 0 && !known.addresses.is_empty());
    drop(node);

    let again = start(Config { known_peers: book, ..config() });
    again.stands(|state| state.connected == 1 && state.dht_peers == 1).await;
    assert_eq!(again.client.connected().await, [friend.peer()]);
}

#[tokio::test]
async fn a_name_is_seen_by_the_others() {
    let named = start(Config { node_name: Some("kitchen".to_owned()), ..config() });
    let mut sees = join(&[&named]).await;
    let (agent, name, hive) = sees
        .until(|event| match event {
            SwarmEvent::PeerIdentified { agent, name, speaks_hive, .. } => {
                Some((agent.clone(), name.clone(), *speaks_hive))
            }
            _ => None,
        })
        .await;
    assert!(agent.starts_with("hive/"), "{agent}");
    assert_eq!(name.as_deref(), Some("kitchen"));
    assert!(hive);
}

#[tokio::test]
async fn a_port_in_use_is_an_error_at_start() {
    let first = start(config());
    let taken = address(&first).await;
    let (taken, _) = taken.split_once("/p2p/").expect("a full address");
    let identity = NodeIdentity::from_ed25519_secret([1; 32]);
    let second = Config { listen: vec![taken.to_owned()], ..config() };
    let error = hive_swarm::start(&identity, second, CancellationToken::new());
    assert!(matches!(error, Err(StartError::Listen { address, .. }) if address == taken));
}

#[tokio::test]
async fn a_node_that_only_dials_has_no_address_and_does_not_wait_for_one() {
    let node = start(Config { listen: Vec::new(), ..config() });
    assert_eq!(soon("the answer", node.client.listen_addrs()).await, Vec::<String>::new());
}
