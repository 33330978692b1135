//! How this node and its peers reach each other: what each says of its router, and why a path is
//! what it is.
//!
//! Routers are known to those behind them alone, so two nodes that meet through a relay tell each
//! other: `Hello` carries [`features`], the answer the other's. What a peer says is shown and never
//! believed: no path is chosen by it.
//!
//! Invariant: at most [`PEERS`] peers are remembered and [`ASKS`] asked at once, whoever comes.

pub(crate) mod why;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hive_api as api;
use hive_api::Mapping;
use hive_protocol::message::{Request, Response};
use hive_swarm::{
    Client, NatMapping, NetworkState, Peer, PeerState, Reachability, RelayServing, SwarmEvent,
    TransportKind, Upnp,
};
use tokio::sync::{Semaphore, broadcast};

use crate::config::Config;
use crate::local::Local;

/// Peers whose word about themselves is kept.
const PEERS: usize = 512;
/// Peers that are asked at once.
const ASKS: usize = 8;
/// How long a peer may take to say what its router does.
const ANSWER: Duration = Duration::from_secs(10);
/// What a router does, among the features of `Hello`.
const NAT: &str = "nat=";
/// What a node listens on, among the features of `Hello`.
const LISTENS: &str = "listens=";

/// What a peer says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Said {
    nat: Option<Mapping>,
    tcp: bool,
    quic: bool,
}

/// What peers say of themselves.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    said: Mutex<HashMap<Peer, Said>>,
}

impl Reach {
    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a peer says of itself, in a question or an answer.
    pub(crate) fn hear(&self, peer: Peer, features: &[String]) {
        let Some(said) = read(features) else { return };
        let mut all = self.lock();
        if all.len() < PEERS || all.contains_key(&peer) {
            all.insert(peer, said);
        }
    }

    fn forget(&self, peer: Peer) {
        self.lock().remove(&peer);
    }

    fn of(&self, peer: Peer) -> Option<Said> {
        self.lock().get(&peer).copied()
    }

    /// Why the path to a peer is what it is.
    pub(crate) fn why(&self, peer: &PeerState, network: &NetworkState) -> Option<String> {
        let said = self.of(peer.peer);
        let (tcp, quic) = listens(network);
        let common = said.filter(|said| said.tcp || said.quic);
        let common = common.map(|said| (said.tcp && tcp) || (said.quic && quic));
        why::why(&why::Facts {
            links: &peer.links,
            punch: peer.punch.as_ref(),
            ours: best(network),
            theirs: said.and_then(|said| said.nat),
            common_transport: common,
        })
    }
}

/// What this node says of itself.
pub(crate) fn features(network: &NetworkState) -> Vec<String> {
    let (tcp, quic) = listens(network);
    let listens: Vec<&str> = [(tcp, "tcp"), (quic, "quic")]
        .into_iter()
        .filter_map(|(on, name)| on.then_some(name))
        .collect();
    vec![format!("{NAT}{}", word(best(network))), format!("{LISTENS}{}", listens.join("+"))]
}

/// Whether this node listens on TCP, and on QUIC.
fn listens(network: &NetworkState) -> (bool, bool) {
    let on = |part: &str| {
        let direct = |address: &&String| !address.contains("/p2p-circuit");
        network.listening.iter().filter(direct).any(|address| address.contains(part))
    };
    (on("/tcp/"), on("/quic-v1"))
}

fn read(features: &[String]) -> Option<Said> {
    let value = |key: &str| features.iter().find_map(|feature| feature.strip_prefix(key));
    let nat = match value(NAT) {
        Some("symmetric") => Some(Mapping::Symmetric),
        Some("cone") => Some(Mapping::Cone),
        Some("none") => Some(Mapping::None),
        Some("unknown") => Some(Mapping::Unknown),
        _ => None,
    };
    let listens = value(LISTENS);
    let on = |name: &str| listens.is_some_and(|text| text.split('+').any(|kind| kind == name));
    (nat.is_some() || listens.is_some()).then(|| Said { nat, tcp: on("tcp"), quic: on("quic") })
}

/// A mapping in one word, as it goes over the wire.
fn word(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::Unknown => "unknown",
        Mapping::None => "none",
        Mapping::Cone => "cone",
        Mapping::Symmetric => "symmetric",
    }
}

/// What the router lets happen on the transport that it treats better.
fn best(network: &NetworkState) -> Mapping {
    let both = [mapping(network.tcp_mapping), mapping(network.udp_mapping)];
    [Mapping::None, Mapping::Cone, Mapping::Symmetric]
        .into_iter()
        .find(|kind| both.contains(kind))
        .unwrap_or(Mapping::Unknown)
}

