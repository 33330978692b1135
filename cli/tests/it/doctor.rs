//! What `hive doctor` finds on a machine without trouble, and on one that is alone.

use serde_json::Value;

use crate::{User, keys};

fn level<'a>(diagnosis: &'a Value, name: &str) -> &'a str {
    let checks = diagnosis["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no check `{name}`: {diagnosis}"))["level"].as_str().unwrap()
}

#[test]
fn doctor_works_without_a_node_and_says_what_to_do_first() {
    let user = User::new();
    let ended = user.run(&["--json", "doctor"]);
    assert_eq!(ended.code, Some(1), "nobody is connected: {ended:?}");
    let diagnosis: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(keys(&diagnosis), ["checks", "running", "to_do"]);
    assert_eq!(diagnosis["running"], false);
    assert_eq!(level(&diagnosis, "peers"), "fail");
    for name in [
        "ports",
        "reachability",
        "upnp",
        "nat",
        "relays",
        "dht",
        "firewall",
        "clock",
        "disk",
        "file system",
        "write speed",
        "udp buffers",
        "ipv6",
        "multicast",
        "cipher",
        "hash",
    ] {
        assert!(["ok", "warn", "fail"].contains(&level(&diagnosis, name)), "{name}");
    }
    assert!(diagnosis["to_do"][0].as_str().unwrap().contains("hive config set bootstrap"));
    let told = user.run(&["doctor"]);
    assert!(told.stdout.contains("FAIL  peers"), "{told:?}");
    assert!(told.stdout.contains("to do, in this order:\n  1. "), "{told:?}");
    assert!(told.failed(1).contains("checks failed") || told.stderr.contains("one check failed"));
}

#[test]
fn doctor_asks_the_node_that_runs() {
    let (other, user) = (User::new(), User::new());
    let there = other.join(&[]);
    let _here = user.join(&["--bootstrap", there.address()]);
    user.run(&["peers", "--connect", there.address()]).ok();
    let diagnosis = user.json(&["--json", "doctor"]);
    assert_eq!(diagnosis["running"], true);
    assert_eq!(level(&diagnosis, "peers"), "ok");
    assert_eq!(level(&diagnosis, "ports"), "ok");
}

#[test]
fn doctor_names_a_port_that_another_program_has() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", holder.local_addr().unwrap().port());
    let user = User::new();
    let output = user.command(&["--json", "doctor"]).env("HIVE_LISTEN", &address).output().unwrap();
    let diagnosis: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(level(&diagnosis, "ports"), "fail");
    assert!(diagnosis["to_do"][0].as_str().unwrap().contains("has the port"), "{diagnosis}");
}
