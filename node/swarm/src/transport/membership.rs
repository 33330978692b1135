//! Lets members of a private network through, and nobody else.
//!
//! [`gate`] stands on top of all transports. A connection that is secured and carries streams still
//! has to pass the handshake of [`hive_protocol::membership::handshake`] on its first stream, before
//! the swarm gets it: identify, Kademlia and gossip never see anybody else. It is the same over TCP,
//! QUIC, WebSocket and a relay's circuit, since it knows nothing of what is below.
//!
//! Stores nothing on disk and decides nothing about invites: [`Membership`] hands both to the node.
//!
//! Invariant: what comes out of the gate has shown, on that very connection, a certificate for its
//! own key that was neither expired nor revoked; a stranger gets not one byte.

mod redeem;
mod shake;
mod state;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::Multiaddr;
use libp2p::PeerId;
use libp2p::core::Endpoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{
    DialOpts, ListenerId, PortUse, Transport, TransportError, TransportEvent,
};
use libp2p::multiaddr::Protocol;

pub use self::redeem::RedeemRequest;
pub(crate) use self::redeem::{Forward, Forwards};
pub use self::shake::HandshakeError;
use self::shake::Side;
pub use self::state::{Credential, Kept, Membership, MembershipEvent};
use super::Connections;

/// Puts the gate on transports, if the network has one. To be applied last, so that no way in is
/// left out.
pub fn gate(connections: Connections, membership: Option<Membership>) -> Connections {
    match membership {
        Some(membership) => Members { transport: connections, membership }.boxed(),
        None => connections,
    }
}

/// A transport with the gate.
struct Members {
    transport: Connections,
    membership: Membership,
}

type Connection = (PeerId, StreamMuxerBox);

impl Transport for Members {
    type Output = Connection;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<Connection>>;
    type Dial = BoxFuture<'static, io::Result<Connection>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.transport.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.transport.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        let side = side_of_dial(&address, opts);
        let dial = self.transport.dial(address, opts)?;
        let membership = self.membership.clone();
        Ok(async move { shake::admit(&membership, dial.await?, side).await }.boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let membership = self.membership.clone();
        Pin::new(&mut self.transport).poll(cx).map(|event| {
            event.map_upgrade(|upgrade| {
                async move { shake::admit(&membership, upgrade.await?, Side::Listener).await }
                    .boxed()
            })
        })
    }
}

/// Which side of the handshake a dial is: exactly one of two must speak first.
///
/// When both dial at once to get through a NAT, one is told to be the listener, and is it from
/// security upwards. Not so over QUIC on a port in use, where libp2p dials like anybody (libp2p-quic
/// 0.14, `transport.rs`, `dial`): there the other side has a connection that came in, and listens.
fn side_of_dial(address: &Multiaddr, opts: DialOpts) -> Side {
    let is_quic = address
        .iter()
        .take_while(|part| !matches!(part, Protocol::P2pCircuit))
        .any(|part| matches!(part, Protocol::QuicV1 | Protocol::Quic));
    let is_relayed = address.iter().any(|part| matches!(part, Protocol::P2pCircuit));
    match opts.role {
        Endpoint::Dialer => Side::Dialer,
        Endpoint::Listener if is_quic && !is_relayed && opts.port_use == PortUse::Reuse => {
            Side::Dialer
        }
        Endpoint::Listener => Side::Listener,
    }
}

#[cfg(test)]
mod tests;
