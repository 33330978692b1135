//! How fast two nodes exchange chunks, and what it costs: bytes from memory over loopback, each
//! group dropped where it arrives.
//!
//! ```sh
//! cargo run --release -p hive-swarm --example throughput -- --mib 4096 --groups 4 --inflight 16
//! ```
//!
//! `--security tls|noise|stock-tls` and `--mux own|stock` choose what secures and carries a TCP
//! connection, `--quic` takes QUIC instead, `--verify` hashes each group, `--stock-malloc` leaves the
//! allocator as it is. Each side has a runtime
//! of `--threads` threads; CPU seconds are those of both sides together.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse, Range};
use hive_protocol::limits::{CHUNK_LEN, GROUP_LEN, GROUPS_PER_CHUNK};
use hive_protocol::{BlockId, ChunkId};
use hive_swarm::exchange::{Behaviour, ExchangeEvent, Inbound};
use hive_swarm::transport::security::Security;
use hive_swarm::transport::{self, Connections, Options};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{self, Swarm, SwarmEvent};
use libp2p::{Multiaddr, Transport, noise, tcp, tls, yamux};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

type AnyError = Box<dyn Error + Send + Sync>;

#[derive(Debug, Clone)]
struct Args {
    mib: u64,
    groups: u32,
    in_flight: usize,
    threads: usize,
    security: String,
    mux: String,
    quic: bool,
    verify: bool,
    keep_freed_memory: bool,
}

impl Args {
    fn parse() -> Result<Self, AnyError> {
        let mut args = Self {
            mib: 1024,
            groups: 4,
            in_flight: 16,
            threads: 1,
            security: "tls".into(),
            mux: "own".into(),
            quic: false,
            verify: false,
            keep_freed_memory: true,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word.as_str() {
                "--mib" => args.mib = value()?.parse()?,
                "--groups" => args.groups = value()?.parse()?,
                "--inflight" => args.in_flight = value()?.parse()?,
                "--threads" => args.threads = value()?.parse()?,
                "--security" => args.security = value()?,
                "--mux" => args.mux = value()?,
                "--quic" => args.quic = true,
                "--verify" => args.verify = true,
                "--stock-malloc" => args.keep_freed_memory = false,
                other => return Err(format!("what is {other}?").into()),
            }
        }
        Ok(args)
    }
}

fn connections(identity: &Keypair, args: &Args) -> Result<Connections, AnyError> {
    if args.quic {
        let mut options = Options::default();
        (options.tcp, options.dns) = (false, false);
        return Ok(transport::build(identity, &options)?);
    }
    let tcp = || tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
    let stock = || yamux::Config::default();
    Ok(match (args.security.as_str(), args.mux.as_str()) {
        ("tls", "own") => transport::secure(tcp(), Security::new(identity)?),
        ("noise", "own") => transport::secure(tcp(), Security::noise(identity)?),
        ("tls", "stock") => boxed(
            tcp().upgrade(Version::V1).authenticate(Security::new(identity)?).multiplex(stock()),
        ),
        ("noise", "stock") => boxed(
            tcp()
                .upgrade(Version::V1)
                .authenticate(noise::Config::new(identity)?)
                .multiplex(stock()),
        ),
        ("stock-tls", "stock") => boxed(
            tcp().upgrade(Version::V1).authenticate(tls::Config::new(identity)?).multiplex(stock()),
        ),
        ("stock-tls", "own") => boxed(
            tcp()
                .upgrade(Version::V1)
                .authenticate(tls::Config::new(identity)?)
                .multiplex(transport::yamux::Yamux::default()),
        ),
        _ => return Err("--security tls|noise|stock-tls, --mux own|stock".into()),
    })
}

fn boxed<T, M>(transport: T) -> Connections
where
    T: Transport<Output = (libp2p::PeerId, M)> + Send + Unpin + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Error: Send + Sync,
    M: libp2p::core::StreamMuxer + Send + 'static,
    M::Substream: Send + 'static,
    M::Error: Send + Sync + 'static,
{
    transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed()
}

fn node(args: &Args) -> Result<(Swarm<Behaviour>, mpsc::Receiver<Inbound>), AnyError> {
    let identity = Keypair::generate_ed25519();
    let (behaviour, queue) = Behaviour::new("bench");
    let config =
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_mins(1));
    let transport = connections(&identity, args)?;
    Ok((Swarm::new(transport, behaviour, identity.public().to_peer_id(), config), queue))
}

