//! What a node's owner decides about the network.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::book::KnownPeer;
use crate::error::StartError;
use crate::identity::Peer;
use crate::limits::TEXT_LEN;
use crate::relaying::RelayServer;
use crate::transport::faults::Faults;
use crate::transport::membership::Membership;

/// Whether this node answers questions of the DHT for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServerMode {
    /// When others can reach it: once an address that goes through no relay is confirmed.
    #[default]
    Auto,
    /// From the start.
    Always,
    /// Not at all.
    Never,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections that others began.
    pub inbound: u32,
    /// Connections that this node began.
    pub outbound: u32,
    /// Connections each way that are being set up.
    pub pending: u32,
    /// Connections with one peer. A relay's, two transports both ways and one in passing.
    pub per_peer: u32,
    /// Connections in all.
    pub total: u32,
    /// Connections that one host began; twice as many from a network of IPv6.
    pub per_ip: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { inbound: 128, outbound: 128, pending: 64, per_peer: 6, total: 200, per_ip: 16 }
    }
}

/// The configuration of a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The network's name: 1 to 64 of `a-z`, `0-9` and `-`. Nodes of two networks do not talk.
    pub network: String,
    /// Multiaddrs to listen on; none to dial only.
    pub listen: Vec<String>,
    /// Multiaddrs of nodes to join through. Each ends in `/p2p/<peer>`.
    pub bootstrap: Vec<String>,
    /// Whether to find nodes on the local network, and be found.
    pub mdns: bool,
    /// Whether to answer questions of the DHT.
    pub dht_server: ServerMode,
    /// Multiaddrs at which others reach this node, where it cannot know by itself.
    pub external: Vec<String>,
    /// The software and its version.
    pub agent: String,
    /// What the owner calls the node; everybody sees it.
    pub node_name: Option<String>,
    /// Whether loopback and private addresses are shared and dialed, which a network of one machine
    /// or one LAN needs and a public one must not have.
    pub allow_private: bool,
    /// Full multiaddrs of relays to be reached through, besides the bootstrap nodes that are relays.
    pub relays: Vec<String>,
    /// Whether to go through relays and to punch holes where nobody reaches this node directly.
    pub traverse: bool,
    /// Whether to ask the router to let others in (UPnP).
    pub upnp: bool,
    /// What this node relays for others, if it does.
    pub relay_server: Option<RelayServer>,
    /// Whether no packet may go to an address that is not private.
    pub lan_only: bool,
    /// The address book of last time.
    pub known_peers: Vec<KnownPeer>,
    /// How many connections there may be.
    pub limits: Limits,
    /// Faults of this node's links: for tests and testnets, `None` elsewhere.
    pub faults: Option<Faults>,
    /// This node's part in a private network, whose id is then `network`. Others find out nothing.
    pub membership: Option<Membership>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: "main".to_owned(),
            listen: Vec::new(),
            bootstrap: Vec::new(),
            mdns: false,
            dht_server: ServerMode::Auto,
            external: Vec::new(),
            agent: concat!("hive/", env!("CARGO_PKG_VERSION")).to_owned(),
            node_name: None,
            allow_private: false,
            relays: Vec::new(),
            traverse: true,
            upnp: false,
            relay_server: None,
            lan_only: false,
            known_peers: Vec::new(),
            limits: Limits::default(),
            faults: None,
            membership: None,
        }
    }
}

/// The parts of a [`Config`] that have to be read, read.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) bootstrap: Vec<Multiaddr>,
    pub(crate) external: Vec<Multiaddr>,
    pub(crate) relays: Vec<Multiaddr>,
}

