use std::time::Duration;

use super::*;

const SMALL: &str = r#"
seed = 1
[links.dsl]
delay_ms = 8
loss = 0.01
[[hosts]]
name = "relay"
address = "5.0.0.10"
[[routers]]
name = "home"
kind = "cone"
wan = "5.10.0.1"
lan = "192.168.10.0/24"
public = "45.10.0.0/24"
link = "dsl"
[[laptops]]
name = "mine"
behind = "home"
number = 10
"#;

#[test]
fn the_topology_that_comes_with_the_lab_has_what_the_scenarios_use() {
    let topology = Topology::load(None).unwrap();
    for name in ["relay", "observer", "stranger", "laptop-a", "laptop-b", "desktop-a"] {
        topology.address(name).unwrap();
    }
    for name in ["home-a", "home-b", "cafe"] {
        assert!(topology.router(name).unwrap().shape.is_some());
    }
    assert!(topology.without_shapes().routers.iter().all(|router| router.shape.is_none()));
}

#[test]
fn hosts_alone_are_a_topology() {
    let hosts = ["reader", "provider"].map(|name| (name.to_owned(), None));
    let topology = Topology::of_hosts(7, hosts).unwrap();
    assert_ne!(topology.address("reader").unwrap(), topology.address("provider").unwrap());
    let many = (0..300).map(|n| (format!("host-{n}"), None));
    assert!(Topology::of_hosts(7, many).is_err(), "addresses end at 254");
}

#[test]
fn an_address_depends_on_the_kind_of_the_router() {
    let topology = Topology::parse(SMALL).unwrap();
    assert_eq!(topology.routers[0].shape.unwrap().delay, Duration::from_millis(8));
    assert_eq!(topology.address("mine").unwrap().to_string(), "192.168.10.10");
    assert_eq!(topology.outside("mine").unwrap().to_string(), "5.10.0.1");
    let public = topology.with_kinds(&[("home", Kind::None)]).unwrap();
    assert_eq!(public.address("mine").unwrap().to_string(), "45.10.0.10");
    assert_eq!(public.outside("mine").unwrap().to_string(), "45.10.0.10");
    assert!(topology.with_kinds(&[("house", Kind::None)]).is_err());
}

#[test]
fn errors_name_the_line_and_what_would_do() {
    let error = |from: &str, to: &str| {
        assert!(SMALL.contains(from));
        format!("{:#}", Topology::parse(&SMALL.replace(from, to)).unwrap_err())
    };
    assert_eq!(
        error("\"cone\"", "\"cube\""),
        "line 11: kind: `cube`: none, cone, remap or symmetric"
    );
    assert_eq!(error("loss = 0.01", "loss = 2"), "line 5: loss = 2: a share, 0 to 1");
    assert_eq!(error("loss = 0.01", "loss = \"x\""), "line 5: loss: a number");
    assert_eq!(
        error("loss = 0.01", "lost = 1"),
        "line 5: lost: unknown in a link; there are delay_ms, jitter_ms, loss, rate_mbit"
    );
    assert_eq!(
        error("seed = 1", "seed = -1"),
        format!("line 2: seed: a whole number, 0 to {}", i64::MAX)
    );
    assert_eq!(error("seed = 1\n", ""), "line 1: seed: missing");
    assert_eq!(error("\"5.0.0.10\"", "\"5.0.0\""), "line 8: address: `5.0.0` is no IPv4 address");
    assert_eq!(
        error("lan = \"192.168.10.0/24\"", "lan = \"192.168.0.0/16\""),
        "line 13: lan: `192.168.0.0/16` is no /24, as in 192.168.1.0/24"
    );
    assert_eq!(
        error("link = \"dsl\"", "link = \"isdn\""),
        "line 15: link: there is no [links.isdn]"
    );
    assert_eq!(
        error("behind = \"home\"", "behind = \"x\""),
        "line 18: behind: there is no router `x`"
    );
    assert_eq!(error("number = 10", "number = 1"), "line 19: number: a whole number, 2 to 254");
    assert_eq!(error("name = \"mine\"", "name = \"home\""), "line 17: name: `home` is there twice");
    assert!(
        error("name = \"mine\"", "name = \"My laptop\"").starts_with("line 17: name: `My laptop`")
    );
    assert!(error("[[hosts]]", "[hosts]").contains("hosts: tables, as in [[hosts]]"));
    // What is no TOML at all is shown by the parser, with its line.
    assert!(error("seed = 1", "seed = ").contains("line 2"));
}
