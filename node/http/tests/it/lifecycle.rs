//! Coming, going, and what is left behind.

use std::time::Duration;

use futures::StreamExt as _;
use hive_api::{ErrorKind, FetchEvent, FetchRequest, Hive as _};
use hive_http::Remote;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Served;
use crate::fake::ENDLESS;
use crate::raw::send;

fn endless() -> FetchRequest {
    FetchRequest { model: ENDLESS.into(), ..FetchRequest::default() }
}

#[tokio::test]
async fn dropping_a_stream_drops_it_at_the_node() {
    let served = Served::start().await;
    let remote = served.remote().await;
    let mut events = remote.fetch(endless()).await.unwrap();
    let first = events.next().await.unwrap().unwrap();
    assert_eq!(first, FetchEvent::Searching { cid: "c".into() });
    drop(events);
    served.hive.dropped.notified().await;
}

#[tokio::test]
async fn dropping_a_call_drops_it_at_the_node() {
    let served = Served::start().await;
    let remote = served.remote().await;
    let call = tokio::spawn(async move { remote.show(ENDLESS).await });
    while served.hive.last_asked().is_empty() {
        tokio::task::yield_now().await;
    }
    call.abort();
    served.hive.dropped.notified().await;
}

#[tokio::test]
async fn stopping_node_ends_streams_with_an_error_that_says_so() {
    let served = Served::start().await;
    let remote = served.remote().await;
    let mut events = remote.fetch(endless()).await.unwrap();
    assert!(events.next().await.unwrap().is_ok());
    let (last, ()) = tokio::join!(events.next(), served.server.shutdown());
    let error = last.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Interrupted);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn stopped_node_is_not_found() {
    let served = Served::start().await;
    let remote = served.remote().await;
    assert_eq!(remote.pid(), Some(std::process::id()));
    served.server.shutdown().await;
    assert!(!served.home.path().join("api.addr").exists());
    assert!(Remote::discover(served.home.path()).await.unwrap().is_none());
    let error = remote.status().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed, "{error}");
}

#[tokio::test]
async fn address_that_a_killed_node_left_is_no_node() {
    let served = Served::start().await;
    let left = std::fs::read(served.home.path().join("api.addr")).unwrap();
    served.server.shutdown().await;
    write_private(&served.home.path().join("api.addr"), &left);
    assert!(Remote::discover(served.home.path()).await.unwrap().is_none());
}

/// The port that a killed node had may belong to somebody else by now, who is not to see the token.
#[tokio::test]
async fn stranger_on_the_old_port_does_not_get_the_token() {
    let ours = Served::start().await;
    let strangers = Served::start().await;
    let theirs = std::fs::read(strangers.home.path().join("api.addr")).unwrap();
    write_private(&ours.home.path().join("api.addr"), &theirs);
    assert!(Remote::discover(ours.home.path()).await.unwrap().is_none());
    assert!(Remote::discover(strangers.home.path()).await.unwrap().is_some());
}

#[tokio::test]
async fn slow_head_is_closed() {
    let served = Served::with(|options| options.header_timeout = Duration::from_millis(50)).await;
    let mut socket = TcpStream::connect(served.server.address()).await.unwrap();
    socket.write_all(b"GET /health HTTP/1.1\r\nHost: local").await.unwrap();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[tokio::test]
async fn caller_beyond_the_limit_is_told_so() {
    let served = Served::with(|options| options.connections = 1).await;
    let health = format!(
        "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
        served.port()
    );
    // A connection that says nothing takes the only place; its arrival is certain once the next
    // one, accepted after it, is refused.
    let first = TcpStream::connect(served.server.address()).await.unwrap();
    let reply = send(served.port(), &health).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    drop(first);
    while send(served.port(), &health).await.status != 200 {
        tokio::task::yield_now().await;
    }
}

fn write_private(path: &std::path::Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}
