//! WebSocket over TLS: between hive nodes, and with the stock implementation.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use hive_protocol::message::{Request, Response};
use hive_swarm::transport::{self, Connections, Options};
use hive_swarm::{CertificateFiles, Config, RelayServer, TransportKind};
use libp2p::core::Transport as _;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::{self, Swarm, SwarmEvent, dummy};
use libp2p::{Multiaddr, PeerId, noise, tcp, yamux};
use libp2p_websocket as stock;
use rustls::pki_types::CertificateDer;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::support::{config, id, soon, start};

fn swarm(identity: &Keypair, connections: Connections) -> Swarm<dummy::Behaviour> {
    let config =
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(9));
    Swarm::new(connections, dummy::Behaviour, identity.public().to_peer_id(), config)
}

/// Hive's transports, with this certificate or one of its own.
fn ours(certificate: Option<CertificateFiles>) -> Swarm<dummy::Behaviour> {
    let identity = Keypair::generate_ed25519();
    let mut options = Options::default();
    (options.certificate, options.dns) = (certificate, false);
    swarm(&identity, transport::build(&identity, &options).expect("transports"))
}

/// libp2p's own WebSocket, noise and yamux.
fn stock(tls: stock::tls::Config) -> Swarm<dummy::Behaviour> {
    let identity = Keypair::generate_ed25519();
    let mut websocket = stock::Config::new(tcp::tokio::Transport::new(tcp::Config::default()));
    websocket.set_tls_config(tls);
    let connections = websocket
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&identity).expect("noise"))
        .multiplex(yamux::Config::default())
        .boxed();
    swarm(&identity, connections)
}

