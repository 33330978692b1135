//! The network of a hive node, and the only user of libp2p.
//!
//! [`start`] spawns one task that owns libp2p's swarm (`event_loop`). Others hold a [`Client`],
//! which asks things of that task, and the receivers in [`Started`], through which peers' requests
//! and announcements come out. No type of libp2p is in what the rest of hive uses.
//!
//! | protocol | where |
//! |---|---|
//! | `/tls/1.0.0`, `/noise`, `/yamux/1.0.0`, QUIC | [`transport`] |
//! | membership of a private network | [`transport::membership`] |
//! | `/hive/<net>/kad/1` | `event_loop::dht`; what is kept in `records`, when to announce in `provided` |
//! | `/hive/<net>/model/1` | `codec`, `event_loop::model` |
//! | `/hive/<net>/chunk/1` | [`exchange`] |
//! | gossip `/hive/<net>/catalog/1`, `/hive/<net>/caps/1` | `event_loop::gossip` |
//! | identify, ping, mDNS | `behaviour`, `event_loop::peers` |
//!
//! It moves bytes and checks their form, never their content: verifying is the node's. Nothing is
//! written to disk: the node keeps the address book ([`Client::address_book`]).
//!
//! Invariant: nothing that a peer sends makes this crate allocate, wait, dial or answer without a
//! bound, and every bound stands in `limits`.

mod address;
mod behaviour;
mod book;
mod candidates;
mod choice;
mod client;
mod codec;
mod config;
pub mod dnssd;
mod error;
mod event_loop;
#[doc(hidden)]
pub mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod hold;
mod identity;
mod inbound;
mod ip_limits;
pub mod limits;
mod meter;
mod provided;
mod records;
mod relaying;
#[doc(hidden)]
pub mod transport;

use std::time::Instant;

use libp2p::core::transport::{Transport, TransportError};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Swarm, dns, relay, swarm};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::book::KnownPeer;
pub use self::client::Client;
pub use self::config::{Config, Limits, ServerMode};
pub use self::error::{
    AnnounceError, BootstrapError, DialError, Fault, FetchError, RequestError, StartError, Stopped,
};
pub use self::exchange::{
    ExchangeEvent, Failure, Responder as ChunkResponder, SendError, Sending, TransportKind,
};
pub use self::identity::{NodeIdentity, Peer, PeerParseError};
pub use self::inbound::{
    ChunkRequests, Gossip, InboundChunks, InboundRequest, Link, NatMapping, NetworkState,
    PeerState, Punch, Reachability, RelayState, Responder, SwarmEvent, Upnp, Verdict,
};
pub use self::relaying::{Budget, CertificateFiles, Refusal, RelayServer, RelayServing};
pub use self::transport::faults::{FaultCounts, Faults, Tally, Written};
pub use self::transport::key_log_requested;
pub use self::transport::membership::{
    Credential, HandshakeError, Kept, Membership, MembershipEvent, RedeemRequest,
};

use self::behaviour::Behaviour;
use self::client::EventSource;
use self::event_loop::{EventLoop, Parts};
use self::gate::{Gate, Gated};
use self::relaying::Relay;
use self::transport::membership;

/// A swarm that runs: how to ask it, and what comes out of it.
#[derive(Debug)]
pub struct Started {
    /// Asks things of it.
    pub client: Client,
    /// `model/1` requests of peers. While it is full, they are told to come again.
    pub requests: mpsc::Receiver<InboundRequest>,
    /// `chunk/1` requests of peers, likewise.
    pub chunks: ChunkRequests,
    /// Announcements of peers. While it is full, they are ignored.
    pub gossip: mpsc::Receiver<Gossip>,
    /// Ends with the swarm, when all of its tasks have ended.
    pub task: JoinHandle<()>,
}

