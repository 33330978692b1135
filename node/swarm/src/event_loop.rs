//! Owns the [`Swarm`]; nothing else in the process can reach it.
//!
//! Handlers are plain functions, so none can hold up the others. Work leaves through bounded queues
//! and comes back as a [`Command`], or as a future that the loop itself waits for. What each
//! handler owns stands in the module of its protocol: [`bulk`], [`connections`], [`dht`],
//! [`gossip`], [`members`], [`model`], [`peers`], [`punching`], [`reachability`], [`relaying`],
//! [`relays`].
//!
//! Invariant: every reply that is waited for is answered, or dropped with what it waited for.

mod bulk;
mod connections;
mod dht;
mod gossip;
mod members;
mod model;
mod peers;
mod punching;
mod reachability;
mod rejoining;
mod relaying;
mod relays;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures::StreamExt;
use libp2p::swarm::derive_prelude::ListenerId;
use libp2p::swarm::{ConnectionError, SwarmEvent as Event};
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::bulk::Bulk;
use self::connections::Connections;
use self::dht::Dht;
use self::gossip::Gossiping;
use self::members::Members;
use self::model::Model;
use self::peers::Peers;
use self::punching::Punching;
use self::reachability::Reach;
use self::relaying::Relaying;
use self::relays::Relays;
use crate::address::{Policy, full, is_loopback, is_relayed, is_unspecified};
use crate::behaviour::{Behaviour, BehaviourEvent, Names};
use crate::client::{Command, Reply};
use crate::config::Config;
use crate::exchange::TransportKind;
use crate::gate::Gate;
use crate::inbound::{Gossip, InboundRequest, SwarmEvent};
use crate::limits::{COMMANDS, SHUTDOWN_TIMEOUT, TICK};
use crate::relaying::Relay;

/// What the loop is made from.
pub(crate) struct Parts {
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) requests: mpsc::Sender<InboundRequest>,
    pub(crate) gossip: mpsc::Sender<Gossip>,
    pub(crate) events: broadcast::Sender<SwarmEvent>,
    pub(crate) gate: Gate,
    pub(crate) bootstrap: Vec<Multiaddr>,
    pub(crate) relays: Vec<Multiaddr>,
    pub(crate) relay: Option<Relay>,
    pub(crate) listeners: Vec<ListenerId>,
    pub(crate) tasks: TaskTracker,
}

/// See the module.
pub(crate) struct EventLoop {
    swarm: Swarm<Behaviour>,
    local: PeerId,
    commands: mpsc::Receiver<Command>,
    events: broadcast::Sender<SwarmEvent>,
    policy: Policy,
    gate: Gate,
    names: Names,
    listening: Listening,
    connections: Connections,
    bulk: Bulk,
    peers: Peers,
    dht: Dht,
    model: Model,
    gossip: Gossiping,
    punching: Punching,
    reach: Reach,
    relays: Relays,
    relaying: Relaying,
    /// Addresses of this node that its owner vouches for.
    configured: Vec<Multiaddr>,
    members: Members,
    tasks: TaskTracker,
}

/// Listeners that have no address yet, and who waits for them.
#[derive(Debug)]
struct Listening {
    starting: Vec<ListenerId>,
    /// A machine without a network has no address to wait for.
    until: Instant,
    waiters: Vec<Reply<Vec<String>>>,
}

impl EventLoop {
    pub(crate) fn new(parts: Parts, config: &Config, external: Vec<Multiaddr>) -> Self {
        let Parts {
            swarm,
            commands,
            requests,
            gossip,
            events,
            gate,
            bootstrap,
            relays,
            relay,
            listeners,
            tasks,
        } = parts;
        let (local, now) = (*swarm.local_peer_id(), Instant::now());
        let mut this = Self {
            local,
            commands,
            events,
            policy: Policy { allow_private: config.allow_private },
            gate,
            names: Names::of(&config.network),
            listening: Listening {
                starting: listeners,
                until: now + SHUTDOWN_TIMEOUT,
                waiters: Vec::new(),
            },
            connections: Connections::new(bootstrap, local, now),
            bulk: Bulk::default(),
            peers: Peers::new(&config.known_peers, local),
            dht: Dht::new(config.dht_server, local, now),
            model: Model::new(requests),
            gossip: Gossiping::new(gossip, &config.network),
            punching: Punching::default(),
            reach: Reach::new(config.upnp),
            relays: Relays::new(
                relays,
                config.traverse && !config.lan_only && relay.is_none(),
                now,
            ),
            relaying: Relaying::new(relay, now),
            configured: external.clone(),
            members: Members::new(config.membership.clone()),
            tasks,
            swarm,
        };
        for address in external {
            this.add_external(address);
        }
        this.update_mode();
        this
    }

