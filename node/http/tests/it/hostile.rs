//! What a page that the user visits, or a program without the token, can try.

use hive_http::{Options, ServeError, Server};
use std::sync::Arc;

use crate::Served;
use crate::raw::send;

/// A head of a request; `PORT` and `TOKEN` are put in.
struct Attempt {
    what: &'static str,
    head: &'static str,
    body: &'static str,
    status: u16,
}

const fn attempt(what: &'static str, head: &'static str, status: u16) -> Attempt {
    Attempt { what, head, body: "", status }
}

const fn posted(
    what: &'static str,
    head: &'static str,
    body: &'static str,
    status: u16,
) -> Attempt {
    Attempt { what, head, body, status }
}

const ATTEMPTS: &[Attempt] = &[
    attempt(
        "DNS rebinding: the page's own name points here",
        "GET /hive/v1/models HTTP/1.1\nHost: evil.example:PORT\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "DNS rebinding without a port",
        "GET /hive/v1/models HTTP/1.1\nHost: evil.example\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "our name with another port, as behind a forwarder",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:1\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "our name without the port",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "a name that starts like ours",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost.evil.example:PORT\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "a name that starts like our address",
        "GET /hive/v1/models HTTP/1.1\nHost: 127.0.0.1.nip.io:PORT\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt("no host at all", "GET /hive/v1/models HTTP/1.1\nAuthorization: Bearer TOKEN", 403),
    attempt(
        "two hosts",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nHost: evil.example\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "two hosts, one of them in the request's line",
        "GET http://evil.example/hive/v1/models HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "even the health of a node is not for foreign names",
        "GET /health HTTP/1.1\nHost: evil.example",
        403,
    ),
    attempt(
        "a page of another origin reads",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nOrigin: https://evil.example\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "a page from a file or a sandboxed frame",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nOrigin: null\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "a page of another program on this machine",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nOrigin: http://localhost:8080\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "same name, other scheme",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nOrigin: https://localhost:PORT\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "an image tag on another site, which has no Origin",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nSec-Fetch-Site: cross-site\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "an image tag on a page of this machine",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nSec-Fetch-Site: same-site\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "a preflight",
        "OPTIONS /hive/v1/fetch HTTP/1.1\nHost: localhost:PORT\nOrigin: https://evil.example\nAccess-Control-Request-Method: POST",
        403,
    ),
    attempt("no token", "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT", 401),
    attempt(
        "an empty token",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer ",
        401,
    ),
    attempt(
        "a wrong token of the right length",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer 0000000000000000000000000000000000000000000000000000000000000000",
        401,
    ),
    attempt(
        "the token in another scheme",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nAuthorization: Basic TOKEN",
        401,
    ),
    attempt(
        "the token twice",
        "GET /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer TOKEN\nAuthorization: Bearer TOKEN",
        403,
    ),
    attempt(
        "the token in the query, where logs would keep it",
        "GET /hive/v1/models?token=TOKEN HTTP/1.1\nHost: localhost:PORT",
        401,
    ),
    attempt(
        "a path that does not exist tells nothing without a token",
        "GET /hive/v1/nothing HTTP/1.1\nHost: localhost:PORT",
        401,
    ),
    attempt(
        "a change by GET",
        "GET /hive/v1/remove?model=x HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer TOKEN",
        405,
    ),
    posted(
        "a form",
        "POST /hive/v1/remove HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer TOKEN\nContent-Type: application/x-www-form-urlencoded",
        "model=x",
        415,
    ),
    posted(
        "JSON in a plain text, which needs no preflight",
        "POST /hive/v1/remove HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer TOKEN\nContent-Type: text/plain",
        "{\"model\":\"x\"}",
        415,
    ),
    posted(
        "a form with files",
        "POST /hive/v1/remove HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer TOKEN\nContent-Type: multipart/form-data; boundary=application/json",
        "{\"model\":\"x\"}",
        415,
    ),
    posted(
        "a body of no type, as from sendBeacon",
        "POST /hive/v1/shutdown HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer TOKEN",
        "{}",
        415,
    ),
    posted(
        "a change without a token",
        "POST /hive/v1/shutdown HTTP/1.1\nHost: localhost:PORT\nContent-Type: application/json",
        "{}",
        401,
    ),
    posted(
        "a change with a key that nobody reads",
        "POST /hive/v1/remove HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer TOKEN\nContent-Type: application/json",
        "{\"model\":\"x\",\"really\":true}",
        400,
    ),
    posted(
        "a body beyond the limit",
        "POST /hive/v1/remove HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer TOKEN\nContent-Type: application/json",
        "{\"model\":\"                                                                \"}",
        413,
    ),
    attempt(
        "a method that nobody serves",
        "TRACE /hive/v1/models HTTP/1.1\nHost: localhost:PORT\nAuthorization: Bearer TOKEN\nContent-Type: application/json",
        405,
    ),
];

fn fill(attempt: &Attempt, served: &Served) -> String {
    let head = attempt.head.replace('\n', "\r\n");
    let head = head.replace("PORT", &served.port().to_string()).replace("TOKEN", &served.token());
    let Attempt { body, .. } = attempt;
    format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// No answer to a stranger opens the door to his page, and nothing of it reaches the node.
#[tokio::test]
async fn hostile_requests_are_refused() {
    let served = Served::with(|options| options.body_len = 64).await;
    for attempt in ATTEMPTS {
        let reply = send(served.port(), &fill(attempt, &served)).await;
        assert_eq!(reply.status, attempt.status, "{}: {}", attempt.what, reply.text);
        let head = reply.text.to_ascii_lowercase();
        assert!(!head.contains("access-control"), "{}: {head}", attempt.what);
        assert!(head.contains("nosniff"), "{}: {head}", attempt.what);
        assert!(!reply.text.contains(&served.token()), "{}", attempt.what);
    }
    assert_eq!(*served.hive.asked.lock().unwrap(), [""; 0], "the node saw none of them");
}

/// The same table would pass if everything were refused.
#[tokio::test]
async fn honest_requests_are_served_under_each_of_our_names() {
    let served = Served::start().await;
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let (port, token) = (served.port(), served.token());
        for more in
            ["", &format!("Origin: http://{host}:{port}\r\n"), "Sec-Fetch-Site: same-origin\r\n"]
        {
            let request = format!(
                "GET /hive/v1/models HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\
                 Authorization: bearer {token}\r\n{more}\r\n",
            );
            let reply = send(port, &request).await;
            assert_eq!(reply.status, 200, "{host} {more}: {}", reply.text);
        }
        let request = format!(
            "POST /hive/v1/remove HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json; charset=utf-8\r\n\
             Content-Length: 13\r\n\r\n{{\"model\":\"x\"}}",
        );
        assert_eq!(send(port, &request).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn health_needs_no_token_and_tells_no_secret() {
    let served = Served::start().await;
    let port = served.port();
    let request = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
    };
    let reply = send(port, &request("/health")).await;
    assert_eq!(reply.status, 200);
    assert!(reply.text.contains("\"service\":\"hive\""), "{}", reply.text);
    assert!(!reply.text.contains("proof"), "{}", reply.text);
    let long = format!("/health?nonce={}", "a".repeat(65));
    assert!(!send(port, &request(&long)).await.text.contains("proof"));
}

#[tokio::test]
async fn address_that_others_could_reach_is_refused() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let home = tempfile::tempdir().unwrap();
        let options = Options::new(home.path(), address.parse().unwrap());
        let started = Server::start(options, Arc::new(crate::fake::Fake::default())).await;
        assert!(matches!(started, Err(ServeError::NotLoopback { .. })), "{address}: {started:?}");
    }
}
