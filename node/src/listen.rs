//! What other nodes tell: heads and capabilities from gossip, verified before they count.
//!
//! A statement is accepted (and so passed on) if its signature holds, it is of the node that sent
//! it, and its number is higher than any seen of that node; the number is kept on disk, so that a
//! replay is one after a restart too. Lists are fetched from the neighbour that passed the head on, and
//! from the node that announced them where that one has them not: in a network of thousands nobody
//! could answer everybody.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use hive_api::{ErrorKind, HiveError, Result};
use hive_protocol::card::Card;
use hive_protocol::catalog::{Capability, Head, List, pace};
use hive_protocol::limits::BLOCK_LEN;
use hive_protocol::message::{Request, Response};
use hive_protocol::signed::{self, SignedError, Verified};
use hive_protocol::{NodeKey, codec};
use hive_swarm::{Gossip, Peer, SwarmEvent};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::Instant;

use crate::announce::replay_name;
use crate::errors;
use crate::local::{Local, blocking, now};

/// Lists fetched at once.
const FETCHES: usize = 8;

/// Handles gossip until the node stops.
pub(crate) async fn run(local: Local, mut gossip: mpsc::Receiver<Gossip>) {
    let fetches = Arc::new(Semaphore::new(FETCHES));
    let Ok(swarm) = local.swarm() else { return };
    let mut events = swarm.events();
    // Whoever was met before this task listened is in no event.
    for peer in swarm.peers().await {
        if peer.name.is_some() {
            local.catalog.put_name(peer.peer, peer.name.as_deref());
        }
    }
    loop {
        let message = tokio::select! {
            () = local.stop.cancelled() => return,
            message = gossip.recv() => message,
            event = events.recv() => {
                match event {
                    Ok(SwarmEvent::PeerIdentified { peer, name, speaks_hive: true, .. }) => {
                        local.catalog.put_name(peer, name.as_deref());
                    }
                    Ok(SwarmEvent::PeerDisconnected { peer }) => local.catalog.left(peer),
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
                continue;
            }
        };
        let Some(message) = message else { return };
        let this = local.clone();
        let (source, via, verdict, judged) = match message {
            Gossip::Head { source, via, bytes, verdict } => {
                (source, via, verdict, blocking(move || judge_head(&this, source, &bytes)).await)
            }
            Gossip::Capability { source, bytes, verdict } => {
                let judged = blocking(move || judge_capability(&this, source, &bytes)).await;
                (source, source, verdict, judged)
            }
        };
        let (judgement, head) = judged.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot judge an announcement");
            (Judgement::Ignore, None)
        });
        // Whoever floods heads waits behind its own lists; a repetition comes within minutes.
        let permit = head.as_ref().and_then(|_| fetches.clone().try_acquire_owned().ok());
        let (Some(head), Some(permit)) = (head, permit) else {
            match judgement {
                Judgement::Accept => verdict.accept(),
                Judgement::Ignore => verdict.ignore(),
                Judgement::Reject => verdict.reject(),
            }
            continue;
        };
        let this = local.clone();
        local.tasks.spawn(async move {
            let mut fetching = pin!(fetch_list(&this, source, via, head));
            // A head that counts is passed on once its list is here, if that does not take long.
            let fetched = tokio::time::timeout(pace::PASS_ON, &mut fetching).await;
            verdict.accept();
            let fetched = match fetched {
                Ok(fetched) => fetched,
                Err(_) => fetching.await,
            };
            if let Err(error) = fetched {
                tracing::debug!(%source, %error, "cannot fetch a catalog");
            }
            drop(permit);
        });
    }
}

/// What is to be done with a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// It counts; others shall hear it.
    Accept,
    /// Old, or of another time: nobody's fault.
    Ignore,
    /// No honest node says that.
    Reject,
}

/// Whether a head counts, and the head itself if its list is to be fetched.
fn judge_head(local: &Local, source: Peer, bytes: &[u8]) -> Result<(Judgement, Option<Head>)> {
    let head = match signed::verify::<Head>(bytes, &local.config.network, now()) {
        Ok(Verified { statement, .. }) => statement,
        Err(error) => return Ok((fault(local, source, &error), None)),
    };
    let fresh = is_fresh(local, "head", source, head.node, head.seq)?;
    if fresh != Judgement::Accept {
        return Ok((fresh, None));
    }
    if local.catalog.knows(source, head.list) {
        local.catalog.refresh(source, head.expires);
        return Ok((fresh, None));
    }
    Ok((fresh, Some(head)))
}