    /// Runs until every [`Client`](crate::Client) is gone or `stop` is cancelled. When it returns,
    /// all tasks that the swarm began have ended.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut timer = interval(TICK);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(answered) = self.model.serving.next() => self.on_answered(answered),
                Some(judged) = self.gossip.judging.next() => self.on_judged(judged),
                Some(forward) = self.members.forwards.recv() => self.on_forward(forward),
                _ = timer.tick() => self.on_tick(Instant::now()),
            }
        }
        let tasks = self.tasks.clone();
        // Dropping the swarm tells the connections' tasks to end.
        drop(self);
        tasks.close();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await.is_err() {
            tracing::warn!(n = tasks.len(), "connections did not close in time");
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::ListenAddrs(reply) => self.on_listen_addrs(reply),
            Command::Dial { address, reply } => self.on_dial(&address, reply),
            Command::Connect { peer, reply } => self.on_connect(peer.0, reply),
            Command::Disconnect { peer, reply } => self.on_disconnect(peer.0, reply),
            Command::Providers { id, found } => self.on_providers(id, found),
            Command::Provide { id, reply } => self.on_provide(id, reply),
            Command::Unprovide { id, reply } => self.on_unprovide(id, reply),
            Command::Request { peer, request, reply } => self.on_request(peer.0, request, reply),
            Command::Fetch { peer, fetch } => self.on_fetch(peer.0, fetch),
            Command::Peers(reply) => answer(reply, self.peer_states()),
            Command::Connected(reply) => answer(reply, self.peers.connected()),
            Command::Ban { peer, time, reason, reply } => self.on_ban(peer.0, time, reason, reply),
            Command::Unban { peer, reply } => self.on_unban(peer.0, reply),
            Command::Announce { topic, bytes, reply } => self.on_announce(topic, bytes, reply),
            Command::Bootstrap(reply) => self.on_bootstrap(reply),
            Command::NetworkState(reply) => {
                let state = self.network_state();
                answer(reply, state);
            }
            Command::RelayState(reply) => self.on_relay_state(reply),
            Command::AddressBook(reply) => answer(reply, self.peers.book.snapshot()),
        }
    }

    fn on_swarm_event(&mut self, event: Event<BehaviourEvent>) {
        match event {
            Event::Behaviour(event) => self.on_behaviour_event(event),
            Event::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                num_established,
                ..
            } => {
                self.on_established(peer_id, connection_id, &endpoint, num_established.get());
            }
            Event::ConnectionClosed { peer_id, num_established, cause, .. } => {
                tracing::trace!(peer = %peer_id, ?cause, "connection closed");
                self.on_closed(peer_id, num_established);
                if matches!(cause, Some(ConnectionError::IO(_))) {
                    self.on_relay_broken(peer_id);
                }
            }
            Event::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(connection_id, peer_id, &error);
            }
            Event::NewListenAddr { listener_id, address } => {
                self.on_new_listen_addr(listener_id, &address);
            }
            Event::ExpiredListenAddr { address, .. } => self.on_expired_listen_addr(&address),
            Event::ListenerClosed { listener_id, addresses, reason } => {
                let why = match &reason {
                    Ok(()) => "the connection to it has closed".to_owned(),
                    Err(error) => error.to_string(),
                };
                if self.on_relay_closed(listener_id, &why) {
                    return;
                }
                tracing::warn!(?addresses, ?reason, "no longer listening");
                self.on_listening(listener_id);
            }
            Event::ListenerError { error, .. } => tracing::warn!(%error, "listener failed"),
            Event::ExternalAddrConfirmed { address } => self.on_external_confirmed(&address),
            Event::ExternalAddrExpired { address } => self.on_external_expired(&address),
            // What is left is bookkeeping that libp2p has already done.
            event => tracing::trace!(?event, "ignored"),
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Kad(event) => self.on_kad(event),
            BehaviourEvent::Model(event) => self.on_model(event),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Mdns(event) => self.on_mdns(event),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Autonat(event) => reachability::on_autonat(event),
            BehaviourEvent::AutonatServer(event) => tracing::trace!(?event, "checked for a peer"),
            BehaviourEvent::Upnp(event) => self.on_upnp(event),
            BehaviourEvent::RelayClient(event) => self.on_relay_client(event),
            BehaviourEvent::Relay(event) => self.on_relay_server(event),
            BehaviourEvent::Dcutr(event) => self.on_dcutr(event),
            // These never say anything.
            BehaviourEvent::Limits(never)
            | BehaviourEvent::Hosts(never)
            | BehaviourEvent::Bans(never)
            | BehaviourEvent::Exchange(never)
            | BehaviourEvent::Candidates(never)
            | BehaviourEvent::Hold(never) => match never {},
        }
    }

    fn on_tick(&mut self, now: Instant) {
        self.tick_connections(now);
        self.tick_dht(now);
        self.tick_gossip();
        self.tick_punching(now);
        self.tick_reachability(now);
        self.tick_relays(now);
        self.tick_members();
        self.tick_relaying(now);
        self.tick_bulk();
        self.lift_bans(SystemTime::now());
        if now >= self.listening.until && !self.is_listening() {
            self.listening.starting.clear();
            self.answer_listen_addrs();
        }
    }

    /// Tells whoever listens; nobody may.
    fn tell(&self, event: SwarmEvent) {
        let _ = self.events.send(event);
    }

    // Listening, and where others reach this node.

    fn on_listen_addrs(&mut self, reply: Reply<Vec<String>>) {
        self.listening.waiters.push(reply);
        if self.is_listening() || self.listening.waiters.len() > COMMANDS {
            self.answer_listen_addrs();
        }
    }

    /// Whether it listens wherever it shall. What is dialed before leaves from another port, which
    /// others then see.
    fn is_listening(&self) -> bool {
        self.listening.starting.is_empty()
    }

    fn answer_listen_addrs(&mut self) {
        let addresses = self.listen_addrs();
        for reply in self.listening.waiters.drain(..) {
            answer(reply, addresses.clone());
        }
    }

    fn listen_addrs(&self) -> Vec<String> {
        self.swarm.listeners().map(|address| full(address, self.local)).collect()
    }

    fn on_listening(&mut self, listener: ListenerId) {
        self.listening.starting.retain(|other| *other != listener);
        if self.is_listening() {
            self.answer_listen_addrs();
        }
    }

    fn on_new_listen_addr(&mut self, listener: ListenerId, address: &Multiaddr) {
        tracing::info!(%address, "listening");
        self.tell(SwarmEvent::NewListenAddr { address: full(address, self.local) });
        // In a network of private addresses, being there is being reachable. Elsewhere somebody has
        // to confirm it: the configuration, or another node.
        if self.policy.allow_private && !is_unspecified(address) && !is_relayed(address) {
            self.add_external(address.clone());
        }
        self.on_listening(listener);
    }

    fn on_expired_listen_addr(&mut self, address: &Multiaddr) {
        if is_relayed(address) {
            return;
        }
        tracing::info!(%address, "no longer listening there");
        // AutoNAT checks an address once, so one is given up only when there is nothing left that it
        // could lead to: interfaces come and go.
        let kind = TransportKind::of(address);
        let replaced = self.swarm.listeners().any(|other| {
            !is_relayed(other) && !is_loopback(other) && TransportKind::of(other) == kind
        });
        let kept =
            |other: &Multiaddr| is_relayed(other) || self.configured.contains(other) || replaced;
        let gone: Vec<_> = if self.policy.allow_private {
            vec![address.clone()]
        } else {
            // Whatever others have checked was behind it.
            self.swarm.external_addresses().filter(|other| !kept(other)).cloned().collect()
        };
        for address in gone {
            self.swarm.remove_external_address(&address);
            self.on_external_expired(&address);
        }
        self.on_network_changed(address);
    }

    fn add_external(&mut self, address: Multiaddr) {
        self.swarm.add_external_address(address.clone());
        self.on_external_confirmed(&address);
    }

    fn on_external_confirmed(&mut self, address: &Multiaddr) {
        tracing::info!(%address, "reachable");
        self.tell(SwarmEvent::AddressConfirmed { address: full(address, self.local) });
        self.on_external_changed();
        self.reprovide_soon();
    }

    fn on_external_expired(&mut self, address: &Multiaddr) {
        tracing::info!(%address, "no longer reachable");
        self.tell(SwarmEvent::AddressExpired { address: full(address, self.local) });
        self.on_external_changed();
    }
}

/// Answers somebody, who may have stopped waiting, which is its right.
fn answer<T>(reply: Reply<T>, value: T) {
    let _ = reply.send(value);
}

/// Seconds since 1970, for what goes to disk.
fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Runs the swarm's tasks where the loop can wait for their end.
pub(crate) fn executor(tasks: &TaskTracker) -> impl libp2p::swarm::Executor + use<> {
    let tasks = Arc::new(tasks.clone());
    move |task| {
        tasks.spawn(task);
    }
}
