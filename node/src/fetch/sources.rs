//! Who may have a model: the peers that the user named, the catalog, whoever is connected, the DHT,
//! and whoever asks this node what it has of it, which is another reader.
//!
//! Says the same peer again in later rounds, so that one which left or had nothing is tried again.

use std::collections::HashSet;
use std::time::Duration;

use hive_fetch::{Dice, Search};
use hive_protocol::BlockId;
use hive_swarm::{Client, Peer, SwarmEvent};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::local::Local;

/// Candidates that may wait to be looked at.
const CANDIDATES: usize = 64;
/// Peers with a connection that are asked without a sign that they have it.
const CONNECTED: usize = 64;
/// How often peers that the user named are tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Looks for peers that may have `id` until `cancel`.
pub(crate) fn start(
    local: &Local,
    swarm: &Client,
    id: BlockId,
    from: Vec<String>,
    cancel: CancellationToken,
) -> mpsc::Receiver<Peer> {
    let (candidates, found) = mpsc::channel(CANDIDATES);
    let (local, swarm) = (local.clone(), swarm.clone());
    let tasks = local.tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = search(&local, &swarm, id, &candidates) => {}
            () = reach(&swarm, &from, &candidates) => {}
        }
    });
    found
}

/// Ends when nobody listens any more.
async fn search(local: &Local, swarm: &Client, id: BlockId, candidates: &mpsc::Sender<Peer>) {
    let mut events = swarm.events();
    let mut readers = local.fetches.readers();
    let start = Instant::now();
    let mut search = Search::new(CANDIDATES);
    let mut dice = Dice::new(rand::random());
    loop {
        let here: HashSet<Peer> = swarm.connected().await.into_iter().collect();
        let known = local.catalog.holders(id);
        let known = search.round(known, |peer| here.contains(peer), &mut dice, start.elapsed());
        for peer in known.into_iter().chain(here.into_iter().take(CONNECTED)) {
            if candidates.send(peer).await.is_err() {
                return;
            }
        }
        let mut providers = swarm.providers(id).await;
        let mut searching = true;
        loop {
            let peer = tokio::select! {
                provider = providers.recv(), if searching => {
                    searching = provider.is_some();
                    if let Some(peer) = provider {
                        search.found(peer);
                    }
                    provider
                }
                reader = readers.recv() => match reader {
                    Ok((asked, peer)) if asked == id => Some(peer),
                    // Who was missed asks again.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => None,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                event = events.recv() => match event {
                    Ok(SwarmEvent::PeerIdentified { peer, speaks_hive: true, .. }) => {
                        search.met(peer);
                        Some(peer)
                    }
                    // A circuit that was cut, a line that broke: it may be back in a moment, and a
                    // fetch that has nobody else does not wait for a late round.
                    Ok(SwarmEvent::PeerDisconnected { peer }) => {
                        search.left(peer, start.elapsed());
                        None
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => None,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                () = tokio::time::sleep_until(start + search.due()), if !searching => break,
            };
            let Some(peer) = peer else { continue };
            if candidates.send(peer).await.is_err() {
                return;
            }
        }
    }
}

/// Keeps trying the peers that the user named; never ends.
async fn reach(swarm: &Client, from: &[String], candidates: &mpsc::Sender<Peer>) {
    let tries = from.iter().map(async |address| {
        loop {
            if let Some(peer) = named(swarm, address).await {
                // Who does not listen any more cancels this too.
                let _ = candidates.send(peer).await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    });
    futures::future::join_all(tries).await;
    std::future::pending::<()>().await;
}

/// A peer that the user named, by address or by id.
async fn named(swarm: &Client, text: &str) -> Option<Peer> {
    let reached = match text.parse::<Peer>() {
        Ok(peer) => swarm.connect(peer).await.map(|()| peer),
        Err(_) => swarm.dial(text).await,
    };
    reached
        .map_err(|error| tracing::warn!(%text, %error, "cannot reach the peer that was named"))
        .ok()
}
