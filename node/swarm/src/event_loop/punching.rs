//! Holes through routers: from a relayed connection to a direct one (DCUtR), and who waits for it.
//!
//! libp2p punches; here it is noted how that ended, relayed connections are closed once there is a
//! direct one (they would go on being used by turns until the relay ends them), and bulk waits for
//! the outcome.
//!
//! Invariant: whoever waits here is answered within [`PUNCH_WAIT`], or when the peer leaves.

use std::collections::HashMap;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::dcutr;
use libp2p::swarm::ConnectionId;

use super::EventLoop;
use crate::client::Fetch;
use crate::identity::Peer;
use crate::inbound::{Punch, SwarmEvent};
use crate::limits::{
    CROSSING, HOLES_HELD, PUNCH_MEMORY, PUNCH_TIMEOUT, PUNCH_WAIT, PUNCH_WAITERS, PUNCHES,
};

#[derive(Debug)]
struct Attempt {
    since: Instant,
    state: Punch,
    failed_at: Option<Instant>,
}

impl Attempt {
    fn new(now: Instant) -> Self {
        Self { since: now, state: Punch::Running, failed_at: None }
    }

    /// Whether it failed so lately that another will fail too: routers do not change their ways, and
    /// circuits end often.
    fn is_vain(&self, now: Instant) -> bool {
        self.failed_at.is_some_and(|at| now < at + PUNCH_MEMORY)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Punching {
    attempts: HashMap<PeerId, Attempt>,
    waiters: Vec<(PeerId, Instant, Fetch)>,
}

impl Punching {
    /// What became of the attempt with a peer, if there was one.
    pub(super) fn of(&self, peer: &PeerId) -> Option<Punch> {
        self.attempts.get(peer).map(|attempt| attempt.state.clone())
    }

    /// A hole may be punched to a peer from now on, if that did not fail a moment ago.
    fn expect(&mut self, peer: PeerId, now: Instant) {
        if self.attempts.len() >= PUNCHES {
            self.attempts.retain(|_, attempt| attempt.failed_at.is_none() || attempt.is_vain(now));
        }
        let vain = self.attempts.get(&peer).is_some_and(|attempt| attempt.is_vain(now));
        if !vain && self.attempts.len() < PUNCHES {
            self.attempts.insert(peer, Attempt::new(now));
        }
    }

    fn n_open(&self) -> usize {
        let open = self.attempts.values().filter(|attempt| attempt.state == Punch::Succeeded);
        open.count()
    }

    fn runs(&self, peer: &PeerId) -> bool {
        self.attempts.get(peer).is_some_and(|attempt| attempt.state == Punch::Running)
    }
}

impl EventLoop {
    /// A connection is there: begins to expect a punch, or ends what was relayed.
    pub(super) fn on_path(&mut self, peer: PeerId, endpoint: &ConnectedPoint) {
        let relayed = endpoint.is_relayed();
        let relayed_ids: Vec<ConnectionId> = self.relayed(peer);
        let n = self.swarm.behaviour().exchange.connections(&peer).count();
        // Nobody comes over a relay who has a direct connection: ours is one with where the peer was
        // before its network changed, and only pings would tell, later. What is as new as this one may
        // have crossed it.
        let dead = if relayed && endpoint.is_listener() { self.older(peer) } else { Vec::new() };
        for connection in &dead {
            tracing::debug!(%peer, %connection, "closed, the peer comes anew over a relay");
            self.swarm.close_connection(*connection);
        }
        if relayed_ids.len() + dead.len() == n {
            if relayed {
                self.punching.expect(peer, Instant::now());
            }
            return;
        }
        for connection in relayed_ids {
            tracing::debug!(%peer, %connection, "relayed connection closed, there is a direct one");
            self.swarm.close_connection(connection);
        }
        if !relayed && self.punching.attempts.contains_key(&peer) {
            self.punched(peer);
        }
    }

    /// Whether there is a connection with a peer that goes through no relay.
    pub(super) fn is_direct(&self, peer: &PeerId) -> bool {
        self.swarm.behaviour().exchange.connections(peer).any(|info| !info.is_relayed())
    }

    /// Direct connections with a peer that cannot have crossed one of now.
    fn older(&self, peer: PeerId) -> Vec<ConnectionId> {
        let connections = self.swarm.behaviour().exchange.connections(&peer);
        let direct = connections.filter(|info| !info.is_relayed());
        direct.filter(|info| info.since.elapsed() >= CROSSING).map(|info| info.id).collect()
    }

    fn relayed(&self, peer: PeerId) -> Vec<ConnectionId> {
        let connections = self.swarm.behaviour().exchange.connections(&peer);
        connections.filter(|info| info.is_relayed()).map(|info| info.id).collect()
    }

    fn punched(&mut self, peer: PeerId) {
        if let Some(attempt) = self.punching.attempts.get_mut(&peer) {
            if attempt.state == Punch::Succeeded {
                return;
            }
            attempt.state = Punch::Succeeded;
            attempt.failed_at = None;
            tracing::info!(%peer, elapsed = ?attempt.since.elapsed(), "a hole was punched");
            self.tell(SwarmEvent::Punched { peer: Peer(peer) });
        }
        // Nothing brings a hole back that has closed, but another relay's help. Not all of them,
        // though: connections are counted.
        if self.punching.n_open() > HOLES_HELD {
            return self.serve_punch_waiters(peer);
        }
        let direct = self.swarm.behaviour().exchange.connections(&peer);
        let direct: Vec<_> = direct.filter(|info| !info.is_relayed()).map(|info| info.id).collect();
        for connection in direct {
            self.swarm.behaviour_mut().hold.keep(peer, connection, true);
        }
        self.serve_punch_waiters(peer);
    }

    pub(super) fn on_dcutr(&mut self, event: dcutr::Event) {
        let dcutr::Event { remote_peer_id: peer, result } = event;
        match result {
            // The connection itself is told of by the swarm.
            Ok(connection) => tracing::debug!(%peer, %connection, "punched"),
            Err(error) => self.punch_failed(peer, error.to_string()),
        }
    }

    fn punch_failed(&mut self, peer: PeerId, reason: String) {
        let Some(attempt) = self.punching.attempts.get_mut(&peer) else { return };
        if attempt.state != Punch::Running {
            return;
        }
        attempt.state = Punch::Failed { reason: reason.clone() };
        attempt.failed_at = Some(Instant::now());
        tracing::info!(%peer, reason, "no hole could be punched");
        self.tell(SwarmEvent::PunchFailed { peer: Peer(peer), reason });
        self.serve_punch_waiters(peer);
    }

    /// Lets a request for bulk wait for a direct connection; gives it back if there is no hope of
    /// one.
    pub(super) fn wait_for_punch(&mut self, peer: PeerId, fetch: Fetch) -> Option<Fetch> {
        if !self.punching.runs(&peer) || self.punching.waiters.len() >= PUNCH_WAITERS {
            return Some(fetch);
        }
        let since = self.punching.attempts.get(&peer).map(|attempt| attempt.since);
        let until = since.unwrap_or_else(Instant::now) + PUNCH_WAIT;
        if Instant::now() >= until {
            return Some(fetch);
        }
        self.punching.waiters.push((peer, until, fetch));
        None
    }

    fn serve_punch_waiters(&mut self, peer: PeerId) {
        let ready: Vec<_> = self.punching.waiters.extract_if(.., |(of, ..)| *of == peer).collect();
        for (_, _, fetch) in ready {
            self.fetch_now(peer, fetch);
        }
    }

    pub(super) fn tick_punching(&mut self, now: Instant) {
        let late = self.punching.waiters.extract_if(.., |(_, until, _)| now >= *until);
        for (peer, _, fetch) in late.collect::<Vec<_>>() {
            self.fetch_now(peer, fetch);
        }
        let silent = self.punching.attempts.iter().filter(|(_, attempt)| {
            attempt.state == Punch::Running && now >= attempt.since + PUNCH_TIMEOUT
        });
        for peer in silent.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.punch_failed(peer, "nothing came through".to_owned());
        }
    }

    /// The last connection with a peer has closed.
    pub(super) fn punching_left(&mut self, peer: PeerId) {
        let vain = |attempt: &Attempt| attempt.is_vain(Instant::now());
        if !self.punching.attempts.get(&peer).is_some_and(vain) {
            self.punching.attempts.remove(&peer);
        }
        self.serve_punch_waiters(peer);
    }
}

#[cfg(test)]
mod tests;
