//! How a [`Hub`](crate::Hub) runs; a program takes the defaults, a test brings its own network.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::address;
use crate::caches::Places;

/// Finds the addresses of a host.
pub trait Lookup: Send + Sync {
    /// The addresses of a host, with any port.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address: SocketAddr| address.ip()).collect())
        })
    }
}

/// How requests are made.
#[derive(Clone)]
pub struct Options {
    /// How long a connection may give no byte.
    pub stall: Duration,
    /// The first pause after a failure; each further one is twice as long.
    pub backoff: Duration,
    /// Finds addresses.
    pub lookup: Arc<dyn Lookup>,
    /// Says which addresses the internet has.
    pub is_public: fn(IpAddr) -> bool,
    /// Whether public hosts may be asked without TLS. Only tests want that.
    pub plain: bool,
    /// Whether to go through the proxies that the environment names (`HTTPS_PROXY`, `NO_PROXY`).
    pub proxies: bool,
    /// Where other programs keep their models.
    pub places: Places,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(15),
            backoff: Duration::from_secs(1),
            lookup: Arc::new(SystemLookup),
            is_public: address::is_public,
            plain: false,
            proxies: true,
            places: Places::of_user(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("stall", &self.stall)
            .field("plain", &self.plain)
            .finish_non_exhaustive()
    }
}
