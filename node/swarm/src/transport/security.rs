//! Chooses how a connection is secured: hive's own TLS, or noise where the peer has no TLS.
//!
//! Noise knows one cipher, ChaCha20-Poly1305, and so costs a CPU with AES instructions about twice
//! as much; it stays for peers that a browser or another libp2p has built without TLS.

use std::fmt;

use futures::future::{BoxFuture, Either, FutureExt};
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};

use super::tls::{self, Tls, TlsError, TlsStream};

/// Why a node's identity cannot secure connections.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] tls::SetupError),
    /// Noise could not be set up.
    #[error("cannot set up noise")]
    Noise(#[source] noise::Error),
}

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// With TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// With noise.
    #[error("the noise handshake failed")]
    Noise(#[from] noise::Error),
}

/// The upgrade that prefers `/tls/1.0.0` and falls back to `/noise`. Cheap to clone.
#[derive(Clone)]
pub struct Security {
    tls: Option<Tls>,
    noise: noise::Config,
}

impl Security {
    /// Secures connections in the name of `identity`.
    pub fn new(identity: &Keypair) -> Result<Self, SetupError> {
        Ok(Self { tls: Some(Tls::new(identity)?), ..Self::noise(identity)? })
    }

    /// As if there were no TLS: to measure the difference, and to test the fallback.
    pub fn noise(identity: &Keypair) -> Result<Self, SetupError> {
        Ok(Self { tls: None, noise: noise::Config::new(identity).map_err(SetupError::Noise)? })
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

/// One of the two, agreed on.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    name: &'static str,
    is_tls: bool,
}

impl AsRef<str> for Protocol {
    fn as_ref(&self) -> &str {
        self.name
    }
}

impl UpgradeInfo for Security {
    type Info = Protocol;
    type InfoIter = Vec<Protocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        let tls = self.tls.iter().flat_map(UpgradeInfo::protocol_info);
        let tls = tls.map(|name| Protocol { name, is_tls: true });
        let noise = self.noise.protocol_info().map(|name| Protocol { name, is_tls: false });
        tls.chain(noise).collect()
    }
}

/// A secured connection.
pub type Secured<C> = Either<TlsStream<C>, noise::Output<C>>;

impl<C> InboundConnectionUpgrade<C> for Security
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = (PeerId, Secured<C>);
    type Error = SecurityError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, protocol: Self::Info) -> Self::Future {
        async move {
            if let Some(tls) = self.tls.filter(|_| protocol.is_tls) {
                let (peer, stream) = tls.upgrade_inbound(socket, protocol.name).await?;
                return Ok((peer, Either::Left(stream)));
            }
            let (peer, stream) = self.noise.upgrade_inbound(socket, protocol.name).await?;
            Ok((peer, Either::Right(stream)))
        }
        .boxed()
    }
}

impl<C> OutboundConnectionUpgrade<C> for Security
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = (PeerId, Secured<C>);
    type Error = SecurityError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, protocol: Self::Info) -> Self::Future {
        async move {
            if let Some(tls) = self.tls.filter(|_| protocol.is_tls) {
                let (peer, stream) = tls.upgrade_outbound(socket, protocol.name).await?;
                return Ok((peer, Either::Left(stream)));
            }
            let (peer, stream) = self.noise.upgrade_outbound(socket, protocol.name).await?;
            Ok((peer, Either::Right(stream)))
        }
        .boxed()
    }
}
