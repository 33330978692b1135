//! `hive join`: be a node of the swarm until stopped.

mod alone;

use std::future::Future;

use hive_api::Secret;
use serde::Serialize;
use tokio::io::AsyncReadExt as _;

use crate::admission;
use crate::args::{set, set_list};
use crate::node::{self, Node};
use crate::printer::Printer;
use crate::session::Session;
use crate::settings::Flags;

/// Be a node of the swarm until stopped
#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// Code of an invite to a private network, before any list; `-` reads it from stdin, which no other
    /// program sees
    #[arg(value_name = "CODE", conflicts_with = "network")]
    code: Option<Secret>,

    /// Name of the network: a private one that this home knows, else a public one
    #[arg(long, value_name = "NAME")]
    network: Option<String>,

    /// Multiaddrs to listen on
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    listen: Vec<String>,

    /// Full addresses of nodes to join through
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    bootstrap: Vec<String>,

    /// Addresses that others reach this node under, when it cannot see them itself: multiaddrs, IP
    /// addresses or names
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    external: Vec<String>,

    /// Full addresses of relays to be reached through where nobody gets in directly, besides
    /// bootstrap nodes that relay
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    relay: Vec<String>,

    /// Be reached through no relay, and punch no holes
    #[arg(long, conflicts_with = "relay")]
    no_relays: bool,

    /// Ask the router to let others in
    #[arg(long, value_name = "on|off")]
    upnp: Option<String>,

    /// Send no packet out of the private ranges: static peers and neighbours, no names, no relays,
    /// no hubs
    #[arg(long)]
    lan_only: bool,

    /// Loopback address of the local API
    #[arg(long, value_name = "ADDR|off")]
    api: Option<String>,

    /// Serve figures for Prometheus here, without a token, also to other machines
    #[arg(long, value_name = "ADDR|off")]
    metrics: Option<String>,

    /// What the node calls itself
    #[arg(long)]
    name: Option<String>,

    /// Find nodes on the local network
    #[arg(long, value_name = "on|off")]
    mdns: Option<String>,

    /// Announce and dial loopback and private addresses (a network of one's own)
    #[arg(long)]
    allow_private: bool,

    /// Answer others' queries: auto, always or never
    #[arg(long, value_name = "WHEN")]
    dht: Option<String>,

    /// Bytes a second served at most
    #[arg(long, value_name = "SIZE|off")]
    upload_limit: Option<String>,

    /// Bytes that the store may take
    #[arg(long, value_name = "SIZE|off")]
    quota: Option<String>,

    /// Bytes of the disk that fetches leave free
    #[arg(long, value_name = "SIZE|auto")]
    reserve: Option<String>,

    /// End when stdin does, so that a node does not outlive the program that started it
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

impl JoinArgs {
    /// The keys that these set.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = Flags::new();
        set(&mut flags, "network", self.network.as_ref());
        set_list(&mut flags, "listen", &self.listen);
        set_list(&mut flags, "bootstrap", &self.bootstrap);
        set_list(&mut flags, "external", &self.external);
        set(&mut flags, "api", self.api.as_ref());
        set(&mut flags, "name", self.name.as_ref());
        set(&mut flags, "mdns", self.mdns.as_ref());
        set(&mut flags, "dht", self.dht.as_ref());
        set(&mut flags, "upload-limit", self.upload_limit.as_ref());
        set(&mut flags, "quota", self.quota.as_ref());
        set(&mut flags, "reserve", self.reserve.as_ref());
        set_list(&mut flags, "relay", &self.relay);
        set(&mut flags, "upnp", self.upnp.as_ref());
        set(&mut flags, "metrics", self.metrics.as_ref());
        for (given, key, value) in
            [(self.no_relays, "relay", "none"), (self.lan_only, "lan-only", "on")]
        {
            if given {
                flags.insert(key, value.to_owned());
            }
        }
        if self.allow_private {
            flags.insert("allow-private", "on".to_owned());
        }
        flags
    }
}

/// What `--json` prints once the node can be dialed.
#[derive(Debug, Serialize)]
struct Ready {
    event: &'static str,
    peer: String,
    addresses: Vec<String>,
    api: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<String>,
    /// What others type to join through a relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    join: Option<String>,
}

impl Ready {
    fn of(node: &Node, join: Option<String>) -> Self {
        Self {
            event: "ready",
            peer: node.peer(),
            addresses: node.addresses(),
            api: node.api_addr().map(|address| address.to_string()),
            metrics: node.metrics_addr().map(|address| address.to_string()),
            join,
        }
    }

    fn tell(&self, kind: &str, printer: &Printer) -> std::io::Result<()> {
        if printer.json() {
            return printer.object(self);
        }
        printer.talk(format_args!("{kind} {} is ready", self.peer));
        for address in &self.addresses {
            printer.talk(format_args!("  {address}"));
        }
        if let Some(join) = &self.join {
            printer.talk(format_args!("others join through it with\n  {join}"));
        }
        if let Some(metrics) = &self.metrics {
            printer.talk(format_args!("figures: http://{metrics}/metrics"));
        }
        let api = self.api.as_deref().unwrap_or("off");
        printer.talk(format_args!("local API: {api}; Ctrl-C ends the node"));
        Ok(())
    }
}

/// Runs a node until the user, the local API or the parent process ends it.
pub(crate) async fn join(args: &JoinArgs, session: &Session) -> anyhow::Result<()> {
    let start = async |invite| node::start(&session.settings, invite).await;
    let node = admission::enter(args.code.as_ref(), session, start).await?;
    let told = Ready::of(&node, None).tell("node", &session.printer);
    let hive = node.hive();
    let watching = alone::watch(&*hive, &session.settings, &session.printer);
    last(&node, told.is_ok(), args.until_stdin_ends, session, watching).await;
    drop(hive);
    end(node, session).await;
    Ok(told?)
}

/// Runs a relay likewise; `join` is what others type.
pub(crate) async fn relay(
    node: Node,
    join: Option<String>,
    session: &Session,
) -> anyhow::Result<()> {
    let told = Ready::of(&node, join).tell("relay", &session.printer);
    last(&node, told.is_ok(), false, session, std::future::pending()).await;
    end(node, session).await;
    Ok(told?)
}

/// Waits for the node's end. What watches it meanwhile ends nothing.
async fn last(
    node: &Node,
    heard: bool,
    with_stdin: bool,
    session: &Session,
    watching: impl Future<Output = ()>,
) {
    if !heard {
        return;
    }
    let watching = async {
        watching.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = session.stop.wanted() => {}
        () = node.stopped() => {}
        () = stdin_ends(), if with_stdin => {}
        () = watching => {}
    }
}

async fn end(node: Node, session: &Session) {
    if !session.printer.json() {
        session.printer.talk("ending");
    }
    node.shutdown().await;
}

async fn stdin_ends() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    while stdin.read(&mut ignored).await.is_ok_and(|n| n > 0) {}
}
