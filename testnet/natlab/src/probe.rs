//! Plain sockets inside the lab: what a router does to ports, and whether two laptops can meet.
//!
//! This is the control group. What the sockets here can do, hive has to be able to do; what they
//! cannot do, nobody can.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::net::TcpSocket;

use crate::lab::Lab;
use crate::limits::{PACKET, PUNCH, SILENCE};

/// The port that a laptop uses for everything, as hive does.
pub(crate) const PORT: u16 = 4483;

/// A UDP socket of a machine.
pub(crate) fn udp(lab: &Lab, machine: &str, port: u16) -> anyhow::Result<UdpSocket> {
    let socket = lab.at(machine)?.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    let socket = socket.with_context(|| format!("cannot bind UDP {port} at {machine}"))?;
    socket.set_read_timeout(Some(PACKET))?;
    Ok(socket)
}

/// A TCP listener of a machine.
pub(crate) fn listener(lab: &Lab, machine: &str, port: u16) -> anyhow::Result<TcpListener> {
    let listener = lab.at(machine)?.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    listener.with_context(|| format!("cannot bind TCP {port} at {machine}"))
}

/// A TCP socket of a machine whose port can be used for several connections at once.
fn shared(lab: &Lab, machine: &str, port: u16) -> anyhow::Result<TcpSocket> {
    let runtime = tokio::runtime::Handle::current();
    let socket = lab.at(machine)?.run(|| -> io::Result<TcpSocket> {
        let _entered = runtime.enter();
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
        Ok(socket)
    })?;
    socket.with_context(|| format!("cannot bind TCP {port} at {machine}"))
}

/// What two servers saw of one laptop's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) first: SocketAddrV4,
    pub(crate) second: SocketAddrV4,
}

/// How a router treats a laptop's UDP: what two servers see, and whether it lets in who was not
/// written to: another port of a server that was, and a host that was not.
pub(crate) fn udp_through(lab: &Lab, laptop: &str) -> anyhow::Result<(Seen, bool)> {
    let (one, two) = (udp(lab, "relay", 7000)?, udp(lab, "observer", 7000)?);
    let (other_port, other_host) = (udp(lab, "relay", 7001)?, udp(lab, "stranger", 7000)?);
    let mine = udp(lab, laptop, PORT)?;
    let first = udp_seen(&mine, &one, (lab.topology().address("relay")?, 7000))?;
    let second = udp_seen(&mine, &two, (lab.topology().address("observer")?, 7000))?;
    // An answer comes through, so that silence below is the router's doing.
    one.send_to(b"answer", first)?;
    expect(&mine, b"answer")?;
    mine.set_read_timeout(Some(SILENCE))?;
    other_port.send_to(b"unsolicited", first)?;
    other_host.send_to(b"unsolicited", first)?;
    let open = match mine.recv_from(&mut [0; 64]) {
        Ok(_) => true,
        Err(error) if is_timeout(&error) => false,
        Err(error) => return Err(error).context("the laptop's socket"),
    };
    Ok((Seen { first, second }, open))
}

fn udp_seen(
    mine: &UdpSocket,
    server: &UdpSocket,
    at: (Ipv4Addr, u16),
) -> anyhow::Result<SocketAddrV4> {
    // A line may lose a packet or two.
    for _ in 0..5 {
        mine.send_to(b"hello", at)?;
        match server.recv_from(&mut [0; 64]) {
            Ok((_, SocketAddr::V4(from))) => return Ok(from),
            Ok((_, other)) => bail!("{other} is no IPv4"),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error).context("a server's socket"),
        }
    }
    bail!("{}:{} got nothing from the laptop", at.0, at.1)
}

