//! Names of nodes, and what is known of models that are elsewhere.

use serde_json::Value;

use crate::User;

/// A provider called `kitchen` with the small model, shared.
fn kitchen() -> (User, crate::Running, Value) {
    let provider = User::new();
    provider.run(&["config", "set", "node.name", "kitchen"]).ok();
    let node = provider.join(&[]);
    let model = provider.model();
    let added = provider.json(&["--json", "add", "--share", "--name", "tiny", &model]);
    (provider, node, added)
}

#[test]
fn a_nodes_name_is_shown_beside_its_id_wherever_it_is() {
    let (provider, node, added) = kitchen();
    assert_eq!(provider.json(&["--json", "status"])["name"], "kitchen");
    assert_eq!(provider.run(&["config", "get", "node.name"]).ok(), "kitchen\n");

    let reader = User::new();
    let id = added["cid"].as_str().unwrap();
    let fetched = reader.run(&["--json", "fetch", id, "--bootstrap", node.address()]);
    let events: Vec<Value> =
        fetched.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let peer = &events.last().unwrap()["peers"][0];
    assert_eq!((&peer["peer"], &peer["name"]), (&node.ready["peer"], &"kitchen".into()));

    let _reader = reader.join(&["--bootstrap", node.address()]);
    let found = reader.json(&["--json", "search", "kitchen", "--refresh"]);
    assert_eq!(found[0]["peers"][0]["name"], "kitchen", "{found}");
    assert_eq!((&found[0]["here"], &found[0]["fits"]), (&true.into(), &true.into()));
    let short = &node.ready["peer"].as_str().unwrap()[44..];
    assert!(reader.run(&["search"]).ok().contains(&format!("{short} (kitchen)")));
    assert_eq!(reader.json(&["--json", "peers"])[0]["name"], "kitchen");
    let shown = reader.json(&["--json", "show", id]);
    assert_eq!(shown["holders"][0]["name"], "kitchen", "{shown}");
    assert_eq!(shown["fit"]["fits"], true, "{shown}");
}

#[test]
fn a_fetch_asks_a_peer_by_its_name_and_a_name_that_two_have_is_refused() {
    let (_provider, node, added) = kitchen();
    let id = added["cid"].as_str().unwrap();
    let reader = User::new();
    let near = ["--bootstrap", node.address()];
    let from = |name: &'static str| {
        let mut args = vec!["fetch", id, "--from", name, "--provider-timeout", "3s"];
        args.extend(near);
        reader.run(&args)
    };
    assert!(from("cellar").failed(3).contains("calls itself `cellar`"));
    from("kitchen").ok();

    // Anybody may call himself anything.
    let twin = User::new();
    twin.run(&["config", "set", "name", "kitchen"]).ok();
    let twin_node = twin.join(&["--bootstrap", node.address()]);
    let third = User::new();
    let _third = third.join(&["--bootstrap", node.address(), "--bootstrap", twin_node.address()]);
    third.run(&["peers", "--connect", twin_node.address()]).ok();
    let ended = third.run(&["fetch", id, "--from", "kitchen"]);
    let told = ended.failed(2);
    assert!(told.contains("2 peers call themselves `kitchen`"), "{told}");
    assert!(told.contains(twin_node.ready["peer"].as_str().unwrap()), "{told}");
}

#[test]
fn a_model_that_is_only_offered_can_be_shown() {
    let (_provider, node, added) = kitchen();
    let reader = User::new();
    let near = ["--bootstrap", node.address()];
    let mut args = vec!["--json", "show", "tiny"];
    args.extend(near);
    let shown = reader.json(&args);
    assert_eq!((&shown["cid"], &shown["present"]), (&added["cid"], &0.into()));
    assert_eq!((&shown["format"], &shown["size"]), (&"gguf".into(), &added["size"]));
    assert_eq!(shown["holders"][0]["peer"], node.ready["peer"]);
    assert!(shown["fit"]["needed"].as_u64() > added["size"].as_u64());
    let ended = reader.run(&["show", "no-such-thing", "--listen-for", "0"]);
    assert!(ended.failed(3).contains("no-such-thing"), "{ended:?}");
}
