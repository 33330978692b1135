//! A peer that lies as told.
//!
//! A second implementation of the wire, with stock libp2p (its TLS, noise, yamux, Kademlia and
//! request-response as they come) and [`hive_protocol`]'s messages, so that it also shows that a
//! stranger's implementation and ours understand each other ([`Lie::None`]). It counts what it did
//! where it did it: a test that blames the reader first asserts that the liar lied.
//!
//! It asks too: [`Liar::ask`] and [`Liar::ask_chunks`] say what a node tells a stranger.

mod answer;
pub(crate) mod script;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use hive_protocol::BlockId;
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse};
use hive_protocol::message::{Request, Response};
use libp2p::kad::store::MemoryStore;
use libp2p::request_response::{self, OutboundRequestId, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, kad};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use self::answer::Answers;
pub use self::answer::Wrong;
pub use self::script::Counters;
use self::script::{Answer, Codec};
use crate::sample::Sample;
use crate::wait::eventually;

/// How long a liar may take to come up, or an answer to come.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long a request may hang: longer than any reader has patience.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(5);

/// What a peer lies about. All say that they have all of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lie {
    /// Nothing: an honest stranger.
    None,
    /// Every group.
    Bytes(Wrong),
    /// Every group after that many good ones.
    After {
        /// Good groups before the first bad one.
        groups: u32,
    },
    /// Ends the stream inside the first group.
    Short,
    /// Good groups, and a byte more.
    Extra,
    /// Good groups, and then bytes without an end.
    Endless,
    /// Good groups, a byte a second.
    Trickle,
    /// Good groups, all but their last hundredth, and then nothing.
    AlmostAll,
    /// A byte, and then nothing.
    OneByte,
    /// Takes a request and never answers.
    Silent,
    /// Group hashes that do not fold to the chunk.
    Hashes,
    /// A manifest that is not what its id names.
    Manifest,
    /// A header over every limit.
    Header,
    /// Grants another group than was asked.
    Unasked,
    /// Has nothing of what it says.
    Empty,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
    model: request_response::Behaviour<Codec>,
    chunk: request_response::Behaviour<Codec>,
}

enum Command {
    Dial(Multiaddr, oneshot::Sender<anyhow::Result<()>>),
    Model(PeerId, Vec<u8>, oneshot::Sender<anyhow::Result<Vec<u8>>>),
    Chunk(PeerId, Vec<u8>, oneshot::Sender<anyhow::Result<Vec<u8>>>),
    Providers(kad::RecordKey, oneshot::Sender<Vec<PeerId>>),
}

/// A running liar. Dropping it ends it.
#[derive(Debug)]
pub struct Liar {
    peer: String,
    address: String,
    counters: Arc<Counters>,
    commands: mpsc::Sender<Command>,
    /// Ticks with each peer and each provider that the DHT tells this one of.
    heard: watch::Receiver<()>,
    task: AbortHandle,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    /// Starts a peer of the network that says to have the samples.
    pub async fn start(network: &str, lie: Lie, samples: Vec<Sample>) -> anyhow::Result<Self> {
        Self::start_with(network, lie, samples, Vec::new()).await
    }

    /// Starts a peer of the network that gives out blocks as they are, each under the id that its
    /// bytes have. Each that is asked for counts as a lie.
    pub async fn giving(network: &str, blocks: Vec<Vec<u8>>) -> anyhow::Result<Self> {
        Self::start_with(network, Lie::None, Vec::new(), blocks).await
    }

