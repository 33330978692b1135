//! Does what the planner says: asks peers, drops requests, keeps peers' bitmaps up to date.
//!
//! The planner decides and the store writes; this loop has no opinion of its own but three: who
//! takes too long twice and is there is treated as a liar ([`peers`]), what is written is made durable every second or
//! 64 MiB, and a fetch with nobody to ask ends after the configured time.

mod barred;
mod peers;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hive_api::{ErrorKind, FetchEvent, HiveError, Result};
use hive_fetch::{End, Planner, RequestId, Roster, Step, Strike};
use hive_protocol::limits::GROUPS_PER_CHUNK;
use hive_protocol::{BlockId, Geometry};
use hive_store::Partial;
use hive_swarm::{Client, Peer, SwarmEvent};
use tokio::sync::{broadcast, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::peers::HaveAnswer;
use super::blocks;
use super::relayed::Barred;
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
/// How long who sent wrong bytes is banned.
const BAN: Duration = Duration::from_hours(1);
/// The planner gives a peer up after this much time without a part of a group; the exchange says
/// after 15 s without a byte, which is what a peer is blamed for.
const STALL: Duration = Duration::from_secs(20);

pub(crate) struct Driver<'a> {
    local: &'a Local,
    swarm: &'a Client,
    id: BlockId,
    partial: Partial,
    geometry: Arc<Geometry>,
    planner: Planner,
    running: &'a Running,
    start: Instant,
    roster: Roster<Peer>,
    requests: HashMap<RequestId, (Peer, AbortHandle, Arc<AtomicU32>)>,
    transfers: JoinSet<()>,
    haves: JoinSet<HaveAnswer>,
    notes: mpsc::Sender<Note>,
    /// Groups that are being verified and written.
    writes: TaskTracker,
    report: Report,
    liars: HashSet<Peer>,
    barred: Barred,
    unsynced: u32,
    told_first: bool,
    /// Whether followers heard at once of the first group that came.
    told_bytes: bool,
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
            roster: Roster::default(),
            requests: HashMap::new(),
            transfers: JoinSet::new(),
            haves: JoinSet::new(),
            notes,
            writes: TaskTracker::new(),
            report: Report::default(),
            liars: HashSet::new(),
            barred: Barred::default(),
            unsynced: 0,
            told_first: false,
            told_bytes: false,
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
                Some(Ok((peer, answer))) = self.haves.join_next() => self.on_have(peer, answer).await?,
                Some(peer) = found.recv() => self.on_candidate(peer),
                demands = self.running.demanded().next() => {
                    for demand in demands {
                        self.planner.demand(demand);
                    }
                }
                Some(ended) = self.transfers.join_next() => self.on_transfer_end(ended),
                event = events.recv() => match event {
                    Ok(SwarmEvent::PeerDisconnected { peer }) => {
                        self.barred.remove(peer);
                        self.on_left(peer);
                    }
                    Ok(SwarmEvent::Punched { peer }) => self.on_freed(peer),
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Err(errors::stopping()),
                },
                _ = tick.tick() => {
                    self.poll_partial_holders();
                    for peer in self.barred.freed(self.running.relayed().allowed()) {
                        self.on_candidate(peer);
                    }
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
                    let peer_id = self.roster.peer(peer);
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
                        relayed: self.running.relayed().clone(),
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
                self.planner.granted(request, &ranges, now);
                let peer = self.requests.get(&request).map(|(peer, ..)| *peer);
                if let Some(peer) = peer
                    && self.roster.is_behind(peer, have)
                {
                    self.ask_have(peer);
                }
            }
            Note::Received { request, bytes } => self.planner.received(request, bytes, now),
            Note::Verified { request, group } => {
                let peer = self.requests.get(&request).map(|(peer, ..)| *peer);
                if let Some(peer) = peer {
                    self.roster.gave(peer, now);
                }
                let len = self.partial.geometry().group_len(group);
                self.local.downloaded.fetch_add(len, std::sync::atomic::Ordering::Relaxed);
                if let Some(peer) = peer {
                    self.local.goodput.moved(peer, len);
                }
                self.planner.group_verified(request, group, now);
                self.running.group_arrived(group);
                self.unsynced += 1;
                self.announce_first(group);
                // That something came is news, also to a fetch that goes on; how much more, the tick tells.
                if !self.told_bytes {
                    self.told_bytes = true;
                    self.tell_progress();
                }
            }
            Note::Bad { request, group, reason } => self.on_bad(request, group, &reason).await?,
            Note::Disk(error) => {
                return Err(errors::store("cannot keep what was fetched", &error));
            }
            Note::Fault { request, reason } => {
                let peer = self.requests.remove(&request).map(|(peer, ..)| peer);
                self.planner.ended(request, End::Failed, now);
                if let Some(peer) = peer {
                    self.on_fault(peer, &reason);
                    self.ask_have(peer);
                }
            }
            Note::OnlyRelayed { request, offered } => self.on_only_relayed(request, offered).await,
            Note::Ended { request, end } => {
                let peer = self.requests.remove(&request).map(|(peer, ..)| peer);
                self.planner.ended(request, end, now);
                // Some of what it had is damaged now, or all of it is gone.
                if let (End::NotHeld, Some(peer)) = (end, peer) {
                    self.ask_have(peer);
                }
            }
        }
        Ok(())
    }

    /// The model is announced from its first whole chunk on, or when as much of several is here.
    fn announce_first(&mut self, group: u32) {
        if self.told_first {
            return;
        }
        let chunk = self.geometry.chunks()[self.geometry.chunk_of(group)];
        let have = self.planner.progress();
        let is_much = have.count() as usize >= GROUPS_PER_CHUNK;
        if is_much || chunk.groups().all(|group| have.contains(group)) {
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

    fn on_transfer_end(&self, ended: std::result::Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(id = %self.id, %error, "a transfer failed");
        }
    }

    fn tell_progress(&mut self) {
        for (ix, stats) in self.planner.peers() {
            let part = self.report.part(self.roster.peer(ix));
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
        let allowed = self.running.relayed().allowed();
        if let Some(error) = self.barred.error(self.id, self.missing(), allowed) {
            return error;
        }
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
