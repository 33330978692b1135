//! The DHT: searching, announcing, and what is kept for others.
//!
//! The routing table is filled from what connected peers say of themselves, never from what they
//! say of others. Providers are dialed while the search runs, for their addresses end with it.
//!
//! A node also announces itself ([`whereabouts`]): who has heard of it from others only, as of the
//! author of a catalog, finds there where it is, be it behind a relay.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use hive_protocol::BlockId;
use libp2p::core::Endpoint;
use libp2p::kad::{
    self, GetProvidersOk, InboundRequest, ProviderRecord, QueryId, QueryResult, RecordKey,
    store::RecordStore,
};
use libp2p::swarm::{ConnectionId, NetworkBehaviour};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::mpsc;

use super::{EventLoop, answer};
use crate::address::{Policy, is_global, is_relayed, without_peer};
use crate::client::Reply;
use crate::config::ServerMode;
use crate::error::BootstrapError;
use crate::identity::Peer;
use crate::limits::{
    ADDRESSES_SEEN, PROVIDERS_PER_SEARCH, RECORD_ADDRESSES, RECORD_BURST, RECORDS_PER_SECOND,
    REPROVIDE_DEBOUNCE, ROUTING_ADDRESSES, SEARCH_PAUSES, SEARCHES, SWEEP_INTERVAL,
};
use crate::meter::Meter;
use crate::provided::Provided;
use crate::records::is_hive_key;

/// Somebody looks for providers.
#[derive(Debug)]
struct Search {
    key: RecordKey,
    found: HashSet<PeerId>,
    /// The peer whose whereabouts are looked for; what others say under its key counts for nothing.
    wanted: Option<PeerId>,
    to: mpsc::Sender<Peer>,
    /// Queries so far.
    n_queries: usize,
    /// The query that runs, or when the next one begins.
    state: Result<QueryId, Instant>,
}

/// See the module.
pub(super) struct Dht {
    mode: ServerMode,
    /// The id under which this node says where it is.
    here: BlockId,
    searches: HashMap<u64, Search>,
    next_search: u64,
    by_query: HashMap<QueryId, u64>,
    bootstraps: HashMap<QueryId, Vec<Reply<Result<(), BootstrapError>>>>,
    provided: Provided,
    /// Who sends provider records too fast.
    sources: Meter<PeerId>,
    /// Size of the routing table when all was last announced for its growth.
    grown_to: usize,
    sweep_at: Instant,
}

impl Dht {
    pub(super) fn new(mode: ServerMode, local: PeerId, now: Instant) -> Self {
        Self {
            mode,
            here: whereabouts(local),
            searches: HashMap::new(),
            next_search: 0,
            by_query: HashMap::new(),
            bootstraps: HashMap::new(),
            provided: Provided::default(),
            sources: Meter::new(RECORD_BURST, RECORDS_PER_SECOND),
            grown_to: 0,
            sweep_at: now + SWEEP_INTERVAL,
        }
    }

    /// Ids that are provided, this node's own aside, and how many of them somebody was told.
    pub(super) fn provided(&self) -> (usize, usize) {
        let (here, told) = match self.provided.is_told(&self.here) {
            Some(told) => (1, usize::from(told)),
            None => (0, 0),
        };
        (self.provided.len() - here, self.provided.announced() - told)
    }
}

/// The id under which a peer says in the DHT where it is.
fn whereabouts(peer: PeerId) -> BlockId {
    let mut named = b"hive 1 whereabouts".to_vec();
    named.extend_from_slice(&peer.to_bytes());
    BlockId::of(&named)
}

/// The name of a model in the DHT: its multihash, which says nothing of its codec.
fn key_of(id: BlockId) -> RecordKey {
    RecordKey::from(id.multihash())
}

impl EventLoop {
    // Providing.

    pub(super) fn on_provide(&mut self, id: BlockId, reply: Reply<()>) {
        if !self.dht.provided.add(id, Instant::now()) {
            tracing::warn!(id = id.short(), "not announced, too many are");
        }
        answer(reply, ());
        self.announce_due(Instant::now());
    }

