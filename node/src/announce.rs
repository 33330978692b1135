//! What this node tells the network: which models it shares, and what it can do.
//!
//! One task. The list of cards is a block that peers fetch; gossip carries its signed head. Heads
//! are repeated, since gossip reaches only who is there, at an interval that grows with the network
//! so that the traffic a node sees stays the same. The DHT is told of ids in the same breath.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hive_api::Result;
use hive_protocol::card::{Card, Kind};
use hive_protocol::catalog::{Capability, Head, List, pace};
use hive_protocol::limits::{BLOCK_LEN, CARDS_PER_LIST, GOSSIP_TTL_SECS};
use hive_protocol::signed::{self, Delegation};
use hive_protocol::{BlockId, NodeKey, codec};
use hive_store as store;
use hive_swarm::SwarmEvent;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::errors;
use crate::library;
use crate::local::{Local, blocking, now};
use crate::machine;

/// Changes within this time go out together.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// A feature of `Hello`: whoever names it asks to be told now what this node offers, and whoever
/// answers with it will, within [`pace::NEWCOMERS`] and to everybody.
pub(crate) const ANNOUNCE: &str = "announce";
/// Cards are signed anew this often.
const RENEW_SECS: u64 = 7 * 24 * 3600;
/// How long a card holds; it is made anew long before.
const CARD_TTL_SECS: u64 = 90 * 24 * 3600;
/// How long the delegation to the node's key holds.
const DELEGATION_TTL_SECS: u64 = 365 * 24 * 3600;
/// The name under which the sequence of this node's statements is kept.
const SEQ: &str = "announce/seq";

/// What the list was made of and in which week, to see whether a new one is needed.
type Made = (u64, BTreeMap<BlockId, (String, Option<String>)>);

#[derive(Default)]
struct Announced {
    made: Made,
    list: Option<(BlockId, u64)>,
    provided: BTreeSet<BlockId>,
}

/// Announces until the node stops.
pub(crate) async fn run(local: Local) {
    let mut announced = Announced::default();
    let Ok(swarm) = local.swarm() else { return };
    let mut events = swarm.events();
    loop {
        let network = local.catalog.n_nodes();
        // A tenth of chance, so that nodes that started together do not speak together.
        let interval = pace::interval(network).mul_f64(rand::random_range(0.9..1.1));
        let said = Instant::now();
        if let Err(error) = announce(&local, &mut announced).await {
            if local.stop.is_cancelled() {
                return;
            }
            tracing::warn!(%error, "cannot announce");
        }
        let newcomers = pace::newcomers(network);
        let mut due = said + interval;
        loop {
            tokio::select! {
                () = local.stop.cancelled() => return,
                () = local.offers.notified() => due = due.min(Instant::now() + DEBOUNCE),
                () = local.asked.notified() => due = due.min(said + pace::NEWCOMERS),
                () = newcomer(&local, &mut events, said), if due > said + newcomers => {
                    due = said + newcomers;
                }
                () = tokio::time::sleep_until(due) => break,
            }
        }
        local.catalog.sweep(now());
    }
}

