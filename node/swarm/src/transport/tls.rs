//! Secures a connection with TLS 1.3 as the libp2p TLS specification has it (`/tls/1.0.0`).
//!
//! This is `libp2p::tls` with another order of ciphers: AES-128-GCM first where the CPU has
//! instructions for it, while libp2p lists ChaCha20-Poly1305 first and the dialer's order decides.
//! Certificates are made and read by `libp2p::tls`; the records go through `stream`, which makes
//! fewer system calls. It never resumes a session and never writes a key log, whatever
//! `SSLKEYLOGFILE` says.
//!
//! Invariant: a peer id comes out only if the peer signed this handshake with the one certificate
//! it sent, and that certificate carries the signature of the peer's identity over its own key.

mod stream;
mod verifier;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use futures::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector};
use libp2p::PeerId;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::tls::certificate;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, NoKeyLog, ServerConfig, SupportedCipherSuite};

pub use self::stream::TlsStream;
use self::verifier::Verifier;

/// The name that multistream-select agrees on.
const PROTOCOL: &str = "/tls/1.0.0";

/// The specification's ALPN.
const ALPN: &[u8] = b"libp2p";

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The handshake was refused by either side, or the connection broke.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The handshake ended without a certificate that says who the peer is.
    #[error("the peer's certificate names nobody")]
    NoIdentity,
}

/// Why this node's own certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The identity could not sign a certificate.
    #[error("cannot make a certificate for this identity")]
    Certificate(#[source] certificate::GenError),
    /// The TLS library refused the configuration.
    #[error("cannot configure TLS")]
    Config(#[source] rustls::Error),
}

/// The `/tls/1.0.0` upgrade. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// Makes a certificate for `identity`. It is used for every connection of this upgrade.
    pub fn new(identity: &Keypair) -> Result<Self, SetupError> {
        let (certificate, key) =
            certificate::generate(identity).map_err(SetupError::Certificate)?;
        Self::with_certificates(vec![certificate], &key)
    }

    fn with_certificates(
        certificates: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Self, SetupError> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: cipher_suites(),
            ..aws_lc_rs::default_provider()
        });
        let key = aws_lc_rs::sign::any_ecdsa_type(key).map_err(SetupError::Config)?;
        let certified = Arc::new(SingleCertAndKey::from(CertifiedKey::new(certificates, key)));

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(SetupError::Config)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(None)))
            .with_client_cert_resolver(Arc::clone(&certified) as _);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.key_log = Arc::new(NoKeyLog);
        // Every libp2p server has the same name here, so a ticket of one would be shown to all.
        client.resumption = Resumption::disabled();

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(SetupError::Config)?
            .with_client_cert_verifier(Arc::new(Verifier::new(None)))
            .with_cert_resolver(certified);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.key_log = Arc::new(NoKeyLog);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }

    /// The same upgrade, which when dialing breaks off before it shows its own certificate to
    /// anybody but `peer`.
    ///
    /// A libp2p transport does not hand the dialed peer to its upgrades, so there the swarm
    /// compares, after the handshake and before anything else.
    pub fn expecting(&self, peer: PeerId) -> Self {
        let mut client = (*self.client).clone();
        client.dangerous().set_certificate_verifier(Arc::new(Verifier::new(Some(peer))));
        Self { client: Arc::new(client), server: Arc::clone(&self.server) }
    }
}

impl UpgradeInfo for Tls {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(PROTOCOL)
    }
}

impl<C> InboundConnectionUpgrade<C> for Tls
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = (PeerId, TlsStream<C>);
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        async move {
            let accept = TlsAcceptor::from(self.server).accept(socket);
            let (socket, connection) = accept.await.map_err(TlsError::Handshake)?.into_inner();
            let connection = rustls::Connection::from(connection);
            Ok((peer_id(&connection)?, TlsStream::new(socket, connection)))
        }
        .boxed()
    }
}

impl<C> OutboundConnectionUpgrade<C> for Tls
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = (PeerId, TlsStream<C>);
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        async move {
            // The specification forbids a server name; an address in its place sends none.
            let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
            let connect = TlsConnector::from(self.client).connect(nobody, socket);
            let (socket, connection) = connect.await.map_err(TlsError::Handshake)?.into_inner();
            let connection = rustls::Connection::from(connection);
            Ok((peer_id(&connection)?, TlsStream::new(socket, connection)))
        }
        .boxed()
    }
}

/// Who is on the other side of a finished handshake.
fn peer_id(connection: &rustls::Connection) -> Result<PeerId, TlsError> {
    match connection.peer_certificates() {
        Some([certificate]) => {
            let certificate = certificate::parse(certificate).map_err(|_| TlsError::NoIdentity)?;
            Ok(certificate.peer_id())
        }
        _ => Err(TlsError::NoIdentity),
    }
}

/// The ciphers of TLS 1.3, fastest first on this CPU. A listener takes the dialer's first.
fn cipher_suites() -> Vec<SupportedCipherSuite> {
    let aes = [cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384];
    let chacha = [cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    if has_aes_instructions() {
        aes.into_iter().chain(chacha).collect()
    } else {
        chacha.into_iter().chain(aes).collect()
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes_instructions() -> bool {
    false
}

#[cfg(test)]
mod tests;