fn mapping(mapping: NatMapping) -> Mapping {
    match mapping {
        NatMapping::Unknown => Mapping::Unknown,
        NatMapping::None => Mapping::None,
        NatMapping::EndpointIndependent => Mapping::Cone,
        NatMapping::AddressDependent => Mapping::Symmetric,
    }
}

impl Local {
    /// Why the path to a peer is what it is.
    pub(crate) async fn why(&self, peer: Peer) -> Option<String> {
        let swarm = self.swarm.as_ref()?;
        let state = swarm.peers().await.into_iter().find(|state| state.peer == peer)?;
        self.reach.why(&state, &swarm.network_state().await)
    }
}

/// Asks peers that come through a relay what their routers do, until the node stops.
pub(crate) async fn run(local: Local) {
    let Ok(swarm) = local.swarm().cloned() else { return };
    let room = Arc::new(Semaphore::new(ASKS));
    let mut events = swarm.events();
    loop {
        let event = tokio::select! {
            () = local.stop.cancelled() => return,
            event = events.recv() => event,
        };
        let (peer, failed) = match event {
            Ok(SwarmEvent::PeerIdentified { peer, speaks_hive: true, .. }) => (peer, false),
            Ok(SwarmEvent::PunchFailed { peer, .. }) => (peer, true),
            Ok(SwarmEvent::PeerDisconnected { peer }) => {
                local.reach.forget(peer);
                continue;
            }
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        // Whoever is not asked now is when its punch fails, or asks us.
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let (local, swarm) = (local.clone(), swarm.clone());
        local.tasks.clone().spawn(async move {
            tokio::select! {
                () = local.stop.cancelled() => {}
                () = ask(&local, &swarm, peer, failed) => {}
            }
            drop(permit);
        });
    }
}

async fn ask(local: &Local, swarm: &Client, peer: Peer, failed: bool) {
    // A direct peer's router stands in nobody's way.
    if !failed && !is_relayed(swarm, peer).await {
        return;
    }
    let hello = Request::Hello { features: features(&swarm.network_state().await) };
    match tokio::time::timeout(ANSWER, swarm.request(peer, hello)).await {
        Ok(Ok(Response::Hello { features, .. })) => local.reach.hear(peer, &features),
        Ok(Ok(_)) | Err(_) => tracing::debug!(%peer, "does not say what its router does"),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "cannot ask what its router does"),
    }
}

/// Whether all connections with a peer go through relays.
async fn is_relayed(swarm: &Client, peer: Peer) -> bool {
    let peers = swarm.peers().await;
    let links = peers.into_iter().find(|state| state.peer == peer).map(|state| state.links);
    links.is_some_and(|links| is_only_relayed(&links))
}

/// Whether there are connections and all of them go through relays.
pub(crate) fn is_only_relayed(links: &[hive_swarm::Link]) -> bool {
    !links.is_empty() && links.iter().all(|link| link.transport == TransportKind::Relay)
}

/// A transport in one word.
pub(crate) fn transport(kind: TransportKind) -> String {
    format!("{kind:?}").to_lowercase()
}

/// A peer's connections for people and programs, direct ones first.
pub(crate) fn links(state: &PeerState) -> Vec<api::PeerLink> {
    let mut links: Vec<&hive_swarm::Link> = state.links.iter().collect();
    links.sort_by_key(|link| link.transport == TransportKind::Relay);
    links
        .into_iter()
        .map(|link| api::PeerLink {
            transport: transport(link.transport),
            address: link.address.clone(),
            relay: link.relay.map(|relay| relay.to_string()),
            allows_bulk: link.allows_bulk,
            age: link.age.as_secs_f64(),
            outbound: link.outbound,
        })
        .collect()
}

/// How bytes go to a peer.
pub(crate) fn path(state: &PeerState) -> Option<api::PeerPath> {
    match state.links.as_slice() {
        [] => None,
        links if is_only_relayed(links) => Some(api::PeerPath::Relayed),
        _ => Some(api::PeerPath::Direct),
    }
}