    pub(super) fn on_unprovide(&mut self, id: BlockId, reply: Reply<()>) {
        self.dht.provided.remove(&id);
        self.swarm.behaviour_mut().kad.stop_providing(&key_of(id));
        answer(reply, ());
    }

    /// Announces all again once nothing more has changed for a moment.
    pub(super) fn reprovide_soon(&mut self) {
        self.dht.provided.all_due(Instant::now() + REPROVIDE_DEBOUNCE);
    }

    fn announce_due(&mut self, now: Instant) {
        while let Some(id) = self.dht.provided.next(now) {
            match self.swarm.behaviour_mut().kad.start_providing(key_of(id)) {
                Ok(query) => self.dht.provided.started(query, id),
                // The store takes whatever is this node's own.
                Err(error) => {
                    tracing::warn!(%error, "not announced");
                    self.dht.provided.failed_to_start(&id, now);
                }
            }
        }
    }

    // Searching.

    pub(super) fn on_providers(&mut self, id: BlockId, to: mpsc::Sender<Peer>) {
        self.search(id, None, to);
    }

    /// Looks for where a peer is, and dials it there. What comes out is of no further use, but the
    /// search lasts as long as it is held.
    pub(super) fn search_for(&mut self, peer: PeerId) -> Option<mpsc::Receiver<Peer>> {
        let (to, found) = mpsc::channel(1);
        self.search(whereabouts(peer), Some(peer), to).then_some(found)
    }

    fn search(&mut self, id: BlockId, wanted: Option<PeerId>, to: mpsc::Sender<Peer>) -> bool {
        if self.dht.searches.len() >= SEARCHES {
            tracing::warn!(id = id.short(), "not searched for, too many searches run");
            return false;
        }
        let search = self.dht.next_search;
        self.dht.next_search += 1;
        let state = Err(Instant::now());
        let new =
            Search { key: key_of(id), found: HashSet::new(), wanted, to, n_queries: 0, state };
        self.dht.searches.insert(search, new);
        self.query(search);
        true
    }

    fn query(&mut self, id: u64) {
        let Some(search) = self.dht.searches.get_mut(&id) else { return };
        let query = self.swarm.behaviour_mut().kad.get_providers(search.key.clone());
        search.n_queries += 1;
        search.state = Ok(query);
        self.dht.by_query.insert(query, id);
    }