/// Starts a swarm. It ends when `stop` is cancelled or the last [`Client`] is dropped.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn start(
    identity: &NodeIdentity,
    config: Config,
    stop: CancellationToken,
) -> Result<Started, StartError> {
    let addresses = config.check()?;
    config.check_membership(identity.peer())?;
    // libp2p's QUIC would obey it (see `transport::build`).
    if key_log_requested() {
        return Err(StartError::KeyLog);
    }
    let gate = Gate::new(config.allow_private, config.lan_only);
    let relay = config.relay_server.as_ref().map(|server| Relay::new(server, Instant::now()));
    // A relay that went through other relays would offer what it has of them.
    let traverse = config.traverse && !config.lan_only && relay.is_none();
    let (circuits, relay_client) = traverse.then(|| relay::client::new(identity.peer().0)).unzip();
    let (behaviour, chunks) =
        Behaviour::new(identity.keypair(), &config, relay_client, relay.as_ref())?;
    let tasks = TaskTracker::new();
    let mut swarm = Swarm::new(
        // Membership outermost, so that there is no other way in.
        membership::gate(
            transport::faults::on(
                connections(identity, &config, gate.clone(), circuits, relay.as_ref())?,
                config.faults.clone(),
            ),
            config.membership.clone(),
        ),
        behaviour,
        identity.peer().0,
        swarm::Config::with_executor(event_loop::executor(&tasks))
            .with_idle_connection_timeout(limits::IDLE_TIMEOUT),
    );
    // All before the first: a probe of `::` would meet our own socket on the same port of 0.0.0.0.
    for address in &addresses.listen {
        let taken = |source| StartError::Listen { address: address.to_string(), source };
        probe(address).map_err(taken)?;
    }
    let listen = |address: Multiaddr| {
        let text = address.to_string();
        swarm.listen_on(address).map_err(|error| listen_error(text, error))
    };
    let listeners = addresses.listen.into_iter().map(listen).collect::<Result<Vec<_>, _>>()?;

    let (commands, queue) = mpsc::channel(limits::COMMANDS);
    let (requests_in, requests) = mpsc::channel(limits::REQUEST_QUEUE);
    let (gossip_in, gossip) = mpsc::channel(limits::GOSSIP_QUEUE);
    let (events_in, events) = broadcast::channel(limits::EVENTS);
    let parts = Parts {
        swarm,
        commands: queue,
        requests: requests_in,
        gossip: gossip_in,
        events: events_in,
        gate,
        bootstrap: addresses.bootstrap,
        relays: addresses.relays,
        relay,
        listeners,
        tasks,
    };
    let event_loop = EventLoop::new(parts, &config, addresses.external);
    let client = Client { peer: identity.peer(), commands, events: EventSource(events) };
    let chunks = ChunkRequests { queue: chunks };
    let task = tokio::spawn(event_loop.run(stop));
    Ok(Started { client, requests, chunks, gossip, task })
}

/// The transports, with the gate below the resolver: a name is as private as what it resolves to.
/// The relays' circuits come first, since TCP would take their addresses for a relay's own.
fn connections(
    identity: &NodeIdentity,
    config: &Config,
    gate: Gate,
    circuits: Option<relay::client::Transport>,
    relay: Option<&Relay>,
) -> Result<transport::Connections, StartError> {
    let options = transport::Options {
        dns: false,
        certificate: config.relay_server.as_ref().and_then(|server| server.certificate.clone()),
        meters: relay.map(|relay| relay.meters.clone()),
        ..transport::Options::default()
    };
    let gated = || -> Result<Gated, StartError> {
        let transport = transport::build(identity.keypair(), &options);
        let transport = transport.map_err(StartError::Transport)?;
        Ok(Gated { transport, gate: gate.clone() })
    };
    let direct = if config.lan_only {
        // Whoever is asked for a name may be anywhere.
        gated()?.boxed()
    } else {
        match dns::tokio::Transport::system(gated()?) {
            Ok(transport) => transport.boxed(),
            Err(error) => {
                tracing::warn!(%error, "names in addresses are not resolved");
                gated()?.boxed()
            }
        }
    };
    let Some(circuits) = circuits else { return Ok(direct) };
    let security = transport::security::Security::new(identity.keypair());
    let security = security.map_err(|error| StartError::Transport(error.into()))?;
    Ok(transport::either(transport::secure(circuits, security), direct))
}

/// Whether a TCP port is free. libp2p lets two processes listen on one port, each of which would get
/// some of the connections.
fn probe(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip: std::net::IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => std::net::TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

fn listen_error(address: String, error: TransportError<std::io::Error>) -> StartError {
    let source = match error {
        TransportError::Other(error) => error,
        TransportError::MultiaddrNotSupported(_) => std::io::Error::new(
            std::io::ErrorKind::Unsupported,
            "neither TCP, QUIC nor WebSocket over TLS on an IP address",
        ),
    };
    StartError::Listen { address, source }
}