/// Serves one megabyte again and again.
async fn serve(
    args: Args,
    listening: oneshot::Sender<Multiaddr>,
    stop: oneshot::Receiver<()>,
) -> Result<(), AnyError> {
    let (mut swarm, mut queue) = node(&args)?;
    swarm.listen_on(
        if args.quic { "/ip4/127.0.0.1/udp/0/quic-v1" } else { "/ip4/127.0.0.1/tcp/0" }.parse()?,
    )?;
    let mut listening = Some(listening);
    let group = Bytes::from(vec![7; GROUP_LEN as usize]);
    let mut answers = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            event = swarm.select_next_some() => if let SwarmEvent::NewListenAddr { address, .. } = event
                && let Some(listening) = listening.take()
            {
                let _ = listening.send(address);
            },
            Some(inbound) = queue.recv() => { answers.spawn(answer(inbound, group.clone())); }
            Some(answer) = answers.join_next() => answer??,
            _ = &mut stop => return Ok(()),
        }
    }
}

async fn answer(inbound: Inbound, group: Bytes) -> Result<(), AnyError> {
    let response = ChunkResponse::ok(inbound.request.ranges.clone(), 1);
    let mut sending = inbound.responder.accept(&inbound.request, &response).await?;
    for len in response.ranges.iter().flat_map(Range::group_lens) {
        sending.send_group(&group.slice(..len as usize)).await?;
    }
    Ok(sending.finish().await?)
}

async fn fetch(args: Args, addr: Multiaddr) -> Result<(u64, Duration), AnyError> {
    let (mut swarm, _queue) = node(&args)?;
    swarm.dial(DialOpts::unknown_peer_id().address(addr).build())?;
    let (peer, connection) = loop {
        if let SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } =
            swarm.select_next_some().await
        {
            break (peer_id, connection_id);
        }
    };
    eprintln!("connected: {:?}", swarm.behaviour().connections(&peer).next());
    let begin = Instant::now();
    let (mut asked, mut received) = (0, 0);
    let mut running = JoinSet::new();
    loop {
        while running.len() < args.in_flight && asked < args.mib {
            let n = u64::from(args.groups).min(args.mib - asked) as u32;
            let first =
                (asked as u32 / args.groups * args.groups) % (GROUPS_PER_CHUNK as u32 - n + 1);
            asked += u64::from(n);
            let chunk = ChunkId::of(b"bench");
            let range = Range { chunk, size: CHUNK_LEN, first, n };
            let (tx, rx) = mpsc::channel(2);
            let request = ChunkRequest::new(BlockId::of(b"bench"), vec![range]);
            swarm.behaviour_mut().request(connection, request, tx)?;
            running.spawn(drain(rx, args.verify));
        }
        tokio::select! {
            event = swarm.select_next_some() => if let SwarmEvent::ConnectionClosed { cause, .. } = event {
                return Err(format!("closed: {cause:?}").into());
            },
            Some(n) = running.join_next() => {
                received += n??;
                if received == args.mib * GROUP_LEN {
                    return Ok((received, begin.elapsed()));
                }
            }
        }
    }
}

async fn drain(mut events: mpsc::Receiver<ExchangeEvent>, verify: bool) -> Result<u64, AnyError> {
    let mut received = 0;
    while let Some(event) = events.recv().await {
        match event {
            ExchangeEvent::Header(_) | ExchangeEvent::Part(_) => {}
            ExchangeEvent::Group { index, bytes, .. } => {
                if verify {
                    std::hint::black_box(hive_protocol::group::group_hash(index, &bytes));
                }
                received += bytes.len() as u64;
            }
            ExchangeEvent::End => return Ok(received),
            ExchangeEvent::Failed(failure) => return Err(failure.into()),
        }
    }
    Err("the connection closed".into())
}

/// CPU seconds of this process so far, user and system.
fn cpu_secs() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut secs = || Some(fields.next()?.parse::<f64>().ok()? / 100.0);
    Some((secs()?, secs()?))
}

fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

fn main() -> Result<(), AnyError> {
    let args = Args::parse()?;
    if args.keep_freed_memory {
        transport::keep_freed_memory();
    }
    let (server, client) = (runtime(args.threads)?, runtime(args.threads)?);
    let (listening, addr) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let serving = server.spawn(serve(args.clone(), listening, stopped));
    let addr = addr.blocking_recv()?;
    let before = cpu_secs();
    let (bytes, took) = client.block_on(client.spawn(fetch(args.clone(), addr)))??;
    let after = cpu_secs();
    let _ = stop.send(());
    server.block_on(serving)??;
    let mb = bytes as f64 / 1e6;
    print!(
        "{} {}: {mb:.0} MB in {:.2} s, {:.0} MB/s",
        if args.quic { "quic" } else { &args.security },
        args.mux,
        took.as_secs_f64(),
        mb / took.as_secs_f64()
    );
    if let (Some(before), Some(after)) = (before, after) {
        let (user, system) = ((after.0 - before.0) / mb * 1e3, (after.1 - before.1) / mb * 1e3);
        print!(", CPU s/GB {:.2} ({user:.2} user, {system:.2} system)", user + system);
    }
    println!();
    Ok(())
}
