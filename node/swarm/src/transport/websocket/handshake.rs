//! The HTTP request that opens a WebSocket, and its answer (RFC 6455 §4).
//!
//! Invariant: of what a stranger sends, at most [`HEAD_LEN`] bytes are kept, and none after the
//! blank line is read.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use sha1::{Digest, Sha1};

/// Bytes of a request or an answer up to its blank line.
const HEAD_LEN: usize = 8 << 10;

/// What the specification has hashed with the dialer's key.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What anybody hears who wants a web page.
const NOT_FOUND: &[u8] =
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Why no WebSocket was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The connection broke.
    #[error("the connection ended during the WebSocket handshake")]
    Io(#[from] io::Error),
    /// Neither side of HTTP says so much.
    #[error("more than {HEAD_LEN} bytes of HTTP headers")]
    TooLong,
    /// A proxy or another server answered.
    #[error("HTTP status {status:?} in place of a WebSocket")]
    Refused {
        /// What it said.
        status: String,
    },
    /// What came is no WebSocket handshake of version 13.
    #[error("no WebSocket handshake")]
    Malformed,
}

/// Asks for a WebSocket.
pub(super) async fn connect<S>(socket: &mut S, host: &str) -> Result<(), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let key = BASE64.encode(rand::random::<[u8; 16]>());
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    socket.flush().await?;

    let head = read_head(socket).await?;
    let head = Head::parse(&head).ok_or(HandshakeError::Malformed)?;
    let status = head.first.strip_prefix("HTTP/1.1 ").ok_or(HandshakeError::Malformed)?;
    if !status.starts_with("101") {
        let status = status.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(HandshakeError::Refused { status });
    }
    let upgrades = head.says("upgrade", "websocket") && head.says("connection", "upgrade");
    // Nothing was offered, so nothing may be agreed on.
    let extended = head.value("sec-websocket-extensions").is_some();
    if !upgrades || extended || head.value("sec-websocket-accept") != Some(&answer_to(&key)) {
        return Err(HandshakeError::Malformed);
    }
    Ok(())
}

/// Grants a WebSocket to whoever asks for one, on any path. Others hear that there is nothing here.
pub(crate) async fn accept<S>(socket: &mut S) -> Result<(), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = read_head(socket).await?;
    let Some(key) = Head::parse(&head).as_ref().and_then(wanted) else {
        socket.write_all(NOT_FOUND).await?;
        socket.close().await?;
        return Err(HandshakeError::Malformed);
    };
    let accepted = answer_to(key);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accepted}\r\n\r\n"
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.flush().await?;
    Ok(())
}

/// The key of a request for a WebSocket.
fn wanted<'a>(head: &Head<'a>) -> Option<&'a str> {
    let mut words = head.first.split(' ');
    let asks = words.next() == Some("GET")
        && words.next().is_some()
        && words.next() == Some("HTTP/1.1")
        && head.says("upgrade", "websocket")
        && head.says("connection", "upgrade")
        && head.value("sec-websocket-version") == Some("13");
    let key = head.value("sec-websocket-key").filter(|_| asks)?;
    BASE64.decode(key).is_ok_and(|key| key.len() == 16).then_some(key)
}

fn answer_to(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(MAGIC);
    BASE64.encode(hash.finalize())
}

/// Reads up to the blank line, byte by byte: what comes after it is not HTTP, and the TLS below has
/// a buffer.
async fn read_head<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Vec<u8>, HandshakeError> {
    let mut head = Vec::with_capacity(512);
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_LEN {
            return Err(HandshakeError::TooLong);
        }
        socket.read_exact(&mut byte).await?;
        head.push(byte[0]);
    }
    Ok(head)
}

/// The lines of a request or an answer.
struct Head<'a> {
    first: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Head<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next()?;
        let field = |line: &'a str| {
            let (name, value) = line.split_once(':')?;
            Some((name, value.trim()))
        };
        Some(Self { first, fields: lines.map(field).collect::<Option<_>>()? })
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        let field = self.fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        field.map(|(_, value)| *value)
    }

    /// Whether one of the words of the field is this one.
    fn says(&self, name: &str, word: &str) -> bool {
        let words = self.value(name).into_iter().flat_map(|value| value.split(','));
        words.map(str::trim).any(|other| other.eq_ignore_ascii_case(word))
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    /// The example of RFC 6455 §1.3.
    #[test]
    fn the_answer_is_the_specifications() {
        assert_eq!(answer_to("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    fn key_in(request: &str) -> Option<&str> {
        Head::parse(request.as_bytes()).as_ref().and_then(wanted)
    }

    #[test]
    fn only_a_request_for_a_websocket_is_one() {
        let request = "GET /chat HTTP/1.1\r\nhost: x\r\nUPGRADE: WebSocket\r\n\
                       Connection: keep-alive, Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n\r\n";
        assert_eq!(key_in(request), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        for (from, to) in [
            ("GET", "POST"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("WebSocket", "h2c"),
            (", Upgrade", ""),
            ("13", "8"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"),
            ("host: x", "host"),
        ] {
            assert_eq!(key_in(&request.replacen(from, to, 1)), None, "{to}");
        }
    }

    #[tokio::test]
    async fn headers_without_end_are_cut() {
        let endless = Cursor::new(vec![b'a'; HEAD_LEN + 1]);
        let read = read_head(&mut { endless }).await;
        assert!(matches!(read, Err(HandshakeError::TooLong)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = Head::parse(&bytes).as_ref().and_then(wanted);
        }
    }
}
