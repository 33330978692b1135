//! Keeps peers from making this node dial private addresses.
//!
//! Kademlia dials what other peers tell it, and names resolve to whatever their owners like. So the
//! check stands below the resolver and above the sockets, where every dial comes through. What a
//! person asked for, or mDNS found, is an exception.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};

use crate::address::{is_global, is_private_host, without_peer};
use crate::limits::EXCEPTIONS;
use crate::transport::Connections;

/// Says which private addresses may be dialed. Clones say the same.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    open: bool,
    /// Whether nothing but private addresses may be dialed, whoever asks.
    lan_only: bool,
    exceptions: Arc<Mutex<Exceptions>>,
}

#[derive(Debug, Default)]
struct Exceptions {
    addresses: HashSet<Multiaddr>,
    order: VecDeque<Multiaddr>,
}

impl Gate {
    /// A gate that is `open` lets private addresses through, one of a LAN lets no others through.
    pub(crate) fn new(open: bool, lan_only: bool) -> Self {
        Self { open, lan_only, exceptions: Arc::default() }
    }

    /// Lets this address through from now on, until many more have been let through.
    pub(crate) fn except(&self, address: &Multiaddr) {
        if self.open || is_global(address) {
            return;
        }
        let address = without_peer(address);
        let mut exceptions = self.exceptions.lock().unwrap_or_else(PoisonError::into_inner);
        if exceptions.addresses.insert(address.clone()) {
            exceptions.order.push_back(address);
            if exceptions.order.len() > EXCEPTIONS
                && let Some(oldest) = exceptions.order.pop_front()
            {
                exceptions.addresses.remove(&oldest);
            }
        }
    }

    fn lets(&self, address: &Multiaddr) -> bool {
        if self.open || is_global(address) {
            return true;
        }
        let exceptions = self.exceptions.lock().unwrap_or_else(PoisonError::into_inner);
        exceptions.addresses.contains(&without_peer(address))
    }
}

/// A transport behind a [`Gate`].
pub(crate) struct Gated {
    pub(crate) transport: Connections,
    pub(crate) gate: Gate,
}

impl Transport for Gated {
    type Output = <Connections as Transport>::Output;
    type Error = <Connections as Transport>::Error;
    type ListenerUpgrade = <Connections as Transport>::ListenerUpgrade;
    type Dial = <Connections as Transport>::Dial;

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
        let refusal = if self.gate.lan_only && !is_private_host(&address) {
            Some("an address outside of the LAN; this node keeps to it (--lan-only)")
        } else if !self.gate.lets(&address) {
            Some("a private address that a peer gave; private addresses are not allowed")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let error = io::Error::new(io::ErrorKind::PermissionDenied, refusal);
            return Err(TransportError::Other(error));
        }
        self.transport.dial(address, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.transport).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_needs_somebody_here_who_asks() {
        let gate = Gate::new(false, false);
        let address: Multiaddr = "/ip4/192.168.0.7/tcp/1".parse().expect("an address");
        let public: Multiaddr = "/ip4/8.8.8.8/tcp/1".parse().expect("an address");
        assert!(!gate.lets(&address) && gate.lets(&public));
        assert!(Gate::new(true, false).lets(&address));

        gate.clone().except(&address);
        assert!(gate.lets(&address));
    }

    #[test]
    fn exceptions_do_not_grow_without_end() {
        let gate = Gate::new(false, false);
        let address = |n: usize| -> Multiaddr {
            format!("/ip4/10.0.{}.{}/tcp/1", n / 256, n % 256).parse().expect("an address")
        };
        for n in 0..EXCEPTIONS + 10 {
            gate.except(&address(n));
        }
        assert!(!gate.lets(&address(9)) && gate.lets(&address(10)));
    }
}
