//! `hive relay`: a node on a machine with a public address, for those that have none.

use hive_api::Secret;

use crate::admission;
use crate::args::{set, set_list};
use crate::commands::join;
use crate::failure::usage;
use crate::node;
use crate::session::Session;
use crate::settings::{Flags, Settings, external};

/// Relay for nodes that nobody reaches directly: they meet here, and punch holes; until stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Models do not go through a relay unless its operator (`--allow-bulk`) and whoever fetches
(`hive fetch --relay-bulk`) both allow it. Every option is a setting too: `hive config`.")]
pub(crate) struct RelayArgs {
    /// Code of an invite to a private network, before any list; `-` reads it from stdin
    #[arg(value_name = "CODE", conflicts_with = "network")]
    code: Option<Secret>,

    /// Addresses that others reach this machine under: IP addresses, names or multiaddrs
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    external_addr: Vec<String>,

    /// Multiaddrs to listen on
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    listen: Vec<String>,

    /// Listen on this TCP port too, as WebSocket over TLS, for networks that let nothing else out
    /// (443)
    #[arg(long, value_name = "PORT|off")]
    wss: Option<String>,

    /// Certificate (PEM) to show there; without one, a certificate of our own
    #[arg(long, value_name = "FILE", requires = "wss_key")]
    wss_cert: Option<String>,

    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "wss_cert")]
    wss_key: Option<String>,

    /// Let models through, so much in each circuit
    #[arg(long, value_name = "SIZE", num_args = 0..=1, default_missing_value = "on")]
    allow_bulk: Option<String>,

    /// Serve these peers alone
    #[arg(long, value_name = "PEER", num_args = 1.., value_delimiter = ',')]
    allow: Vec<String>,

    /// Bytes an hour that one peer may move
    #[arg(long, value_name = "SIZE|auto")]
    peer_budget: Option<String>,

    /// Time an hour of one peer's circuits, two at once counting twice
    #[arg(long, value_name = "TIME|auto")]
    peer_time: Option<String>,

    /// Bytes an hour that one network of addresses (/24, of IPv6 /48) may move
    #[arg(long, value_name = "SIZE|auto")]
    network_budget: Option<String>,

    /// Time an hour of one network's circuits
    #[arg(long, value_name = "TIME|auto")]
    network_time: Option<String>,

    /// Peers that are kept reachable at once
    #[arg(long, value_name = "N|auto")]
    max_reservations: Option<String>,

    /// Circuits at once
    #[arg(long, value_name = "N|auto")]
    max_circuits: Option<String>,

    /// Serve figures for Prometheus here, without a token, also to other machines
    #[arg(long, value_name = "ADDR|off")]
    metrics: Option<String>,

    /// Name of the network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,

    /// Full addresses of nodes to join through
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    bootstrap: Vec<String>,

    /// Loopback address of the local API
    #[arg(long, value_name = "ADDR|off")]
    api: Option<String>,

    /// What the relay calls itself
    #[arg(long)]
    name: Option<String>,

    /// Announce and dial loopback and private addresses (a network of one's own)
    #[arg(long)]
    allow_private: bool,
}

impl RelayArgs {
    /// The keys that these set.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = Flags::new();
        set_list(&mut flags, "external", &self.external_addr);
        set_list(&mut flags, "listen", &self.listen);
        set_list(&mut flags, "allow-peers", &self.allow);
        set_list(&mut flags, "bootstrap", &self.bootstrap);
        for (key, value) in [
            ("wss", &self.wss),
            ("wss-cert", &self.wss_cert),
            ("wss-key", &self.wss_key),
            ("allow-bulk", &self.allow_bulk),
            ("peer-budget", &self.peer_budget),
            ("peer-time", &self.peer_time),
            ("network-budget", &self.network_budget),
            ("network-time", &self.network_time),
            ("max-reservations", &self.max_reservations),
            ("max-circuits", &self.max_circuits),
            ("metrics", &self.metrics),
            ("network", &self.network),
            ("api", &self.api),
            ("name", &self.name),
        ] {
            set(&mut flags, key, value.as_ref());
        }
        if self.allow_private {
            flags.insert("allow-private", "on".to_owned());
        }
        flags
    }
}

/// Runs a relay until it is stopped.
pub(crate) async fn relay(args: &RelayArgs, session: &Session) -> anyhow::Result<()> {
    if session.settings.external.is_empty() {
        return Err(nowhere(&session.settings).into());
    }
    let start = async |invite| node::start_relay(&session.settings, invite).await;
    let node = admission::enter(args.code.as_ref(), session, start).await?;
    // Into a private network one comes with a code, which has the addresses in it.
    let private = node.hive().status().await?.membership.is_some();
    let join = if private { None } else { Some(join_line(&session.settings, &node.peer())?) };
    join::relay(node, join, session).await
}

/// What others type. The relay's own addresses are those that its operator gave.
fn join_line(settings: &Settings, peer: &str) -> anyhow::Result<String> {
    let addresses = external::expand(&settings.external, &node::relay_listens(settings))
        .map_err(|why| usage(format!("wrong value for `external`: {why}")))?;
    let other = addresses
        .iter()
        .find(|address| address.rsplit_once("/p2p/").is_some_and(|(_, named)| named != peer));
    if let Some(address) = other {
        return Err(usage(format!("`{address}` names another node than this relay, {peer}"))
            .hint("give the address without `/p2p/…` at its end: the relay's own id is added")
            .into());
    }
    let full = addresses.iter().map(|address| {
        if address.contains("/p2p/") { address.clone() } else { format!("{address}/p2p/{peer}") }
    });
    let network = match settings.network.as_str() {
        "main" => String::new(),
        network => format!(" --network {network}"),
    };
    Ok(format!("hive join{network} --bootstrap {}", full.collect::<Vec<_>>().join(" ")))
}

/// A relay that nobody finds would be of no use, and libp2p's says nothing at all then.
fn nowhere(settings: &Settings) -> hive_api::HiveError {
    let hosts = node::public_hosts();
    let known: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let find = match known.as_slice() {
        [] => {
            "this machine has private addresses only: the public one stands where the machine was \
               rented, or in the router, which has to forward the ports to here"
                .to_owned()
        }
        known => format!(
            "packets of this machine leave from {}: `hive relay --external-addr {}`",
            known.join(" and "),
            known.join(" ")
        ),
    };
    let ports = node::relay_listens(settings);
    usage("a relay has to know at which address others reach it").hint(format!(
        "give it with `--external-addr ADDR` (an IP address, a name or a multiaddr). {find}. It has \
         to be reached there on {}",
        ports.join(", ")
    ))
}
