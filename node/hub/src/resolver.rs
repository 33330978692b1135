//! The resolver that connections are made with, which is also the one that checks.
//!
//! There is no second look-up between the check and the connection, so a name server cannot answer
//! the one with a public address and the other with a private one.

use std::net::IpAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::limits;
use crate::options::Lookup;

/// A resolver that gives public addresses only, where that is the rule.
pub(crate) struct Checked {
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) is_public: fn(IpAddr) -> bool,
    pub(crate) public: bool,
    /// Hosts of proxies, which the user chose and which are his own more often than not.
    pub(crate) proxies: Vec<String>,
}

/// A name has no address that may be dialled.
#[derive(Debug, thiserror::Error)]
#[error("`{host}` leads to an address of a private network")]
pub(crate) struct NotPublic {
    pub(crate) host: String,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let looked_up = self.lookup.lookup(host.clone());
        let (is_public, any) = (self.is_public, !self.public || self.proxies.contains(&host));
        Box::pin(async move {
            let found = looked_up.await?;
            let allowed: Vec<_> = found
                .into_iter()
                .filter(|&address| any || is_public(address))
                .take(limits::ADDRESSES)
                .map(|address| std::net::SocketAddr::new(address, 0))
                .collect();
            if allowed.is_empty() {
                return Err(NotPublic { host }.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
