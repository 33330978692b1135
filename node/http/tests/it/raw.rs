//! Requests written by hand, as no client of ours would.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::PATIENCE;

/// A status and all else that came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Sends bytes and reads until the server closes.
pub(crate) async fn send(port: u16, request: &str) -> Reply {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    // A server that refuses a body it did not read may reset the connection after its answer.
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut text)).await;
    let _ = read.unwrap_or_else(|_| panic!("the server does not close after {request}"));
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Reply { status, text }
}
