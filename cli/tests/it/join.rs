//! A node that runs, and the commands that find it.

use std::process::Stdio;

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