/// Waits for a node of ours that has not heard what was said last. Whom gossip reached before that
/// has: it is a new neighbour, but not new here, and in a network that grows together everybody is
/// everybody's new neighbour for a while.
async fn newcomer(local: &Local, events: &mut broadcast::Receiver<SwarmEvent>, said: Instant) {
    loop {
        match events.recv().await {
            Ok(SwarmEvent::PeerIdentified { peer, speaks_hive: true, .. })
                if !local.catalog.reached_at(peer, said.into_std()) =>
            {
                return;
            }
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

async fn announce(local: &Local, announced: &mut Announced) -> Result<()> {
    let swarm = local.swarm()?;
    let this = local.clone();
    let provided: BTreeSet<BlockId> = blocking(move || {
        let provided = this.store.provided();
        provided.map_err(|error| errors::store("cannot read the index", &error))
    })
    .await?
    .into_iter()
    .collect();
    for id in provided.difference(&announced.provided) {
        tracing::debug!(local = %local.peer, %id, "offered to the DHT");
        swarm.provide(*id).await.map_err(|_| errors::stopping())?;
    }
    for id in announced.provided.difference(&provided) {
        swarm.unprovide(*id).await.map_err(|_| errors::stopping())?;
    }
    announced.provided = provided;

    let (this, made, list) = (local.clone(), std::mem::take(&mut announced.made), announced.list);
    let (made, list, head, capability) = blocking(move || statements(&this, made, list)).await?;
    (announced.made, announced.list) = (made, list);
    if let Some(head) = head {
        swarm.announce_head(head).await.map_err(|_| errors::stopping())?;
    }
    swarm.announce_capability(capability).await.map_err(|_| errors::stopping())
}

type Statements = (Made, Option<(BlockId, u64)>, Option<Vec<u8>>, Vec<u8>);

/// Makes and signs what is to be said now.
fn statements(local: &Local, made: Made, list: Option<(BlockId, u64)>) -> Result<Statements> {
    let index = |error: store::IndexError| errors::store("cannot read the index", &error);
    let models = local.store.list().map_err(index)?;
    let shared: Vec<store::Model> = models
        .iter()
        .filter(|model| {
            model.visibility == store::Visibility::Public && model.state == store::State::Whole
        })
        .take(CARDS_PER_LIST)
        .cloned()
        .collect();
    let mut wanted: Made = (now() / RENEW_SECS, BTreeMap::new());
    for model in &shared {
        let license = local.store.meta(&library::license_key(&model.id)).map_err(index)?;
        let license = license.and_then(|bytes| String::from_utf8(bytes).ok());
        wanted.1.insert(model.id, (model.name.to_string(), license));
    }
    let list = if wanted == made && list.is_some() {
        list
    } else {
        Some(make_list(local, &shared, &wanted)?)
    };
    let seq = next_seq(local)?;
    let issued = now();
    let expires = issued + GOSSIP_TTL_SECS;
    let node = signed::public_key(&local.node_key);
    let publisher = signed::public_key(&local.publisher_key);
    let delegation = signed::sign(
        &Delegation::new(node, issued, issued + DELEGATION_TTL_SECS),
        "",
        &local.publisher_key,
    );
    let network = &local.config.network;
    let head = list.map(|(list, count)| {
        let head = Head { v: 1, node, seq, list, count, issued, expires };
        signed::sign_for(&head, network, &local.node_key, publisher, delegation.clone())
    });
    let machine = machine::look();
    let capability = Capability {
        v: 1,
        node,
        name: local.config.node_name.clone(),
        seq,
        agent: crate::AGENT.into(),
        runs: hive_inference::architectures().into_iter().map(str::to_owned).collect(),
        models: models.iter().filter(|model| model.state == store::State::Whole).count() as u64,
        memory: machine.memory,
        memory_free: machine.memory_free,
        cores: machine.cores,
        load: machine.load,
        issued,
        expires,
    };
    let capability = signed::sign_for(&capability, network, &local.node_key, publisher, delegation);
    Ok((wanted, list, head, capability))
}

/// Signs a card for each shared model and keeps the list as a block that peers may fetch.
fn make_list(local: &Local, shared: &[store::Model], wanted: &Made) -> Result<(BlockId, u64)> {
    let mut cards = Vec::new();
    let mut len = 0;
    for model in shared {
        let license = wanted.1.get(&model.id).and_then(|(_, license)| license.clone());
        let card = make_card(local, model, license)?;
        len += card.len() + 8;
        if len > BLOCK_LEN - 64 {
            tracing::warn!(
                n_models = shared.len(),
                n_cards = cards.len(),
                "not all models fit the catalog"
            );
            break;
        }
        cards.push(serde_bytes::ByteBuf::from(card));
    }
    let count = cards.len() as u64;
    let list = codec::encode(&List { v: 1, cards });
    let id = local.store.put_list(&list);
    Ok((id.map_err(|error| errors::store("cannot keep the catalog", &error))?, count))
}

fn make_card(local: &Local, model: &store::Model, license: Option<String>) -> Result<Vec<u8>> {
    let index = |error: store::IndexError| errors::store("cannot read the index", &error);
    let described = library::describe(&local.store, &model.id);
    let files = local.store.files(&model.id).map_err(index)?;
    let single = files.len() == 1;
    let sha256 = files
        .into_iter()
        .filter_map(|file| {
            let path = if single { String::new() } else { file.path.to_string() };
            Some((path, serde_bytes::ByteBuf::from(file.sha256?.to_vec())))
        })
        .take(hive_protocol::limits::CARD_ENTRIES)
        .collect();
    let issued = now();
    let card = Card {
        v: 1,
        id: model.id,
        publisher: signed::public_key(&local.publisher_key),
        version: issued,
        name: model.name.clone(),
        kind: if described.format.is_some() { Kind::Model } else { Kind::Other },
        size: model.size,
        format: described.format,
        architecture: described.architecture,
        quantization: described.quantization,
        parameters: described.parameters,
        license: license.or(described.license),
        source: crate::pull::source(&local.store, &model.id)?,
        sha256,
        parents: Vec::new(),
        issued,
        expires: issued + CARD_TTL_SECS,
        ext: BTreeMap::new(),
        critical: Vec::new(),
    };
    Ok(signed::sign(&card, "", &local.publisher_key))
}

/// The next number of this node's statements: it grows over restarts, and with the clock so that a
/// home restored from a backup is not taken for a replay.
fn next_seq(local: &Local) -> Result<u64> {
    let index = |error: store::IndexError| errors::store("cannot keep the sequence", &error);
    let last = local.store.meta(SEQ).map_err(index)?;
    let last = last.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()).map_or(0, u64::from_be_bytes);
    let seq = (last + 1).max(now());
    local.store.set_meta(SEQ, &seq.to_be_bytes()).map_err(index)?;
    Ok(seq)
}

/// The key of a statement's replay state: one sequence for each kind and node.
pub(crate) fn replay_name(kind: &str, node: &NodeKey) -> String {
    format!("{kind}/{}", node.hex())
}
