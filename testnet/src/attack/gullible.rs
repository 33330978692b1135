//! A peer that keeps what it is told and does what it is asked, without a bound or a doubt: what
//! nodes were before somebody attacked them, and the twin of every attack.
//!
//! Each of its faults was once a real one in software of this kind: a table per topic of whoever
//! grafts, a clock that is set by a stranger's number, a credit that is added up unchecked, answers
//! that are made whole in memory, connections that nobody counts.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse};
use libp2p::identity::{Keypair, PublicKey};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::frames::{Field, fields, identify};
use super::negotiate::{answer, read_frame};
use super::shelf::Shelf;
use super::wire::{
    Attacker, IDENTIFY, IDENTIFY_PUSH, Inbound, NOISE, Names, PING, Pipe, Wire, YAMUX, echo, let_in,
};
use crate::liar::script::framed;

/// Bytes in a message: whatever they say.
const ANYTHING: usize = 1 << 28;

/// All that it was told.
#[derive(Debug, Default)]
struct Memory {
    topics: HashSet<Vec<u8>>,
    backoffs: HashMap<Vec<u8>, Instant>,
    messages: Vec<Vec<u8>>,
    records: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    said: Vec<Vec<u8>>,
    /// What each author announced last.
    announced: HashMap<Vec<u8>, Vec<u8>>,
}

/// How far a connection of its goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// All the way.
    Streams,
    /// It reads the multiplexer's frames itself.
    Frames,
}

/// See the module.
#[derive(Debug)]
pub struct Gullible {
    listener: TcpListener,
    myself: Attacker,
    depth: Depth,
    memory: Arc<Mutex<Memory>>,
    shelf: Option<Arc<Shelf>>,
}

impl Gullible {
    /// Listens on any port of all interfaces, as nodes do.
    ///
    /// # Errors
    ///
    /// There is none.
    pub async fn listen(network: &str, depth: Depth) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let myself = Attacker::new(network, u64::from(listener.local_addr()?.port()));
        Ok(Self { listener, myself, depth, memory: Arc::default(), shelf: None })
    }

    /// The same, giving out files as they are.
    ///
    /// # Errors
    ///
    /// As [`Self::listen`].
    pub async fn serving(network: &str, shelf: Shelf) -> anyhow::Result<Self> {
        let this = Self::listen(network, Depth::Streams).await?;
        Ok(Self { shelf: Some(Arc::new(shelf)), ..this })
    }

    /// Its full address on the loopback.
    ///
    /// # Errors
    ///
    /// The socket is gone.
    pub fn address(&self) -> anyhow::Result<String> {
        let port = self.listener.local_addr()?.port();
        Ok(format!("/ip4/127.0.0.1/tcp/{port}/p2p/{}", self.peer()))
    }

    /// Its peer id.
    pub fn peer(&self) -> String {
        self.myself.peer()
    }

    /// What a peer announced last, as it believes: the data of a gossip message.
    pub fn announced(&self) -> impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + use<> {
        let memory = self.memory.clone();
        move |peer| {
            let author = peer.parse::<libp2p::PeerId>().ok()?.to_bytes();
            let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.announced.get(&author).cloned()
        }
    }

    /// How many addresses a peer has, as it believes: every one that the peer ever said.
    pub fn addresses(&self) -> impl Fn(&str) -> usize + Send + Sync + use<> {
        let memory = self.memory.clone();
        move |peer| {
            let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            let of_peer = memory.said.iter().filter(|said| speaker(said).as_deref() == Some(peer));
            of_peer.flat_map(|said| fields(said)).filter(|(number, _)| *number == 2).count()
        }
    }

    /// Lets everybody in, until it is dropped.
    ///
    /// # Errors
    ///
    /// Nobody can be let in any more.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = self.listener.accept().await.context("accepting")?;
            stream.set_nodelay(true)?;
            let keypair = self.myself.keypair().clone();
            let names = Names { network: self.myself.network().to_owned() };
            let known = Known { memory: self.memory.clone(), shelf: self.shelf.clone() };
            match self.depth {
                Depth::Streams => connections.spawn(streams(keypair, stream, names, known)),
                Depth::Frames => connections.spawn(frames(keypair, stream)),
            };
        }
    }
}

/// What every stream may read and write.
#[derive(Debug, Clone)]
struct Known {
    memory: Arc<Mutex<Memory>>,
    shelf: Option<Arc<Shelf>>,
}

/// Who says something of itself, by the key in it.
fn speaker(said: &[u8]) -> Option<String> {
    let key = fields(said).into_iter().find_map(|(number, field)| match field {
        Field::Bytes(key) if number == 1 => Some(key),
        _ => None,
    });
    let key = PublicKey::try_decode_protobuf(key?).ok()?;
    Some(key.to_peer_id().to_string())
}

/// A connection, and all that is said on its streams, as long as the other side likes.
async fn streams(
    keypair: Keypair,
    stream: TcpStream,
    names: Names,
    known: Known,
) -> anyhow::Result<()> {
    let myself = framed(&identify(&names.network, &keypair, &[], &[]));
    let inbound: Inbound = {
        let known = known.clone();
        Arc::new(move |protocol, pipe| {
            believe(protocol, pipe, myself.clone(), known.clone()).boxed()
        })
    };
    let wire = let_in(&keypair, stream, names, inbound).await?;
    // A peer that says nothing of itself is as welcome as any.
    let _ = ask_who(&wire, &known.memory).await;
    wire.closed().await;
    Ok(())
}

