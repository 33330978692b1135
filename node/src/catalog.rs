//! What other nodes announced: their models and what they can do.
//!
//! Holds only what was verified: a head's signature, its place in the sequence, the list's hash and
//! each card's signature. Everything has an end (`expires`) and every map a bound, so a flood costs
//! the flooder's own entries.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use hive_api::{CapabilitySummary, Offer, PeerName, SearchRequest};
use hive_protocol::card::Card;
use hive_protocol::catalog::{Capability, Head};
use hive_protocol::signed::Verified;
use hive_protocol::{BlockId, NodeKey};
use hive_swarm::Peer;
use tokio::sync::watch;

use crate::names;

/// Nodes whose announcements are kept.
const NODES: usize = 10_000;

/// Encoded bytes of the lists kept over all nodes.
const BYTES: usize = 64 << 20;

/// What one node offers.
#[derive(Debug)]
struct Offered {
    list: BlockId,
    seq: u64,
    expires: u64,
    /// The list itself, for others who heard of it from us.
    bytes: Bytes,
    cards: Vec<Verified<Card>>,
}

#[derive(Debug, Default)]
struct State {
    offered: HashMap<Peer, Offered>,
    capabilities: HashMap<Peer, Capability>,
    /// What connected peers called themselves when they were met; capabilities come later.
    names: HashMap<Peer, String>,
    /// Of these, whose connection is gone. They make room first.
    gone: HashSet<Peer>,
    /// When a node's list was heard of last.
    heard: HashMap<Peer, Instant>,
    /// Since when gossip reaches a node, as far as what it says shows.
    reached: HashMap<Peer, Instant>,
}

impl State {
    fn reach(&mut self, node: Peer) {
        if self.reached.len() >= NODES {
            // Some are told once more than they need.
            self.reached.clear();
        }
        self.reached.entry(node).or_insert_with(Instant::now);
    }

    fn hear(&mut self, node: Peer) {
        if self.heard.len() >= NODES {
            let State { offered, heard, .. } = self;
            heard.retain(|node, _| offered.contains_key(node));
        }
        if self.heard.len() < NODES {
            self.heard.insert(node, Instant::now());
        }
    }

    /// What a node announced counts before what it said when it connected.
    fn name(&self, peer: Peer) -> Option<String> {
        let announced = self.capabilities.get(&peer).and_then(|said| said.name.as_deref());
        announced.and_then(names::claim).or_else(|| self.names.get(&peer).cloned())
    }
}

/// The announcements of all other nodes.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    state: Mutex<State>,
    /// Ticks with every change.
    changed: watch::Sender<()>,
}

/// What a name means in the network.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NameMatch {
    /// Nobody announces it.
    Unknown,
    /// One id, whoever announces it.
    One(BlockId),
    /// Several ids, each with a publisher who calls it so.
    Several(Vec<(BlockId, NodeKey)>),
}

impl Catalog {
    /// Ticks whenever what is known here may have changed: whoever misses something looks, waits for
    /// this and looks again.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether a node's list is the one that is known already.
    pub(crate) fn knows(&self, node: Peer, list: BlockId) -> bool {
        self.lock().offered.get(&node).is_some_and(|offered| offered.list == list)
    }

    /// A list that some node announced, as it was announced.
    pub(crate) fn list(&self, id: &BlockId) -> Option<Bytes> {
        let state = self.lock();
        let mut lists = state.offered.values().filter(|offered| offered.list == *id);
        lists.next().map(|offered| offered.bytes.clone())
    }

    /// Takes a node's list, its cards verified, in place of an older one. When there is no room, those
    /// who take the most give way first.
    pub(crate) fn put(
        &self,
        node: Peer,
        head: &Head,
        bytes: Bytes,
        mut cards: Vec<Verified<Card>>,
    ) {
        for card in &mut cards {
            // Nothing here reads them, and they may be large.
            card.statement.ext.clear();
            card.statement.sha256.clear();
        }
        self.change(|state| {
            if state.offered.get(&node).is_some_and(|known| known.seq > head.seq) {
                return;
            }
            state.offered.remove(&node);
            let (list, seq, expires) = (head.list, head.seq, head.expires);
            state.offered.insert(node, Offered { list, seq, expires, bytes, cards });
            state.hear(node);
            let taken = |state: &State| {
                state.offered.values().map(|offered| offered.bytes.len()).sum::<usize>()
            };
            while taken(state) > BYTES || state.offered.len() > NODES {
                let most = state
                    .offered
                    .iter()
                    .max_by_key(|(_, offered)| (offered.bytes.len(), offered.seq));
                let Some(most) = most.map(|(node, _)| *node) else { break };
                tracing::warn!(node = %most, "the catalog is full, the longest list is left out");
                state.offered.remove(&most);
            }
        });
    }

