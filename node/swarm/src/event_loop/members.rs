//! A private network: invites on their way to an admin, and members that are none any longer.

use std::future::Future;

use hive_protocol::message::{Request, Response};
use libp2p::PeerId;
use tokio::sync::mpsc;

use super::{EventLoop, answer};
use crate::error::RequestError;
use crate::identity::Peer;
use crate::transport::membership::{Forward, Forwards, Membership};

/// See the module.
#[derive(Debug)]
pub(super) struct Members {
    membership: Option<Membership>,
    pub(super) forwards: Forwards,
}

impl Members {
    pub(super) fn new(membership: Option<Membership>) -> Self {
        let forwards = match &membership {
            Some(membership) => membership.attach(),
            // In a public network nothing comes.
            None => mpsc::channel(1).1,
        };
        Self { membership, forwards }
    }

    pub(super) fn left(&self, peer: &PeerId) {
        if let Some(membership) = &self.membership {
            membership.left(peer);
        }
    }

    /// The answer to a member that brings a redemption.
    pub(super) fn redeemed(
        &self,
        bytes: Vec<u8>,
        from: Peer,
    ) -> impl Future<Output = Response> + use<> {
        let membership = self.membership.clone();
        async move {
            match membership {
                Some(membership) => membership.carried(bytes, from).await,
                None => Response::Unsupported,
            }
        }
    }
}

impl EventLoop {
    /// Notes that a member is connected.
    pub(super) fn on_member(&mut self, peer: PeerId) {
        if let Some(membership) = &self.members.membership
            && !membership.connected(peer)
        {
            // It has passed, but its certificate was forgotten: it could not be revoked.
            tracing::warn!(%peer, "disconnected: no certificate of it on record");
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Sends a redemption to an admin, if it is still there.
    pub(super) fn on_forward(&mut self, forward: Forward) {
        let Forward { admin, redemption, reply } = forward;
        if !self.swarm.is_connected(&admin) {
            return answer(reply, Err(RequestError::Closed));
        }
        self.ask(admin, Request::Redeem(redemption.into()), reply);
    }

    /// Ends connections with peers whose certificates count no longer.
    pub(super) fn tick_members(&mut self) {
        let Some(membership) = &self.members.membership else { return };
        for peer in membership.revoked_peers() {
            tracing::info!(%peer, "disconnected: its certificate is revoked or has expired");
            // Not connected is what is wanted.
            let _ = self.swarm.disconnect_peer_id(peer.0);
        }
    }
}
