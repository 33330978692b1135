use libp2p::core::transport::PortUse;

use super::*;

fn side(address: &str, role: Endpoint, port_use: PortUse) -> Side {
    side_of_dial(&address.parse().expect("an address"), DialOpts { role, port_use })
}

#[test]
fn exactly_one_of_two_speaks_first() {
    let tcp = "/ip4/192.0.2.1/tcp/1";
    let quic = "/ip4/192.0.2.1/udp/1/quic-v1";
    let relayed = "/ip4/192.0.2.1/udp/1/quic-v1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit";
    for port_use in [PortUse::New, PortUse::Reuse] {
        for address in [tcp, quic, relayed] {
            assert_eq!(side(address, Endpoint::Dialer, port_use), Side::Dialer);
        }
        assert_eq!(side(tcp, Endpoint::Listener, port_use), Side::Listener);
        assert_eq!(side(relayed, Endpoint::Listener, port_use), Side::Listener);
    }
    // libp2p's QUIC punches a hole from a new port only; from one in use it just dials.
    assert_eq!(side(quic, Endpoint::Listener, PortUse::New), Side::Listener);
    assert_eq!(side(quic, Endpoint::Listener, PortUse::Reuse), Side::Dialer);
}
