//! `hive fetch`: a model comes here by its id, from many peers, none of them trusted.
//!
//! [`Fetches`] knows the fetches that are going on; whoever asks for a model that is being fetched
//! follows that fetch. Each is a task of its own ([`job`]): find peers ([`sources`]), get the
//! manifest ([`blocks`]), then let the planner say what to ask of whom ([`driver`], [`transfer`]).
//!
//! Invariant: a follower hears how its fetch ended, or has left.

mod arrival;
mod blocks;
mod driver;
mod job;
mod relayed;
mod report;
mod sources;
mod transfer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use hive_api::{ErrorKind, Events, FetchEvent, FetchRequest, FetchSummary, HiveError, Result};
use hive_protocol::BlockId;
use hive_swarm::Peer;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

pub(crate) use arrival::Arrival;
use arrival::{Arrived, Demanded};

use crate::catalog::NameMatch;
use crate::errors;
use crate::local::{Local, blocking, parse_id};

/// Events that a slow follower may have waiting; beyond that the oldest are skipped, and they are
/// progress.
const EVENTS: usize = 256;

/// Fetches going on at once; each has its own peers, buffers and disk space.
const FETCHES: usize = 64;

/// Other readers that a slow search may have waiting; who is missed asks again.
const READERS: usize = 64;

/// Characters of an id that are enough to name it.
const PART_OF_ID: usize = 6;

/// The fetches that are going on.
#[derive(Debug)]
pub(crate) struct Fetches {
    running: Mutex<HashMap<BlockId, Arc<Running>>>,
    /// Who asks here what there is of a model: if it is being fetched, whoever asks is a reader of it
    /// too, and has or will have a part.
    readers: broadcast::Sender<(BlockId, Peer)>,
}

impl Default for Fetches {
    fn default() -> Self {
        Self { running: Mutex::default(), readers: broadcast::channel(READERS).0 }
    }
}

/// A fetch as its followers see it.
#[derive(Debug)]
pub(crate) struct Running {
    /// What it was asked for, which may be a name that the manifest does not bring.
    asked: String,
    events: broadcast::Sender<Result<FetchEvent>>,
    followers: AtomicUsize,
    cancel: CancellationToken,
    /// Whether to go on while nobody has it; any follower can ask for that.
    wait: AtomicBool,
    /// Bytes that may come through relays; any follower can allow more.
    relayed: Arc<relayed::Allowance>,
    /// What a follower that comes later has to hear first, and what `status` shows.
    seen: Mutex<Seen>,
    /// What somebody waits for who reads the model while it arrives.
    demanded: Demanded,
    /// Ticks with each verified group, and says how it ended.
    arrived: watch::Sender<Arrived>,
}

#[derive(Debug, Default)]
struct Seen {
    /// That it searches, then what it found.
    first: Option<FetchEvent>,
    summary: Option<FetchSummary>,
}

impl Running {
    /// Whether to go on while nobody has it.
    pub(crate) fn waits(&self) -> bool {
        self.wait.load(Ordering::Relaxed)
    }

    /// What may come through relays.
    pub(crate) fn relayed(&self) -> &Arc<relayed::Allowance> {
        &self.relayed
    }

    /// Tells all followers.
    pub(crate) fn tell(&self, event: FetchEvent) {
        {
            let mut seen = self.seen.lock().expect("no holder of this lock panics");
            match &event {
                FetchEvent::Manifest { cid, name, size, present } => {
                    let (cid, name) = (cid.clone(), name.clone());
                    seen.summary = Some(FetchSummary {
                        cid,
                        name,
                        bytes: *present,
                        size: *size,
                        rate: 0.0,
                        peers: 0,
                    });
                    seen.first = Some(event.clone());
                }
                FetchEvent::Searching { .. } => seen.first = Some(event.clone()),
                FetchEvent::Progress { bytes, rate, peers, .. } => {
                    if let Some(summary) = &mut seen.summary {
                        summary.bytes = *bytes;
                        summary.rate = *rate;
                        summary.peers = peers.len() as u64;
                    }
                }
                _ => {}
            }
        }
        // Nobody may be listening, which ends the fetch elsewhere.
        let _ = self.events.send(Ok(event));
    }
}

