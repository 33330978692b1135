use std::collections::BTreeMap;

use hive_protocol::card::Kind;

use super::*;

fn node(byte: u8) -> Peer {
    hive_swarm::NodeIdentity::from_ed25519_secret([byte; 32]).peer()
}

fn card(name: &str, id: &[u8]) -> Verified<Card> {
    let publisher = NodeKey([7; 32]);
    let statement = Card {
        v: 1,
        id: BlockId::of(id),
        publisher,
        version: 1,
        name: name.parse().unwrap(),
        kind: Kind::Model,
        size: 10,
        format: Some("gguf".into()),
        architecture: None,
        quantization: None,
        parameters: None,
        license: None,
        source: None,
        sha256: BTreeMap::new(),
        parents: Vec::new(),
        issued: 0,
        expires: 100,
        ext: BTreeMap::new(),
        critical: Vec::new(),
    };
    Verified { publisher, statement }
}

fn list(len: usize) -> Bytes {
    vec![0; len].into()
}

fn head(node: Peer, seq: u64) -> Head {
    let list = BlockId::of(&seq.to_be_bytes());
    Head { v: 1, node: node.node_key().unwrap(), seq, list, count: 1, issued: 0, expires: 100 }
}

#[test]
fn a_list_that_arrives_late_does_not_replace_a_newer_one() {
    let (catalog, node) = (Catalog::default(), node(1));
    catalog.put(node, &head(node, 2), list(100), vec![card("new", b"new")]);
    catalog.put(node, &head(node, 1), list(100), vec![card("old", b"old")]);
    assert_eq!(catalog.by_name("old"), NameMatch::Unknown);
    assert_eq!(catalog.by_name("new"), NameMatch::One(BlockId::of(b"new")));
    assert_eq!(catalog.holders(BlockId::of(b"new")), [node]);
}

#[test]
fn a_flood_costs_the_flooder_and_not_the_small() {
    let (catalog, small) = (Catalog::default(), node(1));
    catalog.put(small, &head(small, 1), list(1000), vec![card("small", b"small")]);
    for byte in 2..40 {
        let flooder = node(byte);
        catalog.put(flooder, &head(flooder, 1), list(4 << 20), vec![card("flood", &[byte])]);
    }
    assert_eq!(catalog.by_name("small"), NameMatch::One(BlockId::of(b"small")));
    assert!(catalog.n_nodes() <= 17, "64 MiB hold 16 lists of 4 MiB: {}", catalog.n_nodes());
}

#[test]
fn one_name_for_two_models_is_several_and_what_ended_is_forgotten() {
    let catalog = Catalog::default();
    let (a, b) = (node(1), node(2));
    catalog.put(a, &head(a, 1), list(100), vec![card("twin", b"one")]);
    catalog.put(b, &head(b, 1), list(100), vec![card("twin", b"two")]);
    assert!(matches!(catalog.by_name("twin"), NameMatch::Several(ids) if ids.len() == 2));
    let twins = SearchRequest { text: "TWIN".into(), ..SearchRequest::default() };
    assert_eq!(catalog.search(&twins, |_| false, |_| None).len(), 2);
    catalog.sweep(100);
    assert_eq!(catalog.by_name("twin"), NameMatch::Unknown);
}

#[test]
fn a_search_takes_kind_size_and_fit_and_finds_peers_by_name() {
    let (catalog, node) = (Catalog::default(), node(1));
    let mut data = card("words", b"words");
    data.statement.kind = Kind::Dataset;
    let mut large = card("large", b"large");
    (large.statement.size, large.statement.parameters) = (1000, Some(7));
    catalog.put(node, &head(node, 1), list(100), vec![card("small", b"small"), large, data]);
    catalog.put_name(node, Some("kit\u{202e}chen"));
    let found = |request: SearchRequest| -> Vec<String> {
        let offers = catalog.search(&request, |_| false, |size| Some(size < 100));
        offers.into_iter().map(|offer| offer.name).collect()
    };
    let all = SearchRequest::default;
    assert_eq!(found(SearchRequest { kind: Some("dataset".into()), ..all() }), ["words"]);
    assert_eq!(found(SearchRequest { max_size: Some(10), ..all() }), ["small", "words"]);
    assert_eq!(found(SearchRequest { fits: true, ..all() }), ["small"], "a data set runs nowhere");
    assert_eq!(found(SearchRequest { text: "KITCHEN".into(), ..all() }).len(), 3);
    let request = SearchRequest { text: "large".into(), ..all() };
    let offer = catalog.search(&request, |_| true, |_| Some(false)).remove(0);
    assert_eq!((offer.parameters, offer.fits, offer.here), (Some(7), Some(false), true));
    assert_eq!(offer.peers[0].name.as_deref(), Some("kitchen"));
}

#[test]
fn names_of_those_who_left_make_room_for_those_who_come() {
    let catalog = Catalog::default();
    let peer = |n: usize| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        hive_swarm::NodeIdentity::from_ed25519_secret(seed).peer()
    };
    let peers: Vec<Peer> = (0..=NODES).map(peer).collect();
    for peer in &peers[..NODES] {
        catalog.put_name(*peer, Some("crowd"));
    }
    catalog.left(peers[0]);
    assert!(catalog.peer_name(peers[0]).is_some(), "there is room");
    catalog.put_name(peers[NODES], Some("late"));
    assert_eq!(catalog.peer_name(peers[NODES]).as_deref(), Some("late"));
    assert_eq!(catalog.peer_name(peers[0]), None);
    assert!(catalog.peer_name(peers[1]).is_some(), "who is here keeps its name");
}

#[test]
fn two_peers_of_one_name_are_two_peers() {
    let (catalog, a, b) = (Catalog::default(), node(1), node(2));
    catalog.put_name(a, Some("kitchen"));
    assert_eq!(catalog.peers_called("kitchen"), [a]);
    catalog.put_name(b, Some("kitchen"));
    assert_eq!(catalog.peers_called("kitchen").len(), 2);
    catalog.put_name(a, None);
    assert_eq!(catalog.peers_called("kitchen"), [b]);
}

#[test]
fn who_left_has_not_heard_what_is_said_meanwhile() {
    let (catalog, node) = (Catalog::default(), node(1));
    let capability = || Capability {
        v: 1,
        node: node.node_key().unwrap(),
        name: None,
        seq: 1,
        agent: String::new(),
        runs: Vec::new(),
        models: 0,
        memory: 0,
        memory_free: 0,
        cores: 0,
        load: 0,
        issued: 0,
        expires: 100,
    };
    let before = Instant::now();
    catalog.put_capability(node, capability());
    let after = Instant::now() + std::time::Duration::from_secs(1);
    assert!(!catalog.reached_at(node, before) && catalog.reached_at(node, after));
    catalog.left(node);
    assert!(!catalog.reached_at(node, after));
}
