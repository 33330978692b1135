//! Who takes part in a fetch, and what each of them has.

use hive_api::{FetchEvent, Result};
use hive_fetch::{Has, Quality};
use hive_protocol::Bitfield;
use hive_protocol::message::{Groups, Have, Request, Response};
use hive_swarm::Peer;

use super::{BAN, Driver};
use crate::errors;

/// What a peer said it has.
pub(super) type HaveAnswer = (Peer, std::result::Result<Option<Have>, ()>);

impl Driver<'_> {
    pub(super) fn on_candidate(&mut self, peer: Peer) {
        if self.barred.contains(peer) {
            return;
        }
        if let Some(since) = self.roster.candidate(peer, self.now()) {
            self.request_have(peer, since);
        }
    }

    /// Asks a peer what it has, unless it is being asked.
    pub(super) fn ask_have(&mut self, peer: Peer) {
        if let Some(since) = self.roster.ask(peer, self.now()) {
            self.request_have(peer, since);
        }
    }

    fn request_have(&mut self, peer: Peer, since: u64) {
        let (swarm, id) = (self.swarm.clone(), self.id);
        self.haves.spawn(async move {
            let answer = match swarm.request(peer, Request::Have { id, since }).await {
                Ok(Response::Have(have)) => Ok(Some(have)),
                Ok(_) => Ok(None),
                Err(error) => {
                    tracing::debug!(%peer, %error, "cannot ask what it has");
                    Err(())
                }
            };
            (peer, answer)
        });
    }

    pub(super) async fn on_have(
        &mut self,
        peer: Peer,
        answer: std::result::Result<Option<Have>, ()>,
    ) -> Result<()> {
        if let Some(reason) = self.roster.answered(peer, answer.is_ok()) {
            return self.blame(peer, &reason).await;
        }
        match answer {
            Ok(Some(have)) => self.take_have(peer, have),
            Ok(None) => {
                if let Some(ix) = self.roster.has_nothing(peer) {
                    self.planner.peer_has(ix, Has::None);
                }
            }
            Err(()) => {}
        }
        Ok(())
    }

    fn take_have(&mut self, peer: Peer, have: Have) {
        let now = self.now();
        let n_groups = self.geometry.n_groups();
        let has = match have.groups {
            Groups::All => Has::All,
            Groups::Bitmap(bytes) => match Bitfield::from_bytes(&bytes, n_groups) {
                Some(field) => Has::Bitfield(field),
                None => return,
            },
            Groups::Added(ranges) => {
                let fits = |&(first, n): &(u32, u32)| {
                    first.checked_add(n).filter(|end| *end <= n_groups).map(|end| first..end)
                };
                Has::Added(ranges.iter().filter_map(fits).collect())
            }
            Groups::Same => Has::Added(Vec::new()),
        };
        let Some(met) = self.roster.has(peer, have.version, has == Has::All) else { return };
        if met.is_new {
            self.planner.peer_joined(met.ix, Quality::default(), now);
            self.report.part(peer);
            let name = self.local.catalog.peer_name(peer);
            self.running.tell(FetchEvent::Peer { peer: peer.to_string(), name });
        }
        self.planner.peer_has(met.ix, has);
    }

    pub(super) fn on_left(&mut self, peer: Peer) {
        if let Some(ix) = self.roster.left(peer) {
            self.planner.peer_left(ix, self.now());
        }
    }

    pub(super) fn poll_partial_holders(&mut self) {
        for peer in self.roster.due(self.now()) {
            self.ask_have(peer);
        }
    }

    /// A peer took part and nothing came, or less than it granted.
    pub(super) fn on_fault(&mut self, peer: Peer, reason: &str) {
        if self.roster.fault(peer, reason, self.now()) {
            // Behind a broken line it gives nothing either, to nobody's blame. Who still answers
            // questions is there, and starves us.
            self.on_left(peer);
            self.ask_have(peer);
        }
    }

    /// Bans a peer that promises and does not send.
    async fn blame(&mut self, peer: Peer, reason: &str) -> Result<()> {
        tracing::warn!(%peer, reason, "a peer that promises and does not send");
        self.report.part(peer).struck = true;
        self.running.tell(FetchEvent::Struck {
            peer: peer.to_string(),
            name: self.local.catalog.peer_name(peer),
            reason: reason.into(),
        });
        self.swarm.ban(peer, BAN, reason).await.map_err(|_| errors::stopping())
    }
}
