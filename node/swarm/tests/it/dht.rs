//! Finding and being found.

use hive_protocol::message::{Request, Response};
use hive_swarm::{BootstrapError, Config, ServerMode};

use crate::support::{config, id, join, provider, soon, start};

#[tokio::test]
async fn a_provider_is_found_through_a_third_node() {
    let hub = start(config());
    let mut has = join(&[&hub]).await;
    let wants = join(&[&hub]).await;
    has.answers(Response::NotHeld);
    has.client.provide(id("model")).await.expect("runs");
    has.announced().await;
    wants.stands(|state| state.dht_peers > 0).await;

    assert_eq!(provider(&wants, id("model")).await, Some(has.peer()));
    // The search has dialed it.
    let response = wants.client.request(has.peer(), Request::Block(id("model"))).await;
    assert_eq!(response.expect("a response"), Response::NotHeld);
}

/// Who provides before anybody is there tells those who come.
#[tokio::test]
async fn what_nobody_heard_is_announced_to_who_comes_later() {
    let has = start(config());
    has.client.provide(id("model")).await.expect("runs");
    let hub = join(&[&has]).await;
    has.announced().await;
    let wants = join(&[&hub]).await;
    wants.stands(|state| state.dht_peers > 0).await;
    assert_eq!(provider(&wants, id("model")).await, Some(has.peer()));
}

/// A search that begins before there is a network goes on when there is one.
#[tokio::test]
async fn a_search_outlives_an_empty_network() {
    let wants = start(config());
    let mut providers = wants.client.providers(id("model")).await;
    let has = start(config());
    has.client.provide(id("model")).await.expect("runs");
    let address = has.client.listen_addrs().await.remove(0);
    wants.client.dial(&address).await.expect("a connection");
    assert_eq!(soon("the search", providers.recv()).await, Some(has.peer()));
    assert_eq!(soon("the end", providers.recv()).await, None);
}

#[tokio::test]
async fn a_search_for_what_nobody_has_ends() {
    let hub = start(config());
    let wants = join(&[&hub]).await;
    wants.stands(|state| state.dht_peers > 0).await;
    assert_eq!(provider(&wants, id("model")).await, None);
}

#[tokio::test]
async fn what_is_no_longer_provided_is_not_found_at_its_source() {
    let has = start(config());
    has.client.provide(id("model")).await.expect("runs");
    has.client.unprovide(id("model")).await.expect("runs");
    let wants = join(&[&has]).await;
    wants.stands(|state| state.dht_peers > 0).await;
    assert_eq!(provider(&wants, id("model")).await, None);
}

#[tokio::test]
async fn a_node_answers_for_others_only_where_it_can_be_reached() {
    let reachable = start(config());
    assert!(reachable.stands(|state| !state.external.is_empty()).await.dht_server);

    let dials_only = start(Config { listen: Vec::new(), ..config() });
    assert!(!dials_only.client.network_state().await.dht_server);

    let private = start(Config { allow_private: false, ..config() });
    assert_eq!(private.client.listen_addrs().await.len(), 1);
    let state = private.client.network_state().await;
    assert!(state.external.is_empty() && !state.dht_server);

    let external = vec!["/ip4/8.8.8.8/tcp/4483".to_owned()];
    let told = start(Config { allow_private: false, external, ..config() });
    let state = told.client.network_state().await;
    assert!(state.dht_server);
    assert_eq!(state.external, [format!("/ip4/8.8.8.8/tcp/4483/p2p/{}", told.peer())]);

    let never = start(Config { dht_server: ServerMode::Never, ..config() });
    never.stands(|state| !state.external.is_empty()).await;
    assert!(!never.client.network_state().await.dht_server);
}

#[tokio::test]
async fn bootstrapping_says_whether_there_is_a_network() {
    let hub = start(config());
    assert_eq!(hub.client.bootstrap().await, Err(BootstrapError::NoKnownPeers));
    let joins = join(&[&hub]).await;
    joins.stands(|state| state.dht_peers > 0).await;
    assert_eq!(soon("the bootstrap", joins.client.bootstrap()).await, Ok(()));
}
