//! What a web page, or a program without the token, can send: every case against every endpoint of
//! the document, and the status of each.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Served;
use crate::document::{Endpoint, endpoints};
use crate::http::PATIENCE;
use crate::raw::send;

/// What a request of a case has: everything is honest but one thing.
struct Case {
    what: &'static str,
    /// In place of the endpoint's own.
    method: Option<&'static str>,
    /// In place of `localhost:PORT`.
    host: &'static str,
    /// Whether it shows the token.
    token: bool,
    /// More headers.
    headers: &'static str,
    /// In place of `application/json`.
    media: Option<&'static str>,
    /// Put before the path.
    origin_form: &'static str,
    /// Put after the path.
    query: &'static str,
    /// What it must be answered with.
    status: Status,
}

/// A status, and whether it depends on the endpoint.
#[derive(Clone, Copy)]
enum Status {
    Always(u16),
    /// For endpoints that need a token; the open one reads nothing and answers.
    Unless(u16),
    /// For `POST`; a `GET` has no body to be suspicious of.
    Posted(u16),
}

const HONEST: Case = Case {
    what: "",
    method: None,
    host: "localhost:PORT",
    token: true,
    headers: "",
    media: Some("application/json"),
    origin_form: "",
    query: "",
    status: Status::Always(0),
};

const fn origin(what: &'static str, headers: &'static str) -> Case {
    Case { what, headers, status: Status::Always(403), ..HONEST }
}

const fn host(what: &'static str, host: &'static str) -> Case {
    Case { what, host, status: Status::Always(403), ..HONEST }
}

const fn media(what: &'static str, media: Option<&'static str>) -> Case {
    Case { what, media, status: Status::Posted(415), ..HONEST }
}

const fn unknown(what: &'static str, headers: &'static str, query: &'static str) -> Case {
    Case { what, token: false, headers, query, status: Status::Unless(401), ..HONEST }
}

