//! The address book on disk: whom to dial after a restart when the bootstrap nodes are gone.
//!
//! A private network has a book of its own: no member is dialed from a public network, and no
//! stranger from a private one.

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

/// The key of a peer in the book of a private network, or of the public ones.
fn key(network: Option<&str>, peer: &str) -> Vec<u8> {
    match network {
        Some(network) => format!("{network}/{peer}").into_bytes(),
        None => peer.as_bytes().to_vec(),
    }
}

/// The book of last time. An entry that cannot be read is of an older version and forgotten.
pub(crate) fn load(store: &Store, network: Option<&str>, now: u64) -> Result<Vec<KnownPeer>> {
    let peers =
        store.peers().map_err(|error| errors::store("cannot read the address book", &error))?;
    let mut known = Vec::new();
    for entry in peers {
        let of = entry.peer.iter().position(|byte| *byte == b'/').map(|at| &entry.peer[..at]);
        if of != network.map(str::as_bytes) {
            continue;
        }
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
    let (store, network) = (local.store.clone(), local.networks.private());
    let saved = blocking(move || {
        for peer in book {
            let blob = serde_json::to_vec(&peer).expect("texts and numbers are JSON");
            store
                .put_peer(&key(network.as_deref(), &peer.peer.to_string()), &blob)
                .map_err(|error| errors::store("cannot write the address book", &error))?;
        }
        Ok(())
    });
    if let Err(error) = saved.await {
        tracing::warn!(%error, "the address book is not saved");
    }
}
