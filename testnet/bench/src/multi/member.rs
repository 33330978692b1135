//! A node in a namespace: takes orders on stdin, a line of JSON each, and answers each with one.

use std::io::{BufRead as _, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use hive_api::{FetchRequest, Hive};
use hive_node::{Config, Node};
use serde::{Deserialize, Serialize};

use crate::worker::{self, Read};

/// The port that every member listens on.
const PORT: u16 = 4483;
/// How long a fetch may take.
pub(super) const FETCH: Duration = Duration::from_mins(15);

/// What a member is told when it is started.
#[derive(Debug, clap::Args)]
pub(crate) struct MemberArgs {
    /// Its home
    pub(crate) home: PathBuf,
    /// Its address
    pub(crate) address: Ipv4Addr,
    /// Over what it is reached
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) over: Vec<Over>,
    /// What it provides
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// Full addresses of nodes to join through
    #[arg(long)]
    pub(crate) bootstrap: Vec<String>,
}

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Over {
    Tcp,
    Quic,
}

impl Over {
    /// Its name for a command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }

    fn listen(self, ip: Ipv4Addr) -> String {
        match self {
            Self::Tcp => format!("/ip4/{ip}/tcp/{PORT}"),
            Self::Quic => format!("/ip4/{ip}/udp/{PORT}/quic-v1"),
        }
    }
}

/// What a member is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Connect to these addresses.
    Connect(Vec<String>),
    /// Fetch a model.
    Fetch(String),
    /// Say how many bytes of chunks it has handed to peers.
    Sent,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Ready(Ready),
    Connected,
    Fetched(Read),
    Sent(u64),
    Failed(String),
}

/// A member that can be dialed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ready {
    /// Its full addresses.
    pub(super) addresses: Vec<String>,
    /// The id of the file that it provides.
    pub(super) id: Option<String>,
}

fn say(answer: &Answer) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer)?;
    writeln!(stdout)?;
    Ok(stdout.flush()?)
}

/// Runs a member until its stdin ends.
pub(crate) async fn run(args: MemberArgs) -> anyhow::Result<()> {
    let config = Config {
        home: args.home,
        listen: args.over.iter().map(|over| over.listen(args.address)).collect(),
        bootstrap: args.bootstrap,
        ..hive_testnet::config("bench")
    };
    let node = Node::start(config).await?;
    let hive = node.hive();
    let id = match args.file {
        Some(file) => Some(worker::add(&*hive, file, true).await?.0),
        None => None,
    };
    say(&Answer::Ready(Ready { addresses: node.addresses(), id }))?;
    let (orders, mut inbox) = tokio::sync::mpsc::channel(1);
    let reader = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines() {
            if orders.blocking_send(line?).is_err() {
                break;
            }
        }
        anyhow::Ok(())
    });
    while let Some(line) = inbox.recv().await {
        let answer = obey(&*hive, serde_json::from_str(&line)?).await;
        say(&answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}"))))?;
    }
    reader.await??;
    node.shutdown().await;
    Ok(())
}

async fn obey(hive: &dyn Hive, order: Order) -> anyhow::Result<Answer> {
    match order {
        Order::Connect(addresses) => {
            for address in addresses {
                hive.connect(&address).await?;
            }
            Ok(Answer::Connected)
        }
        Order::Fetch(model) => {
            let request = FetchRequest { model, ..FetchRequest::default() };
            let fetched = tokio::time::timeout(FETCH, worker::fetch(hive, request, false)).await;
            fetched.with_context(|| format!("the fetch took over {FETCH:?}"))?.map(Answer::Fetched)
        }
        Order::Sent => Ok(Answer::Sent(hive.status().await?.uploaded)),
    }
}
