//! Who takes part in a fetch, and what each of them has.

use std::time::Duration;

use hive_api::{FetchEvent, Result};
use hive_fetch::{Has, PeerIx, Quality};
use hive_protocol::Bitfield;
use hive_protocol::message::{Groups, Have, Request, Response};
use hive_swarm::Peer;
use tokio::time::Instant;

use super::{BAN, Driver};
use crate::errors;

/// How often a peer that has a part is asked what it has now.
const POLL: Duration = Duration::from_secs(2);
/// Somebody else delivered within this time, so that a silence is the peer's and not ours.
const FAULT_GAP: Duration = Duration::from_secs(20);
/// Times that a peer may let a request starve before it is banned like a liar.
const FAULTS: u32 = 2;

/// What is known of a peer of this fetch.
pub(super) struct Known {
    ix: PeerIx,
    here: bool,
    /// The version of what it has, from its last answer.
    pub(super) version: u64,
    pub(super) has_all: bool,
    asking: bool,
    asked_at: Option<Instant>,
    pub(super) faults: u32,
    fault_at: Option<Instant>,
    /// What it is to be banned for, should it turn out to be there.
    suspect: Option<String>,
    /// When a group of it was verified last.
    pub(super) gave_at: Option<Instant>,
}

/// What a peer said it has.
pub(super) type HaveAnswer = (Peer, std::result::Result<Option<Have>, ()>);

impl Driver<'_> {
    pub(super) fn on_candidate(&mut self, peer: Peer) {
        let next = PeerIx(self.peers.len() as u32);
        let known = self.known.entry(peer).or_insert_with(|| {
            self.peers.push(peer);
            Known {
                ix: next,
                here: false,
                version: 0,
                has_all: false,
                asking: false,
                asked_at: None,
                faults: 0,
                fault_at: None,
                suspect: None,
                gave_at: None,
            }
        });
        let lately = known.asked_at.is_some_and(|at| at.elapsed() < POLL);
        let barred = self.barred.contains(peer);
        if !known.here && !lately && !barred && known.faults < FAULTS {
            self.ask_have(peer);
        }
    }

    /// Asks a peer what it has, unless it is being asked.
    pub(super) fn ask_have(&mut self, peer: Peer) {
        let Some(known) = self.known.get_mut(&peer) else { return };
        if known.asking {
            return;
        }
        known.asking = true;
        known.asked_at = Some(Instant::now());
        let (swarm, id) = (self.swarm.clone(), self.id);
        let since = if known.here { known.version } else { 0 };
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
        let Some(known) = self.known.get_mut(&peer) else { return Ok(()) };
        known.asking = false;
        if let Some(reason) = known.suspect.take() {
            if answer.is_ok() {
                return self.blame(peer, &reason).await;
            }
            tracing::debug!(%peer, reason, "no answer to anything: a broken line, not a liar");
            // The next fault is a suspicion at once.
            known.faults = FAULTS - 1;
        }
        match answer {
            Ok(Some(have)) => self.take_have(peer, have),
            Ok(None) if known.here => {
                self.planner.peer_has(known.ix, Has::None);
                known.here = false;
            }
            _ => {}
        }
        Ok(())
    }

    fn take_have(&mut self, peer: Peer, have: Have) {
        let now = self.now();
        let n_groups = self.geometry.n_groups();
        let Some(known) = self.known.get_mut(&peer) else { return };
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
        known.version = have.version;
        known.has_all = has == Has::All;
        if !known.here {
            known.here = true;
            self.planner.peer_joined(known.ix, Quality::default(), now);
            self.report.part(peer);
            let name = self.local.catalog.peer_name(peer);
            self.running.tell(FetchEvent::Peer { peer: peer.to_string(), name });
        }
        self.planner.peer_has(known.ix, has);
    }

    pub(super) fn on_left(&mut self, peer: Peer) {
        let now = self.now();
        if let Some(known) = self.known.get_mut(&peer).filter(|known| known.here) {
            known.here = false;
            known.asked_at = None;
            self.planner.peer_left(known.ix, now);
        }
    }

    pub(super) fn poll_partial_holders(&mut self) {
        let due = |known: &Known| {
            known.here && !known.has_all && known.asked_at.is_none_or(|at| at.elapsed() >= POLL)
        };
        let due: Vec<Peer> =
            self.known.iter().filter(|(_, known)| due(known)).map(|(peer, _)| *peer).collect();
        for peer in due {
            self.ask_have(peer);
        }
    }

    /// A peer took part and nothing came, or less than it granted. Once is bad luck; the second time,
    /// or the first for one that has never sent a group, it is under suspicion. Nobody is blamed for
    /// an outage of ours: somebody else has to have delivered meanwhile.
    pub(super) fn on_fault(&mut self, peer: Peer, reason: &str) {
        let lately = |known: &Known| known.gave_at.is_some_and(|at| at.elapsed() < FAULT_GAP);
        let others_gave = self.known.iter().any(|(other, known)| *other != peer && lately(known));
        let Some(known) = self.known.get_mut(&peer) else { return };
        // Requests that end together are one fault.
        let again = known.fault_at.is_none_or(|at| at.elapsed() >= FAULT_GAP / 2);
        if !others_gave || !again {
            return;
        }
        known.fault_at = Some(Instant::now());
        known.faults += if known.gave_at.is_none() { FAULTS } else { 1 };
        if known.faults < FAULTS {
            return;
        }
        // Behind a broken line it gives nothing either, to nobody's blame. Who still answers
        // questions is there, and starves us.
        known.suspect = Some(reason.to_owned());
        self.on_left(peer);
        self.ask_have(peer);
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
