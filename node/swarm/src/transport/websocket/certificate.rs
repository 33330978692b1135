//! The outer TLS of [`WebSocket`](super::WebSocket): which certificate it shows, and that it takes
//! any. See there for why.
//!
//! It never resumes a session and never writes a key log, like the TLS inside.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, DigitallySignedStruct, NoKeyLog, ServerConfig, SignatureScheme};

/// What a firewall expects to be asked for on port 443.
const ALPN: &[u8] = b"http/1.1";

/// Where an operator keeps a certificate, as `certbot` leaves it. It is read once, at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and those of its authorities (PEM).
    pub chain: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// Why there is no certificate to listen with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file could not be read.
    #[error("cannot read {}; it has to be PEM that this user may read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate and the key do not belong together, or are of a kind that TLS does not know.
    #[error("the certificate and its key cannot be used")]
    Pair(#[source] rustls::Error),
    /// A certificate of its own could not be made.
    #[error("cannot make a certificate")]
    SelfSigned(#[source] rcgen::Error),
}

/// Dials, and takes any certificate.
pub(super) fn client() -> Result<Arc<ClientConfig>, CertificateError> {
    let provider = provider();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(CertificateError::Pair)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.key_log = Arc::new(NoKeyLog);
    // A ticket would show one network that this is the node that was on another.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Listens with the operator's certificate.
pub(super) fn from_files(files: &CertificateFiles) -> Result<Arc<ServerConfig>, CertificateError> {
    let failed = |path: &PathBuf, error: pem::Error| {
        let source = match error {
            pem::Error::Io(error) => error,
            error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        };
        CertificateError::File { path: path.clone(), source }
    };
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&files.chain, error))?;
    if chain.is_empty() {
        return Err(failed(&files.chain, pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key);
    server(chain, key.map_err(|error| failed(&files.key, error))?)
}

/// Listens with a certificate that nobody has seen before or will again.
pub(super) fn self_signed() -> Result<Arc<ServerConfig>, CertificateError> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let rcgen::CertifiedKey { cert, key_pair } = made.map_err(CertificateError::SelfSigned)?;
    let key = PrivatePkcs8KeyDer::from(key_pair.serialize_der());
    server(vec![cert.der().clone()], key.into())
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(CertificateError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(CertificateError::Pair)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.key_log = Arc::new(NoKeyLog);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Takes any certificate, and so any signature made with its key: both would only prove that
/// somebody made a certificate. The libp2p handshake inside proves who the peer is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // TLS 1.2 is not offered.
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