    async fn start_with(
        network: &str,
        lie: Lie,
        samples: Vec<Sample>,
        blocks: Vec<Vec<u8>>,
    ) -> anyhow::Result<Self> {
        let counters = Arc::new(Counters::default());
        let mut swarm = swarm(network, &counters)?;
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
        let listening = async {
            loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    return address;
                }
            }
        };
        let address = tokio::time::timeout(DEADLINE, listening).await.context("no address")?;
        swarm.add_external_address(address.clone());
        let peer = *swarm.local_peer_id();
        for sample in &samples {
            let key = kad::RecordKey::from(sample.id().multihash());
            swarm.behaviour_mut().kad.start_providing(key)?;
        }
        let (commands, inbox) = mpsc::channel(16);
        let (tell, heard) = watch::channel(());
        let mut run = Loop {
            swarm,
            tell,
            answers: Answers { lie, samples, blocks, granted: 0 },
            counters: counters.clone(),
            dials: HashMap::new(),
            asked: HashMap::new(),
            searches: HashMap::new(),
        };
        let task = tokio::spawn(async move { run.run(inbox).await }).abort_handle();
        let address = format!("{address}/p2p/{peer}");
        Ok(Self { peer: peer.to_string(), address, counters, commands, heard, task })
    }

    /// Its peer id.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Its full address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it did.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The same, to be looked at when the liar has gone.
    pub fn shared_counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Connects to a full address.
    pub async fn dial(&self, address: &str) -> anyhow::Result<()> {
        let address: Multiaddr = address.parse()?;
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Dial(address, reply)).await?;
        tokio::time::timeout(DEADLINE, answer).await.context("no connection")??
    }

    /// Asks a connected peer a question.
    pub async fn ask(&self, peer: &str, request: &Request) -> anyhow::Result<Response> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Model(peer.parse()?, request.encode(), reply)).await?;
        let bytes = tokio::time::timeout(DEADLINE, answer).await.context("no answer")???;
        let (body, rest) = script::unframed(&bytes).context("a cut answer")?;
        anyhow::ensure!(rest.is_empty(), "{} bytes after the answer", rest.len());
        Ok(Response::decode(body)?)
    }

    /// Asks a connected peer for groups; returns its header and all bytes that follow it.
    pub async fn ask_chunks(
        &self,
        peer: &str,
        request: &ChunkRequest,
    ) -> anyhow::Result<(ChunkResponse, Vec<u8>)> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Chunk(peer.parse()?, request.encode(), reply)).await?;
        let bytes = tokio::time::timeout(DEADLINE, answer).await.context("no answer")???;
        let (body, rest) = script::unframed(&bytes).context("a cut answer")?;
        Ok((ChunkResponse::decode(body)?, rest.to_vec()))
    }

    /// Asks the DHT who has a model, now and whenever the liar heard of somebody or something new,
    /// until it names at least so many peers besides this one.
    pub async fn providers(&self, id: BlockId, at_least: usize) -> anyhow::Result<Vec<String>> {
        let key = kad::RecordKey::from(id.multihash());
        eventually("providers in the DHT", self.heard.clone(), async || {
            let (reply, answer) = oneshot::channel();
            self.commands.send(Command::Providers(key.clone(), reply)).await.ok()?;
            let mut found: Vec<String> = answer.await.ok()?.iter().map(PeerId::to_string).collect();
            found.sort();
            (found.len() >= at_least).then_some(found)
        })
        .await
    }
}

fn swarm(network: &str, counters: &Arc<Counters>) -> anyhow::Result<Swarm<Behaviour>> {
    let protocol = |name: &str| StreamProtocol::try_from_owned(format!("/hive/{network}/{name}/1"));
    let (kad, model, chunk) = (protocol("kad")?, protocol("model")?, protocol("chunk")?);
    let version = format!("hive/{network}/1");
    let behaviour = |keypair: &libp2p::identity::Keypair| {
        let peer = keypair.public().to_peer_id();
        let speak = |protocol| {
            let config = request_response::Config::default().with_request_timeout(REQUEST_TIMEOUT);
            let codec = Codec { counters: counters.clone() };
            let protocols = [(protocol, ProtocolSupport::Full)];
            request_response::Behaviour::with_codec(codec, protocols, config)
        };
        let store = MemoryStore::new(peer);
        let mut kad = kad::Behaviour::with_config(peer, store, kad::Config::new(kad));
        kad.set_mode(Some(kad::Mode::Server));
        let config = identify::Config::new(version, keypair.public());
        Behaviour {
            identify: identify::Behaviour::new(config.with_agent_version("liar/1".to_owned())),
            kad,
            model: speak(model),
            chunk: speak(chunk),
        }
    };
    let tls = libp2p::tls::Config::new;
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            libp2p::tcp::Config::default().nodelay(true),
            (tls, libp2p::noise::Config::new),
            libp2p::yamux::Config::default,
        )?
        .with_behaviour(behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(REQUEST_TIMEOUT))
        .build();
    Ok(swarm)
}