fn expect(socket: &UdpSocket, wanted: &[u8]) -> anyhow::Result<()> {
    let mut buffer = [0; 64];
    let n = socket.recv(&mut buffer).context("an answer did not come through")?;
    anyhow::ensure!(&buffer[..n] == wanted, "something else came through");
    Ok(())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The same for TCP: what two servers see, and whether a connection from outside gets in.
pub(crate) async fn tcp_through(lab: &Lab, laptop: &str) -> anyhow::Result<(Seen, bool)> {
    let mut seen = Vec::new();
    let mut kept = Vec::new();
    for server in ["relay", "observer"] {
        let (stream, from) = tcp_seen(lab, laptop, server).await?;
        kept.push(stream);
        seen.push(from);
    }
    let [first, second] = seen[..] else { bail!("two servers") };
    drop(kept);
    // A listener is there, so that a refusal would be an answer of the laptop.
    let listener = listener(lab, laptop, PORT + 1)?;
    let target = SocketAddr::from((lab.topology().outside(laptop)?, PORT + 1));
    let dialer = lab.at("stranger")?.run(|| TcpStream::connect_timeout(&target, SILENCE))?;
    drop(listener);
    let open = match dialer {
        Ok(_) => true,
        Err(error) if is_timeout(&error) => false,
        // A router that refuses tells that it is there, and ends the other side's attempts.
        Err(error) => bail!("a router answered what it had to drop: {error}"),
    };
    Ok((Seen { first, second }, open))
}

/// Connects the laptop's port to a server; both ends, and whom the server saw.
async fn tcp_seen(
    lab: &Lab,
    laptop: &str,
    server: &str,
) -> anyhow::Result<((tokio::net::TcpStream, TcpStream), SocketAddrV4)> {
    let listener = listener(lab, server, 7000)?;
    let address = SocketAddr::from((lab.topology().address(server)?, 7000));
    let connect = shared(lab, laptop, PORT)?.connect(address);
    let stream = tokio::time::timeout(PACKET * 2, connect).await;
    let stream = stream.with_context(|| format!("no connection to {server}"))??;
    match listener.accept()? {
        (accepted, SocketAddr::V4(from)) => Ok(((stream, accepted), from)),
        (_, other) => bail!("{other} is no IPv4"),
    }
}

/// Whether two laptops reach each other over UDP once each knows what a server saw of the other.
pub(crate) fn udp_meet(lab: &Lab, a: &str, b: &str) -> anyhow::Result<bool> {
    let server = udp(lab, "observer", 7000)?;
    let at = (lab.topology().address("observer")?, 7000);
    let (mine, theirs) = (udp(lab, a, PORT)?, udp(lab, b, PORT)?);
    let (of_a, of_b) = (udp_seen(&mine, &server, at)?, udp_seen(&theirs, &server, at)?);
    let deadline = Instant::now() + PUNCH;
    let step = Duration::from_millis(50);
    mine.set_read_timeout(Some(step))?;
    theirs.set_read_timeout(Some(step))?;
    let (mut a_heard, mut b_heard) = (None, None);
    while Instant::now() < deadline && (a_heard.is_none() || b_heard.is_none()) {
        // To whom the other was last heard from, as it is the address that works.
        mine.send_to(b"from a", a_heard.unwrap_or(SocketAddr::V4(of_b)))?;
        theirs.send_to(b"from b", b_heard.unwrap_or(SocketAddr::V4(of_a)))?;
        a_heard = heard(&mine, b"from b")?.or(a_heard);
        b_heard = heard(&theirs, b"from a")?.or(b_heard);
    }
    Ok(a_heard.is_some() && b_heard.is_some())
}

fn heard(socket: &UdpSocket, wanted: &[u8]) -> anyhow::Result<Option<SocketAddr>> {
    let mut buffer = [0; 64];
    match socket.recv_from(&mut buffer) {
        Ok((n, from)) => Ok((&buffer[..n] == wanted).then_some(from)),
        Err(error) if is_timeout(&error) => Ok(None),
        Err(error) => Err(error).context("a laptop's socket"),
    }
}

/// The same over TCP: who is public is dialed, two others open at the same time.
pub(crate) async fn tcp_meet(lab: &Lab, a: &str, b: &str) -> anyhow::Result<bool> {
    for (public, other) in [(a, b), (b, a)] {
        if lab.topology().outside(public)? == lab.topology().address(public)? {
            let listener = listener(lab, public, PORT)?;
            let address = (lab.topology().address(public)?, PORT).into();
            let dial = shared(lab, other, PORT)?.connect(address);
            let Ok(Ok(dialed)) = tokio::time::timeout(PUNCH, dial).await else { return Ok(false) };
            let (accepted, _) = listener.accept()?;
            return talk(&into_blocking(dialed)?, &accepted);
        }
    }
    let (kept_a, of_a) = tcp_seen(lab, a, "observer").await?;
    let (kept_b, of_b) = tcp_seen(lab, b, "observer").await?;
    let deadline = Instant::now() + PUNCH;
    let mut met = false;
    while Instant::now() < deadline && !met {
        let left = shared(lab, a, PORT)?.connect(of_b.into());
        let right = shared(lab, b, PORT)?.connect(of_a.into());
        // The two attempts have to be under way at the same time, and long enough for a SYN to be
        // sent again.
        let attempt = Duration::from_millis(1500);
        let (left, right) =
            tokio::join!(tokio::time::timeout(attempt, left), tokio::time::timeout(attempt, right));
        met = match (left, right) {
            (Ok(Ok(left)), Ok(Ok(right))) => talk(&into_blocking(left)?, &into_blocking(right)?)?,
            _ => false,
        };
    }
    drop((kept_a, kept_b));
    Ok(met)
}

fn into_blocking(stream: tokio::net::TcpStream) -> anyhow::Result<TcpStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Whether the two streams are the ends of one connection.
fn talk(mut a: &TcpStream, mut b: &TcpStream) -> anyhow::Result<bool> {
    for stream in [a, b] {
        stream.set_read_timeout(Some(PACKET))?;
    }
    a.write_all(b"from a")?;
    b.write_all(b"from b")?;
    let mut buffer = [0; 6];
    let a_hears = a.read_exact(&mut buffer).is_ok() && &buffer == b"from b";
    let b_hears = b.read_exact(&mut buffer).is_ok() && &buffer == b"from a";
    Ok(a_hears && b_hears)
}

/// Whether a laptop can connect to a port of a host.
pub(crate) async fn tcp_at(lab: &Lab, laptop: &str, host: &str, port: u16) -> anyhow::Result<bool> {
    let listener = listener(lab, host, port)?;
    let address = SocketAddr::from((lab.topology().address(host)?, port));
    let connect = shared(lab, laptop, PORT)?.connect(address);
    let Ok(Ok(stream)) = tokio::time::timeout(PACKET, connect).await else { return Ok(false) };
    let (accepted, _) = listener.accept()?;
    talk(&into_blocking(stream)?, &accepted)
}
