//! Serves `chunk/1`: a queue in front of eight slots, the disk read ahead of the socket.
//!
//! What of a request is here is looked up before it waits: what this node does not offer takes no
//! place in the queue, and is counted nowhere.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use hive_fetch::sent::Sent;
use hive_fetch::slots::{Full, SLOTS, Slot, Slots};
use hive_protocol::chunk_message::{ChunkResponse, Range, Status};
use hive_protocol::limits::GROUP_LEN;
use hive_store as store;
use hive_swarm::{ChunkRequests, InboundChunks, Peer, Sending, SwarmEvent};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::limiter::Limiter;
use crate::local::Local;

/// Requests looked up at once; while they are, more wait in the swarm's queue.
const LOOKS: usize = 16;
/// Groups read ahead of the socket, for each slot.
const READ_AHEAD: usize = 3;
/// Bytes a second that a slot needs to send a slice of 64 KiB every second.
const SLICE_RATE: u64 = 64 << 10;
/// How long a reader may take over one group: nobody holds a slot with less than 9 KB/s.
const GROUP_PATIENCE: Duration = Duration::from_mins(2);
/// When somebody may ask again who found the queue full.
const RETRY_MS: u64 = 500;
/// A request that waited this long is told to come again: the asker gives up at 15 s.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// How often requests that waited too long are looked for.
const SWEEP: Duration = Duration::from_secs(1);

struct Waiting {
    since: Instant,
    inbound: InboundChunks,
    offer: store::Offer,
    /// What of the request was here when it came.
    granted: Vec<Range>,
}

/// A request that is over, with what of it was never granted: its asker had gone.
struct Served {
    slot: Slot<Peer>,
    unsent: Vec<Range>,
}

/// Serves until the node stops.
pub(crate) async fn run(local: Local, mut requests: ChunkRequests) {
    let Ok(swarm) = local.swarm() else { return };
    let mut events = swarm.events();
    let limiter = Arc::new(Limiter::new(local.config.upload_limit));
    let mut slots: Slots<Peer, Waiting> = Slots::new(slots_for(local.config.upload_limit));
    // As many as there are slots, so that giving one back never waits.
    let (done, mut freed) = mpsc::channel::<Served>(SLOTS);
    let mut sent = Sent::default();
    // In the order in which they came, as each peer has most use for them.
    let mut looks = FuturesOrdered::new();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = local.stop.cancelled() => return,
            inbound = requests.recv(), if looks.len() < LOOKS => {
                let Some(inbound) = inbound else { return };
                if !local.config.serve {
                    refuse(&local, inbound, Status::NotHeld, 0);
                    continue;
                }
                looks.push_back(look(&local, inbound));
                continue;
            }
            Some(looked) = looks.next() => {
                let Some(waiting) = looked else { continue };
                let cost = waiting.granted.iter().map(Range::len).sum();
                if slots.is_full(&waiting.inbound.peer) {
                    slots.take_if(is_dropped);
                }
                if let Err(Full(waiting)) = slots.push(waiting.inbound.peer, cost, waiting) {
                    refuse(&local, waiting.inbound, Status::Busy, RETRY_MS);
                }
            }
            Some(Served { slot, unsent }) = freed.recv() => {
                slots.done(slot);
                sent.take_back(&unsent);
            }
            event = events.recv() => match event {
                Ok(SwarmEvent::PeerDisconnected { peer }) => slots.forget(peer),
                // What was missed is a peer that left: its requests fail when their turn comes.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            _ = sweep.tick() => {
                for waiting in slots.take_if(|waiting| waiting.since.elapsed() > MAX_WAIT) {
                    refuse(&local, waiting.inbound, Status::Busy, RETRY_MS);
                }
            }
        }
        // Who had it from somebody else meanwhile has dropped it; that counts for nothing.
        if slots.is_due() {
            slots.take_if(is_dropped);
        }
        while let Some((slot, waiting)) = slots.next(|waiting| sent.least(&waiting.granted)) {
            sent.note(&waiting.granted);
            let (this, limiter, done) = (local.clone(), limiter.clone(), done.clone());
            local.tasks.spawn(async move {
                let (stop, granted) = (this.stop.clone(), waiting.granted.clone());
                let was_granted = tokio::select! {
                    was_granted = serve(&this, &limiter, waiting) => was_granted,
                    () = stop.cancelled() => return,
                };
                let unsent = if was_granted { Vec::new() } else { granted };
                let _ = done.send(Served { slot, unsent }).await;
            });
        }
    }
}

fn is_dropped(waiting: &mut Waiting) -> bool {
    waiting.inbound.reply.is_dropped()
}

/// Refuses without holding up the queue.
fn refuse(local: &Local, inbound: InboundChunks, status: Status, retry_ms: u64) {
    local.tasks.spawn(async move {
        if let Err(error) = inbound.reply.refuse(status, retry_ms).await {
            tracing::debug!(peer = %inbound.peer, %error, "cannot refuse");
        }
    });
}

