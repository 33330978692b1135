//! Who may have a model: the peers that the user named, the catalog, whoever is connected, the DHT.
//!
//! Says the same peer again in later rounds, so that one which left or had nothing is tried again.

use std::collections::HashSet;
use std::time::Duration;

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
/// Time between two rounds at first; it grows by half …
const ROUND: Duration = Duration::from_secs(3);
/// … up to this.
const ROUND_MAX: Duration = Duration::from_mins(1);

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
    let mut wait = ROUND;
    let mut events = swarm.events();
    // Who is said to have it.
    let mut holders: HashSet<Peer> = HashSet::new();
    loop {
        let connected = swarm.connected().await.into_iter().take(CONNECTED);
        let known = local.catalog.holders(id);
        holders.extend(known.iter().take(CANDIDATES.saturating_sub(holders.len())));
        for peer in known.into_iter().chain(connected) {
            if candidates.send(peer).await.is_err() {
                return;
            }
        }
        let mut providers = swarm.providers(id).await;
        let mut next = Instant::now() + wait;
        let mut searching = true;
        loop {
            let peer = tokio::select! {
                provider = providers.recv(), if searching => {
                    searching = provider.is_some();
                    holders.extend(provider.filter(|_| holders.len() < CANDIDATES));
                    provider
                }
                event = events.recv() => match event {
                    Ok(SwarmEvent::PeerIdentified { peer, speaks_hive: true, .. }) => Some(peer),
                    // A circuit that was cut, a line that broke: it may be back in a moment, and a
                    // fetch that has nobody else does not wait for a late round.
                    Ok(SwarmEvent::PeerDisconnected { peer }) if holders.contains(&peer) => {
                        wait = ROUND;
                        next = next.min(Instant::now() + ROUND);
                        None
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => None,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                () = tokio::time::sleep_until(next), if !searching => break,
            };
            let Some(peer) = peer else { continue };
            if candidates.send(peer).await.is_err() {
                return;
            }
        }
        wait = wait.mul_f64(1.5).min(ROUND_MAX);
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
            tokio::time::sleep(ROUND_MAX / 2).await;
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
