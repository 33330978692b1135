//! A stock libp2p node, with nothing of hive's code, and a hive node.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use hive_protocol::BlockId;
use hive_protocol::message::Response;
use hive_swarm::SwarmEvent as HiveEvent;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::kad::{GetProvidersOk, QueryResult, RecordKey};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, StreamProtocol, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, identify, kad, noise, ping, tcp, tls, yamux};

use crate::support::{Node, config, id, join, provider, soon, start};

/// Bytes as they are, so that a test can send what no hive node would.
#[derive(Clone, Default)]
struct Raw;

impl request_response::Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
    ) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io.take(1 << 20).read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&request).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: Vec<u8>,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[derive(NetworkBehaviour)]
struct Stock {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    raw: request_response::Behaviour<Raw>,
}

/// Which of the two securities a stock node has.
#[derive(Clone, Copy)]
enum Security {
    Noise,
    Tls,
}

fn stock(security: Security) -> Swarm<Stock> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let behaviour = |keypair: &libp2p::identity::Keypair| {
        let peer = keypair.public().to_peer_id();
        let config = kad::Config::new(StreamProtocol::new("/hive/test/kad/1"));
        let many = MemoryStoreConfig { max_provided_keys: 1 << 20, ..MemoryStoreConfig::default() };
        let mut kad =
            kad::Behaviour::with_config(peer, MemoryStore::with_config(peer, many), config);
        kad.set_mode(Some(kad::Mode::Server));
        let identify = identify::Config::new("stock/1".to_owned(), keypair.public());
        let model = (StreamProtocol::new("/hive/test/model/1"), ProtocolSupport::Outbound);
        Stock {
            kad,
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::default(),
            raw: request_response::Behaviour::new([model], request_response::Config::default()),
        }
    };
    let tcp = tcp::Config::default();
    match security {
        Security::Noise => builder
            .with_tcp(tcp, noise::Config::new, yamux::Config::default)
            .expect("noise")
            .with_behaviour(behaviour)
            .expect("infallible")
            .build(),
        Security::Tls => builder
            .with_tcp(tcp, tls::Config::new, yamux::Config::default)
            .expect("TLS")
            .with_behaviour(behaviour)
            .expect("infallible")
            .build(),
    }
}

/// Drives the swarm until an event that `pick` takes.
async fn until<T>(
    swarm: &mut Swarm<Stock>,
    what: &str,
    mut pick: impl FnMut(&mut Swarm<Stock>, SwarmEvent<StockEvent>) -> Option<T>,
) -> T {
    let wait = async {
        loop {
            let event = swarm.select_next_some().await;
            if let Some(picked) = pick(swarm, event) {
                return picked;
            }
        }
    };
    soon(what, wait).await
}

/// Drives the swarm while something else goes on.
async fn beside<T>(swarm: &mut Swarm<Stock>, future: impl Future<Output = T>) -> T {
    tokio::pin!(future);
    loop {
        tokio::select! {
            value = &mut future => return value,
            _ = swarm.select_next_some() => {}
        }
    }
}

/// Connects it to a hive node and waits until it knows what that is, as a stock node does.
async fn connect(swarm: &mut Swarm<Stock>, node: &Node) {
    let address: Multiaddr = node.client.listen_addrs().await[0].parse().expect("an address");
    swarm.dial(address).expect("a dial");
    until(swarm, "the identification", |swarm, event| match event {
        SwarmEvent::Behaviour(StockEvent::Identify(identify::Event::Received {
            peer_id,
            info,
            ..
        })) => {
            for address in info.listen_addrs {
                swarm.behaviour_mut().kad.add_address(&peer_id, address);
            }
            Some(())
        }
        _ => None,
    })
    .await;
}

async fn listen(swarm: &mut Swarm<Stock>) {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("a listener");
    let address = until(swarm, "the address", |_, event| match event {
        SwarmEvent::NewListenAddr { address, .. } => Some(address),
        _ => None,
    })
    .await;
    swarm.add_external_address(address);
}

fn key(id: BlockId) -> RecordKey {
    RecordKey::from(id.multihash())
}

async fn provide(swarm: &mut Swarm<Stock>, ids: impl IntoIterator<Item = RecordKey>) {
    let mut n_running = 0;
    for id in ids {
        swarm.behaviour_mut().kad.start_providing(id).expect("room");
        n_running += 1;
    }
    until(swarm, "the announcement", |_, event| {
        if let SwarmEvent::Behaviour(StockEvent::Kad(kad::Event::OutboundQueryProgressed {
            result: QueryResult::StartProviding(_),
            ..
        })) = event
        {
            n_running -= 1;
        }
        (n_running == 0).then_some(())
    })
    .await;
}

