//! Connections by hand: a socket, noise, yamux, and streams that carry whatever is written.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise, yamux};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::frames;
use super::negotiate::{answer, ask};
use crate::liar::script::framed;
use crate::sample;

/// How long a step of a connection may take: a machine with other work to do.
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) const NOISE: &str = "/noise";
pub(super) const YAMUX: &str = "/yamux/1.0.0";
pub(super) const IDENTIFY: &str = "/ipfs/id/1.0.0";
pub(super) const IDENTIFY_PUSH: &str = "/ipfs/id/push/1.0.0";
pub(super) const PING: &str = "/ipfs/ping/1.0.0";

/// A stream. What is written arrives as it is.
pub type Pipe = SubstreamBox;

/// A connection below its multiplexer: what is written is taken for frames of yamux.
pub type Below = noise::Output<Compat<TcpStream>>;

/// What becomes of a stream that the other side opened, by its protocol.
pub(super) type Inbound =
    Arc<dyn Fn(String, Pipe) -> BoxFuture<'static, io::Result<()>> + Send + Sync>;

/// Somebody who connects: a key, and what is said of it.
#[derive(Clone)]
pub struct Attacker {
    network: String,
    secret: [u8; 32],
    keypair: Keypair,
    identify: Vec<u8>,
}

impl fmt::Debug for Attacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attacker").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

impl Attacker {
    /// Somebody whose key follows from a seed.
    pub fn new(network: &str, seed: u64) -> Self {
        let mut secret = [0; 32];
        secret.copy_from_slice(&sample::bytes(seed, 32));
        let keypair = Keypair::ed25519_from_bytes(secret).expect("any 32 bytes are a key");
        let identify = frames::identify(network, &keypair, &[], &[]);
        Self { network: network.to_owned(), secret, keypair, identify }
    }

    /// Says this when it is asked who it is.
    #[must_use]
    pub fn saying(self, identify: Vec<u8>) -> Self {
        Self { identify, ..self }
    }

    /// What it says when it is asked.
    pub fn said(&self) -> &[u8] {
        &self.identify
    }

    /// The network that it pretends to be of.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Its peer id.
    pub fn peer(&self) -> String {
        self.id().to_string()
    }

    pub(super) fn id(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }

    /// The secret of its key, which signs statements too.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    pub(super) fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// Connects, up to a multiplexer of its own.
    ///
    /// # Errors
    ///
    /// The address is none of TCP, or the other side does not let it in.
    pub async fn connect(&self, address: &str) -> anyhow::Result<Wire> {
        self.shake(dial(address).await?).await
    }

    /// Goes on from an open socket as [`Self::connect`] does.
    ///
    /// # Errors
    ///
    /// The other side does not let it in.
    pub async fn shake(&self, socket: TcpStream) -> anyhow::Result<Wire> {
        let below = self.shake_below(socket).await?;
        let muxer = yamux::Config::default().upgrade_outbound(below, YAMUX).await?;
        let identify = framed(&self.identify);
        let inbound: Inbound =
            Arc::new(move |protocol, pipe| courtesy(protocol, pipe, identify.clone()).boxed());
        let names = Names { network: self.network.clone() };
        Ok(Wire::new(StreamMuxerBox::new(muxer), names, inbound))
    }

    /// Connects, and leaves the multiplexer to whoever wants to write its frames by hand.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    pub async fn connect_below(&self, address: &str) -> anyhow::Result<Below> {
        self.shake_below(dial(address).await?).await
    }

    async fn shake_below(&self, socket: TcpStream) -> anyhow::Result<Below> {
        let shaking = async {
            let mut stream = socket.compat();
            ask(&mut stream, NOISE).await?;
            let noise = noise::Config::new(&self.keypair)?;
            let (_, mut stream) = noise.upgrade_outbound(stream, NOISE).await?;
            ask(&mut stream, YAMUX).await?;
            anyhow::Ok(stream)
        };
        let shaken = tokio::time::timeout(DEADLINE, shaking).await;
        shaken.context("the other side does not shake hands")?
    }

    /// Begins to shake hands on an open socket, and no more.
    ///
    /// # Errors
    ///
    /// There is nobody.
    pub async fn half_open(&self, mut socket: TcpStream) -> anyhow::Result<TcpStream> {
        use tokio::io::AsyncWriteExt as _;
        socket.write_all(&framed(b"/multistream/1.0.0\n")).await?;
        Ok(socket)
    }
}

/// Opens a socket to a multiaddr of TCP.
///
/// # Errors
///
/// The address is none of TCP, or nobody is there.
pub async fn dial(address: &str) -> anyhow::Result<TcpStream> {
    let dialing = tokio::time::timeout(DEADLINE, TcpStream::connect(socket_of(address)?));
    let socket = dialing.await.with_context(|| format!("`{address}` does not answer"))??;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The socket of a multiaddr of TCP: `/ip4/127.0.0.1/tcp/4483/p2p/…`.
fn socket_of(address: &str) -> anyhow::Result<(String, u16)> {
    let mut parts = address.split('/').skip(2).step_by(2);
    let (host, port) = (parts.next(), parts.next());
    match (host, port.map(str::parse)) {
        (Some(host), Some(Ok(port))) => Ok((host.to_owned(), port)),
        _ => anyhow::bail!("`{address}` is no address of TCP"),
    }
}

/// Which protocols are spoken with whoever opens a stream.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) network: String,
}