/// Where it listens.
async fn listen(swarm: &mut Swarm<dummy::Behaviour>, address: &str) -> Multiaddr {
    swarm.listen_on(address.parse().expect("an address")).expect("listens");
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

/// The two connect, and each knows who the other is.
async fn meet(
    mut dialer: Swarm<dummy::Behaviour>,
    mut listener: Swarm<dummy::Behaviour>,
    to: Multiaddr,
) {
    dialer.dial(to).expect("dials");
    let (mut there, mut here): (Option<PeerId>, Option<PeerId>) = (None, None);
    let met = async {
        while there.is_none() || here.is_none() {
            tokio::select! {
                event = dialer.select_next_some() => match event {
                    SwarmEvent::ConnectionEstablished { peer_id, .. } => there = Some(peer_id),
                    SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                    _ => {}
                },
                event = listener.select_next_some() => match event {
                    SwarmEvent::ConnectionEstablished { peer_id, .. } => here = Some(peer_id),
                    SwarmEvent::IncomingConnectionError { error, .. } => panic!("{error}"),
                    _ => {}
                },
            }
        }
    };
    soon("the meeting", met).await;
    assert_eq!(there, Some(*listener.local_peer_id()));
    assert_eq!(here, Some(*dialer.local_peer_id()));
}

/// A certificate for this machine, as an authority would give one.
struct Certified {
    _folder: tempfile::TempDir,
    files: CertificateFiles,
    certificate: stock::tls::Certificate,
    key: stock::tls::PrivateKey,
    der: CertificateDer<'static>,
}

fn certified() -> Certified {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("made");
    let folder = tempfile::tempdir().expect("a folder");
    let files = CertificateFiles {
        chain: folder.path().join("fullchain.pem"),
        key: folder.path().join("privkey.pem"),
    };
    std::fs::write(&files.chain, made.cert.pem()).expect("written");
    std::fs::write(&files.key, made.key_pair.serialize_pem()).expect("written");
    let certificate = stock::tls::Certificate::new(made.cert.der().to_vec());
    let key = stock::tls::PrivateKey::new(made.key_pair.serialize_der());
    let der = made.cert.der().clone();
    Certified { _folder: folder, files, certificate, key, der }
}

#[tokio::test]
async fn nodes_meet_whichever_way_the_address_is_written() {
    for form in ["tls/ws", "wss"] {
        let mut listener = ours(None);
        let at = listen(&mut listener, &format!("/ip4/127.0.0.1/tcp/0/{form}")).await;
        assert!(at.to_string().ends_with(form), "{at}");
        meet(ours(None), listener, at).await;
    }
    let mut listener = ours(None);
    let at = listen(&mut listener, "/ip4/127.0.0.1/tcp/0/tls/ws").await;
    let named = at.to_string().replace("/tls/", "/tls/sni/relay.example.org/");
    meet(ours(None), listener, named.parse().expect("an address")).await;
}

#[tokio::test]
async fn a_stock_node_that_wants_a_real_certificate_reaches_ours() {
    let Certified { _folder, files, certificate, .. } = certified();
    let mut listener = ours(Some(files));
    let at = listen(&mut listener, "/ip4/127.0.0.1/tcp/0/wss").await;
    let mut trusting = stock::tls::Config::builder();
    trusting.add_trust(&certificate).expect("trusted");
    meet(stock(trusting.finish()), listener, at).await;
}

#[tokio::test]
async fn our_node_reaches_a_stock_one() {
    let Certified { certificate, key, .. } = certified();
    let tls = stock::tls::Config::new(key, [certificate]).expect("TLS");
    let mut listener = stock(tls);
    let at = listen(&mut listener, "/ip4/127.0.0.1/tcp/0/tls/ws").await;
    meet(ours(None), listener, at).await;
}

#[tokio::test]
async fn megabytes_go_through_and_the_way_has_a_name() {
    let listen = vec!["/ip4/127.0.0.1/tcp/0/tls/ws".to_owned()];
    let mut server = start(Config { listen, ..config() });
    let dialer = start(Config { listen: Vec::new(), ..config() });
    let at = server.client.listen_addrs().await.remove(0);
    assert!(at.contains("/tls/ws/p2p/"), "{at}");
    let bytes: Vec<u8> = (0..3 << 20).map(|i: u32| (i % 251) as u8).collect();
    server.answers(Response::Block(bytes.clone().into()));

    dialer.client.dial(&at).await.expect("a connection");
    let peer = server.peer();
    let answer = soon("the answer", dialer.client.request(peer, Request::Block(id("it")))).await;
    assert_eq!(answer.expect("an answer"), Response::Block(bytes.into()));
    let state = dialer.client.peers().await.into_iter().find(|state| state.peer == peer);
    assert_eq!(state.expect("known").transports, [TransportKind::WebSocket]);
    // What it was reached at is worth keeping.
    let book = dialer.client.address_book().await;
    assert!(
        book.iter().any(|known| known.addresses.iter().any(|a| a.contains("/tls/ws"))),
        "{book:?}"
    );
}

/// A relay's configuration names the files; they are read at the start.
#[tokio::test]
async fn a_missing_certificate_is_an_error_at_start() {
    let files = CertificateFiles { chain: "/nowhere/a".into(), key: "/nowhere/b".into() };
    let server = RelayServer { certificate: Some(files), ..RelayServer::default() };
    let config = Config { relay_server: Some(server), ..config() };
    let identity = hive_swarm::NodeIdentity::from_ed25519_secret([1; 32]);
    let stop = tokio_util::sync::CancellationToken::new();
    let error = hive_swarm::start(&identity, config, stop).expect_err("no such file");
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        text.push_str(&error.to_string());
        source = error.source();
    }
    assert!(text.contains("/nowhere/a"), "{text}");
}

/// Whoever looks at the port sees a web server that has nothing.
#[tokio::test]
async fn a_browser_hears_that_there_is_nothing() {
    let Certified { _folder, files, der, .. } = certified();
    let mut listener = ours(Some(files));
    let at = listen(&mut listener, "/ip4/127.0.0.1/tcp/0/tls/ws").await;
    let port = at.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    tokio::spawn(async move {
        loop {
            listener.select_next_some().await;
        }
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der).expect("trusted");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let browser = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let at = (Ipv4Addr::LOCALHOST, port.expect("a port"));
    let socket = tokio::net::TcpStream::connect(at).await.expect("connects").compat();
    let connector = futures_rustls::TlsConnector::from(Arc::new(browser));
    let name = IpAddr::from(Ipv4Addr::LOCALHOST).into();
    let mut page = connector.connect(name, socket).await.expect("the certificate is right");
    page.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
    let mut said = String::new();
    soon("the answer", page.read_to_string(&mut said)).await.expect("read");
    assert!(said.starts_with("HTTP/1.1 404 Not Found\r\n"), "{said}");
}
