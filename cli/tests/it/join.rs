//! A node that runs, and the commands that find it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::{Ended, User, keys};

#[cfg(unix)]
#[test]
fn node_says_where_it_is_and_ends_in_good_order() {
    let user = User::new();
    let node = user.join(&[]);
    assert_eq!(keys(&node.ready), ["addresses", "api", "event", "peer"]);
    assert_eq!(node.ready["event"], "ready");
    let peer = node.ready["peer"].as_str().unwrap();
    let address = node.address();
    assert!(address.starts_with("/ip4/127.0.0.1/tcp/"), "{address}");
    assert!(address.ends_with(&format!("/p2p/{peer}")), "{address}");
    assert!(user.home().join("api.addr").exists());

    let status = user.json(&["--json", "status"]);
    assert_eq!(status["peer"], peer);
    assert_eq!(status["addresses"][0], address);
    let id = user.json(&["--json", "id"]);
    assert_eq!(id["addresses"][0], address);

    let ended = node.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!user.home().join("api.addr").exists());
    assert_eq!(user.json(&["--json", "id"])["addresses"], serde_json::json!([]));
}

#[test]
fn commands_go_through_the_node_that_runs() {
    let user = User::new();
    let _node = user.join(&[]);
    let file = user.file("x.bin", &[1; 100]);
    let added = user.json(&["--json", "add", &file]);
    assert_eq!(user.json(&["--json", "ls"])[0]["cid"], added["cid"]);
    assert_eq!(user.json(&["--json", "status"])["models"], 1);
    let model = user.model();
    let text = user.run(&["run", &model, "hi", "--max-tokens", "4", "--temperature", "0"]);
    assert!(!text.ok().is_empty());
}

#[test]
fn second_node_on_a_home_is_refused_and_names_the_process() {
    let user = User::new();
    let node = user.join(&[]);
    let pid = node.child.id().to_string();
    let ended = user.run(&["join"]);
    let told = ended.failed(1);
    assert!(told.contains(&pid) && told.contains("already"), "{ended:?}");
}

/// With its local API off, the node still owns the home.
#[test]
fn second_process_on_a_home_is_refused_and_names_the_process() {
    let user = User::new();
    let node = user.join(&["--api", "off"]);
    assert_eq!(node.ready["api"], serde_json::Value::Null);
    let ended = user.run(&["ls"]);
    assert!(ended.failed(1).contains(&node.child.id().to_string()), "{ended:?}");
}

#[test]
fn node_that_was_killed_is_no_obstacle() {
    let user = User::new();
    let mut node = user.join(&[]);
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    assert!(user.home().join("api.addr").exists(), "it had no time to clean up");
    user.run(&["ls"]).ok();
    let again = user.join(&[]);
    assert_eq!(again.ready["peer"], node.ready["peer"]);
}

#[test]
fn node_ends_with_the_program_that_started_it() {
    let user = User::new();
    let mut command = user.command(&["join", "--json", "--until-stdin-ends"]);
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Waiting closes its stdin.
    let ended: Ended = child.wait_with_output().unwrap().into();
    assert!(ended.ok().contains("\"ready\""), "{ended:?}");
}

/// Whoever starts a node and is alone hears so, and how to change that.
#[test]
fn node_that_is_alone_says_so_within_10_s_and_goes_on() {
    let user = User::new();
    let begun = Instant::now();
    let mut child = user.command(&["join"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let told = lines.find(|line| line.contains("nobody is there yet")).unwrap();
    assert!(told.ends_with("Three ways in:"), "{told}");
    let ways: Vec<String> = lines.take(3).collect();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for (way, command) in ways.iter().zip(["--bootstrap ADDR", "hive join CODE", "LAN"]) {
        assert!(way.contains(command), "{way}");
    }
    // It is found by a neighbour all the same.
    assert!(child.try_wait().unwrap().is_none());
    assert_eq!(user.json(&["--json", "status"])["connected"], 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn figures_are_open_on_a_listener_of_their_own() {
    let user = User::new();
    let node = user.join(&["--metrics", "127.0.0.1:0"]);
    let address = node.ready["metrics"].as_str().unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\nhive_reachable "),
        "{answer}"
    );
}

#[test]
fn node_of_the_lan_asks_no_hub() {
    let user = User::new();
    user.run(&["config", "set", "lan-only", "on"]).ok();
    let ended = user.run(&["add", "hf:owner/repo"]);
    assert!(ended.failed(7).contains("lan-only"), "{ended:?}");
    // What is on this disk is added as ever, and what is private is dialed.
    let model = user.model();
    user.run(&["add", &model]).ok();
    let neighbour = User::new();
    let node = neighbour.join(&["--lan-only"]);
    let far =
        "/dns4/relay.example.org/tcp/4483/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let both = format!("{},{far}", node.address());
    let mut command = user.command(&["peers", "--connect", node.address()]);
    let output = command.env("HIVE_BOOTSTRAP", both).output().unwrap();
    let ended = Ended::from(output);
    let peer = node.ready["peer"].as_str().unwrap();
    assert!(ended.ok().contains(&peer[peer.len() - 8..]), "{ended:?}");
    assert!(ended.stderr.contains("not dialed: this node keeps to the LAN"), "{ended:?}");
    assert!(neighbour.json(&["--json", "status"])["lan_only"].as_bool().unwrap());
}

#[test]
fn peers_say_how_and_why_they_are_reached() {
    let (provider, reader) = (User::new(), User::new());
    let node = provider.join(&["--name", "kitchen"]);
    let other = reader.join(&["--bootstrap", node.address()]);
    let peers = wait_for_peer(&reader, node.ready["peer"].as_str().unwrap());
    let peer = &peers[0];
    assert_eq!((&peer["path"], &peer["why"]), (&"direct".into(), &"same machine".into()), "{peer}");
    assert_eq!(
        (&peer["goodput"], &peer["links"][0]["transport"]),
        (&serde_json::Value::Null, &"tcp".into())
    );
    let model = provider.model();
    let cid =
        provider.json(&["--json", "add", "--share", &model])["cid"].as_str().unwrap().to_owned();
    reader.run(&["fetch", &cid]).ok();
    for (user, peer) in [(&reader, &node.ready["peer"]), (&provider, &other.ready["peer"])] {
        let peers = user.json(&["--json", "peers"]);
        let found = peers.as_array().unwrap().iter().find(|known| known["peer"] == *peer).unwrap();
        assert!(found["goodput"].as_f64().unwrap() > 0.0, "{found}");
    }
    let table = reader.run(&["peers"]);
    assert!(table.ok().contains("kitchen") && table.ok().contains("same machine"), "{table:?}");
}

/// The peers of a running node, once one of them is connected and has said who it is.
fn wait_for_peer(user: &User, peer: &str) -> serde_json::Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let peers = user.json(&["--json", "peers"]);
        let here = |known: &serde_json::Value| {
            known["peer"] == peer && known["connected"] == true && !known["agent"].is_null()
        };
        if peers.as_array().unwrap().iter().any(here) {
            return peers;
        }
        assert!(Instant::now() < deadline, "{peers}");
    }
}
