//! The demo's nodes: children of this process, `hive join` each.
//!
//! A node ends when its stdin does, so none outlives this process, however that ends; dropping a
//! [`DemoNode`] kills it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::join_all;
use hive_api::{ErrorKind, Hive, HiveError};
use hive_http::Remote;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::env;
use crate::settings::keys::KEYS;

/// How long a node may take to be ready on a busy machine.
const READY: Duration = Duration::from_mins(1);
/// How long a node may take to end by itself.
const END: Duration = Duration::from_secs(5);
/// Characters of a node's log that an error shows.
const LOG_TAIL: usize = 600;
/// The demo's own network, so that no node of the real one comes in.
const NETWORK: &str = "demo";

/// The line that `hive join --json` prints.
#[derive(Debug, Deserialize)]
struct Ready {
    peer: String,
    addresses: Vec<String>,
    api: Option<String>,
}

/// A node that runs.
#[derive(Debug)]
pub(super) struct DemoNode {
    name: &'static str,
    child: Child,
    ready: Ready,
    remote: Remote,
}

impl DemoNode {
    /// Starts a node in a directory below `dir`, and waits until it is ready.
    pub(super) async fn start(
        dir: &Path,
        name: &'static str,
        bootstrap: Option<&str>,
    ) -> anyhow::Result<Self> {
        let home = dir.join(name);
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let log = home.join("node.log");
        let mut child = command(&home, name, bootstrap, &log)?
            .spawn()
            .context("cannot start this program a second time")?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        let read = tokio::time::timeout(READY, stdout.read_line(&mut line)).await;
        let ready = match read {
            Ok(Ok(_)) => serde_json::from_str::<Ready>(&line).ok(),
            Ok(Err(_)) | Err(_) => None,
        };
        let ready = ready.ok_or_else(|| not_ready(name, &log))?;
        let api = ready.api.as_deref().and_then(|api| api.parse().ok());
        let remote = Remote::at(api.context("the node has a local API")?, &home)?;
        Ok(Self { name, child, ready, remote })
    }

    /// What the demo calls it.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Its peer id.
    pub(super) fn peer(&self) -> &str {
        &self.ready.peer
    }

    /// Where others dial it.
    pub(super) fn address(&self) -> anyhow::Result<&str> {
        let first = self.ready.addresses.first().map(String::as_str);
        first.with_context(|| format!("{} listens nowhere", self.name))
    }

    /// What it can be asked.
    pub(super) fn hive(&self) -> &dyn Hive {
        &self.remote
    }

    /// Lets nodes end by themselves; kills those that do not.
    pub(super) async fn end_all(nodes: impl Iterator<Item = Self>) {
        join_all(nodes.map(|mut node| async move {
            drop(node.child.stdin.take());
            // Whatever went wrong, dropping the child kills it.
            let _ = tokio::time::timeout(END, node.child.wait()).await;
        }))
        .await;
    }
}

fn command(
    home: &Path,
    name: &str,
    bootstrap: Option<&str>,
    log: &Path,
) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let log = File::create(log).context("cannot make a log")?;
    let mut command = Command::new(program);
    command
        .args(["join", "--json", "--until-stdin-ends", "--allow-private"])
        .args(["--network", NETWORK, "--mdns", "off", "--dht", "always"])
        .args(["--upnp", "off", "--no-relays"])
        .args(["--listen", "/ip4/127.0.0.1/tcp/0", "--api", "127.0.0.1:0", "--name", name])
        .arg("--home")
        .arg(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true);
    if let Some(address) = bootstrap {
        command.args(["--bootstrap", address]);
    }
    // The demo shows what flags say, not what the user's environment says.
    for key in KEYS.iter().filter(|key| key.env != env::HIVE_LOG) {
        command.env_remove(key.env);
    }
    command.env_remove(env::HIVE_HOME);
    Ok(command)
}

fn not_ready(name: &str, log: &PathBuf) -> HiveError {
    let log = fs::read_to_string(log).unwrap_or_default();
    let from = log.char_indices().rev().nth(LOG_TAIL).map_or(0, |(at, _)| at);
    let mut error = HiveError::new(ErrorKind::Failed, format!("{name} did not start"));
    if !log.is_empty() {
        error.messages.push(log[from..].trim().to_owned());
    }
    error
}
