//! `hive join`: be a node of the swarm until stopped.

use serde::Serialize;
use tokio::io::AsyncReadExt as _;

use crate::args::{set, set_list};
use crate::node;
use crate::session::Session;
use crate::settings::Flags;

/// Be a node of the swarm until stopped
#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// Name of the network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,

    /// Multiaddrs to listen on
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    listen: Vec<String>,

    /// Full addresses of nodes to join through
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    bootstrap: Vec<String>,

    /// Addresses that others reach this node under, when it cannot see them itself
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
    external: Vec<String>,

    /// Loopback address of the local API
    #[arg(long, value_name = "ADDR|off")]
    api: Option<String>,

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
}

/// Runs a node until the user, the local API or the parent process ends it.
pub(crate) async fn join(args: &JoinArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let node = session.stop.unless_wanted(node::start(&session.settings)).await??;
    let ready = Ready {
        event: "ready",
        peer: node.peer(),
        addresses: node.addresses(),
        api: node.api_addr().map(|address| address.to_string()),
    };
    let told = if printer.json() {
        printer.object(&ready)
    } else {
        printer.talk(format_args!("node {} is ready", ready.peer));
        for address in &ready.addresses {
            printer.talk(format_args!("  {address}"));
        }
        let api = ready.api.as_deref().unwrap_or("off");
        printer.talk(format_args!("local API: {api}; Ctrl-C ends the node"));
        Ok(())
    };
    if told.is_ok() {
        tokio::select! {
            () = session.stop.wanted() => {}
            () = node.stopped() => {}
            () = stdin_ends(), if args.until_stdin_ends => {}
        }
    }
    if !printer.json() {
        printer.talk("ending");
    }
    node.shutdown().await;
    Ok(told?)
}

async fn stdin_ends() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    while stdin.read(&mut ignored).await.is_ok_and(|n| n > 0) {}
}
