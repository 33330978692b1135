//! Whether the addresses to listen on can be had.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use hive_api::Check;

use crate::reach::why::host;

/// An address to listen on, and why it cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) address: String,
    pub(super) trouble: Option<String>,
}

/// Tries each address for a moment.
pub(super) fn try_all(addresses: &[String]) -> Vec<Port> {
    let tried = addresses.iter().map(|address| {
        let trouble = try_one(address).err().map(|error| error.to_string());
        Port { address: address.clone(), trouble }
    });
    tried.collect()
}

fn try_one(address: &str) -> io::Result<()> {
    let Some((socket, udp)) = socket(address) else { return Ok(()) };
    if udp { UdpSocket::bind(socket).map(drop) } else { TcpListener::bind(socket).map(drop) }
}

/// The socket that an address stands for, and whether it is one of UDP.
fn socket(address: &str) -> Option<(SocketAddr, bool)> {
    let ip: IpAddr = host(address)?;
    let mut parts = address.split('/').skip(3);
    let udp = match parts.next()? {
        "tcp" => false,
        "udp" => true,
        _ => return None,
    };
    Some((SocketAddr::new(ip, parts.next()?.parse().ok()?), udp))
}

/// What became of the addresses: those that were tried, or those that a node has.
pub(super) fn judge(tried: &[Port], listening: &[String]) -> Check {
    let taken: Vec<String> = tried
        .iter()
        .filter_map(|port| Some(format!("{}: {}", port.address, port.trouble.as_ref()?)))
        .collect();
    if !taken.is_empty() {
        return Check::fail(
            "ports",
            format!("not free: {}", taken.join("; ")),
            "end the program that has the port (`ss -tulpn` shows it), or listen elsewhere: `hive config set listen ADDR,…`",
        );
    }
    let direct = listening.iter().filter(|address| !address.contains("/p2p-circuit")).count();
    match (tried.len(), direct) {
        (0, 0) => Check::warn(
            "ports",
            "this node listens nowhere: it only dials",
            "let it listen again: `hive config unset listen`",
        ),
        (0, n) => Check::ok("ports", format!("listening on {n} addresses")),
        (n, _) => Check::ok("ports", format!("all {n} are free")),
    }
}

#[cfg(test)]
mod tests {
    use hive_api::Level;

    use super::*;

    #[test]
    fn a_port_that_somebody_has_is_named() {
        let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = holder.local_addr().expect("it is bound").port();
        let addresses =
            [format!("/ip4/127.0.0.1/tcp/{port}"), "/ip4/127.0.0.1/udp/0/quic-v1".to_owned()];
        let tried = try_all(&addresses);
        assert!(tried[0].trouble.is_some() && tried[1].trouble.is_none(), "{tried:?}");
        let check = judge(&tried, &[]);
        assert_eq!(check.level, Level::Fail);
        assert!(check.found.contains(&port.to_string()), "{check:?}");
        drop(holder);
        assert_eq!(judge(&try_all(&addresses), &[]).level, Level::Ok);
    }

    #[test]
    fn a_node_that_only_dials_is_told_so() {
        assert_eq!(judge(&[], &[]).level, Level::Warn);
        let relayed = "/ip4/1.2.3.4/tcp/1/p2p/x/p2p-circuit/p2p/y".to_owned();
        assert_eq!(judge(&[], std::slice::from_ref(&relayed)).level, Level::Warn);
        assert_eq!(judge(&[], &["/ip4/1.2.3.4/tcp/1".to_owned()]).level, Level::Ok);
    }
}