impl Fetches {
    /// A peer has asked what there is of `id`.
    pub(crate) fn asked_by(&self, id: BlockId, peer: Peer) {
        // Nothing may be going on.
        let _ = self.readers.send((id, peer));
    }

    /// Hears who asks for what.
    pub(crate) fn readers(&self) -> broadcast::Receiver<(BlockId, Peer)> {
        self.readers.subscribe()
    }

    /// What is going on, for `status`.
    pub(crate) fn summaries(&self) -> Vec<FetchSummary> {
        let running = self.lock();
        let summary = |(id, running): (&BlockId, &Arc<Running>)| {
            let seen = running.seen.lock().expect("no holder of this lock panics");
            seen.summary.clone().unwrap_or_else(|| FetchSummary {
                cid: id.to_string(),
                name: String::new(),
                bytes: 0,
                size: 0,
                rate: 0.0,
                peers: 0,
            })
        };
        running.iter().map(summary).collect()
    }

    /// The fetch that a text names: an id, six characters or more of its beginning or end, the name
    /// that the model has here or the one that it was asked for by.
    fn find(&self, text: &str) -> Result<Arc<Running>> {
        let running = self.lock();
        let is_named = |running: &Running| {
            let seen = running.seen.lock().expect("no holder of this lock panics");
            running.asked == text
                || seen.summary.as_ref().is_some_and(|summary| summary.name == text)
        };
        let is_meant = |id: &BlockId| {
            let id = id.to_string();
            text.len() >= PART_OF_ID && (id.starts_with(text) || id.ends_with(text))
        };
        let meant: Vec<_> =
            running.iter().filter(|(id, running)| is_named(running) || is_meant(id)).collect();
        match meant.as_slice() {
            [(_, found)] => Ok((*found).clone()),
            [] => {
                Err(HiveError::new(ErrorKind::NotFound, format!("`{text}` is not being fetched"))
                    .hint("`hive status` lists the fetches that are going on"))
            }
            several => {
                let ids: Vec<_> = several.iter().map(|(id, _)| id.to_string()).collect();
                let message = format!("`{text}` names several fetches");
                Err(HiveError::new(ErrorKind::Usage, message)
                    .hint(format!("give one of these ids: {}", ids.join(", "))))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<BlockId, Arc<Running>>> {
        self.running.lock().expect("no holder of this lock panics")
    }
}

/// Takes a fetch out of the list, also when its task panics; its followers are told then.
struct Leave<'a> {
    local: &'a Local,
    id: BlockId,
    running: &'a Arc<Running>,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut all = self.local.fetches.lock();
        // A later fetch of the same model may have taken the place already.
        if all.get(&self.id).is_some_and(|this| Arc::ptr_eq(this, self.running)) {
            all.remove(&self.id);
        }
        drop(all);
        if std::thread::panicking() {
            let error = HiveError::new(
                ErrorKind::Failed,
                format!("the fetch of {} failed inside", self.id),
            );
            let reason = error.to_string();
            let _ = self
                .running
                .events
                .send(Err(error.hint("this is a bug in hive; the log has more")));
            self.running.end(Err(reason));
        }
    }
}

/// What a fetch that was stopped ends with.
pub(crate) fn interrupted(id: BlockId) -> HiveError {
    HiveError::new(ErrorKind::Interrupted, format!("the fetch of {id} was stopped"))
        .hint("what is verified is kept: the same command goes on from there")
}

/// A follower's view of a fetch. The last follower that leaves ends it; who only watches is none.
struct Follow {
    watches: bool,
    first: Option<FetchEvent>,
    events: BroadcastStream<Result<FetchEvent>>,
    running: Arc<Running>,
    over: bool,
}

impl Stream for Follow {
    type Item = Result<FetchEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(event) = self.first.take() {
            return Poll::Ready(Some(Ok(event)));
        }
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            match futures::ready!(self.events.poll_next_unpin(cx)) {
                Some(Ok(event)) => {
                    self.over = matches!(event, Err(_) | Ok(FetchEvent::Done { .. }));
                    return Poll::Ready(Some(event));
                }
                // The last event is never among the skipped ones.
                Some(Err(_lagged)) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        if self.watches {
            return;
        }
        if self.running.followers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.running.cancel.cancel();
        }
    }
}

