//! The connections under everything else: who they are with and how they carry streams.
//!
//! TCP is secured by [`security`] and carries streams with hive's own [`yamux`], and so is
//! [`websocket`], for networks where nothing else gets out; QUIC brings its own of both. Names are
//! resolved where the system says how. A relay counts what goes through ([`metered`]). Only this
//! module knows that several transports exist.
//!
//! Invariant: what [`build`] yields has proven the peer's id and keeps every bound of [`yamux`].

pub mod faults;
pub mod membership;
pub mod metered;
pub mod security;
pub mod tls;
pub mod websocket;
pub mod yamux;

use std::sync::Once;
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, dns, quic, tcp};

use self::metered::Meters;
use self::security::Security;
use self::websocket::{CertificateFiles, WebSocket};
use self::yamux::Yamux;

/// How long securing a connection and agreeing on its streams may take.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long TCP may take to connect. A router that drops what comes in says nothing, and whoever
/// checks an address for somebody (AutoNAT) has to answer before he gives up after 10 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a QUIC connection may be silent. Wi-Fi that roams is silent for longer than libp2p's
/// default of ten seconds.
const QUIC_IDLE: Duration = Duration::from_secs(30);

/// How often QUIC breaks a silence: twice within what stock libp2p allows the other side.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What one QUIC stream, and one QUIC connection, may have in flight towards us.
const QUIC_STREAM_WINDOW: u32 = 16 << 20;
const QUIC_CONNECTION_WINDOW: u32 = 32 << 20;

/// What every transport ends as: a peer and its streams.
pub type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// Which transports to use.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// TCP, the faster one for bulk.
    pub tcp: bool,
    /// QUIC, the one that gets through more often.
    pub quic: bool,
    /// WebSocket over TLS, the one that gets out where nothing else does.
    pub websocket: bool,
    /// What WebSocket listens with; without, it makes a certificate of its own.
    pub certificate: Option<CertificateFiles>,
    /// Counts what is relayed, on a relay.
    pub meters: Option<Meters>,
    /// Whether `/dns…` addresses are resolved. A system without a resolver configuration goes
    /// without, and says so in the log.
    pub dns: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { tcp: true, quic: true, websocket: true, certificate: None, meters: None, dns: true }
    }
}

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The identity does not fit the security.
    #[error(transparent)]
    Security(#[from] security::SetupError),
    /// WebSocket has no certificate to listen with.
    #[error(transparent)]
    Certificate(#[from] websocket::CertificateError),
    /// The options leave nothing.
    #[error("neither TCP nor QUIC nor WebSocket is wanted")]
    Nothing,
}

/// Builds the transports that `options` want, as one.
///
/// QUIC is libp2p's, and libp2p's QUIC writes TLS keys to the file that `SSLKEYLOGFILE` names. So
/// whoever starts a process takes that name out of the environment while there is one thread, or
/// refuses to start ([`key_log_requested`]); taking it out is unsafe code, which this crate forbids.
pub fn build(identity: &Keypair, options: &Options) -> Result<Connections, TransportError> {
    keep_freed_memory();
    if !options.dns {
        return build_unresolved(identity, options);
    }
    match dns::tokio::Transport::system(build_unresolved(identity, options)?) {
        Ok(transport) => Ok(transport.boxed()),
        Err(error) => {
            tracing::warn!(%error, "names in addresses are not resolved");
            build_unresolved(identity, options)
        }
    }
}

/// Keeps glibc from giving freed memory back to the system at once.
///
/// It does so whenever 128 KiB at the end of a heap are free, and frames of 64 KiB come and go: a
/// third of all CPU time went into page faults. Having seen a block of this size freed, it keeps
/// twice as much per heap. Only the first call does anything; elsewhere than on glibc it is harmless.
pub fn keep_freed_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(16 << 20))));
}

/// Whether the environment asks TLS libraries to write down the keys of every connection.
pub fn key_log_requested() -> bool {
    std::env::var_os("SSLKEYLOGFILE").is_some_and(|path| !path.is_empty())
}

fn build_unresolved(identity: &Keypair, options: &Options) -> Result<Connections, TransportError> {
    let mut all = Vec::new();
    if options.quic {
        let quic = quic::tokio::Transport::new(quic_config(identity));
        all.push(quic.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))).boxed());
    }
    if options.tcp {
        let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
        let tcp = TransportTimeout::with_outgoing_timeout(tcp, CONNECT_TIMEOUT);
        all.push(secure(tcp, Security::new(identity)?));
    }
    if options.websocket {
        let websocket = WebSocket::new(options.certificate.as_ref())?;
        all.push(secure(websocket, Security::new(identity)?));
    }
    let all = all.into_iter().reduce(either).ok_or(TransportError::Nothing)?;
    Ok(match &options.meters {
        Some(meters) => meters.on(all),
        None => all,
    })
}

/// Puts hive's security and streams on a transport of bytes: TCP, a relay's circuit, memory.
pub fn secure<T>(transport: T, security: Security) -> Connections
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    // `V1Lazy` would save the dialer a round trip for each of the two, if it offered one protocol.
    transport
        .upgrade(Version::V1)
        .authenticate(security)
        .multiplex(Yamux::default())
        .timeout(UPGRADE_TIMEOUT)
        .boxed()
}

/// One transport of two, the first tried first.
pub fn either(first: Connections, second: Connections) -> Connections {
    first.or_transport(second).map(|output, _| output.into_inner()).boxed()
}

fn quic_config(identity: &Keypair) -> quic::Config {
    let mut config = quic::Config::new(identity);
    config.max_idle_timeout = QUIC_IDLE.as_millis() as u32;
    config.keep_alive_interval = QUIC_KEEP_ALIVE;
    config.max_stream_data = QUIC_STREAM_WINDOW;
    config.max_connection_data = QUIC_CONNECTION_WINDOW;
    config
}

#[cfg(test)]
mod tests;