    /// A head that names the known list keeps it alive.
    pub(crate) fn refresh(&self, node: Peer, expires: u64) {
        self.change(|state| {
            state.hear(node);
            if let Some(offered) = state.offered.get_mut(&node) {
                offered.expires = offered.expires.max(expires);
            }
        });
    }

    /// Whether a node's list was heard of since then.
    pub(crate) fn heard_since(&self, node: Peer, then: Instant) -> bool {
        self.lock().heard.get(&node).is_some_and(|at| *at >= then)
    }

    /// Whether a node was within reach of gossip at some moment, and heard what was said then.
    pub(crate) fn reached_at(&self, node: Peer, moment: Instant) -> bool {
        self.lock().reached.get(&node).is_some_and(|since| *since < moment)
    }

    /// Takes what a peer calls itself.
    pub(crate) fn put_name(&self, peer: Peer, name: Option<&str>) {
        self.change(|state| {
            let State { names, gone, .. } = state;
            gone.remove(&peer);
            let Some(name) = name.and_then(names::claim) else {
                names.remove(&peer);
                return;
            };
            if names.len() >= NODES && !names.contains_key(&peer) {
                names.retain(|peer, _| !gone.contains(peer));
                gone.clear();
            }
            if names.len() < NODES || names.contains_key(&peer) {
                names.insert(peer, name);
            }
        });
    }

    /// A peer has left. Its name is shown as long as there is room for it.
    pub(crate) fn left(&self, peer: Peer) {
        self.change(|state| {
            state.reached.remove(&peer);
            if state.names.contains_key(&peer) {
                state.gone.insert(peer);
            }
        });
    }

    /// What a peer calls itself.
    pub(crate) fn peer_name(&self, peer: Peer) -> Option<String> {
        self.lock().name(peer)
    }

    /// Peers that call themselves so.
    pub(crate) fn peers_called(&self, name: &str) -> Vec<Peer> {
        let state = self.lock();
        let known: BTreeSet<Peer> =
            state.names.keys().chain(state.capabilities.keys()).copied().collect();
        known.into_iter().filter(|peer| state.name(*peer).as_deref() == Some(name)).collect()
    }

    /// Takes what a node can do.
    pub(crate) fn put_capability(&self, node: Peer, capability: Capability) {
        self.change(|state| {
            state.reach(node);
            state.capabilities.insert(node, capability);
            if state.capabilities.len() > NODES {
                let first =
                    state.capabilities.iter().min_by_key(|(_, capability)| capability.expires);
                if let Some(first) = first.map(|(node, _)| *node) {
                    state.capabilities.remove(&first);
                }
            }
        });
    }

    /// What a node can do.
    pub(crate) fn capability(&self, node: Peer) -> Option<(Option<String>, CapabilitySummary)> {
        let state = self.lock();
        let capability = state.capabilities.get(&node)?;
        let summary = CapabilitySummary {
            runs: capability.runs.clone(),
            models: capability.models,
            memory: capability.memory,
            memory_free: capability.memory_free,
            cores: capability.cores,
            load: capability.load,
        };
        Some((capability.name.as_deref().and_then(names::claim), summary))
    }

    /// Nodes that announced anything.
    pub(crate) fn n_nodes(&self) -> usize {
        self.lock().offered.len()
    }

    /// Drops what has ended.
    pub(crate) fn sweep(&self, now: u64) {
        self.change(|state| {
            state.offered.retain(|_, offered| offered.expires > now);
            state.capabilities.retain(|_, capability| capability.expires > now);
        });
    }

    /// Nodes that offer a model.
    pub(crate) fn holders(&self, id: BlockId) -> Vec<Peer> {
        let state = self.lock();
        let holds = |offered: &Offered| offered.cards.iter().any(|card| card.statement.id == id);
        state.offered.iter().filter(|(_, offered)| holds(offered)).map(|(node, _)| *node).collect()
    }

