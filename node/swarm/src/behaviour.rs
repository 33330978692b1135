//! The protocols that a node speaks, and how each is set up.

use std::time::Duration;

use hive_protocol::Digest;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{
    self, IdentTopic, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds,
    TopicHash, TopicScoreParams, ValidationMode,
};
use libp2p::identity::Keypair;
use libp2p::kad::{BucketInserts, StoreInserts};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, StreamProtocol};
use libp2p::{PeerId, allow_block_list, autonat, dcutr, identify, kad, mdns, ping, relay, upnp};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;

use crate::candidates::{Unbelieved, Word};
use crate::client::Topic;
use crate::codec::Codec;
use crate::config::Config;
use crate::error::StartError;
use crate::records::{Quotas, Records};
use crate::relaying::Relay;
use crate::{candidates, exchange, hold, ip_limits, limits};

/// All protocols. Those that refuse connections come first.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) hosts: ip_limits::Behaviour,
    pub(crate) bans: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) identify: Unbelieved<identify::Behaviour>,
    pub(crate) ping: ping::Behaviour,
    pub(crate) kad: kad::Behaviour<Records>,
    pub(crate) model: request_response::Behaviour<Codec>,
    pub(crate) exchange: exchange::Behaviour,
    pub(crate) gossip: gossipsub::Behaviour,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(crate) candidates: candidates::Behaviour,
    pub(crate) hold: hold::Behaviour,
    pub(crate) autonat: Toggle<autonat::v2::client::Behaviour>,
    pub(crate) autonat_server: Toggle<autonat::v2::server::Behaviour>,
    pub(crate) upnp: Toggle<Unbelieved<upnp::tokio::Behaviour>>,
    pub(crate) relay_client: Toggle<relay::client::Behaviour>,
    pub(crate) relay: Toggle<relay::Behaviour>,
    pub(crate) dcutr: Toggle<dcutr::Behaviour>,
}

impl Behaviour {
    /// Sets all up. The queue is that of `chunk/1`; the relay's client is there if its transport is.
    pub(crate) fn new(
        keypair: &Keypair,
        config: &Config,
        relay_client: Option<relay::client::Behaviour>,
        relay: Option<&Relay>,
    ) -> Result<(Self, mpsc::Receiver<exchange::Inbound>), StartError> {
        let peer = keypair.public().to_peer_id();
        let names = Names::of(&config.network);
        let (exchange, chunks) = exchange::Behaviour::new(&config.network);
        let mdns = config.mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer));
        // Who is reachable by configuration can say of others whether they are.
        let is_public = config.relay_server.is_some() || !config.external.is_empty();
        let dcutr = relay_client.is_some().then(|| dcutr::Behaviour::new(peer));
        let relay = relay.map(|relay| relay.behaviour(peer));
        let behaviour = Self {
            limits: connection_limits::Behaviour::new(connection_limits(&config.limits)),
            hosts: ip_limits::Behaviour::new(config.limits.per_ip, config.lan_only),
            bans: allow_block_list::Behaviour::default(),
            identify: Unbelieved::new(
                identify::Behaviour::new(identify(keypair, config)),
                Word::Dropped,
            ),
            ping: ping::Behaviour::new(ping_config()),
            kad: kad(peer, names.kad),
            model: model(names.model),
            exchange,
            gossip: gossip(keypair, &config.network)?,
            mdns: mdns.transpose().map_err(StartError::Mdns)?.into(),
            candidates: candidates::Behaviour::default(),
            hold: hold::Behaviour::default(),
            autonat: config.traverse.then(autonat_client).into(),
            autonat_server: is_public.then(autonat::v2::server::Behaviour::default).into(),
            upnp: config.upnp.then(unbelieved_upnp).into(),
            relay_client: relay_client.into(),
            relay: relay.into(),
            dcutr: dcutr.into(),
        };
        Ok((behaviour, chunks))
    }
}

/// The names of a network's protocols.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) kad: StreamProtocol,
    pub(crate) model: StreamProtocol,
}

impl Names {
    pub(crate) fn of(network: &str) -> Self {
        let name = |protocol: &str| {
            StreamProtocol::try_from_owned(format!("/hive/{network}/{protocol}/1"))
                .expect("the name starts with a slash")
        };
        Self { kad: name("kad"), model: name("model") }
    }
}

/// The name of a topic on the wire.
pub(crate) fn topic(network: &str, topic: Topic) -> IdentTopic {
    let name = match topic {
        Topic::Head => "catalog",
        Topic::Capability => "caps",
    };
    IdentTopic::new(format!("/hive/{network}/{name}/1"))
}