async fn ask_who(wire: &Wire, memory: &Mutex<Memory>) -> anyhow::Result<()> {
    let mut stream = wire.open(IDENTIFY).await?;
    let said = read_frame(&mut stream, ANYTHING).await?;
    memory.lock().unwrap_or_else(PoisonError::into_inner).said.push(said);
    Ok(())
}

async fn believe(
    protocol: String,
    mut pipe: Pipe,
    myself: Vec<u8>,
    known: Known,
) -> io::Result<()> {
    if protocol == IDENTIFY {
        pipe.write_all(&myself).await?;
        return pipe.close().await;
    }
    if protocol == PING {
        return echo(pipe).await;
    }
    loop {
        let message = read_frame(&mut pipe, ANYTHING).await?;
        if protocol.ends_with("/chunk/1") {
            return give(&mut pipe, &message, known.shelf.as_deref()).await;
        }
        if let Some(shelf) = &known.shelf
            && protocol.ends_with("/model/1")
        {
            pipe.write_all(&framed(&shelf.question(&message))).await?;
            return pipe.close().await;
        }
        let reply = {
            let mut memory = known.memory.lock().unwrap_or_else(PoisonError::into_inner);
            match protocol.as_str() {
                IDENTIFY_PUSH => {
                    memory.said.push(message);
                    None
                }
                name if name.ends_with("/kad/1") => memory.record(&message),
                _ => memory.gossip(&message),
            }
        };
        if let Some(reply) = reply {
            pipe.write_all(&framed(&reply)).await?;
            pipe.flush().await?;
        }
    }
}

/// Makes the whole answer, and then sends it.
async fn give(pipe: &mut Pipe, request: &[u8], shelf: Option<&Shelf>) -> io::Result<()> {
    if let Some(shelf) = shelf {
        let (header, bytes) = shelf.chunks(request);
        pipe.write_all(&[framed(&header), bytes].concat()).await?;
        return pipe.close().await;
    }
    let Ok(request) = ChunkRequest::decode(request) else { return Ok(()) };
    let mut answer = framed(&ChunkResponse::ok(request.ranges.clone(), 1).encode());
    answer.resize(answer.len() + request.payload_len() as usize, 7);
    pipe.write_all(&answer).await?;
    pipe.close().await
}

impl Memory {
    fn record(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let (mut kind, mut key, mut providers) = (0, &[][..], Vec::new());
        for (number, field) in fields(message) {
            match (number, field) {
                (1, Field::Uint(n)) => kind = n,
                (2, Field::Bytes(bytes)) => key = bytes,
                (9, Field::Bytes(bytes)) => providers.push(bytes.to_vec()),
                _ => {}
            }
        }
        let known = self.records.entry(key.to_vec()).or_default();
        known.extend(providers);
        (kind == 3).then(|| super::frames::answer(key, known))
    }

    fn gossip(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        for (number, field) in fields(message) {
            match (number, field) {
                (2, Field::Bytes(message)) => self.publish(message),
                (3, Field::Bytes(control)) => self.control(control),
                _ => {}
            }
        }
        None
    }

    fn publish(&mut self, message: &[u8]) {
        self.messages.push(message.to_vec());
        let (mut author, mut data) = (&[][..], &[][..]);
        for (number, field) in fields(message) {
            match (number, field) {
                (1, Field::Bytes(bytes)) => author = bytes,
                (2, Field::Bytes(bytes)) => data = bytes,
                _ => {}
            }
        }
        self.announced.insert(author.to_vec(), data.to_vec());
    }

    fn control(&mut self, control: &[u8]) {
        for (number, field) in fields(control) {
            let Field::Bytes(field) = field else { continue };
            let (mut topic, mut backoff) = (&[][..], 0);
            for (number, field) in fields(field) {
                match (number, field) {
                    (1, Field::Bytes(bytes)) => topic = bytes,
                    (3, Field::Uint(n)) => backoff = n,
                    _ => {}
                }
            }
            match number {
                3 => drop(self.topics.insert(topic.to_vec())),
                4 => {
                    let until = Instant::now() + Duration::from_secs(backoff);
                    self.backoffs.insert(topic.to_vec(), until);
                }
                _ => {}
            }
        }
    }
}

/// A connection whose frames are read by hand, with a credit for each stream that is added up.
async fn frames(keypair: Keypair, stream: TcpStream) -> anyhow::Result<()> {
    use libp2p::core::upgrade::InboundConnectionUpgrade;
    const DATA: u8 = 0;
    const WINDOW_UPDATE: u8 = 1;
    const SYN: u16 = 1;
    let mut stream = stream.compat();
    answer(&mut stream, |asked| asked == NOISE).await?;
    let noise = libp2p::noise::Config::new(&keypair)?;
    let (_, mut stream) = noise.upgrade_inbound(stream, NOISE).await?;
    answer(&mut stream, |asked| asked == YAMUX).await?;
    let mut credits: HashMap<u32, u32> = HashMap::new();
    loop {
        let mut header = [0; 12];
        stream.read_exact(&mut header).await?;
        let [_, kind, f, g, a, b, c, d, len @ ..] = header;
        let (flags, id) = (u16::from_be_bytes([f, g]), u32::from_be_bytes([a, b, c, d]));
        let len = u32::from_be_bytes(len);
        if flags & SYN != 0 && kind == WINDOW_UPDATE {
            credits.insert(id, 256 << 10);
        }
        match kind {
            DATA => {
                let mut body = vec![0; len as usize];
                stream.read_exact(&mut body).await?;
                *credits.get_mut(&id).expect("a stream was opened before it carries data") -= len;
            }
            WINDOW_UPDATE => *credits.entry(id).or_default() += len,
            _ => {}
        }
    }
}