const CASES: &[Case] = &[
    // the address typed into a browser.
    unknown(
        "no Origin, a browser",
        "User-Agent: Mozilla/5.0\nSec-Fetch-Site: none\nSec-Fetch-Mode: navigate",
        "",
    ),
    // pages of others.
    origin("another origin", "Origin: https://evil.example"),
    origin("a file or a sandboxed frame", "Origin: null"),
    origin("an extension", "Origin: chrome-extension://abcdefghijklmnop"),
    origin("another program of this machine", "Origin: http://localhost:8080"),
    origin("our name with another scheme", "Origin: https://localhost:PORT"),
    origin("an origin that starts like ours", "Origin: http://localhost:PORT.evil.example"),
    origin("an origin with a user", "Origin: http://localhost:PORT@evil.example"),
    // names that are not ours.
    host("a page's own name that points here", "evil.example"),
    host("and with our port", "evil.example:PORT"),
    host("our name without the port", "localhost"),
    host("our name with another port", "localhost:1"),
    host("a port with a user before it", "evil.example@localhost:PORT"),
    host("a port and then a name", "localhost:PORT.evil.example"),
    host("every address", "0.0.0.0:PORT"),
    host("IPv4 in IPv6", "[::ffff:127.0.0.1]:PORT"),
    host("another loopback address", "127.0.0.2:PORT"),
    host("a name of the local network", "desk.local:PORT"),
    host("a name that has our address in it", "127.0.0.1.nip.io:PORT"),
    host("our name with a dot", "localhost.:PORT"),
    Case {
        what: "a foreign name in the request's line",
        origin_form: "http://evil.example",
        status: Status::Always(403),
        ..HONEST
    },
    // bodies that a page may send without asking.
    media("plain text", Some("text/plain")),
    media("plain text that says it is JSON", Some("text/plain; application/json")),
    media("a form", Some("application/x-www-form-urlencoded")),
    media("a form with files", Some("multipart/form-data; boundary=application/json")),
    media("no type, as from sendBeacon", None),
    media("JSON of another kind", Some("application/json-patch+json")),
    media("gRPC-web", Some("application/grpc-web+proto")),
    // preflights and changes by reading.
    Case {
        what: "a preflight",
        method: Some("OPTIONS"),
        headers: "Origin: https://evil.example\nAccess-Control-Request-Method: POST\nAccess-Control-Request-Headers: authorization\nAccess-Control-Request-Private-Network: true",
        token: false,
        media: None,
        status: Status::Always(403),
        ..HONEST
    },
    Case {
        what: "a question what it can do",
        method: Some("OPTIONS"),
        status: Status::Always(405),
        ..HONEST
    },
    Case { what: "a change by GET", method: Some("GET"), status: Status::Posted(405), ..HONEST },
    Case { what: "a change by HEAD", method: Some("HEAD"), status: Status::Posted(405), ..HONEST },
    Case { what: "a deletion", method: Some("DELETE"), status: Status::Always(405), ..HONEST },
    Case { what: "a trace", method: Some("TRACE"), status: Status::Always(405), ..HONEST },
    // streams and sockets are requests like others.
    origin(
        "a WebSocket of another origin",
        "Connection: Upgrade, close\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nOrigin: https://evil.example",
    ),
    unknown(
        "a WebSocket without the token",
        "Connection: Upgrade, close\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "",
    ),
    origin(
        "an EventSource of another origin",
        "Accept: text/event-stream\nOrigin: https://evil.example",
    ),
    origin("another site", "Sec-Fetch-Site: cross-site"),
    origin(
        "another site, without an Origin, as a picture",
        "Sec-Fetch-Site: cross-site\nSec-Fetch-Dest: image\nSec-Fetch-Mode: no-cors",
    ),
    origin("another origin of this site", "Sec-Fetch-Site: same-site"),
    origin("a site of no kind that is known", "Sec-Fetch-Site: friendly"),
    // tokens.
    unknown("no token", "", ""),
    unknown("an empty token", "Authorization: Bearer ", ""),
    unknown(
        "a wrong token",
        "Authorization: Bearer 0000000000000000000000000000000000000000000000000000000000000000",
        "",
    ),
    unknown("half a token", "Authorization: Bearer HALF", ""),
    unknown("the token in another scheme", "Authorization: Basic TOKEN", ""),
    unknown("the token without a scheme", "Authorization: TOKEN", ""),
    unknown("the token in the query", "", "?token=TOKEN&access_token=TOKEN&api_key=TOKEN"),
    unknown("the token in a cookie", "Cookie: token=TOKEN", ""),
    unknown("the token in another header", "X-Api-Key: TOKEN", ""),
    // two of what may come once, and too much.
    origin("two hosts", "Host: evil.example"),
    origin("two origins", "Origin: http://localhost:PORT\nOrigin: https://evil.example"),
    Case {
        what: "two types",
        headers: "Content-Type: text/plain",
        status: Status::Posted(403),
        ..HONEST
    },
    Case {
        what: "two lengths",
        headers: "Content-Length: 0\nContent-Length: 5",
        status: Status::Always(400),
        ..HONEST
    },
    Case {
        what: "two framings",
        headers: "Transfer-Encoding: chunked, identity",
        status: Status::Always(400),
        ..HONEST
    },
];

fn fill(text: &str, served: &Served) -> String {
    let token = served.token();
    let text = text.replace('\n', "\r\n").replace("PORT", &served.port().to_string());
    text.replace("TOKEN", &token).replace("HALF", &token[..32])
}

fn request(case: &Case, endpoint: &Endpoint, served: &Served) -> String {
    let method = case.method.unwrap_or(&endpoint.method);
    let mut head =
        format!("{method} {}{}{} HTTP/1.1\n", case.origin_form, endpoint.path, case.query);
    writeln!(head, "Host: {}", case.host).unwrap();
    if case.token {
        head.push_str("Authorization: Bearer TOKEN\n");
    }
    if let Some(media) = case.media {
        writeln!(head, "Content-Type: {media}").unwrap();
    }
    if !case.headers.is_empty() {
        head.push_str(case.headers);
        head.push('\n');
    }
    if !case.headers.contains("Connection") {
        head.push_str("Connection: close\n");
    }
    let body = if method == "POST" { "{}" } else { "" };
    if !case.headers.contains("Content-Length") && !case.headers.contains("Transfer-Encoding") {
        writeln!(head, "Content-Length: {}", body.len()).unwrap();
    }
    fill(&format!("{head}\n"), served) + body
}