/// Finds what of a request is here; refuses it if that is nothing.
async fn look(local: &Local, inbound: InboundChunks) -> Option<Waiting> {
    let since = Instant::now();
    let (store, id, ranges) =
        (local.store.clone(), inbound.request.id, inbound.request.ranges.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let Some(offer) = store.offer(&id)? else { return Ok(None) };
        let granted = grant(&offer, &ranges);
        Ok::<_, store::IndexError>((!granted.is_empty()).then_some((offer, granted)))
    });
    match looked.await {
        Ok(Ok(Some((offer, granted)))) => return Some(Waiting { since, inbound, offer, granted }),
        Ok(Ok(None)) => refuse(local, inbound, Status::NotHeld, 0),
        Ok(Err(error)) => {
            tracing::warn!(peer = %inbound.peer, %error, "cannot read the index");
            refuse(local, inbound, Status::Busy, RETRY_MS);
        }
        // Dropping the request resets its stream.
        Err(error) => tracing::error!(%error, "a look into the store failed"),
    }
    None
}

/// Says whether the asker was granted anything.
async fn serve(local: &Local, limiter: &Limiter, waiting: Waiting) -> bool {
    let Waiting { inbound: InboundChunks { peer, request, reply, .. }, offer, .. } = waiting;
    let version = offer.version();
    // Meanwhile there may be more of it, or it may have become nobody's business.
    let granted = grant(&offer, &request.ranges);
    if granted.is_empty() {
        answer(peer, reply.refuse(Status::NotHeld, 0).await);
        return false;
    }
    let response = ChunkResponse::ok(granted.clone(), version);
    match reply.accept(&request, &response).await {
        Ok(sending) => {
            send(local, limiter, peer, offer, granted, sending).await;
            true
        }
        Err(error) => {
            answer(peer, Err(error));
            false
        }
    }
}

/// Sends what was granted.
async fn send(
    local: &Local,
    limiter: &Limiter,
    peer: Peer,
    offer: store::Offer,
    granted: Vec<Range>,
    mut sending: Sending,
) {
    let id = offer.id();
    let deadline = group_deadline(local.config.upload_limit);
    let (groups, mut read) = mpsc::channel::<Bytes>(READ_AHEAD);
    let reader = tokio::task::spawn_blocking(move || read_groups(&offer, &granted, &groups));
    while let Some(group) = read.recv().await {
        // Counted as it goes out, also of a group that the peer does not wait for any more.
        let pace = |len| {
            local.uploaded.fetch_add(len, Ordering::Relaxed);
            limiter.acquire(len)
        };
        let sent = tokio::time::timeout(deadline, sending.send_group_paced(&group, pace)).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return answer(peer, Err(error)),
            // Dropping `sending` resets the stream.
            Err(_) => return tracing::debug!(%peer, "reads too slowly"),
        }
        local.goodput.moved(peer, group.len() as u64);
    }
    match reader.await {
        Ok(Ok(())) => answer(peer, sending.finish().await),
        // Dropping `sending` resets the stream, which the asker sees as a failure of ours.
        Ok(Err(error)) => {
            tracing::warn!(%id, %error, "cannot read what is offered");
            local.offers_changed();
        }
        Err(error) => tracing::error!(%error, "a reader failed"),
    }
}

fn answer(peer: Peer, sent: Result<(), hive_swarm::SendError>) {
    if let Err(error) = sent {
        tracing::debug!(%peer, %error, "an upload ended early");
    }
}

/// Slots that a limit feeds: each gets a slice of 64 KiB well before its reader takes it for dead.
fn slots_for(limit: Option<u64>) -> usize {
    limit.map_or(SLOTS, |limit| usize::try_from(limit / SLICE_RATE).unwrap_or(SLOTS))
}

/// How long one group may take to be sent: what the limit makes of it, and two minutes for the
/// reader's part.
fn group_deadline(limit: Option<u64>) -> Duration {
    let paced = limit.map_or(0, |limit| GROUP_LEN * SLOTS as u64 / limit.max(1));
    GROUP_PATIENCE + Duration::from_secs(paced)
}

/// The beginnings of the ranges that are held, each up to its first missing group.
fn grant(offer: &store::Offer, asked: &[Range]) -> Vec<Range> {
    let have = offer.have();
    let mut granted = Vec::new();
    for range in asked {
        let Some(position) = offer.geometry().position(&range.chunk) else { continue };
        let chunk = offer.geometry().chunks()[position];
        if chunk.size != range.size {
            continue;
        }
        let first = chunk.first_group + range.first;
        let n = (first..first + range.n).take_while(|group| have.contains(*group)).count() as u32;
        if n > 0 {
            granted.push(Range { n, ..*range });
        }
    }
    granted
}

/// Reads on a blocking thread until the socket's side has gone.
fn read_groups(
    offer: &store::Offer,
    ranges: &[Range],
    groups: &mpsc::Sender<Bytes>,
) -> Result<(), store::ReadError> {
    for range in ranges {
        for index in range.first..range.first + range.n {
            let mut group = Vec::new();
            offer.read_group(&range.chunk, range.size, index, &mut group)?;
            if groups.blocking_send(Bytes::from(group)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
