//! Addresses at which others reach this machine, as people write them.
//!
//! A multiaddr stands as it is; a host alone (an IP address or a name) stands for that host with every
//! port that the node listens on, so that nobody has to write one address three times.

use std::net::IpAddr;

/// Reads a list, separated by commas.
pub(crate) fn items(text: &str) -> Result<Vec<String>, String> {
    super::keys::items(text).map(|item| check(item).map(|()| item.to_owned())).collect()
}

fn check(item: &str) -> Result<(), String> {
    if item.starts_with('/') || of_host(item).is_some() {
        return Ok(());
    }
    Err(format!(
        "`{item}` is neither an IP address, nor a host's name, nor a multiaddr like \
         `/ip4/192.0.2.1/tcp/4483`"
    ))
}

/// A host as the beginning of multiaddrs, and which addresses to listen on it can stand for.
fn of_host(item: &str) -> Option<(String, &'static [&'static str])> {
    if let Ok(ip) = item.parse::<IpAddr>() {
        return Some(match ip {
            IpAddr::V4(ip) => (format!("/ip4/{ip}"), &["ip4"]),
            IpAddr::V6(ip) => (format!("/ip6/{ip}"), &["ip6"]),
        });
    }
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(fits) && !label.starts_with('-')
    };
    // Without a dot it may be anything; with digits alone it is an address that is none.
    let is_name = item.len() <= 253
        && item.contains('.')
        && item.split('.').all(label)
        && item.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_name.then(|| (format!("/dns/{item}"), &["ip4", "ip6"][..]))
}

/// The multiaddrs that a list stands for, for a node that listens there. Says which item stands for
/// none.
pub(crate) fn expand(items: &[String], listen: &[String]) -> Result<Vec<String>, String> {
    let mut all: Vec<String> = Vec::new();
    for item in items {
        let before = all.len();
        match of_host(item) {
            None => all.push(item.clone()),
            Some((host, families)) => {
                let carriers = listen.iter().filter_map(|address| carrier(address, families));
                all.extend(carriers.map(|carrier| format!("{host}{carrier}")));
            }
        }
        if all.len() == before {
            return Err(format!(
                "`{item}` needs a port: this node listens on none that is known before it starts; \
                 write a multiaddr like `/ip4/192.0.2.1/tcp/4483`"
            ));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|address| seen.insert(address.clone()));
    Ok(all)
}

/// What follows the host in an address to listen on, if others can know the port.
fn carrier<'a>(address: &'a str, families: &[&str]) -> Option<&'a str> {
    let rest = address.strip_prefix('/')?;
    let (family, rest) = rest.split_once('/')?;
    let (_host, rest) = rest.split_once('/')?;
    let port = rest.split('/').nth(1)?;
    let known = families.contains(&family) && port != "0";
    known.then(|| &address[address.len() - rest.len() - 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen() -> Vec<String> {
        let addresses = [
            "/ip4/0.0.0.0/tcp/4483",
            "/ip4/0.0.0.0/udp/4483/quic-v1",
            "/ip6/::/tcp/4483",
            "/ip6/::/udp/0/quic-v1",
            "/ip4/0.0.0.0/tcp/443/tls/ws",
        ];
        addresses.map(str::to_owned).to_vec()
    }

    fn of(items: &[&str]) -> Result<Vec<String>, String> {
        expand(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>(), &listen())
    }

    #[test]
    fn a_host_stands_for_every_port_of_its_family() {
        assert_eq!(
            of(&["203.0.113.7"]).unwrap(),
            [
                "/ip4/203.0.113.7/tcp/4483",
                "/ip4/203.0.113.7/udp/4483/quic-v1",
                "/ip4/203.0.113.7/tcp/443/tls/ws",
            ]
        );
        assert_eq!(of(&["2001:db8::7"]).unwrap(), ["/ip6/2001:db8::7/tcp/4483"]);
        let named = of(&["relay.example.org"]).unwrap();
        assert_eq!(named.len(), 3, "one for each port and not for each family: {named:?}");
        assert_eq!(named[0], "/dns/relay.example.org/tcp/4483");
        assert_eq!(of(&["/ip4/203.0.113.7/tcp/9"]).unwrap(), ["/ip4/203.0.113.7/tcp/9"]);
    }

    #[test]
    fn a_host_without_a_port_is_refused() {
        let any = ["/ip4/127.0.0.1/tcp/0".to_owned()];
        assert!(expand(&["203.0.113.7".to_owned()], &any).unwrap_err().contains("needs a port"));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in
            ["relay", "203.0.113.7:4483", "http://relay.example.org", "300.1.1.1", "a..b", "-a.b"]
        {
            assert!(items(text).is_err(), "{text}");
        }
        assert_eq!(items("203.0.113.7, relay.example.org").unwrap().len(), 2);
    }
}
