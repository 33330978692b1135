//! Peers of a fetch that are reached through a relay only: told of, left alone, and taken back.

use hive_api::FetchEvent;
use hive_fetch::{End, RequestId};
use hive_swarm::Peer;

use super::super::relayed;
use super::Driver;

impl Driver<'_> {
    /// A peer could be asked through a relay only, and is not before that changes.
    pub(super) async fn on_only_relayed(&mut self, request: RequestId, offered: bool) {
        self.planner.ended(request, End::Cancelled, self.now());
        let Some((peer, ..)) = self.requests.remove(&request) else { return };
        self.on_left(peer);
        let allowed = self.running.relayed().allowed();
        if !self.barred.insert(peer, offered, allowed) {
            return;
        }
        let why = self.local.why(peer).await;
        let name = self.local.catalog.peer_name(peer).map(|name| format!(" ({name})"));
        self.running.tell(FetchEvent::Note {
            text: format!(
                "{}{} is reached through a relay only{}, and models do not come that way",
                peer.short(),
                name.unwrap_or_default(),
                why.map(|why| format!(" ({why})")).unwrap_or_default(),
            ),
            hint: Some(relayed::remedy(self.id, offered, allowed, self.missing())),
        });
    }

    /// There is a direct connection with a peer.
    pub(super) fn on_freed(&mut self, peer: Peer) {
        if self.barred.remove(peer) {
            self.on_candidate(peer);
        }
    }

    /// Bytes that are not here.
    pub(super) fn missing(&self) -> u64 {
        self.planner.progress().missing().map(|group| self.geometry.group_len(group)).sum()
    }
}