type Asked = oneshot::Sender<anyhow::Result<Vec<u8>>>;

struct Loop {
    swarm: Swarm<Behaviour>,
    tell: watch::Sender<()>,
    answers: Answers,
    counters: Arc<Counters>,
    dials: HashMap<PeerId, oneshot::Sender<anyhow::Result<()>>>,
    asked: HashMap<(Protocol, OutboundRequestId), Asked>,
    searches: HashMap<kad::QueryId, Search>,
}

/// Who was found so far, and who wants to know.
struct Search {
    found: HashSet<PeerId>,
    reply: oneshot::Sender<Vec<PeerId>>,
}

/// The two behaviours count their requests alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Protocol {
    Model,
    Chunk,
}

impl Loop {
    async fn run(&mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial(address, reply) => match self.dial(address) {
                Ok(peer) => drop(self.dials.insert(peer, reply)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Model(peer, body, reply) => {
                let id = self.swarm.behaviour_mut().model.send_request(&peer, body);
                self.asked.insert((Protocol::Model, id), reply);
            }
            Command::Chunk(peer, body, reply) => {
                let id = self.swarm.behaviour_mut().chunk.send_request(&peer, body);
                self.asked.insert((Protocol::Chunk, id), reply);
            }
            Command::Providers(key, reply) => {
                let id = self.swarm.behaviour_mut().kad.get_providers(key);
                self.searches.insert(id, Search { found: HashSet::new(), reply });
            }
        }
    }

    fn dial(&mut self, address: Multiaddr) -> anyhow::Result<PeerId> {
        let Some(libp2p::multiaddr::Protocol::P2p(peer)) = address.iter().last() else {
            bail!("`{address}` has no peer id");
        };
        self.swarm.dial(address)?;
        Ok(peer)
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                if let Some(reply) = self.dials.remove(&peer_id) {
                    // Who waited may have gone.
                    let _ = reply.send(Ok(()));
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                if let Some(reply) = self.dials.remove(&peer) {
                    let _ = reply.send(Err(error.into()));
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => {
                for address in info.listen_addrs {
                    self.swarm.behaviour_mut().kad.add_address(&peer_id, address);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => self.on_kad(event),
            SwarmEvent::Behaviour(BehaviourEvent::Model(event)) => {
                self.on_exchange(Protocol::Model, event);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Chunk(event)) => {
                self.on_exchange(Protocol::Chunk, event);
            }
            _ => {}
        }
    }

    fn on_kad(&mut self, event: kad::Event) {
        use kad::{Event, GetProvidersOk, QueryResult};
        if matches!(event, Event::RoutingUpdated { .. } | Event::InboundRequest { .. }) {
            self.tell.send_replace(());
        }
        let Event::OutboundQueryProgressed { id, result, step, .. } = event else { return };
        let Some(search) = self.searches.get_mut(&id) else { return };
        if let QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) =
            result
        {
            search.found.extend(providers);
        }
        if step.last
            && let Some(Search { found, reply }) = self.searches.remove(&id)
        {
            let others = found.into_iter().filter(|peer| peer != self.swarm.local_peer_id());
            // Who asked may have stopped waiting.
            let _ = reply.send(others.collect());
        }
    }

    fn on_exchange(&mut self, protocol: Protocol, event: request_response::Event<Vec<u8>, Answer>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { message: Message::Request { request, channel, .. }, .. } => {
                let script = match protocol {
                    Protocol::Model => self.answers.question(&request, &self.counters),
                    Protocol::Chunk => self.answers.chunks(&request, &self.counters),
                };
                let model = &mut self.swarm.behaviour_mut().model;
                // The channel knows its own way; an asker that has gone needs no answer.
                let _ = model.send_response(channel, Answer::Script(script));
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                let reply = self.asked.remove(&(protocol, request_id));
                if let (Some(reply), Answer::Bytes(bytes)) = (reply, response) {
                    let _ = reply.send(Ok(bytes));
                }
            }
            Event::OutboundFailure { request_id, error, .. } => {
                if let Some(reply) = self.asked.remove(&(protocol, request_id)) {
                    let _ = reply.send(Err(error.into()));
                }
            }
            _ => {}
        }
    }
}
