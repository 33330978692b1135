//! `hive relay`, and what does and does not go through one.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Ended, Running, User};

/// How long others may take to meet.
const PATIENCE: Duration = Duration::from_mins(1);

/// A port that is free, most likely still in a moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Relay {
    user: User,
    node: Running,
}

impl Relay {
    fn start(more: &[&str]) -> Self {
        let user = User::new();
        let listen = format!("/ip4/127.0.0.1/tcp/{}", free_port());
        let mut args = vec!["--listen", &listen, "--external-addr", "127.0.0.1"];
        args.extend_from_slice(more);
        let node = user.node("relay", &args);
        Self { user, node }
    }

    fn address(&self) -> &str {
        self.node.ready["join"].as_str().unwrap().split(' ').next_back().unwrap()
    }
}

/// Asks until the answer is there.
fn until<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "{seen}"),
        }
    }
}

#[test]
fn relay_without_an_address_exits_2_and_says_how_to_find_it() {
    let user = User::new();
    let ended = user.run(&["relay"]);
    let told = ended.failed(2);
    assert!(told.contains("--external-addr") && told.contains("/ip4/127.0.0.1/tcp/0"), "{told}");
    // With a host alone, the port has to be one that is known before.
    let ended = user.run(&["relay", "--external-addr", "192.0.2.1"]);
    assert!(ended.failed(2).contains("needs a port"), "{ended:?}");
}

#[test]
fn relay_prints_the_line_that_others_paste_and_counts_for_prometheus() {
    let (wss, user) = (free_port().to_string(), User::new());
    let relay = Relay::start(&["--wss", &wss, "--metrics", "127.0.0.1:0", "--name", "vps"]);
    let join = relay.node.ready["join"].as_str().unwrap();
    assert!(
        join.starts_with("hive join --network test-of-cli --bootstrap /ip4/127.0.0.1/tcp/"),
        "{join}"
    );
    assert!(join.contains(&format!("/ip4/127.0.0.1/tcp/{wss}/tls/ws/p2p/")), "{join}");

    let pasted: Vec<&str> = join.split(' ').skip(2).collect();
    let node = user.join(&pasted);
    until(|| {
        let peers = user.json(&["--json", "peers"]);
        let vps = peers.as_array().unwrap().iter().any(|peer| peer["name"] == "vps");
        if vps { Ok(()) } else { Err(peers.to_string()) }
    });
    let status = relay.user.json(&["--json", "status"]);
    assert_eq!(status["dht"]["server"], true);
    assert_eq!(status["relay"]["allows_bulk"], false);
    assert!(node.ready["join"].is_null());

    let mut socket = TcpStream::connect(relay.node.ready["metrics"].as_str().unwrap()).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("hive_relay_circuits 0"), "{answer}");
}

/// A relay's models are nobody's: it relays.
#[test]
fn relay_serves_no_models() {
    let (relay, reader) = (Relay::start(&[]), User::new());
    let model = relay.user.model();
    let added = relay.user.json(&["--json", "add", "--share", &model]);
    let cid = added["cid"].as_str().unwrap();
    let ended =
        reader.run(&["fetch", cid, "--bootstrap", relay.address(), "--provider-timeout", "1s"]);
    ended.failed(3);
}

#[test]
fn service_can_be_a_relay_that_knows_its_address() {
    let user = User::new();
    let unit = user.run(&["service", "install", "--print", "--for", "systemd", "--relay"]);
    assert!(unit.ok().contains(" relay\n"), "{unit:?}");
    let ended = user.run(&["service", "install", "--relay"]);
    assert!(ended.failed(2).contains("hive config set external"), "{ended:?}");
}

/// Two nodes that listen nowhere have no other way to each other than a relay.
struct Apart {
    relay: Relay,
    provider: User,
    _node: Running,
    reader: User,
    cid: String,
    /// Where the provider is reached.
    circuit: String,
}

impl Apart {
    fn start(relay: &[&str]) -> Self {
        let (relay, provider, reader) = (Relay::start(relay), User::new(), User::new());
        let model = provider.model();
        let added = provider.json(&["--json", "add", "--share", &model]);
        let cid = added["cid"].as_str().unwrap().to_owned();
        let node = provider.join(&["--listen", "none", "--bootstrap", relay.address()]);
        let reserved = |status: &Value| {
            status["relays"]
                .as_array()
                .is_some_and(|relays| relays.iter().any(|r| r["reserved"] == true))
        };
        until(|| {
            let status = provider.json(&["--json", "status"]);
            if reserved(&status) { Ok(()) } else { Err(status.to_string()) }
        });
        let peer = node.ready["peer"].as_str().unwrap();
        let circuit = format!("{}/p2p-circuit/p2p/{peer}", relay.address());
        Self { relay, provider, _node: node, reader, cid, circuit }
    }

    fn fetch(&self, more: &[&str]) -> Ended {
        let mut args =
            vec!["fetch", &self.cid, "--from", &self.circuit, "--provider-timeout", "1s"];
        args.extend_from_slice(&["--bootstrap", self.relay.address()]);
        args.extend_from_slice(more);
        let mut command = self.reader.command(&args);
        command.env("HIVE_LISTEN", "none").output().unwrap().into()
    }

    fn relayed(&self) -> u64 {
        self.relay.user.json(&["--json", "status"])["relay"]["bytes"].as_u64().unwrap()
    }
}

#[test]
fn models_go_through_a_relay_when_both_allow_it() {
    let apart = Apart::start(&["--allow-bulk"]);
    let ended = apart.fetch(&[]);
    let told = ended.failed(7);
    assert!(told.contains("through a relay only"), "{told}");
    assert!(told.contains(&format!("`hive fetch {} --relay-bulk ", apart.cid)), "{told}");
    assert_eq!(apart.provider.json(&["--json", "status"])["uploaded"], 0);

    let before = apart.relayed();
    let ended = apart.fetch(&["--relay-bulk", "2GB"]);
    let path = ended.ok().trim_end();
    assert_eq!(std::fs::read(path).unwrap(), hive_node::TINY_MODEL);
    let size = hive_node::TINY_MODEL.len() as u64;
    until(|| {
        let moved = apart.relayed() - before;
        if moved >= size { Ok(()) } else { Err(format!("{moved} of {size}")) }
    });
}

#[test]
fn no_model_goes_through_a_relay_whose_operator_did_not_allow_it() {
    let apart = Apart::start(&[]);
    let ended = apart.fetch(&["--relay-bulk", "2GB"]);
    let told = ended.failed(6);
    assert!(told.contains("`hive relay --allow-bulk`"), "{told}");
    assert_eq!(apart.provider.json(&["--json", "status"])["uploaded"], 0);
}