/// Whether a capability counts. It has no list, so no head comes with it.
fn judge_capability(
    local: &Local,
    source: Peer,
    bytes: &[u8],
) -> Result<(Judgement, Option<Head>)> {
    let capability = match signed::verify::<Capability>(bytes, &local.config.network, now()) {
        Ok(Verified { statement, .. }) => statement,
        Err(error) => return Ok((fault(local, source, &error), None)),
    };
    let fresh = is_fresh(local, "capability", source, capability.node, capability.seq)?;
    if fresh == Judgement::Accept {
        local.clock.heard(source, capability.issued, now());
        local.catalog.put_capability(source, capability);
    }
    Ok((fresh, None))
}

fn is_fresh(local: &Local, kind: &str, source: Peer, node: NodeKey, seq: u64) -> Result<Judgement> {
    // Nobody speaks for another node, however well signed.
    if source.node_key() != Some(node) {
        return Ok(Judgement::Reject);
    }
    let newer = local.store.advance(&node, &replay_name(kind, &node), seq);
    let newer = newer.map_err(|error| errors::store("cannot keep the replay state", &error))?;
    Ok(if newer { Judgement::Accept } else { Judgement::Ignore })
}

/// A clock that is off is nobody's malice; a wrong signature or form is.
fn fault(local: &Local, source: Peer, error: &SignedError) -> Judgement {
    tracing::debug!(%source, %error, "an announcement that does not count");
    match error {
        SignedError::FromTheFuture { issued, now } => {
            local.clock.heard(source, *issued, *now);
            Judgement::Ignore
        }
        SignedError::Expired { .. } => Judgement::Ignore,
        _ => Judgement::Reject,
    }
}

async fn fetch_list(local: &Local, source: Peer, via: Peer, head: Head) -> Result<()> {
    let swarm = local.swarm()?;
    let begun = Instant::now();
    // The author last: the connection over which the head came may take a moment to be known, and
    // who passed it on may be fetching the list itself.
    let tries = pace::LIST_PAUSES.map(|pause| (via, pause));
    let last = (source, pace::LIST_PAUSES[2]);
    let mut answer = Err(HiveError::new(ErrorKind::Unreachable, "no answer"));
    for (peer, pause) in tries.into_iter().chain([last]) {
        tokio::time::sleep_until(begun + pause).await;
        answer = match swarm.request(peer, Request::Block(head.list)).await {
            Ok(Response::Block(bytes)) if head.list.names(&bytes) => Ok(bytes),
            Ok(Response::Block(_)) => {
                Err(HiveError::new(ErrorKind::Verification, "not the list that was announced"))
            }
            Ok(_) => Err(HiveError::new(ErrorKind::NotFound, "no list")),
            Err(error) => Err(HiveError::caused(ErrorKind::Unreachable, "no answer", &error)),
        };
        if answer.is_ok() {
            break;
        }
    }
    let bytes = answer?;
    let this = local.clone();
    let bytes = Bytes::from(bytes.into_vec());
    let list = bytes.clone();
    let cards = blocking(move || verify_cards(&this, &list)).await?;
    tracing::debug!(%source, n_cards = cards.len(), "catalog");
    local.catalog.put(source, &head, bytes, cards);
    Ok(())
}

/// The cards of a list that count; one bad card costs itself and not the list.
fn verify_cards(local: &Local, bytes: &[u8]) -> Result<Vec<Verified<Card>>> {
    let list: List = codec::decode(bytes, BLOCK_LEN)
        .map_err(|error| HiveError::caused(ErrorKind::Verification, "a malformed list", &error))?;
    let cards: Vec<Verified<Card>> =
        list.cards.iter().filter_map(|bytes| signed::verify(bytes, "", now()).ok()).collect();
    let entry = |card: &Verified<Card>| {
        (card.publisher, format!("card/{}", card.statement.name), card.statement.version)
    };
    // An older card than one that was seen is a rollback; the same one again is not.
    let counts = local.store.advance_all(cards.iter().map(entry).collect());
    let counts = counts.map_err(|error| errors::store("cannot keep the replay state", &error))?;
    let cards =
        cards.into_iter().zip(counts).filter_map(|(card, counts)| counts.then_some(card)).collect();
    Ok(cards)
}