impl Config {
    /// Reads the addresses and checks the rest.
    pub(crate) fn check(&self) -> Result<Addresses, StartError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.network.is_empty() || self.network.len() > 64 || !self.network.chars().all(allowed)
        {
            return Err(StartError::Network { name: self.network.clone() });
        }
        for name in [Some(&self.agent), self.node_name.as_ref()].into_iter().flatten() {
            if name.is_empty() || name.len() > TEXT_LEN || name.chars().any(char::is_control) {
                return Err(StartError::NodeName { name: name.clone() });
            }
        }
        let (bootstrap, relays) = (parse(&self.bootstrap)?, parse(&self.relays)?);
        let nameless =
            |address: &&Multiaddr| !matches!(address.iter().last(), Some(Protocol::P2p(_)));
        if let Some(address) = bootstrap.iter().chain(&relays).find(nameless) {
            return Err(StartError::BootstrapPeer { address: address.to_string() });
        }
        let (listen, external) = (parse(&self.listen)?, parse(&self.external)?);
        Ok(Addresses { listen, bootstrap, external, relays })
    }

    /// Checks that the membership, if there is one, is of this network and this node.
    pub(crate) fn check_membership(&self, local: Peer) -> Result<(), StartError> {
        let Some(membership) = &self.membership else { return Ok(()) };
        let network = membership.network().to_string();
        if network != self.network {
            return Err(StartError::OtherNetwork { name: self.network.clone(), network });
        }
        if local.node_key() != Some(membership.node()) {
            return Err(StartError::OtherNode { peer: local });
        }
        Ok(())
    }

    /// What peers are told of the software: `hive/0.1.0`, or `hive/0.1.0 (the node's name)`.
    pub(crate) fn agent_version(&self) -> String {
        match &self.node_name {
            Some(name) => format!("{} ({name})", self.agent),
            None => self.agent.clone(),
        }
    }
}

/// Splits what a peer says of its software into that and the node's name. Peers say anything, so
/// control characters and excess are cut.
pub(crate) fn split_agent(text: &str) -> (String, Option<String>) {
    let clean = |text: &str| -> String {
        let shown = text.chars().filter(|c| !c.is_control() && !is_bidi(*c));
        let mut len = 0;
        shown
            .take_while(|c| {
                len += c.len_utf8();
                len <= TEXT_LEN
            })
            .collect()
    };
    let split =
        text.split_once(" (").and_then(|(agent, name)| Some((agent, name.strip_suffix(')')?)));
    match split {
        Some((agent, name)) => (clean(agent), Some(clean(name)).filter(|name| !name.is_empty())),
        None => (clean(text), None),
    }
}

/// Characters that turn the text around them.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn parse(addresses: &[String]) -> Result<Vec<Multiaddr>, StartError> {
    let parse = |address: &String| {
        address.parse().map_err(|_| StartError::Address { address: address.clone() })
    };
    addresses.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_a_plain_name() {
        for (name, fine) in [
            ("main", true),
            ("0-a", true),
            ("", false),
            ("Main", false),
            ("a/b", false),
            ("ä", false),
        ] {
            let config = Config { network: name.to_owned(), ..Config::default() };
            assert_eq!(config.check().is_ok(), fine, "{name}");
        }
        let long = Config { network: "a".repeat(65), ..Config::default() };
        assert!(long.check().is_err());
    }

    #[test]
    fn a_bootstrap_node_needs_a_name() {
        let bootstrap = vec!["/ip4/1.2.3.4/tcp/1".to_owned()];
        let config = Config { bootstrap, ..Config::default() };
        assert!(matches!(config.check(), Err(StartError::BootstrapPeer { .. })));
    }

    #[test]
    fn a_name_travels_in_the_agent() {
        let config = Config { node_name: Some("kitchen".to_owned()), ..Config::default() };
        let (agent, name) = split_agent(&config.agent_version());
        assert_eq!((agent, name), (config.agent, config.node_name));
        assert_eq!(split_agent("kubo/0.30"), ("kubo/0.30".to_owned(), None));
    }

    #[test]
    fn a_peers_texts_are_cut_and_cleaned() {
        let (agent, name) = split_agent(&format!("a\u{1b}[31m ({}\u{202e})", "ü".repeat(1_000)));
        assert_eq!(agent, "a[31m");
        assert_eq!(name.map(|name| name.len()), Some(TEXT_LEN));
    }
}
