//! Tells the local network that a node is here, as a service that anybody can browse for.
//!
//! Only where nodes are to be found by multicast at all (`mdns`), and only if a machine of the link
//! could get in.

use hive_swarm::dnssd::{self, Service};

use crate::local::Local;
use crate::reach::why::host;

/// Announces until the node stops, then says goodbye.
pub(crate) async fn run(local: Local) {
    let Some(service) = service(&local).await else { return };
    let announced = match dnssd::announce(&service) {
        Ok(announced) => announced,
        Err(error) => return tracing::info!(%error, "no service is announced"),
    };
    tracing::debug!(instance = service.instance(), port = service.port, "announced as a service");
    local.stop.cancelled().await;
    announced.withdraw().await;
}

async fn service(local: &Local) -> Option<Service> {
    let listening = local.addresses().await;
    let open = local.config.api.filter(|address| !address.ip().is_loopback());
    Some(Service {
        name: local.config.node_name.clone(),
        peer: local.peer,
        port: port(&listening)?,
        // Whoever browses the link is not told of a private network.
        network: local.networks.private().is_none().then(|| local.config.network.clone()),
        api: open.map(|address| address.port()),
    })
}

/// The port for peers of other machines: TCP's, or QUIC's if there is no other.
fn port(listening: &[String]) -> Option<u16> {
    let open = |address: &&String| host(address).is_some_and(|ip| !ip.is_loopback());
    let after = |key: &str| {
        let mut ports = listening.iter().filter(open).filter_map(|address| {
            let mut parts = address.split('/').skip_while(|part| *part != key).skip(1);
            parts.next()?.parse().ok()
        });
        ports.next()
    };
    after("tcp").or_else(|| after("udp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_one_that_others_reach() {
        let of = |addresses: &[&str]| {
            port(&addresses.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["/ip4/127.0.0.1/tcp/1/p2p/x"]), None);
        assert_eq!(of(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/udp/2/quic-v1"]), Some(2));
        assert_eq!(of(&["/ip4/10.0.0.1/udp/2/quic-v1", "/ip4/10.0.0.1/tcp/3/p2p/x"]), Some(3));
        assert_eq!(of(&["/dns4/example.org/tcp/3", "/ip4/1.2.3.4/tcp/x"]), None);
    }
}
