//! Announces a node as a service of the local network (DNS-SD, `_hive._tcp`), for whoever browses:
//! a person, a phone, a script. Nodes find each other by libp2p's own mDNS, not by this.
//!
//! What is told is told to everybody on the link: the node's name, its id, its port, the network's
//! name if it is a public one, and the API's port if the API is open to the link. Nothing is browsed,
//! so that nobody on the link fills a cache of ours. The daemon is a thread of mdns-sd; it shares
//! port 5353 with libp2p's and with the system's.

use std::time::Duration;

use mdns_sd::{ServiceDaemon, ServiceInfo};

use crate::identity::Peer;

/// The kind of service, as it is browsed for.
pub const SERVICE: &str = "_hive._tcp.local.";

/// How long a goodbye may take, and the daemon's end after it.
const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes in the name of an instance at most: a label of DNS.
const INSTANCE_LEN: usize = 63;
/// Characters of a peer's id that tell nodes of a link apart.
const SHORT: usize = 8;

/// What the local network is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What the owner calls the node; without a name it is the end of its id.
    pub name: Option<String>,
    /// Who it is.
    pub peer: Peer,
    /// Where it listens for peers.
    pub port: u16,
    /// The network, if its name is no secret.
    pub network: Option<String>,
    /// The API's port, if other machines reach it.
    pub api: Option<u16>,
}

impl Service {
    fn short(&self) -> String {
        let peer = self.peer.to_string();
        peer[peer.len().saturating_sub(SHORT)..].to_owned()
    }

    /// The name that a browser shows.
    pub fn instance(&self) -> String {
        let name = self.name.clone().unwrap_or_else(|| format!("hive {}", self.short()));
        let end = (0..=INSTANCE_LEN.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
        name[..end.unwrap_or(0)].to_owned()
    }

    fn info(&self) -> Result<ServiceInfo, mdns_sd::Error> {
        let host = format!("hive-{}.local.", self.short().to_ascii_lowercase());
        let mut txt = vec![("txtvers".to_owned(), "1".to_owned())];
        txt.push(("id".to_owned(), self.peer.to_string()));
        txt.extend(self.network.clone().map(|network| ("net".to_owned(), network)));
        txt.extend(self.api.map(|port| ("api".to_owned(), port.to_string())));
        let info = ServiceInfo::new(SERVICE, &self.instance(), &host, "", self.port, &txt[..])?;
        // The addresses of each interface to that interface alone, and again when they change.
        Ok(info.enable_addr_auto())
    }
}

/// Why a node cannot be announced.
#[derive(Debug, thiserror::Error)]
#[error("cannot announce this node on the local network: {reason}")]
pub struct DnsSdError {
    reason: String,
}

impl From<mdns_sd::Error> for DnsSdError {
    fn from(error: mdns_sd::Error) -> Self {
        Self { reason: error.to_string() }
    }
}

/// A node that is being announced. Dropping it stops that without a goodbye.
pub struct Announced {
    daemon: Option<ServiceDaemon>,
    fullname: String,
}

/// Announces a node until it is withdrawn.
///
/// # Errors
///
/// The system has no multicast, or what is told does not fit.
pub fn announce(service: &Service) -> Result<Announced, DnsSdError> {
    let info = service.info()?;
    let daemon = ServiceDaemon::new()?;
    let announced = Announced { fullname: info.get_fullname().to_owned(), daemon: Some(daemon) };
    if let Some(daemon) = &announced.daemon {
        daemon.register(info)?;
    }
    Ok(announced)
}

impl Announced {
    /// Says goodbye to the link and ends the daemon; waits for both, but not long.
    pub async fn withdraw(mut self) {
        let Some(daemon) = self.daemon.take() else { return };
        if let Ok(told) = daemon.unregister(&self.fullname) {
            let _ = tokio::time::timeout(GOODBYE, told.recv_async()).await;
        }
        if let Ok(ended) = daemon.shutdown() {
            let _ = tokio::time::timeout(GOODBYE, ended.recv_async()).await;
        }
    }
}

impl std::fmt::Debug for Announced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announced").field("fullname", &self.fullname).finish_non_exhaustive()
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            // A daemon that is gone already needs no end.
            let _ = daemon.shutdown();
        }
    }
}

#[cfg(test)]
mod tests {
    use mdns_sd::ServiceEvent;

    use super::*;
    use crate::identity::NodeIdentity;

    /// How long the link may take to pass on what is said.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn service(name: Option<&str>) -> Service {
        Service {
            name: name.map(str::to_owned),
            peer: NodeIdentity::from_ed25519_secret([name.map_or(1, |name| name.len() as u8); 32])
                .peer(),
            port: 4483,
            network: Some("main".to_owned()),
            api: None,
        }
    }

    #[test]
    fn an_instance_has_a_name_that_fits_a_label() {
        let nameless = service(None);
        assert!(nameless.instance().starts_with("hive "), "{}", nameless.instance());
        assert_eq!(service(Some("kitchen")).instance(), "kitchen");
        let long = service(Some(&"ä".repeat(40)));
        assert_eq!(long.instance().len(), 62, "cut between characters");
        assert!(long.info().is_ok() && nameless.info().is_ok());
    }

    /// Waits for an event of our service; `None` if the link carries nothing.
    async fn wait<T>(
        events: &mdns_sd::Receiver<ServiceEvent>,
        wanted: impl Fn(ServiceEvent) -> Option<T>,
    ) -> Option<T> {
        let found = async {
            loop {
                match events.recv_async().await {
                    Ok(event) => {
                        if let Some(found) = wanted(event) {
                            return Some(found);
                        }
                    }
                    Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.ok().flatten()
    }

    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    #[tokio::test]
    async fn the_link_sees_a_node_come_and_go() {
        let service = service(Some("kitchen of a test"));
        let Ok(browser) = ServiceDaemon::new() else {
            return println!("skipped: this machine has no multicast");
        };
        let Ok(events) = browser.browse(SERVICE) else {
            return println!("skipped: this machine cannot browse");
        };
        let announced = announce(&service).expect("the daemon starts");
        let id = service.peer.to_string();
        let seen = wait(&events, |event| match event {
            ServiceEvent::ServiceResolved(found)
                if found.txt_properties.get_property_val_str("id") == Some(&id) =>
            {
                Some(found)
            }
            _ => None,
        });
        let Some(seen) = seen.await else {
            announced.withdraw().await;
            let _ = browser.shutdown();
            return println!("skipped: no interface of this machine carries multicast");
        };
        assert_eq!(seen.port, 4483);
        assert_eq!(seen.txt_properties.get_property_val_str("net"), Some("main"));
        assert_eq!(seen.txt_properties.get_property_val_str("api"), None);
        assert!(seen.fullname.starts_with("kitchen of a test"), "{}", seen.fullname);
        let fullname = seen.fullname.clone();
        announced.withdraw().await;
        let gone = wait(&events, |event| match event {
            ServiceEvent::ServiceRemoved(_, name) if name == fullname => Some(()),
            _ => None,
        });
        assert!(gone.await.is_some(), "it says goodbye");
        let ended = browser.shutdown().expect("the daemon runs");
        let _ = tokio::time::timeout(PATIENCE, ended.recv_async()).await;
    }
}