/// The status that a case must get, or none where it is an honest request of that endpoint.
fn expected(case: &Case, endpoint: &Endpoint) -> Option<u16> {
    match case.status {
        Status::Always(status) => Some(status),
        Status::Unless(status) => (!endpoint.is_open).then_some(status),
        Status::Posted(status) => (endpoint.method == "POST").then_some(status),
    }
}

#[tokio::test]
async fn every_hostile_request_is_refused_by_every_endpoint_and_reaches_nothing() {
    let served = Served::start().await;
    let endpoints = endpoints(&served).await;
    let mut refused = 0;
    for case in CASES {
        for endpoint in &endpoints {
            let Some(status) = expected(case, endpoint) else { continue };
            let reply = send(served.port(), &request(case, endpoint, &served)).await;
            let place = format!("{} at {} {}", case.what, endpoint.method, endpoint.path);
            assert_eq!(reply.status, status, "{place}: {}", reply.text);
            let text = reply.text.to_ascii_lowercase();
            assert!(!text.contains("access-control"), "{place}: {text}");
            assert!(!text.contains(&served.token()), "{place}: {text}");
            refused += 1;
        }
    }
    assert!(refused > 1_500, "{refused} is too few to be all");
    let asked = served.hive.asked.lock().unwrap();
    assert!(asked.is_empty(), "the node saw {asked:?}");
}

/// The table above would pass if everything were refused: without the one thing, it is not.
#[tokio::test]
async fn the_honest_request_is_let_in_everywhere() {
    let served = Served::start().await;
    for endpoint in endpoints(&served).await {
        if endpoint.path.ends_with("/events") {
            continue;
        }
        let reply = send(served.port(), &request(&HONEST, &endpoint, &served)).await;
        // Empty bodies and queries make no sense to many; what counts is that they were read.
        let is_in = matches!(reply.status, 200 | 400);
        assert!(is_in, "{endpoint:?}: {}", reply.text);
    }
    assert!(served.hive.asked.lock().unwrap().len() > 8);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let served = Served::start().await;
    for (what, header) in [
        ("one long header", format!("X-Long: {}\r\n", "a".repeat(1 << 20))),
        ("many headers", "X-Many: a\r\n".repeat(200)),
        ("a long path", String::new()),
    ] {
        let path =
            if header.is_empty() { format!("/{}", "a".repeat(70_000)) } else { "/health".into() };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:{}\r\n{header}Connection: close\r\n\r\n",
            served.port(),
        );
        let reply = send(served.port(), &request).await;
        // A server that hangs up on what it did not read may lose its last words on the way.
        assert!(matches!(reply.status, 431 | 414 | 0), "{what}: {}", reply.text);
    }
    assert!(served.hive.asked.lock().unwrap().is_empty());
}

async fn trickle(served: &Served, path: &str, headers: &str, body: &[u8]) -> String {
    let mut socket = TcpStream::connect(served.server.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nConnection: close\r\n{headers}\r\n\r\n",
        served.port(),
        served.token(),
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // The server may have had enough before this is all out.
    let _ = socket.write_all(body).await;
    let mut text = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut text)).await;
    let _ = read.expect("the server ends it");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let served = Served::with(|options| options.body_timeout = Duration::from_millis(50)).await;
    for path in ["/hive/v1/remove", "/v1/chat/completions", "/v1/embeddings"] {
        let reply = trickle(&served, path, "Content-Length: 100", b"{\"model\"").await;
        assert!(reply.starts_with("HTTP/1.1 408 "), "{path}: {reply}");
        let reply = trickle(&served, path, "Transfer-Encoding: chunked", b"1\r\n{\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 408 "), "{path}: {reply}");
    }
    assert!(served.hive.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_without_an_end_is_cut_at_the_limit() {
    let served = Served::with(|options| options.body_len = 4096).await;
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1024)).repeat(16);
    for path in ["/hive/v1/remove", "/v1/chat/completions", "/v1/embeddings"] {
        let reply = trickle(&served, path, "Transfer-Encoding: chunked", chunk.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 413 ") || reply.is_empty(), "{path}: {reply}");
        let reply = trickle(&served, path, "Content-Length: 4097", &[b' '; 4097]).await;
        assert!(reply.starts_with("HTTP/1.1 413 "), "{path}: {reply}");
    }
    assert!(served.hive.asked.lock().unwrap().is_empty());
}
