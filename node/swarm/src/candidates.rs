//! Where others may reach this node: addresses to try, before anybody has checked them.
//!
//! A router that keeps one port for all destinations shows a TCP or QUIC connection that left from
//! the listening port at an address where others can knock too. identify 0.48 replaces a port that
//! it does not know by the listening one, which is wrong behind every router that maps to another
//! port (it means well: a port may be of one connection only). This module knows how each connection
//! was made, so its candidates are the observed addresses as they are, of connections that left from
//! a listening port; what identify makes of them is dropped ([`Unbelieved`]).
//!
//! Nothing here is believed: a candidate becomes an address of this node when another node has
//! dialed it (AutoNAT), and a hole punch (DCUtR) may try it before.
//!
//! Invariant: at most [`CANDIDATES`] different addresses are ever proposed between two changes of
//! the network.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::ConnectionClosed;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::address::is_relayed;
use crate::limits::{CANDIDATES, CANDIDATES_PER_OBSERVER};

/// Proposes addresses. See the module.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    /// Connections that left from a listening port, and where they lead.
    reusing: HashMap<ConnectionId, Multiaddr>,
    /// Who saw which first.
    proposed: Vec<(IpAddr, Multiaddr)>,
    queue: VecDeque<Multiaddr>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Where a connection leads that left from a listening port and goes through no relay. Each is
    /// told of once: whoever is on its other side has one word about where it sees this node.
    pub(crate) fn take_reusing(&mut self, connection: ConnectionId) -> Option<Multiaddr> {
        self.reusing.remove(&connection)
    }

    /// Proposes an address that `observer` has seen, unless too many were, or too many of his.
    pub(crate) fn propose(&mut self, observer: IpAddr, address: Multiaddr) {
        if !self.proposed.iter().any(|(_, other)| *other == address) {
            let of_observer = self.proposed.iter().filter(|(other, _)| *other == observer).count();
            if self.proposed.len() >= CANDIDATES || of_observer >= CANDIDATES_PER_OBSERVER {
                return;
            }
            self.proposed.push((observer, address.clone()));
        }
        // Again, too: who is seen at the same place more often is there more likely.
        if self.queue.len() < CANDIDATES {
            self.queue.push_back(address);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Begins anew: the network is another one.
    pub(crate) fn forget(&mut self) {
        self.proposed.clear();
        self.queue.clear();
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if port_use == PortUse::Reuse && !is_relayed(address) {
            self.reusing.insert(connection, address.clone());
        }
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.reusing.remove(&connection_id);
            }
            // A behaviour after this one refused it.
            FromSwarm::DialFailure(failure) => {
                self.reusing.remove(&failure.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(address) = self.queue.pop_front() {
            return Poll::Ready(ToSwarm::NewExternalAddrCandidate(address));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// What becomes of a behaviour's word about this node's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Its candidates are dropped: there are better ones.
    Dropped,
    /// What it calls confirmed is a candidate, and has to be checked like any other.
    Candidate,
}

/// A behaviour that works as ever, but for its word about this node's addresses.
pub(crate) struct Unbelieved<B> {
    pub(crate) inner: B,
    word: Word,
}

impl<B> Unbelieved<B> {
    pub(crate) fn new(inner: B, word: Word) -> Self {
        Self { inner, word }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Unbelieved<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            return match (self.inner.poll(cx), self.word) {
                (Poll::Ready(ToSwarm::NewExternalAddrCandidate(_)), Word::Dropped) => continue,
                (Poll::Ready(ToSwarm::ExternalAddrConfirmed(address)), Word::Candidate) => {
                    Poll::Ready(ToSwarm::NewExternalAddrCandidate(address))
                }
                (polled, _) => polled,
            };
        }
    }
}

#[cfg(test)]
mod tests;
