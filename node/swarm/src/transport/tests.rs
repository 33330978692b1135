use futures::StreamExt;
use libp2p::core::transport::MemoryTransport;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{self, DialError, Swarm, SwarmEvent, dummy};
use libp2p::{Multiaddr, noise, tls as stock_tls, yamux as stock_yamux};

use super::*;

fn swarm(build: impl FnOnce(&Keypair) -> Connections) -> Swarm<dummy::Behaviour> {
    let identity = Keypair::generate_ed25519();
    let config =
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(9));
    Swarm::new(build(&identity), dummy::Behaviour, identity.public().to_peer_id(), config)
}

fn ours(identity: &Keypair) -> Connections {
    build(identity, &Options::default()).unwrap()
}

async fn listen(swarm: &mut Swarm<dummy::Behaviour>, addr: &str) -> Multiaddr {
    swarm.listen_on(addr.parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

/// Dials and says whom each side sees, or why not.
async fn dial(
    dialer: &mut Swarm<dummy::Behaviour>,
    listener: &mut Swarm<dummy::Behaviour>,
    options: DialOpts,
) -> Result<(PeerId, PeerId), DialError> {
    dialer.dial(options).unwrap();
    let (mut there, mut here) = (None, None);
    loop {
        tokio::select! {
            event = dialer.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => there = Some(peer_id),
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error),
                _ => {}
            },
            event = listener.select_next_some() => {
                if let SwarmEvent::ConnectionEstablished { peer_id, .. } = event {
                    here = Some(peer_id);
                }
            }
        }
        if let (Some(there), Some(here)) = (there, here) {
            return Ok((there, here));
        }
    }
}

/// The two connect over `addr` and know each other.
async fn meet(
    mut dialer: Swarm<dummy::Behaviour>,
    mut listener: Swarm<dummy::Behaviour>,
    addr: &str,
) {
    let addr = listen(&mut listener, addr).await;
    let seen = dial(&mut dialer, &mut listener, addr.into()).await.unwrap();
    assert_eq!(seen, (*listener.local_peer_id(), *dialer.local_peer_id()));
}

#[tokio::test]
async fn nodes_meet_over_tcp() {
    meet(swarm(ours), swarm(ours), "/ip4/127.0.0.1/tcp/0").await;
}

#[tokio::test]
async fn nodes_meet_over_quic() {
    meet(swarm(ours), swarm(ours), "/ip4/127.0.0.1/udp/0/quic-v1").await;
}

#[tokio::test]
async fn a_name_is_resolved() {
    let (mut dialer, mut listener) = (swarm(ours), swarm(ours));
    let addr = listen(&mut listener, "/ip4/127.0.0.1/tcp/0").await;
    let port = addr.iter().nth(1).unwrap();
    let named: Multiaddr = "/dns4/localhost".parse().unwrap();
    dial(&mut dialer, &mut listener, named.with(port).into()).await.unwrap();
}

#[tokio::test]
async fn a_peer_with_noise_alone_is_met() {
    let noise =
        |identity: &Keypair| secure(MemoryTransport::new(), Security::noise(identity).unwrap());
    let both =
        |identity: &Keypair| secure(MemoryTransport::new(), Security::new(identity).unwrap());
    meet(swarm(noise), swarm(both), "/memory/0").await;
    meet(swarm(both), swarm(noise), "/memory/0").await;
}

#[tokio::test]
async fn stock_libp2p_is_met_with_tls_and_with_noise() {
    let memory = || MemoryTransport::new().upgrade(Version::V1);
    let both =
        |identity: &Keypair| secure(MemoryTransport::new(), Security::new(identity).unwrap());
    let tls = |identity: &Keypair| {
        let secured = memory().authenticate(stock_tls::Config::new(identity).unwrap());
        secured.multiplex(stock_yamux::Config::default()).boxed()
    };
    let noise = |identity: &Keypair| {
        let secured = memory().authenticate(noise::Config::new(identity).unwrap());
        secured.multiplex(stock_yamux::Config::default()).boxed()
    };
    meet(swarm(tls), swarm(both), "/memory/0").await;
    meet(swarm(both), swarm(tls), "/memory/0").await;
    meet(swarm(noise), swarm(both), "/memory/0").await;
    meet(swarm(both), swarm(noise), "/memory/0").await;
}

#[tokio::test]
async fn somebody_else_at_the_address_is_refused() {
    let (mut dialer, mut listener) = (swarm(ours), swarm(ours));
    let addr = listen(&mut listener, "/ip4/127.0.0.1/tcp/0").await;
    let wanted = Keypair::generate_ed25519().public().to_peer_id();
    let options = DialOpts::peer_id(wanted).addresses(vec![addr]).build();
    let error = dial(&mut dialer, &mut listener, options).await.unwrap_err();
    assert!(
        matches!(error, DialError::WrongPeerId { obtained, .. } if obtained == *listener.local_peer_id()),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_node_without_a_transport_is_refused() {
    let options = Options { tcp: false, quic: false, websocket: false, ..Options::default() };
    let built = build(&Keypair::generate_ed25519(), &options);
    assert!(matches!(built, Err(TransportError::Nothing)));
}
