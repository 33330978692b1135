//! WebSocket over TLS on TCP, for networks that let nothing out but what looks like the web.
//!
//! An address is `/ip4/…/tcp/443/tls/ws`, or `/wss` for short, or `/tls/sni/NAME/ws` where a
//! firewall wants to read a name. Inside runs what runs on any TCP connection: the libp2p handshake,
//! which proves who the peer is. The TLS outside proves nothing and need not: a dialer takes any
//! certificate, since a relay at an IP address has no name that an authority could vouch for, and
//! whoever stands between the two sees, after his own TLS, only a handshake that he cannot forge.
//! So a listener makes a certificate of its own for each run and keeps it nowhere, unless the
//! operator has files of a real one ([`CertificateFiles`]), which stock nodes and browsers want.
//!
//! Everything is encrypted twice and framed once more, so this is for getting out, not for speed. It
//! never punches holes, and dials from a port of its own rather than from where it listens.
//!
//! The framing is hive's (`frames`, `handshake`), and stock libp2p understands it: that of
//! libp2p-websocket allocates what a stranger's frame header says, up to 256 MiB, when it dials.
//!
//! Invariant: before the libp2p handshake a stranger takes one TLS session and the 8 KiB of a
//! request; after it, a frame of any length goes through a buffer that its reader brings.

mod certificate;
pub(crate) mod frames;
pub(crate) mod handshake;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use futures_rustls::{TlsAcceptor, TlsConnector};
use libp2p::Multiaddr;
use libp2p::core::transport::{
    DialOpts, ListenerId, PortUse, Transport, TransportError, TransportEvent,
};
use libp2p::multiaddr::Protocol;
use libp2p::tcp;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

pub use self::certificate::{CertificateError, CertificateFiles};
use self::frames::{Frames, Role};
pub use self::handshake::HandshakeError;
use super::tls::TlsStream;

/// The bytes of a connection.
pub type Socket = Frames<TlsStream<tcp::tokio::TcpStream>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// There is no certificate to listen with.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The TCP connection failed.
    #[error(transparent)]
    Tcp(#[from] io::Error),
    /// The TLS outside failed: what is there may be no TLS.
    #[error("no TLS on this port")]
    Tls(#[source] io::Error),
    /// What is there speaks TLS and no WebSocket.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// The end of an address: what goes over TCP there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ending {
    /// `/wss` rather than `/tls/ws`. They mean the same; listeners name the one they were given.
    short: bool,
    /// The name that TLS shows in clear.
    name: Option<String>,
}

impl Ending {
    fn append_to(&self, address: &mut Multiaddr) {
        let path = || "/".to_owned().into();
        if self.short {
            return address.push(Protocol::Wss(path()));
        }
        address.push(Protocol::Tls);
        if let Some(name) = &self.name {
            address.push(Protocol::Sni(name.clone().into()));
        }
        address.push(Protocol::Ws(path()));
    }
}

/// Splits an address into the TCP below and the rest, without the peer at its end. `None` for what
/// is not of this transport.
fn split(address: &Multiaddr) -> Option<(IpAddr, u16, Ending)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => IpAddr::from(ip),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else { return None };
    let ending = ending(&mut parts)?;
    match parts.next() {
        None => Some((ip, port, ending)),
        Some(Protocol::P2p(_)) if parts.next().is_none() => Some((ip, port, ending)),
        Some(_) => None,
    }
}

