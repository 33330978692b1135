//! Plain TCP copies: what a line gives to a program that does nothing but send a file.
//!
//! The sockets are made inside the namespaces and driven from threads of this process. Nothing is
//! encrypted or verified on the way; the content is compared afterwards.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hive_natlab::Lab;

/// The port of the senders.
const PORT: u16 = 9000;
/// Bytes read, sent and written at a time.
const PIECE: usize = 256 << 10;
/// How long a line may be silent.
const SILENCE: Duration = Duration::from_mins(1);

/// A part of the file, and the host that sends it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) host: String,
    pub(super) from: u64,
    pub(super) len: u64,
}

/// Copies parts of a file to `reader`, all at once. Seconds until each was there, and all in place.
pub(super) fn copy(
    lab: &Lab,
    reader: &str,
    parts: &[Part],
    file: &Path,
    into: &Path,
) -> anyhow::Result<Vec<f64>> {
    let target = File::create(into).with_context(|| format!("cannot make {}", into.display()))?;
    let mut listeners = Vec::new();
    for part in parts {
        let at = (Ipv4Addr::UNSPECIFIED, PORT);
        let listener = lab.at(&part.host)?.run(|| TcpListener::bind(at))?;
        listeners.push(listener.with_context(|| format!("cannot listen at {}", part.host))?);
    }
    std::thread::scope(|scope| {
        let start = Instant::now();
        let mut receivers = Vec::new();
        for (part, listener) in parts.iter().zip(&listeners) {
            let (target, address) = (&target, SocketAddr::from((lab.address(&part.host)?, PORT)));
            scope.spawn(|| send(listener, file, part));
            let dial = lab.at(reader)?.run(|| TcpStream::connect_timeout(&address, SILENCE))?;
            let stream = dial.with_context(|| format!("no connection with {}", part.host))?;
            receivers.push(scope.spawn(move || {
                receive(stream, target, part)?;
                anyhow::Ok(start.elapsed().as_secs_f64())
            }));
        }
        let ended = receivers
            .into_iter()
            .map(|receiver| receiver.join().map_err(|_| anyhow::anyhow!("a receiver panicked"))?);
        ended.collect()
    })
}

/// A sender that fails is seen at the other end, which then misses bytes.
fn send(listener: &TcpListener, file: &Path, part: &Part) -> anyhow::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_write_timeout(Some(SILENCE))?;
    let (file, mut piece) = (File::open(file)?, vec![0; PIECE]);
    let (mut at, end) = (part.from, part.from + part.len);
    while at < end {
        let n = piece.len().min(usize::try_from(end - at)?);
        file.read_exact_at(&mut piece[..n], at)?;
        stream.write_all(&piece[..n])?;
        at += n as u64;
    }
    Ok(())
}

fn receive(mut stream: TcpStream, target: &File, part: &Part) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let (mut piece, mut got) = (vec![0; PIECE], 0);
    loop {
        match stream.read(&mut piece).with_context(|| format!("reading from {}", part.host))? {
            0 => break,
            n => {
                target.write_all_at(&piece[..n], part.from + got)?;
                got += n as u64;
            }
        }
    }
    ensure!(got == part.len, "{} sent {got} of {} bytes", part.host, part.len);
    Ok(())
}
