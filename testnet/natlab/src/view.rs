//! What hive says of itself, as far as scenarios look at it: peers, addresses, metrics.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use anyhow::Context as _;
use serde::Deserialize;

use crate::lab::Lab;
use crate::limits::COMMAND;
use crate::node::User;

/// Where relays tell their metrics, inside their machine.
pub(crate) const METRICS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9184);

/// One line of `hive peers --json`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Peer {
    pub(crate) peer: String,
    #[serde(default)]
    pub(crate) connected: bool,
    #[serde(default)]
    pub(crate) transports: Vec<String>,
    /// `direct` or `relayed`.
    #[serde(default)]
    pub(crate) path: Option<String>,
    /// Why it is so.
    #[serde(default)]
    pub(crate) why: Option<String>,
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Its connections.
    #[serde(default)]
    pub(crate) links: Vec<Link>,
}

/// One connection to a peer.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Link {
    /// Where the peer is.
    pub(crate) address: String,
}

/// What `user`'s node knows of `peer`; without a connection if it knows nothing.
pub(crate) async fn peer(user: &User, peer: &str) -> anyhow::Result<Peer> {
    let peers = peers(user).await?;
    Ok(peers.into_iter().find(|known| known.peer == peer).unwrap_or_default())
}

/// Everybody that `user`'s node knows.
pub(crate) async fn peers(user: &User) -> anyhow::Result<Vec<Peer>> {
    let listed = user.json(&["peers"]).await?;
    serde_json::from_value(listed).context("`hive peers --json`")
}

/// What `hive status --json` says.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    /// Where the node listens, and is reached over relays.
    pub(crate) addresses: Vec<String>,
    /// `direct` once another node has dialed it.
    #[serde(default)]
    pub(crate) reachability: String,
}

/// How `user`'s node is.
pub(crate) async fn status(user: &User) -> anyhow::Result<Status> {
    serde_json::from_value(user.json(&["status"]).await?).context("`hive status --json`")
}

/// The sum of a metric over all its labels, from a node that tells them at [`METRICS`].
pub(crate) fn metric(lab: &Lab, machine: &str, name: &str) -> anyhow::Result<u64> {
    let sum = sum(&metrics(lab, machine)?, name);
    sum.with_context(|| format!("{machine} has no figure {name}"))
}

/// Everything that a node tells at [`METRICS`].
pub(crate) fn metrics(lab: &Lab, machine: &str) -> anyhow::Result<String> {
    let answer = lab.at(machine)?.run(|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from(METRICS), COMMAND)?;
        stream.set_read_timeout(Some(COMMAND))?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = Vec::new();
        stream.take(4 << 20).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    })?;
    let answer = answer.with_context(|| format!("the metrics of {machine}"))?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "the metrics of {machine}: {answer:.100}");
    Ok(answer)
}

/// None if there is no such metric: what is never told must not pass for nothing.
fn sum(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => labels.split_once('}')?.1,
            None => rest,
        };
        rest.strip_prefix(' ')?.split_whitespace().next()?.parse().ok()
    };
    let values: Vec<f64> = text.lines().filter_map(value).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_sum_over_its_labels() {
        let text = "# TYPE hive_relay_bytes counter\nhive_relay_bytes_total{kind=\"bulk\"} 5\n\
                    hive_relay_bytes_total{kind=\"signal\"} 7.5\nhive_relay_bytes_total_x 100\n\
                    hive_up 1\n";
        assert_eq!(sum(text, "hive_relay_bytes_total"), Some(12));
        assert_eq!(sum(text, "hive_up"), Some(1));
        assert_eq!(sum(text, "nothing"), None);
    }

    #[test]
    fn a_peer_is_read_whatever_else_is_told_of_it() {
        let text = r#"{"peer":"12D3","connected":true,"transports":["tcp"],"path":"relayed",
                       "why":"symmetric NAT on both sides","rtt_ms":4.2,"more":{}}"#;
        let peer: Peer = serde_json::from_str(text).unwrap();
        assert_eq!((peer.path.as_deref(), peer.connected), (Some("relayed"), true));
    }
}