fn ending<'a>(parts: &mut impl Iterator<Item = Protocol<'a>>) -> Option<Ending> {
    let root = |path: &str| path == "/";
    match parts.next()? {
        Protocol::Wss(path) if root(&path) => Some(Ending { short: true, name: None }),
        Protocol::Tls => match parts.next()? {
            Protocol::Ws(path) if root(&path) => Some(Ending { short: false, name: None }),
            Protocol::Sni(name) => match parts.next()? {
                Protocol::Ws(path) if root(&path) => {
                    Some(Ending { short: false, name: Some(name.into_owned()) })
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn tcp_address(ip: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::from(ip).with(Protocol::Tcp(port))
}

/// The transport. See the module.
pub struct WebSocket {
    tcp: tcp::tokio::Transport,
    client: Arc<ClientConfig>,
    /// Made when somebody listens, if the operator gave none.
    server: Option<Arc<ServerConfig>>,
    listeners: HashMap<ListenerId, Ending>,
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl WebSocket {
    /// Dials with any certificate and listens with this one, or with one of its own.
    pub fn new(files: Option<&CertificateFiles>) -> Result<Self, CertificateError> {
        Ok(Self {
            tcp: tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)),
            client: certificate::client()?,
            server: files.map(certificate::from_files).transpose()?,
            listeners: HashMap::new(),
        })
    }

    /// The TLS side of a listener.
    fn server(&mut self) -> Result<Arc<ServerConfig>, CertificateError> {
        let server = match &self.server {
            Some(server) => Arc::clone(server),
            None => certificate::self_signed()?,
        };
        self.server = Some(Arc::clone(&server));
        Ok(server)
    }

    /// Puts back what was taken off the address of this listener.
    fn complete(&self, id: ListenerId, address: &mut Multiaddr) {
        if let Some(ending) = self.listeners.get(&id) {
            ending.append_to(address);
        }
    }

    fn accept(&self, upgrade: TcpUpgrade) -> BoxFuture<'static, Result<Socket, WebSocketError>> {
        let server = self.server.clone();
        async move {
            let socket = upgrade.await?;
            let server = server.ok_or(io::ErrorKind::NotConnected).map_err(io::Error::from)?;
            let accepted = TlsAcceptor::from(server).accept(socket).await;
            let (socket, session) = accepted.map_err(WebSocketError::Tls)?.into_inner();
            let mut socket = TlsStream::new(socket, session.into());
            handshake::accept(&mut socket).await?;
            Ok(Frames::new(socket, Role::Server))
        }
        .boxed()
    }
}

type TcpUpgrade = <tcp::tokio::Transport as Transport>::ListenerUpgrade;

impl Transport for WebSocket {
    type Output = Socket;
    type Error = WebSocketError;
    type ListenerUpgrade = BoxFuture<'static, Result<Socket, WebSocketError>>;
    type Dial = BoxFuture<'static, Result<Socket, WebSocketError>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        let Some((ip, port, ending)) = split(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        self.server().map_err(|error| TransportError::Other(error.into()))?;
        let listening = self.tcp.listen_on(id, tcp_address(ip, port));
        listening.map_err(|error| error.map(WebSocketError::Tcp))?;
        self.listeners.insert(id, ending);
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.tcp.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        let Some((ip, port, ending)) = split(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        // A hole punch, in which both dial and one acts as the listener: HTTP knows no such thing.
        if opts.role.is_listener() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let (shown, host) = match ending.name {
            Some(name) => match ServerName::try_from(name.clone()) {
                Ok(shown) => (shown, name),
                Err(_) => return Err(TransportError::MultiaddrNotSupported(address)),
            },
            // An IP address is not shown.
            None => (ServerName::from(ip), std::net::SocketAddr::from((ip, port)).to_string()),
        };
        let opts = DialOpts { port_use: PortUse::New, ..opts };
        let dialing = self.tcp.dial(tcp_address(ip, port), opts);
        let dialing = dialing.map_err(|error| error.map(WebSocketError::Tcp))?;
        let client = Arc::clone(&self.client);
        Ok(async move {
            let connected = TlsConnector::from(client).connect(shown, dialing.await?).await;
            let (socket, session) = connected.map_err(WebSocketError::Tls)?.into_inner();
            let mut socket = TlsStream::new(socket, session.into());
            handshake::connect(&mut socket, &host).await?;
            Ok(Frames::new(socket, Role::Client))
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let Poll::Ready(event) = Pin::new(&mut self.tcp).poll(cx) else { return Poll::Pending };
        Poll::Ready(match event {
            TransportEvent::NewAddress { listener_id, mut listen_addr } => {
                self.complete(listener_id, &mut listen_addr);
                TransportEvent::NewAddress { listener_id, listen_addr }
            }
            TransportEvent::AddressExpired { listener_id, mut listen_addr } => {
                self.complete(listener_id, &mut listen_addr);
                TransportEvent::AddressExpired { listener_id, listen_addr }
            }
            TransportEvent::Incoming {
                listener_id,
                upgrade,
                mut local_addr,
                mut send_back_addr,
            } => {
                self.complete(listener_id, &mut local_addr);
                self.complete(listener_id, &mut send_back_addr);
                let upgrade = self.accept(upgrade);
                TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr }
            }
            TransportEvent::ListenerClosed { listener_id, reason } => {
                self.listeners.remove(&listener_id);
                let reason = reason.map_err(WebSocketError::Tcp);
                TransportEvent::ListenerClosed { listener_id, reason }
            }
            TransportEvent::ListenerError { listener_id, error } => {
                TransportEvent::ListenerError { listener_id, error: WebSocketError::Tcp(error) }
            }
        })
    }
}

#[cfg(test)]
mod tests;
