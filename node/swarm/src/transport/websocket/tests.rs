use super::*;

fn parts(address: &str) -> Option<(String, Ending)> {
    let (ip, port, ending) = split(&address.parse().expect("an address"))?;
    Some((tcp_address(ip, port).to_string(), ending))
}

#[test]
fn three_forms_are_web_sockets_and_nothing_else_is() {
    let peer = libp2p::PeerId::random();
    let plain = |short| Ending { short, name: None };
    let named = Ending { short: false, name: Some("relay.example.org".to_owned()) };
    for (end, ending) in
        [("/tls/ws", plain(false)), ("/wss", plain(true)), ("/tls/sni/relay.example.org/ws", named)]
    {
        for host in ["/ip4/1.2.3.4/tcp/443", "/ip6/2001:db8::1/tcp/443"] {
            let expected = Some((host.to_owned(), ending.clone()));
            assert_eq!(parts(&format!("{host}{end}")), expected);
            assert_eq!(parts(&format!("{host}{end}/p2p/{peer}")), expected);
            let mut address = host.parse().expect("an address");
            ending.append_to(&mut address);
            assert_eq!(address.to_string(), format!("{host}{end}"));
        }
    }
    for other in [
        "/ip4/1.2.3.4/tcp/443".to_owned(),
        "/ip4/1.2.3.4/tcp/443/ws".to_owned(),
        "/ip4/1.2.3.4/tcp/443/tls".to_owned(),
        "/ip4/1.2.3.4/udp/443/quic-v1".to_owned(),
        "/dns4/example.org/tcp/443/wss".to_owned(),
        "/ip4/1.2.3.4/tcp/443/x-parity-wss/%2Fpath".to_owned(),
        format!("/ip4/1.2.3.4/tcp/443/wss/p2p/{peer}/p2p-circuit"),
    ] {
        assert_eq!(parts(&other), None, "{other}");
    }
}

#[test]
fn a_certificate_that_cannot_be_read_is_named() {
    let files = CertificateFiles { chain: "/nowhere/chain.pem".into(), key: "/nowhere/key".into() };
    let error = WebSocket::new(Some(&files)).expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/chain.pem"), "{error}");
}