async fn find(swarm: &mut Swarm<Stock>, id: BlockId) -> Vec<PeerId> {
    let query = swarm.behaviour_mut().kad.get_providers(key(id));
    let mut found = Vec::new();
    until(swarm, "the search", |_, event| match event {
        SwarmEvent::Behaviour(StockEvent::Kad(kad::Event::OutboundQueryProgressed {
            id,
            result: QueryResult::GetProviders(result),
            step,
            ..
        })) if id == query => {
            if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = result {
                found.extend(providers);
            }
            step.last.then_some(())
        }
        _ => None,
    })
    .await;
    found
}

#[tokio::test]
async fn a_stock_node_finds_a_provider_through_a_hive_node() {
    for security in [Security::Noise, Security::Tls] {
        let hub = start(config());
        let has = join(&[&hub]).await;
        has.client.provide(id("model")).await.expect("runs");
        has.announced().await;

        let mut stock = stock(security);
        connect(&mut stock, &hub).await;
        let peer: PeerId = has.peer().to_string().parse().expect("a peer");
        assert!(find(&mut stock, id("model")).await.contains(&peer));
        // With what the hive node said, it gets there: libp2p has the addresses while it searches.
    }
}

#[tokio::test]
async fn a_stock_node_is_found_through_a_hive_node() {
    for security in [Security::Noise, Security::Tls] {
        let mut hub = start(config());
        let mut stock = stock(security);
        listen(&mut stock).await;
        connect(&mut stock, &hub).await;
        let peer = stock.local_peer_id().to_string().parse().expect("a peer");
        beside(&mut stock, hub.knows(peer)).await;
        provide(&mut stock, [key(id("model"))]).await;

        let wants = join(&[&hub]).await;
        let found = async {
            wants.stands(|state| state.dht_peers > 0).await;
            let found = provider(&wants, id("model")).await;
            wants.client.connect(peer).await.expect("its address was in the answer");
            found
        };
        assert_eq!(beside(&mut stock, found).await, Some(peer));
    }
}

/// What others are told stays correct while one source floods.
#[tokio::test]
async fn a_flood_of_provider_records_does_not_hide_an_honest_one() {
    let hub = start(config());
    let honest = join(&[&hub]).await;
    honest.client.provide(id("honest")).await.expect("runs");
    honest.announced().await;

    let mut stock = stock(Security::Noise);
    connect(&mut stock, &hub).await;
    let junk = (0..2_500).map(|n| match n % 5 {
        // Not a name that hive knows.
        0 => RecordKey::from(format!("junk {n}").into_bytes()),
        _ => key(id(&format!("junk {n}"))),
    });
    provide(&mut stock, junk).await;

    let wants = join(&[&hub]).await;
    wants.stands(|state| state.dht_peers > 0).await;
    let found = beside(&mut stock, provider(&wants, id("honest"))).await;
    assert_eq!(found, Some(honest.peer()));
}

#[tokio::test]
async fn a_request_that_means_nothing_here_is_answered() {
    let mut hub = start(config());
    let mut stock = stock(Security::Tls);
    connect(&mut stock, &hub).await;
    let peer: PeerId = hub.peer().to_string().parse().expect("a peer");

    // Canonical DAG-CBOR `{v: 2, ask: "?"}`, nonsense, and nothing.
    for body in [&b"\xa2\x61v\x02\x63ask\x61?"[..], &[0xff; 20], &[]] {
        let mut request = vec![body.len() as u8];
        request.extend_from_slice(body);
        stock.behaviour_mut().raw.send_request(&peer, request);
        let response = until(&mut stock, "the answer", |_, event| match event {
            SwarmEvent::Behaviour(StockEvent::Raw(request_response::Event::Message {
                message: request_response::Message::Response { response, .. },
                ..
            })) => Some(response),
            _ => None,
        })
        .await;
        assert_eq!(usize::from(response[0]), response.len() - 1);
        assert_eq!(Response::decode(&response[1..]), Ok(Response::Unsupported));
    }
    assert!(hub.started.requests.try_recv().is_err());

    // A stock node is no hive node, and is told from one.
    let identified = hub.until(|event| match event {
        HiveEvent::PeerIdentified { speaks_hive, agent, .. } => Some((*speaks_hive, agent.clone())),
        _ => None,
    });
    let (speaks_hive, agent) = beside(&mut stock, identified).await;
    assert!(!speaks_hive && agent.starts_with("rust-libp2p/"), "{agent}");
}