impl Local {
    /// Fetches a model, or follows the fetch of it that is going on.
    pub(crate) async fn fetch_model(&self, request: FetchRequest) -> Result<Events<FetchEvent>> {
        let id = self.resolve_for_fetch(&request.model, request.wait).await?;
        let request = FetchRequest { from: self.resolve_peers(request.from).await?, ..request };
        let (follow, started) = {
            let mut running = self.fetches.lock();
            match running.get(&id) {
                // A fetch whose last follower has just left is on its way out.
                Some(known) if !known.cancel.is_cancelled() => {
                    known.followers.fetch_add(1, Ordering::AcqRel);
                    known.wait.fetch_or(request.wait, Ordering::Relaxed);
                    known.relayed.raise(request.relay_bulk);
                    (follow(known.clone()), None)
                }
                _ => {
                    if running.len() >= FETCHES {
                        return Err(HiveError::new(
                            ErrorKind::Refused,
                            format!("{FETCHES} fetches are going on"),
                        )
                        .hint("wait for one, or stop one with `hive cancel`"));
                    }
                    let new = Arc::new(Running {
                        asked: request.model.clone(),
                        events: broadcast::channel(EVENTS).0,
                        followers: AtomicUsize::new(1),
                        cancel: self.stop.child_token(),
                        wait: AtomicBool::new(request.wait),
                        relayed: relayed::Allowance::new(request.relay_bulk),
                        seen: Mutex::default(),
                        demanded: Demanded::default(),
                        arrived: watch::Sender::default(),
                    });
                    running.insert(id, new.clone());
                    (follow(new.clone()), Some(new))
                }
            }
        };
        let to = request.to.clone();
        if let Some(running) = started {
            let local = self.clone();
            self.tasks.spawn(async move {
                let leave = Leave { local: &local, id, running: &running };
                let ended = job::run(&local, id, &request, &running).await;
                let how = ended.as_ref().map(|_| ()).map_err(ToString::to_string);
                drop(leave);
                // Nobody may follow any more, which is their right.
                let _ = running.events.send(ended);
                // Last, so that who reads what arrived finds the error among the events.
                running.end(how);
            });
        }
        let Some(dir) = to else { return Ok(Box::pin(follow)) };
        // Each follower may want the files somewhere else.
        let local = self.clone();
        Ok(Box::pin(follow.then(move |event| {
            let (local, dir) = (local.clone(), dir.clone());
            async move {
                match event? {
                    FetchEvent::Done { cid, bytes, seconds, peers, .. } => {
                        let path = local.export(id, dir).await?;
                        Ok(FetchEvent::Done { cid, path, bytes, seconds, peers })
                    }
                    event => Ok(event),
                }
            }
        })))
    }

    async fn export(&self, id: BlockId, dir: PathBuf) -> Result<PathBuf> {
        let store = self.store.clone();
        blocking(move || {
            store.export(&id, &dir).map_err(|error| {
                errors::store(format!("cannot put the files into `{}`", dir.display()), &error)
            })
        })
        .await
    }