/// Puts how the node stands in the network into its status.
pub(crate) fn describe(status: &mut api::Status, network: NetworkState) {
    status.connected = network.connected as u64;
    status.reachability = match network.reachability {
        Reachability::Unknown => api::Reachability::Unknown,
        Reachability::Direct => api::Reachability::Direct,
        Reachability::Relayed => api::Reachability::Relayed,
        Reachability::Unreachable => api::Reachability::Unreachable,
    };
    status.nat = api::Nat { tcp: mapping(network.tcp_mapping), udp: mapping(network.udp_mapping) };
    status.dht = api::DhtPart { server: network.dht_server, peers: network.dht_peers as u64 };
    status.upnp = match network.upnp {
        Upnp::Off => api::UpnpState::Off,
        Upnp::Asking => api::UpnpState::Asking,
        Upnp::NoGateway => api::UpnpState::NoGateway,
        Upnp::NotRoutable => api::UpnpState::NotRoutable,
        Upnp::Mapped { addresses } => {
            let confirmed =
                |address: &String| network.external.iter().any(|known| same_place(known, address));
            let confirmed = addresses.iter().any(confirmed);
            api::UpnpState::Mapped { addresses, confirmed }
        }
    };
    status.relays = network
        .relays
        .into_iter()
        .map(|relay| api::RelayUse {
            peer: relay.relay.to_string(),
            reserved: relay.reserved,
            allows_bulk: relay.allows_bulk,
            trouble: relay.trouble,
        })
        .collect();
    status.external = network.external;
    // Those that lead here from anywhere first.
    let near = |address: &String| why::host(address).is_some_and(why::is_private);
    status.external.sort_by_key(near);
    status.observed = network.observed;
}

/// What a relay does for others, for people and programs.
pub(crate) fn serving(serving: Option<RelayServing>, config: &Config) -> Option<api::RelayService> {
    let serving = serving?;
    Some(api::RelayService {
        reservations: serving.reservations as u64,
        circuits: serving.circuits as u64,
        bytes: serving.bytes_relayed,
        refused: serving.refused.iter().map(|(why, n)| (why.name().to_owned(), *n)).collect(),
        over_budget: (serving.peers_over_budget + serving.networks_over_budget) as u64,
        allows_bulk: config.relay.as_ref().is_some_and(|relay| relay.allow_bulk),
    })
}

/// Whether two addresses are one but for the peer at the end.
fn same_place(one: &str, other: &str) -> bool {
    let place = |address: &str| address.split("/p2p/").next().map(str::to_owned);
    place(one) == place(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> Peer {
        hive_swarm::NodeIdentity::from_ed25519_secret([n; 32]).peer()
    }

    fn nat(reach: &Reach, peer: Peer) -> Option<Mapping> {
        reach.of(peer).and_then(|said| said.nat)
    }

    #[test]
    fn what_is_told_is_what_is_heard() {
        let network = NetworkState {
            tcp_mapping: NatMapping::AddressDependent,
            udp_mapping: NatMapping::EndpointIndependent,
            listening: vec![
                "/ip4/10.0.0.2/udp/4483/quic-v1".to_owned(),
                "/ip4/1.2.3.4/tcp/1/p2p/x/p2p-circuit".to_owned(),
            ],
            ..NetworkState::default()
        };
        let told = features(&network);
        assert_eq!(told, ["nat=cone", "listens=quic"]);
        let said = read(&told).expect("it says something");
        assert_eq!((said.nat, said.tcp, said.quic), (Some(Mapping::Cone), false, true));
    }

    #[test]
    fn what_makes_no_sense_is_not_heard() {
        let reach = Reach::default();
        for features in [&[][..], &["announce".to_owned()], &["nat=banana".to_owned()]] {
            reach.hear(peer(1), features);
        }
        assert_eq!(nat(&reach, peer(1)), None);
        reach.hear(peer(1), &["nat=symmetric".to_owned()]);
        assert_eq!(nat(&reach, peer(1)), Some(Mapping::Symmetric));
        reach.forget(peer(1));
        assert_eq!(nat(&reach, peer(1)), None);
    }

    #[test]
    fn those_who_talk_take_no_memory_without_end() {
        let reach = Reach::default();
        let named = |n: usize| {
            let mut secret = [0; 32];
            secret[..8].copy_from_slice(&n.to_le_bytes());
            hive_swarm::NodeIdentity::from_ed25519_secret(secret).peer()
        };
        for n in 0..PEERS + 10 {
            reach.hear(named(n), &["nat=cone".to_owned()]);
        }
        assert_eq!(reach.lock().len(), PEERS);
        reach.hear(named(0), &["nat=none".to_owned()]);
        assert_eq!(nat(&reach, named(0)), Some(Mapping::None), "those who are known go on");
    }

    #[test]
    fn a_mapping_counts_when_somebody_came_in_by_it() {
        let mapped = |external: &str| {
            let network = NetworkState {
                upnp: Upnp::Mapped { addresses: vec!["/ip4/1.2.3.4/tcp/5".to_owned()] },
                external: vec![external.to_owned()],
                ..NetworkState::default()
            };
            let mut status = api::Status::default();
            describe(&mut status, network);
            status.upnp
        };
        let confirmed = |external| match mapped(external) {
            api::UpnpState::Mapped { confirmed, .. } => confirmed,
            other => panic!("{other:?}"),
        };
        assert!(confirmed("/ip4/1.2.3.4/tcp/5/p2p/x"));
        assert!(!confirmed("/ip4/1.2.3.4/tcp/6/p2p/x"));
    }
}
