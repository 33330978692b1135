//! `hive doctor`: what a support engineer would look at, with what to do about it.
//!
//! Works with the node that runs, or starts one for the checks, which serves nobody. What the network
//! shows is judged in [`network`] and what the machine shows in [`machine`], both without asking
//! anything themselves where that can be; ports, disk and speed are tried here on this machine. Never
//! changes a setting, never asks a host that the node would not ask anyway.
//!
//! Invariant: it ends within [`PATIENCE`] and some seconds, whoever answers.

mod machine;
mod network;
mod ports;
mod speed;

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use hive_api::{Check, Diagnosis, Level, Reachability, Result, Status, UpnpState};
use tokio::time::Instant;

use crate::config::Config;
use crate::local::{Local, blocking};
use crate::reach::why::is_private;
use crate::start::Node;
use ports::Port;

/// How long a node that was started for the checks waits for what others say of it.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it waits for a neighbour where there is nobody else to wait for.
const NEIGHBOURS: Duration = Duration::from_secs(5);
/// How often it looks whether all have spoken.
const STEP: Duration = Duration::from_millis(250);

/// Checks a home on which no node runs, with a node that lives for the checks.
///
/// # Errors
///
/// A task of this process failed. What does not work otherwise is a check that failed.
pub async fn doctor(config: Config) -> Result<Diagnosis> {
    let listen = config.listen.clone();
    let ports = blocking(move || Ok(ports::try_all(&listen))).await?;
    let free = ports.iter().filter(|port| port.trouble.is_none());
    let trial = Config {
        listen: free.map(|port| port.address.clone()).collect(),
        api: None,
        metrics: None,
        relay: None,
        serve: false,
        online: true,
        ..config.clone()
    };
    match Node::start(trial).await {
        Ok(node) => {
            let local = node.local().clone();
            settle(&local).await;
            let checks = checks(&local, ports).await;
            node.shutdown().await;
            Ok(Diagnosis::of(false, checks?))
        }
        Err(error) => {
            let remedy = error.hint.clone().unwrap_or_else(|| "`hive -vv doctor` says more".into());
            let mut checks = vec![Check::fail("node", error.to_string(), remedy)];
            checks.push(ports::judge(&ports, &[]));
            checks.extend(blocking(move || Ok(of_machine(&config, None))).await?);
            Ok(Diagnosis::of(false, checks))
        }
    }
}

impl Local {
    /// Checks the node that runs.
    pub(crate) async fn diagnose(&self) -> Result<Diagnosis> {
        Ok(Diagnosis::of(true, checks(self, Vec::new()).await?))
    }
}

async fn checks(local: &Local, ports: Vec<Port>) -> Result<Vec<Check>> {
    let status = local.node_status().await?;
    let peers = local.known_peers().await?;
    let mut all = vec![ports::judge(&ports, &status.addresses)];
    if local.swarm.is_some() {
        all.extend(network::checks(&status, &peers, &local.config));
    } else {
        all.push(Check::ok("network", "this node has no network; `hive join` starts one that has"));
    }
    if let Some(own) = &status.membership {
        all.push(certificate(own));
    }
    all.push(machine::clock(local.clock.ahead()));
    let (config, status) = (local.config.clone(), status);
    all.extend(blocking(move || Ok(of_machine(&config, Some(&status)))).await?);
    Ok(all)
}

/// This node's certificate of the private network that it is in.
fn certificate(own: &hive_api::OwnMembership) -> Check {
    const NAME: &str = "certificate";
    match own.concern(crate::local::now()) {
        None => Check::ok(NAME, format!("this node is a member of the network `{}`", own.name)),
        Some(concern) if concern.urgent => Check::fail(NAME, concern.found, concern.remedy),
        Some(concern) => Check::warn(NAME, concern.found, concern.remedy),
    }
}

/// What this machine shows by itself. Blocks for about a second and a half.
fn of_machine(config: &Config, status: Option<&Status>) -> Vec<Check> {
    let mut all = Vec::new();
    if let Some(status) = status {
        all.push(machine::space(status.disk_free));
    }
    all.push(machine::file_system(&config.home));
    all.push(machine::write_speed(&config.home));
    all.push(machine::udp_buffers());
    all.push(machine::ipv6());
    all.push(if config.mdns { machine::multicast() } else { machine::no_multicast() });
    all.extend(speed::checks(machine::link_speed()));
    all
}

/// Waits until all have said what they are going to say, but not for ever.
async fn settle(local: &Local) {
    let begun = Instant::now();
    let asks_others = !local.config.bootstrap.is_empty() || !local.config.relays.is_empty();
    while begun.elapsed() < PATIENCE && !local.stop.is_cancelled() {
        let Ok(status) = local.node_status().await else { return };
        let quiet = status.connected == 0 && !asks_others && begun.elapsed() >= NEIGHBOURS;
        let router = !matches!(status.upnp, UpnpState::Asking);
        let settled = status.relays.iter().all(|relay| relay.reserved || relay.trouble.is_some());
        let known = status.reachability != Reachability::Unknown && settled;
        if router && (quiet || known) {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(STEP) => {}
            () = local.stop.cancelled() => return,
        }
    }
}

/// The addresses of this machine that the internet may know it by: where its own packets would come
/// from, if that is no private address. No packet is sent.
pub fn public_hosts() -> Vec<IpAddr> {
    [source(true), source(false)].into_iter().flatten().filter(|ip| !is_private(*ip)).collect()
}

/// Where packets to the internet would come from. Connecting a socket of UDP asks the routing table
/// and sends nothing; the addresses are of documentation, which lead where everything leads.
fn source(v4: bool) -> Option<IpAddr> {
    let (here, there) =
        if v4 { ("0.0.0.0:0", "198.51.100.1:9") } else { ("[::]:0", "[2001:db8::1]:9") };
    let socket = UdpSocket::bind(here).ok()?;
    socket.connect(there).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

/// A check whose level depends on a number.
fn graded(name: &str, found: String, level: Level, remedy: &str) -> Check {
    match level {
        Level::Ok => Check::ok(name, found),
        Level::Warn => Check::warn(name, found, remedy),
        Level::Fail => Check::fail(name, found, remedy),
    }
}