    /// The id that a text stands for: itself, a model that is here, or a name of the catalog.
    async fn resolve_for_fetch(&self, text: &str, wait: bool) -> Result<BlockId> {
        if text.parse::<hive_protocol::BlockId>().is_ok() || looks_like_a_cid(text) {
            return parse_id(text);
        }
        crate::add::parse_name(text)?;
        let (store, known) = (self.store.clone(), text.to_owned());
        let here = blocking(move || Ok(store.resolve(&known).ok())).await?;
        // What a node that has just started knows of the network it has yet to hear.
        let give_up = Instant::now() + self.config.provider_timeout;
        let mut changes = self.catalog.changes();
        loop {
            match (self.catalog.by_name(text), here) {
                (NameMatch::One(id), _) | (NameMatch::Unknown, Some(id)) => return Ok(id),
                (NameMatch::Several(ids), _) => {
                    let ids = ids
                        .iter()
                        .map(|(id, publisher)| format!("{id} (by {})", &publisher.hex()[..16]));
                    let message = format!("several models are called `{text}`");
                    return Err(HiveError::new(ErrorKind::Usage, message).hint(format!(
                        "give one of these ids: {}",
                        ids.collect::<Vec<_>>().join(", ")
                    )));
                }
                (NameMatch::Unknown, None) => {}
            }
            if !wait && Instant::now() >= give_up {
                let swarm = self.swarm()?;
                if swarm.network_state().await.connected == 0 {
                    return Err(blocks::nobody(self, swarm, &format!("`{text}`"), &[]).await);
                }
                let message = format!("nobody that this node knows offers `{text}`");
                return Err(HiveError::new(ErrorKind::NotFound, message)
                    .hint("`hive search` lists what the network offers"));
            }
            tokio::select! {
                // The catalog lives as long as the node.
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(give_up), if !wait => {}
                () = self.stop.cancelled() => return Err(errors::stopping()),
            }
        }
    }

    /// Stops the fetch of a model.
    pub(crate) fn cancel_fetch(&self, text: &str) -> Result<()> {
        self.fetches.find(text)?.cancel.cancel();
        Ok(())
    }

    /// Watches a fetch that is going on; whoever leaves changes nothing.
    pub(crate) fn watch_fetch(&self, text: &str) -> Result<Events<FetchEvent>> {
        let running = self.fetches.find(text)?;
        let mut follow = follow(running);
        follow.watches = true;
        Ok(Box::pin(follow))
    }

    /// Fetches what a damaged model lacks and says how many bytes that took.
    pub(crate) async fn repair(&self, id: BlockId) -> Result<u64> {
        let request = FetchRequest { model: id.to_string(), ..FetchRequest::default() };
        let mut events = self.fetch_model(request).await?;
        let mut fetched = 0;
        while let Some(event) = events.next().await {
            if let FetchEvent::Done { peers, .. } = event? {
                fetched = peers.iter().map(|peer| peer.bytes).sum();
            }
        }
        Ok(fetched)
    }

    /// The bytes of a manifest, from here or from peers.
    pub(crate) async fn block_bytes(&self, text: String) -> Result<Vec<u8>> {
        let id = match parse_id(&text) {
            Ok(id) => id,
            Err(error) => {
                let (store, text) = (self.store.clone(), text.clone());
                blocking(move || store.resolve(&text).map_err(|_| error)).await?
            }
        };
        let cancel = self.stop.child_token();
        let guard = cancel.clone().drop_guard();
        let bytes = blocks::one(self, id, &cancel).await;
        drop(guard);
        bytes
    }
}

fn follow(running: Arc<Running>) -> Follow {
    // The first event before the subscription: what happens in between is in neither.
    let events = BroadcastStream::new(running.events.subscribe());
    let first = running.seen.lock().expect("no holder of this lock panics").first.clone();
    Follow { watches: false, first, events, running, over: false }
}

/// Whether a text is meant as a CID: long, of base32's letters, with the usual beginning.
fn looks_like_a_cid(text: &str) -> bool {
    text.starts_with("bafyr4i")
        || text.starts_with("bafkr4i")
        || (text.starts_with("baf") && text.len() > 40)
        || (text.starts_with("Qm") && text.len() == 46)
}