    /// What `name` means in the network.
    pub(crate) fn by_name(&self, name: &str) -> NameMatch {
        let state = self.lock();
        let cards = state.offered.values().flat_map(|offered| &offered.cards);
        let ids: BTreeMap<BlockId, NodeKey> = cards
            .filter(|card| card.statement.name.as_str() == name)
            .map(|card| (card.statement.id, card.publisher))
            .collect();
        let mut ids: Vec<_> = ids.into_iter().collect();
        match ids.len() {
            0 => NameMatch::Unknown,
            1 => NameMatch::One(ids.remove(0).0),
            _ => NameMatch::Several(ids),
        }
    }

    /// The name that most publishers give a model.
    pub(crate) fn name_of(&self, id: BlockId) -> Option<String> {
        let state = self.lock();
        let cards = state.offered.values().flat_map(|offered| &offered.cards);
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for card in cards.filter(|card| card.statement.id == id) {
            *names.entry(card.statement.name.as_str()).or_default() += 1;
        }
        names.into_iter().max_by_key(|(_, n)| *n).map(|(name, _)| name.to_owned())
    }

    /// The format of a model's file, if a card says so: `gguf`.
    pub(crate) fn format_of(&self, id: BlockId) -> Option<String> {
        let state = self.lock();
        let mut cards = state.offered.values().flat_map(|offered| &offered.cards);
        cards.find_map(|card| card.statement.format.clone().filter(|_| card.statement.id == id))
    }

    /// What the network says of one model: the card that most publishers agree on in its name.
    pub(crate) fn card_of(&self, id: BlockId) -> Option<Card> {
        let name = self.name_of(id)?;
        let state = self.lock();
        let mut cards = state.offered.values().flat_map(|offered| &offered.cards);
        let card =
            cards.find(|card| card.statement.id == id && card.statement.name.as_str() == name);
        card.map(|card| card.statement.clone())
    }

    /// Offers that a request is about; one entry for each id and name. `here` says whether a model is
    /// in the store, `fits` whether this machine has the memory for so many bytes.
    pub(crate) fn search(
        &self,
        request: &SearchRequest,
        here: impl Fn(&BlockId) -> bool,
        fits: impl Fn(u64) -> Option<bool>,
    ) -> Vec<Offer> {
        let text = request.text.to_lowercase();
        let state = self.lock();
        let mut offers: BTreeMap<(String, BlockId), Offer> = BTreeMap::new();
        for (node, offered) in &state.offered {
            let said = state.name(*node);
            for card in &offered.cards {
                let Card { id, name, size, .. } = &card.statement;
                let kind = kind(&card.statement);
                let wanted = request.kind.as_deref().is_none_or(|wanted| wanted == kind)
                    && request.max_size.is_none_or(|most| *size <= most);
                if !wanted {
                    continue;
                }
                let description = description(&card.statement);
                let who = said.as_deref().unwrap_or_default();
                let haystack = format!("{name} {id} {description} {node} {who}").to_lowercase();
                if !haystack.contains(&text) {
                    continue;
                }
                let fits = if runs(&card.statement) { fits(*size) } else { None };
                if request.fits && fits != Some(true) {
                    continue;
                }
                let offer = offers.entry((name.to_string(), *id)).or_insert_with(|| Offer {
                    parameters: card.statement.parameters,
                    fits,
                    cid: id.to_string(),
                    name: name.to_string(),
                    kind: kind.into(),
                    size: *size,
                    description,
                    license: card.statement.license.clone(),
                    publisher: card.publisher.hex(),
                    peers: Vec::new(),
                    here: here(id),
                });
                offer.peers.push(PeerName { peer: node.to_string(), name: said.clone() });
            }
        }
        let mut offers: Vec<Offer> = offers.into_values().collect();
        for offer in &mut offers {
            offer.peers.sort();
            offer.peers.dedup();
        }
        offers
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Changes what is known, and tells of it once the lock is free again.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.send_replace(());
    }
}

fn kind(card: &Card) -> &'static str {
    use hive_protocol::card::Kind;
    match card.kind {
        Kind::Model => "model",
        Kind::Adapter => "adapter",
        Kind::Tokenizer => "tokenizer",
        Kind::Dataset => "dataset",
        Kind::Other => "other",
    }
}

/// Whether a model of this kind and format can be run at all.
pub(crate) fn runs(card: &Card) -> bool {
    let format = card.format.as_deref();
    kind(card) == "model" && matches!(format, Some("gguf" | "safetensors"))
}

fn description(card: &Card) -> String {
    let parts = [&card.format, &card.architecture, &card.quantization];
    parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
