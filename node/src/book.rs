//! The address book on disk: whom to dial after a restart when the bootstrap nodes are gone.

use std::time::Duration;

use hive_api::Result;
use hive_store::Store;
use hive_swarm::{Client, KnownPeer};

use crate::errors;
use crate::local::{Local, blocking};

/// How often the book is written.
const INTERVAL: Duration = Duration::from_mins(1);
/// Peers not seen for this long are forgotten.
const FORGET_SECS: u64 = 30 * 24 * 3600;

/// The book of last time. An entry that cannot be read is of an older version and forgotten.
pub(crate) fn load(store: &Store, now: u64) -> Result<Vec<KnownPeer>> {
    let peers =
        store.peers().map_err(|error| errors::store("cannot read the address book", &error))?;
    let mut known = Vec::new();
    for entry in peers {
        match serde_json::from_slice::<KnownPeer>(&entry.blob) {
            Ok(peer) if peer.last_seen + FORGET_SECS > now => known.push(peer),
            _ => store
                .forget_peer(&entry.peer)
                .map_err(|error| errors::store("cannot write the address book", &error))?,
        }
    }
    Ok(known)
}

/// Writes the book every minute until the node stops.
pub(crate) async fn run(local: Local, swarm: Client) {
    loop {
        tokio::select! {
            () = local.stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => save(&local, &swarm).await,
        }
    }
}

/// Writes the book now.
pub(crate) async fn save(local: &Local, swarm: &Client) {
    let book = swarm.address_book().await;
    let store = local.store.clone();
    let saved = blocking(move || {
        for peer in book {
            let blob = serde_json::to_vec(&peer).expect("texts and numbers are JSON");
            store
                .put_peer(peer.peer.to_string().as_bytes(), &blob)
                .map_err(|error| errors::store("cannot write the address book", &error))?;
        }
        Ok(())
    });
    if let Err(error) = saved.await {
        tracing::warn!(%error, "the address book is not saved");
    }
}
