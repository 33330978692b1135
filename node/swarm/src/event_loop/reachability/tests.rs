use std::net::{IpAddr, Ipv4Addr};

use super::*;

fn seen(by: u8, at: &str) -> Observation {
    let observer = IpAddr::V4(Ipv4Addr::new(9, 9, 9, by));
    let seen: Multiaddr = at.parse().expect("an address");
    Observation { observer, kind: TransportKind::of(&seen), seen }
}

fn mapping(observations: &[(u8, &str)]) -> NatMapping {
    let mut reach = Reach::new(false);
    for (by, at) in observations {
        reach.note(seen(*by, at));
    }
    let ours = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 2));
    reach.mapping(TransportKind::Tcp, |ip| ip == ours)
}

#[test]
fn one_host_cannot_tell_what_a_router_does() {
    assert_eq!(mapping(&[]), NatMapping::Unknown);
    assert_eq!(mapping(&[(1, "/ip4/5.0.0.1/tcp/7")]), NatMapping::Unknown);
    assert_eq!(
        mapping(&[(1, "/ip4/5.0.0.1/tcp/7"), (1, "/ip4/5.0.0.1/tcp/8")]),
        NatMapping::Unknown,
        "the same host twice"
    );
    assert_eq!(
        mapping(&[(1, "/ip4/5.0.0.1/tcp/7"), (2, "/ip4/5.0.0.1/udp/8/quic-v1")]),
        NatMapping::Unknown,
        "another transport"
    );
}

#[test]
fn one_port_for_all_is_a_router_that_can_be_punched_through() {
    let same = [(1, "/ip4/5.0.0.1/tcp/7"), (2, "/ip4/5.0.0.1/tcp/7")];
    assert_eq!(mapping(&same), NatMapping::EndpointIndependent);
    let other = [(1, "/ip4/5.0.0.1/tcp/7"), (2, "/ip4/5.0.0.1/tcp/9")];
    assert_eq!(mapping(&other), NatMapping::AddressDependent);
}

#[test]
fn a_host_that_is_seen_where_it_is_has_no_router() {
    assert_eq!(mapping(&[(1, "/ip4/192.168.0.2/tcp/7")]), NatMapping::None);
}

#[test]
fn what_was_seen_before_the_network_changed_does_not_count() {
    let moved = [(1, "/ip4/5.0.0.1/tcp/7"), (2, "/ip4/5.0.0.1/tcp/7"), (3, "/ip4/6.0.0.1/tcp/9")];
    assert_eq!(mapping(&moved), NatMapping::Unknown);
}

#[test]
fn observers_are_not_kept_without_end() {
    let mut reach = Reach::new(false);
    for n in 0..=255 {
        reach.note(seen(n, "/ip4/5.0.0.1/tcp/7"));
    }
    assert_eq!(reach.observations.len(), OBSERVERS);
}