impl Names {
    pub(super) fn has(&self, protocol: &str) -> bool {
        protocol == IDENTIFY
            || protocol == IDENTIFY_PUSH
            || protocol == PING
            || protocol.starts_with("/meshsub/1.")
            || protocol.starts_with(&format!("/hive/{}/", self.network))
    }
}

/// Answers what every peer is asked, and swallows the rest.
async fn courtesy(protocol: String, mut pipe: Pipe, identify: Vec<u8>) -> io::Result<()> {
    match protocol.as_str() {
        IDENTIFY => {
            pipe.write_all(&identify).await?;
            pipe.close().await
        }
        PING => echo(pipe).await,
        _ => swallow(pipe).await,
    }
}

pub(super) async fn echo(mut pipe: Pipe) -> io::Result<()> {
    let mut bytes = [0; 32];
    loop {
        pipe.read_exact(&mut bytes).await?;
        pipe.write_all(&bytes).await?;
        pipe.flush().await?;
    }
}

async fn swallow(mut pipe: Pipe) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    while pipe.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// A connection. It closes when this is dropped.
pub struct Wire {
    names: Names,
    opens: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    open: watch::Receiver<bool>,
    task: AbortHandle,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    pub(super) fn new(muxer: StreamMuxerBox, names: Names, inbound: Inbound) -> Self {
        let (opens, asked) = mpsc::channel(64);
        let (alive, open) = watch::channel(true);
        let speaks = names.clone();
        let task = tokio::spawn(async move {
            Driver { muxer, asked, waiting: VecDeque::new(), names: speaks, inbound }.run().await;
            alive.send_replace(false);
        });
        Self { names, opens, open, task: task.abort_handle() }
    }

    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// The connection is gone, or the other side does not speak the protocol.
    pub async fn open(&self, protocol: &str) -> anyhow::Result<Pipe> {
        let opening = async {
            let (reply, stream) = oneshot::channel();
            self.opens.send(reply).await.context("the connection is closed")?;
            let mut stream = stream.await.context("the connection is closed")?;
            ask(&mut stream, protocol).await.with_context(|| format!("no `{protocol}`"))?;
            Ok(stream)
        };
        tokio::time::timeout(DEADLINE, opening).await.context("no stream")?
    }

    /// Opens a stream of a protocol of the network: `kad`, `model`, `chunk`.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn open_hive(&self, protocol: &str) -> anyhow::Result<Pipe> {
        self.open(&format!("/hive/{}/{protocol}/1", self.names.network)).await
    }

    /// Whether the connection is still there.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) {
        // A driver that has gone without a word has closed it, too.
        let _ = self.open.clone().wait_for(|open| !open).await;
    }
}

/// Moves a connection's bytes until it closes.
struct Driver {
    muxer: StreamMuxerBox,
    asked: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
    waiting: VecDeque<oneshot::Sender<SubstreamBox>>,
    names: Names,
    inbound: Inbound,
}

impl Driver {
    async fn run(mut self) {
        let mut tasks = tokio::task::JoinSet::new();
        poll_fn(|cx| self.poll(cx, &mut tasks)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>, tasks: &mut tokio::task::JoinSet<()>) -> Poll<()> {
        loop {
            while let Poll::Ready(Some(_)) = tasks.poll_join_next(cx) {}
            if let Poll::Ready(event) = self.muxer.poll_unpin(cx) {
                match event {
                    Ok(_) => continue,
                    Err(_) => return Poll::Ready(()),
                }
            }
            match self.muxer.poll_inbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    let (names, inbound) = (self.names.clone(), self.inbound.clone());
                    tasks.spawn(serve(stream, names, inbound));
                    continue;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            match self.asked.poll_recv(cx) {
                Poll::Ready(Some(reply)) => {
                    self.waiting.push_back(reply);
                    continue;
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if self.waiting.is_empty() {
                return Poll::Pending;
            }
            match self.muxer.poll_outbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    if let Some(reply) = self.waiting.pop_front() {
                        // Who asked may have stopped waiting.
                        let _ = reply.send(stream);
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

async fn serve(mut stream: SubstreamBox, names: Names, inbound: Inbound) {
    if let Ok(protocol) = answer(&mut stream, |asked| names.has(asked)).await {
        // A stream that breaks is the other side's affair.
        let _ = inbound(protocol, stream).await;
    }
}

/// Lets somebody in who connected to us.
pub(super) async fn let_in(
    keypair: &Keypair,
    stream: TcpStream,
    names: Names,
    inbound: Inbound,
) -> anyhow::Result<Wire> {
    let mut stream = stream.compat();
    answer(&mut stream, |asked| asked == NOISE).await?;
    let noise = noise::Config::new(keypair)?;
    let (_, mut stream) = noise.upgrade_inbound(stream, NOISE).await?;
    answer(&mut stream, |asked| asked == YAMUX).await?;
    let muxer = yamux::Config::default().upgrade_inbound(stream, YAMUX).await?;
    Ok(Wire::new(StreamMuxerBox::new(muxer), names, inbound))
}