fn connection_limits(limits: &crate::config::Limits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending))
        .with_max_pending_outgoing(Some(limits.pending))
        .with_max_established_incoming(Some(limits.inbound))
        .with_max_established_outgoing(Some(limits.outbound))
        .with_max_established_per_peer(Some(limits.per_peer))
        .with_max_established(Some(limits.total))
}

/// Stock libp2p's identify, so that stock nodes know hive's and the other way round.
fn identify(keypair: &Keypair, config: &Config) -> identify::Config {
    let version = format!("hive/{}/1", config.network);
    identify::Config::new(version, keypair.public())
        .with_agent_version(config.agent_version())
        .with_push_listen_addr_updates(true)
        // Only what others can reach is told, unless the network is one of private addresses.
        .with_hide_listen_addrs(!config.allow_private)
}

fn kad(peer: PeerId, protocol: StreamProtocol) -> kad::Behaviour<Records> {
    let mut config = kad::Config::new(protocol);
    config
        .set_query_timeout(limits::QUERY_TIMEOUT)
        // What others say is looked at before it is kept (`event_loop::dht`).
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_kbucket_inserts(BucketInserts::Manual)
        .set_provider_record_ttl(Some(limits::RECORD_TTL))
        // `provided` decides when.
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_caching(kad::Caching::Disabled);
    let mut kad = kad::Behaviour::with_config(peer, Records::new(peer, Quotas::default()), config);
    // Left to itself it would become a server on any confirmed address, a relay's included.
    kad.set_mode(Some(kad::Mode::Client));
    kad
}

fn autonat_client() -> autonat::v2::client::Behaviour {
    let config = autonat::v2::client::Config::default()
        .with_max_candidates(limits::CANDIDATES)
        .with_probe_interval(limits::PROBE_INTERVAL);
    autonat::v2::client::Behaviour::new(StdRng::from_rng(&mut rand::rng()), config)
}

/// A router's word is a candidate: there may be another router behind it.
fn unbelieved_upnp() -> Unbelieved<upnp::tokio::Behaviour> {
    Unbelieved::new(upnp::tokio::Behaviour::default(), Word::Candidate)
}

/// A peer that has gone to sleep closes nothing: only a ping that stays out tells.
fn ping_config() -> ping::Config {
    ping::Config::new().with_interval(limits::PING_INTERVAL).with_timeout(limits::PING_TIMEOUT)
}

fn model(protocol: StreamProtocol) -> request_response::Behaviour<Codec> {
    let config = request_response::Config::default()
        .with_request_timeout(limits::REQUEST_TIMEOUT)
        .with_max_concurrent_streams(limits::STREAMS_PER_CONNECTION);
    request_response::Behaviour::new([(protocol, ProtocolSupport::Full)], config)
}

/// The same bytes are the same message whoever sends them.
fn message_id(message: &gossipsub::Message) -> MessageId {
    let mut named = message.topic.as_str().as_bytes().to_vec();
    named.push(0);
    named.extend_from_slice(&message.data);
    MessageId::new(&Digest::of(&named).0)
}

fn gossip(keypair: &Keypair, network: &str) -> Result<gossipsub::Behaviour, StartError> {
    let failed = |reason: String| StartError::Protocol { protocol: "gossipsub", reason };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .duplicate_cache_time(limits::GOSSIP_DUPLICATES)
        // A message has to be there still when its verdict comes.
        .history_length(2 * limits::VERDICT_TIMEOUT.as_secs() as usize)
        .max_transmit_size(limits::GOSSIP_FRAME)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let authenticity = MessageAuthenticity::Signed(keypair.clone());
    let mut gossip = gossipsub::Behaviour::new(authenticity, config)
        .map_err(|error| failed(error.to_owned()))?;
    let topics = Topic::ALL.map(|kind| topic(network, kind));
    let params = score(topics.iter().map(IdentTopic::hash));
    gossip.with_peer_score(params, PeerScoreThresholds::default()).map_err(failed)?;
    for topic in &topics {
        gossip.subscribe(topic).map_err(|error| failed(error.to_string()))?;
    }
    Ok(gossip)
}

/// What makes a neighbour good or bad. Announcements are rare, so nobody is blamed for few of them
/// (P3); what counts is passing on forged ones (P4), four of which are too many for ten minutes.
fn score(topics: impl Iterator<Item = TopicHash>) -> PeerScoreParams {
    let ten_minutes = gossipsub::score_parameter_decay(Duration::from_mins(10));
    let topic = TopicScoreParams {
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 100.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_cap: 50.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: ten_minutes,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: topics.map(|hash| (hash, topic.clone())).collect(),
        topic_score_cap: 10.0,
        // An office, or a testnet, has many nodes behind one address.
        ip_colocation_factor_threshold: 64.0,
        ..PeerScoreParams::default()
    }
}
