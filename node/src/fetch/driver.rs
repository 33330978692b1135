//! Does what the planner says: asks peers, drops requests, keeps peers' bitmaps up to date.
//!
//! The planner decides and the store writes; this loop has no opinion of its own but three: who
//! takes too long twice is treated as a liar, what is written is made durable every second or
//! 64 MiB, and a fetch with nobody to ask ends after the configured time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hive_api::{ErrorKind, FetchEvent, HiveError, Result};
use hive_fetch::{End, Has, PeerIx, Planner, Quality, RequestId, Step, Strike};
use hive_protocol::message::{Groups, Have, Request, Response};
use hive_protocol::{Bitfield, BlockId, Geometry};
use hive_store::Partial;
use hive_swarm::{Client, Peer, SwarmEvent};
use tokio::sync::{broadcast, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::blocks;
use super::report::Report;
use super::transfer::{Note, Transfer};
use super::{Running, interrupted};
use crate::errors;
use crate::local::Local;

/// Notes of transfers that may wait; a full queue holds the transfers up, not the loop.
const NOTES: usize = 256;
/// How often followers hear where the fetch stands.
const TICK: Duration = Duration::from_millis(250);
/// What is written is made durable at least this often …
const CHECKPOINT: Duration = Duration::from_secs(1);
/// … or after this many groups.
const CHECKPOINT_GROUPS: u32 = 64;
/// How often a peer that has a part is asked what it has now.
const POLL: Duration = Duration::from_secs(2);
/// How long who sent wrong bytes is banned.
const BAN: Duration = Duration::from_hours(1);
/// Somebody else delivered within this time, so that a silence is the peer's and not ours.
const FAULT_GAP: Duration = Duration::from_secs(20);
/// The planner gives a peer up after this much time without a group; the exchange says after 15 s
/// without a byte, which is what a peer is blamed for.
const STALL: Duration = Duration::from_secs(20);
/// Times that a peer may let a request starve before it is banned like a liar.
const FAULTS: u32 = 2;

/// What is known of a peer of this fetch.
struct Known {
    ix: PeerIx,
    here: bool,
    /// The version of what it has, from its last answer.
    version: u64,
    has_all: bool,
    asking: bool,
    asked_at: Option<Instant>,
    faults: u32,
    fault_at: Option<Instant>,
    /// When a group of it was verified last.
    gave_at: Option<Instant>,
}

/// What a peer said it has.
type HaveAnswer = (Peer, std::result::Result<Option<Have>, ()>);

pub(crate) struct Driver<'a> {
    local: &'a Local,
    swarm: &'a Client,
    id: BlockId,
    partial: Partial,
    geometry: Arc<Geometry>,
    planner: Planner,
    running: &'a Running,
    start: Instant,
    known: HashMap<Peer, Known>,
    peers: Vec<Peer>,
    requests: HashMap<RequestId, (Peer, AbortHandle, Arc<AtomicU32>)>,
    transfers: JoinSet<()>,
    haves: JoinSet<HaveAnswer>,
    notes: mpsc::Sender<Note>,
    /// Groups that are being verified and written.
    writes: TaskTracker,
    report: Report,
    liars: HashSet<Peer>,
    unsynced: u32,
    told_first: bool,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(
        local: &'a Local,
        swarm: &'a Client,
        id: BlockId,
        partial: Partial,
        running: &'a Running,
    ) -> (Self, mpsc::Receiver<Note>) {
        let geometry = Arc::new(partial.geometry().clone());
        let config = hive_fetch::Config { stall: STALL, ..hive_fetch::Config::default() };
        let planner = Planner::new(geometry.clone(), partial.have(), config, rand::random());
        let (notes, inbox) = mpsc::channel(NOTES);
        let driver = Self {
            local,
            swarm,
            id,
            partial,
            geometry,
            planner,
            running,
            start: Instant::now(),
            known: HashMap::new(),
            peers: Vec::new(),
            requests: HashMap::new(),
            transfers: JoinSet::new(),
            haves: JoinSet::new(),
            notes,
            writes: TaskTracker::new(),
            report: Report::default(),
            liars: HashSet::new(),
            unsynced: 0,
            told_first: false,
        };
        (driver, inbox)
    }

    /// Runs until everything is here, the fetch is cancelled or cannot go on. However it ends, no
    /// stream is open and no write is going on when it returns.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Note>,
        first: Vec<Peer>,
        found: mpsc::Receiver<Peer>,
    ) -> Result<Report> {
        for peer in first {
            self.on_candidate(peer);
        }
        let ended = self.drive(&mut inbox, found).await;
        // Writers that wait to tell something must not wait for a loop that is over.
        drop(inbox);
        self.transfers.shutdown().await;
        self.writes.close();
        self.writes.wait().await;
        self.tell_progress();
        // Who forged once and was not tried again has not earned the next fetch either.
        for peer in std::mem::take(&mut self.liars) {
            let _ = self.swarm.ban(peer, BAN, "sent what it should not").await;
        }
        ended.map(|()| self.report)
    }

    async fn drive(
        &mut self,
        inbox: &mut mpsc::Receiver<Note>,
        mut found: mpsc::Receiver<Peer>,
    ) -> Result<()> {
        let mut events = self.swarm.events();
        let mut tick = tokio::time::interval(TICK);
        let mut synced_at = Instant::now();
        let mut hope = Instant::now() + self.local.config.provider_timeout;
        let mut checkpoint: Option<Checkpoint> = None;
        loop {
            let (until, stuck) = match self.plan() {
                Plan::Done => break,
                Plan::Wait(until) => (until, false),
                Plan::Stuck => (Duration::MAX, true),
            };
            if !stuck {
                hope = Instant::now() + self.local.config.provider_timeout;
            }
            let until = self.start.checked_add(until).unwrap_or(hope + Duration::from_hours(1));
            tokio::select! {
                () = self.running.cancel.cancelled() => return Err(interrupted(self.id)),
                Some(note) = inbox.recv() => {
                    self.on_note(note).await?;
                    while let Ok(note) = inbox.try_recv() {
                        self.on_note(note).await?;
                    }
                }
                Some(Ok((peer, answer))) = self.haves.join_next() => self.on_have(peer, answer),
                Some(peer) = found.recv() => self.on_candidate(peer),
                Some(ended) = self.transfers.join_next() => self.on_transfer_end(ended),
                event = events.recv() => match event {
                    Ok(SwarmEvent::PeerDisconnected { peer }) => self.on_left(peer),
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Err(errors::stopping()),
                },
                _ = tick.tick() => {
                    self.poll_partial_holders();
                    self.tell_progress();
                }
                synced = async { checkpoint.as_mut().expect("guarded").await }, if checkpoint.is_some() => {
                    checkpoint = None;
                    synced
                        .map_err(|error| errors::panicked(&error))?
                        .map_err(|error| errors::store("cannot keep what was fetched", &error))?;
                }
                () = tokio::time::sleep_until(until) => {}
                () = tokio::time::sleep_until(hope), if stuck && !self.running.waits() => {
                    return Err(self.stuck().await);
                }
            }
            let due = self.unsynced >= CHECKPOINT_GROUPS || synced_at.elapsed() >= CHECKPOINT;
            if due && self.unsynced > 0 && checkpoint.is_none() {
                (self.unsynced, synced_at) = (0, Instant::now());
                let partial = self.partial.clone();
                checkpoint = Some(tokio::task::spawn_blocking(move || partial.checkpoint()));
            }
        }
        if let Some(checkpoint) = checkpoint {
            // What it could not keep, `finish` will miss and name.
            let _ = checkpoint.await;
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Does what the planner says until it says to wait.
    fn plan(&mut self) -> Plan {
        loop {
            let now = self.now();
            match self.planner.next(now) {
                Step::Request { id, peer, ranges } => {
                    let peer_id = self.peers[peer.0 as usize];
                    let last = Arc::new(AtomicU32::new(u32::MAX));
                    let transfer = Transfer {
                        id,
                        peer: peer_id,
                        ix: peer,
                        model: self.id,
                        asked: ranges,
                        partial: self.partial.clone(),
                        swarm: self.swarm.clone(),
                        notes: self.notes.clone(),
                        writes: self.writes.clone(),
                        last: last.clone(),
                    };
                    let handle = self.transfers.spawn(transfer.run());
                    self.requests.insert(id, (peer_id, handle, last));
                }
                Step::Cancel { id } => self.drop_request(id),
                Step::Truncate { id, last } => {
                    if let Some((_, _, limit)) = self.requests.get(&id) {
                        limit.store(last, Ordering::Relaxed);
                    }
                }
                Step::Wait { until } => return Plan::Wait(until),
                Step::Done => return Plan::Done,
                Step::Stuck => return Plan::Stuck,
            }
        }
    }

    fn drop_request(&mut self, id: RequestId) {
        if let Some((_, handle, _)) = self.requests.remove(&id) {
            handle.abort();
        }
    }

    async fn on_note(&mut self, note: Note) -> Result<()> {
        let now = self.now();
        match note {
            Note::Granted { request, ranges, have } => {
                self.planner.granted(request, &ranges);
                let peer = self.requests.get(&request).map(|(peer, ..)| *peer);
                if let Some(peer) = peer
                    && self
                        .known
                        .get(&peer)
                        .is_some_and(|known| !known.has_all && known.version < have)
                {
                    self.ask_have(peer);
                }
            }
            Note::Received { request, bytes } => self.planner.received(request, bytes, now),
            Note::Verified { request, group } => {
                let peer = self.requests.get(&request).map(|(peer, ..)| *peer);
                if let Some(known) = peer.and_then(|peer| self.known.get_mut(&peer)) {
                    known.gave_at = Some(Instant::now());
                    known.faults = 0;
                }
                let len = self.partial.geometry().group_len(group);
                self.local.downloaded.fetch_add(len, std::sync::atomic::Ordering::Relaxed);
                self.planner.group_verified(request, group, now);
                self.unsynced += 1;
                self.announce_first(group);
            }
            Note::Bad { request, group, reason } => self.on_bad(request, group, &reason).await?,
            Note::Disk(error) => {
                return Err(errors::store("cannot keep what was fetched", &error));
            }
            Note::Fault { request, reason } => {
                let peer = self.requests.remove(&request).map(|(peer, ..)| peer);
                self.planner.ended(request, End::Failed, now);
                if let Some(peer) = peer {
                    self.on_fault(peer, &reason).await?;
                }
            }
            Note::Ended { request, end } => {
                self.requests.remove(&request);
                self.planner.ended(request, end, now);
            }
        }
        Ok(())
    }

    /// The model is announced from its first whole chunk on.
    fn announce_first(&mut self, group: u32) {
        if self.told_first {
            return;
        }
        let chunk = self.geometry.chunks()[self.geometry.chunk_of(group)];
        let have = self.planner.progress();
        if chunk.groups().all(|group| have.contains(group)) {
            self.told_first = true;
            self.local.offers_changed();
        }
    }

    async fn on_bad(&mut self, request: RequestId, group: u32, reason: &str) -> Result<()> {
        let strike = self.planner.group_bad(request, group, self.now());
        let Some((peer, handle, _)) = self.requests.remove(&request) else { return Ok(()) };
        handle.abort();
        tracing::warn!(%peer, reason, "a peer sent what it should not");
        self.report.part(peer).struck = true;
        self.liars.insert(peer);
        self.running.tell(FetchEvent::Struck {
            peer: peer.to_string(),
            name: self.local.catalog.peer_name(peer),
            reason: reason.into(),
        });
        if strike == Strike::Banned {
            self.swarm.ban(peer, BAN, reason).await.map_err(|_| errors::stopping())?;
        }
        Ok(())
    }

    /// A peer took part and nothing came, or less than it granted. Once is bad luck; the second time,
    /// or the first for one that has never sent a group, it is banned. Nobody is blamed for an outage
    /// of ours: somebody else has to have delivered meanwhile.
    async fn on_fault(&mut self, peer: Peer, reason: &str) -> Result<()> {
        let lately = |known: &Known| known.gave_at.is_some_and(|at| at.elapsed() < FAULT_GAP);
        let others_gave = self.known.iter().any(|(other, known)| *other != peer && lately(known));
        let Some(known) = self.known.get_mut(&peer) else { return Ok(()) };
        // Requests that end together are one fault.
        let again = known.fault_at.is_none_or(|at| at.elapsed() >= FAULT_GAP / 2);
        if !others_gave || !again {
            return Ok(());
        }
        known.fault_at = Some(Instant::now());
        known.faults += if known.gave_at.is_none() { FAULTS } else { 1 };
        if known.faults < FAULTS {
            return Ok(());
        }
        tracing::warn!(%peer, reason, "a peer that promises and does not send");
        self.report.part(peer).struck = true;
        self.running.tell(FetchEvent::Struck {
            peer: peer.to_string(),
            name: self.local.catalog.peer_name(peer),
            reason: reason.into(),
        });
        self.on_left(peer);
        self.swarm.ban(peer, BAN, reason).await.map_err(|_| errors::stopping())
    }

    fn on_transfer_end(&self, ended: std::result::Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(id = %self.id, %error, "a transfer failed");
        }
    }

    fn on_candidate(&mut self, peer: Peer) {
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
                gave_at: None,
            }
        });
        let lately = known.asked_at.is_some_and(|at| at.elapsed() < POLL);
        if !known.here && !lately && known.faults < FAULTS {
            self.ask_have(peer);
        }
    }

    /// Asks a peer what it has, unless it is being asked.
    fn ask_have(&mut self, peer: Peer) {
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

    fn on_have(&mut self, peer: Peer, answer: std::result::Result<Option<Have>, ()>) {
        let now = self.now();
        let n_groups = self.geometry.n_groups();
        let Some(known) = self.known.get_mut(&peer) else { return };
        known.asking = false;
        let Ok(Some(have)) = answer else {
            if answer == Ok(None) && known.here {
                self.planner.peer_has(known.ix, Has::None);
                known.here = false;
            }
            return;
        };
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

    fn on_left(&mut self, peer: Peer) {
        let now = self.now();
        if let Some(known) = self.known.get_mut(&peer).filter(|known| known.here) {
            known.here = false;
            known.asked_at = None;
            self.planner.peer_left(known.ix, now);
        }
    }

    fn poll_partial_holders(&mut self) {
        let due = |known: &Known| {
            known.here && !known.has_all && known.asked_at.is_none_or(|at| at.elapsed() >= POLL)
        };
        let due: Vec<Peer> =
            self.known.iter().filter(|(_, known)| due(known)).map(|(peer, _)| *peer).collect();
        for peer in due {
            self.ask_have(peer);
        }
    }

    fn tell_progress(&mut self) {
        for (ix, stats) in self.planner.peers() {
            let part = self.report.part(self.peers[ix.0 as usize]);
            part.bytes = stats.verified_bytes;
            part.rate = if stats.in_flight > 0 { stats.rate.unwrap_or(0.0) } else { 0.0 };
        }
        let have = self.planner.progress();
        let missing: u64 = if have.is_full() {
            0
        } else {
            have.missing().map(|group| self.geometry.group_len(group)).sum()
        };
        let size = self.geometry.size();
        let event = self.report.progress(size - missing, size, self.start.elapsed(), |peer| {
            self.local.catalog.peer_name(peer)
        });
        self.running.tell(event);
    }

    /// Nobody is left to ask.
    async fn stuck(&mut self) -> HiveError {
        let liars: Vec<Peer> = self.liars.iter().copied().collect();
        let have = self.planner.progress();
        if have.count() == 0 {
            return blocks::nobody(self.local, self.swarm, &self.id.to_string(), &liars).await;
        }
        let missing: u64 = have.missing().map(|group| self.geometry.group_len(group)).sum();
        let connected = self.swarm.network_state().await.connected;
        let kind = if connected == 0 { ErrorKind::Unreachable } else { ErrorKind::NotFound };
        HiveError::new(
            kind,
            format!("nobody is left who has the last {missing} bytes of {}", self.id),
        )
        .hint("what is here is kept: run the same command again when a provider is back, or wait for one with `--wait`")
    }
}

/// A checkpoint on its way.
type Checkpoint = tokio::task::JoinHandle<std::result::Result<(), hive_store::CheckpointError>>;

enum Plan {
    Done,
    Wait(Duration),
    Stuck,
}