    fn on_found(&mut self, query: QueryId, providers: HashSet<PeerId>) {
        let Some(id) = self.dht.by_query.get(&query).copied() else { return };
        for peer in providers {
            if peer == self.local || self.peers.is_banned(&peer) {
                continue;
            }
            let Some(search) = self.dht.searches.get_mut(&id) else { return };
            if search.found.len() >= PROVIDERS_PER_SEARCH || search.to.is_closed() {
                if let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&query) {
                    query.finish();
                }
                return;
            }
            let other = search.wanted.is_some_and(|wanted| wanted != peer);
            // What another says of the same whereabouts may be the better address.
            let again = !search.found.insert(peer) && search.wanted.is_none();
            if other || again {
                continue;
            }
            let key = search.key.clone();
            // There is room for each that may be found.
            let _ = search.to.try_send(Peer(peer));
            self.dial_provider(&key, peer);
        }
    }

    fn dial_provider(&mut self, key: &RecordKey, peer: PeerId) {
        if self.swarm.is_connected(&peer) {
            return;
        }
        let mut addresses = self.dht_addresses(peer);
        let store = self.swarm.behaviour_mut().kad.store_mut();
        let kept = self.policy.filter(peer, store.addresses(key, &peer), RECORD_ADDRESSES);
        addresses.extend(kept);
        self.peers.book.heard(peer, &addresses);
        if let Err(error) = self.dial_known(peer) {
            tracing::debug!(%peer, %error, "provider not dialed");
        }
    }

    fn on_search_over(&mut self, query: QueryId) {
        let Some(id) = self.dht.by_query.remove(&query) else { return };
        let Some(search) = self.dht.searches.get_mut(&id) else { return };
        tracing::debug!(local = %self.local, n_found = search.found.len(), n_queries = search.n_queries, "searched");
        let pause = SEARCH_PAUSES.get(search.n_queries - 1);
        if let Some(pause) = pause.filter(|_| search.found.is_empty()) {
            search.state = Err(Instant::now() + *pause);
            return;
        }
        // Dropping it ends the receiver.
        let over = self.dht.searches.remove(&id);
        if let Some(peer) = over.and_then(|search| search.wanted) {
            self.on_searched(peer);
        }
    }

    fn tick_searches(&mut self, now: Instant) {
        let mut due = Vec::new();
        let kad = &mut self.swarm.behaviour_mut().kad;
        let by_query = &mut self.dht.by_query;
        self.dht.searches.retain(|id, search| {
            if search.to.is_closed() {
                if let Ok(query) = search.state {
                    by_query.remove(&query);
                    if let Some(mut query) = kad.query_mut(&query) {
                        query.finish();
                    }
                }
                return false;
            }
            if search.state.is_err_and(|at| at <= now) {
                due.push(*id);
            }
            true
        });
        for id in due {
            self.query(id);
        }
    }

    /// Where the routing table, or a running search, has a peer: the behaviour tells whoever dials.
    pub(super) fn dht_addresses(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        let kad = &mut self.swarm.behaviour_mut().kad;
        // It knows no connection of this number, and looks at the peer only.
        let id = ConnectionId::new_unchecked(usize::MAX);
        let told = kad.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer);
        self.policy.filter(peer, &told.unwrap_or_default(), ADDRESSES_SEEN)
    }

    // What others say.

    pub(super) fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, stats, step } => match result {
                QueryResult::GetProviders(result) => {
                    if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = result {
                        self.on_found(id, providers);
                    }
                    // A search that times out ends here too. What it found is still good.
                    if step.last {
                        self.on_search_over(id);
                    }
                }
                QueryResult::StartProviding(result) => {
                    let told = result.is_ok() && stats.num_successes() > 0;
                    tracing::debug!(local = %self.local, told, n_peers = stats.num_successes(), took = ?stats.duration(), "announced");
                    let jitter = rand::random();
                    self.dht.provided.ended(id, told, Instant::now(), jitter);
                    self.announce_due(Instant::now());
                }
                QueryResult::Bootstrap(result) if step.last => {
                    let result = result.map(|_| ()).map_err(|_| BootstrapError::Failed);
                    for reply in self.dht.bootstraps.remove(&id).unwrap_or_default() {
                        answer(reply, result.clone());
                    }
                }
                _ => {}
            },
            kad::Event::InboundRequest {
                request: InboundRequest::AddProvider { record: Some(record) },
            } => self.on_record(record),
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => self.on_routing_grown(),
            _ => {}
        }
    }

    /// Somebody says to provide something. libp2p has checked that it speaks of itself.
    fn on_record(&mut self, mut record: ProviderRecord) {
        let source = record.provider;
        let now = Instant::now();
        if !is_hive_key(&record.key)
            || self.peers.is_banned(&source)
            || !self.dht.sources.allows(source, now)
        {
            tracing::debug!(%source, "provider record refused");
            return;
        }
        // A public peer has no private address, whatever the network.
        let exchange = &self.swarm.behaviour().exchange;
        let public = exchange
            .connections(&source)
            .any(|info| !info.is_relayed() && is_global(&info.remote_addr));
        let policy = Policy { allow_private: self.policy.allow_private && !public };
        record.addresses = policy.filter(source, &record.addresses, RECORD_ADDRESSES);
        if let Err(error) = self.swarm.behaviour_mut().kad.store_mut().add_provider(record) {
            tracing::debug!(%source, %error, "provider record not kept");
        }
    }

    /// Puts a peer that answers questions of the DHT into the routing table, where it says to be.
    pub(super) fn route(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        let addresses = self.policy.filter(peer, addresses, ROUTING_ADDRESSES);
        let kad = &mut self.swarm.behaviour_mut().kad;
        let mut old = Vec::new();
        if let Some(bucket) = kad.kbucket(peer) {
            let entry = bucket.iter().find(|entry| *entry.node.key.preimage() == peer);
            old.extend(entry.into_iter().flat_map(|entry| entry.node.value.iter().cloned()));
        }
        for address in &addresses {
            kad.add_address(&peer, address.clone());
        }
        for address in old {
            if !addresses.contains(&without_peer(&address)) {
                kad.remove_address(&peer, &address);
            }
        }
    }

    /// Takes a peer that no longer answers out of the routing table.
    pub(super) fn unroute(&mut self, peer: PeerId) {
        self.swarm.behaviour_mut().kad.remove_peer(&peer);
    }

    /// Peers in the routing table.
    pub(super) fn dht_len(&mut self) -> usize {
        self.swarm.behaviour_mut().kad.kbuckets().map(|bucket| bucket.num_entries()).sum()
    }

    /// What was announced to few is announced again to those who are nearer now: at the first peer,
    /// whom there was nobody before to tell, and each time the table has doubled.
    fn on_routing_grown(&mut self) {
        let len = self.dht_len();
        // Beyond that, those who are told are a small part of all, and found by the timer.
        let doubled = len >= self.dht.grown_to.saturating_mul(2) && len <= 64;
        if len != 1 && !doubled {
            return;
        }
        self.dht.grown_to = len;
        self.reprovide_soon();
        // Whoever searched an empty table need not wait.
        if len == 1 {
            let now = Instant::now();
            for search in self.dht.searches.values_mut() {
                if let Err(at) = &mut search.state {
                    *at = now;
                }
            }
        }
    }

    // This node's own part.

    pub(super) fn on_bootstrap(&mut self, reply: Reply<Result<(), BootstrapError>>) {
        self.dial_bootstrap();
        match self.swarm.behaviour_mut().kad.bootstrap() {
            Ok(query) => self.dht.bootstraps.entry(query).or_default().push(reply),
            Err(kad::NoKnownPeers()) => answer(reply, Err(BootstrapError::NoKnownPeers)),
        }
    }

    /// Whether this node answers depends on where it is reached.
    pub(super) fn on_external_changed(&mut self) {
        let external: Vec<_> = self.swarm.external_addresses().cloned().collect();
        if external.is_empty() {
            self.dht.provided.remove(&self.dht.here);
            self.swarm.behaviour_mut().kad.stop_providing(&key_of(self.dht.here));
        } else {
            self.dht.provided.add(self.dht.here, Instant::now());
        }
        self.swarm.behaviour_mut().kad.store_mut().set_own_addresses(external);
        self.update_mode();
    }

    pub(super) fn update_mode(&mut self) {
        let server = match self.dht.mode {
            ServerMode::Always => true,
            ServerMode::Never => false,
            // Behind a relay a node would make every question of others a relay's work.
            ServerMode::Auto => self.swarm.external_addresses().any(|address| !is_relayed(address)),
        };
        let mode = if server { kad::Mode::Server } else { kad::Mode::Client };
        let kad = &mut self.swarm.behaviour_mut().kad;
        if kad.mode() != mode {
            tracing::info!(%mode, "part in the DHT");
            kad.set_mode(Some(mode));
        }
    }

    pub(super) fn tick_dht(&mut self, now: Instant) {
        self.tick_searches(now);
        self.announce_due(now);
        if now >= self.dht.sweep_at {
            self.dht.sweep_at = now + SWEEP_INTERVAL;
            self.swarm.behaviour_mut().kad.store_mut().sweep(now);
        }
    }
}
