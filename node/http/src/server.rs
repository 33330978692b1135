//! Listens on the loopback interface and serves the endpoints.
//!
//! Every connection is a task of one set, which [`Server::shutdown`] awaits. A connection beyond
//! the limit is answered `503` and closed; a client that does not finish its request's head in time
//! is closed without an answer.

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use hive_api::Hive;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::access::{AccessError, Announced, Token};
use crate::control::{self, Control};
use crate::guard::{self, Guard};

/// Bytes in a request's head at most.
const HEAD_LEN: usize = 64 << 10;
/// How long answers may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait after the system refused a connection, as when file handles have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a caller beyond the limit reads.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A request that was answered, for whoever counts them.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// Its method; `other` for those that nobody serves.
    pub method: &'static str,
    /// Its place in the table, as `/v1/models/{*id}`; `none` for a path or a method that is not in
    /// it and for a request that was turned away at the door. Never what the caller wrote.
    pub route: &'a str,
    /// The answer's status.
    pub status: u16,
    /// Seconds until the answer began.
    pub seconds: f64,
}

/// Is told of every request, once its answer has begun. Must not block.
pub type Observer = Arc<dyn Fn(&Served<'_>) + Send + Sync>;

/// How to serve.
#[derive(Clone)]
pub struct Options {
    /// The home, for `api.token` and `api.addr`.
    pub home: PathBuf,
    /// A loopback address; port 0 takes a free one.
    pub address: SocketAddr,
    /// Time for a request's head, and for an idle connection.
    pub header_timeout: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Bytes in a request's body at most. A prompt fits a few times.
    pub body_len: usize,
    /// Time for a request's body.
    pub body_timeout: Duration,
    /// How long a stream of server-sent events says nothing before it says that it is alive.
    pub keep_alive: Duration,
    /// Who counts requests.
    pub observer: Option<Observer>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("home", &self.home)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The usual bounds for a home and an address.
    pub fn new(home: impl Into<PathBuf>, address: SocketAddr) -> Self {
        Self {
            home: home.into(),
            address,
            header_timeout: Duration::from_secs(10),
            connections: 128,
            body_len: 8 << 20,
            body_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
            observer: None,
        }
    }
}

/// Why the local API cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Other machines could reach that address.
    #[error("`{address}` is not a loopback address, and the local API is for this machine only")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be had.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The token or the address cannot be kept.
    #[error("cannot keep the local API's files")]
    Access(#[from] AccessError),
}

/// A local API that is being served. Dropping it closes it at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
    announced: Option<Announced>,
}

impl Server {
    /// Serves a node, and writes `api.token` and `api.addr` into the home.
    pub async fn start(options: Options, hive: Arc<dyn Hive>) -> Result<Self, ServeError> {
        let address = options.address;
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback { address });
        }
        let bind_error = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let token = Token::load_or_create(&options.home)?;
        let announced = Announced::write(&options.home, address)?;

        let stop = CancellationToken::new();
        let guard = Arc::new(Guard::new(token.clone(), address.port()));
        let control = Control {
            hive,
            token,
            stop: stop.clone(),
            body_timeout: options.body_timeout,
            keep_alive: options.keep_alive,
        };
        let mut router = control::router(control)
            .layer(DefaultBodyLimit::max(options.body_len))
            .layer(middleware::from_fn_with_state(guard, guard::guard));
        if let Some(observer) = options.observer.clone() {
            router = router.layer(middleware::from_fn_with_state(observer, observe));
        }
        let accepting = tokio::spawn(accept(
            listener,
            router,
            options.connections,
            options.header_timeout,
            stop.clone(),
        ));
        info!(%address, "local API is up");
        Ok(Self { address, stop, accepting, announced: Some(announced) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, ends streams with an error that says so, waits a moment for answers to be
    /// read, closes the rest and removes `api.addr`.
    pub async fn shutdown(mut self) {
        // First, so that whoever is told that the node stops does not find it again.
        self.announced.take();
        self.stop.cancel();
        // It ends by itself; a panic in it was logged and leaves nothing to do.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        self.accepting.abort();
    }
}

/// The place in the table that answered, passed up from there.
#[derive(Clone)]
struct Route(MatchedPath);

/// Marks an answer with the place in the table that it comes from.
pub(crate) async fn mark(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned().map(Route);
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// Tells the observer of an answer.
async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "other",
    };
    let response = next.run(request).await;
    observer(&Served {
        method,
        route: response.extensions().get::<Route>().map_or("none", |Route(path)| path.as_str()),
        status: response.status().as_u16(),
        seconds: started.elapsed().as_secs_f64(),
    });
    response
}

/// Serves on a listener until `stop`, so many connections at once.
pub(crate) async fn accept(
    listener: TcpListener,
    router: Router,
    places: usize,
    header_timeout: Duration,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(places));
    let mut connections = JoinSet::new();
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let serving = serve(socket, router.clone(), header_timeout, stop.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(_) => refuse(socket),
        }
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    // Who still reads after that is cut off when the set is dropped.
    let _ = tokio::time::timeout(GRACE, all_ended).await;
    connections.shutdown().await;
}

/// Tells a caller that there is no place, without waiting for him.
fn refuse(socket: TcpStream) {
    debug!("no place for another connection");
    // A fresh socket has room for these bytes; if not, closing it says enough.
    if let Ok(mut socket) = socket.into_std() {
        let _ = socket.write(BUSY);
    }
}

async fn serve(
    socket: TcpStream,
    router: Router,
    header_timeout: Duration,
    stop: CancellationToken,
) {
    // Pieces of text are small and somebody reads them as they come.
    let _ = socket.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEAD_LEN)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended early");
    }
}
