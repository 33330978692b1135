//! A node seen through its local API.
//!
//! [`Remote`] opens a connection for each call, so that dropping a call or a stream closes exactly
//! what it used, and the node sees it go. It shows its token only to a server that proved to hold
//! the same one.

mod networks;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use hive_api::{
    AddEvent, AddRequest, Diagnosis, Discovered, EmbedRequest, Embeddings, ErrorKind, Events,
    FetchEvent, FetchRequest, GcReport, Hive, HiveError, Identity, Listing, LoadedModel,
    ModelDetails, ModelSummary, Offer, PeerSummary, PullEvent, PullRequest, QuantizeEvent,
    QuantizeRequest, ReadRequest, Reading, Result, RunEvent, RunRequest, SearchRequest, Status,
    VerifyEvent, Visibility,
};
use http_body_util::{BodyExt as _, BodyStream, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::access::{self, Address, Token};
use crate::control::{
    CidParam, ConnectBody, Empty, Freed, GcBody, Health, METRICS, ModelParam, PREFIX, PinBody,
    ReadHead, ReadParams, SearchParams, ShareBody, VerifyBody,
};
use crate::guard::HEALTH;
use crate::ndjson::{self, NDJSON};
use crate::problem::ErrorBody;

/// How long the loopback interface may take to connect, or a node to say that it is there.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes in an answer at most, streams aside.
const ANSWER_LEN: usize = 64 << 20;
/// Bytes in the line that describes a file at most.
const HEAD_LEN: usize = 64 << 10;
/// The media type of a body.
const JSON: &str = "application/json";

/// A running node of the same user on the same machine.
#[derive(Debug, Clone)]
pub struct Remote {
    address: SocketAddr,
    pid: Option<u32>,
    token: Token,
}

/// An answer whose connection lives as long as it does.
struct Answer {
    response: Response<Incoming>,
    connection: AbortOnDropHandle<()>,
}

impl Remote {
    /// Finds the node that runs on a home; `None` if none does. A file that a killed node left
    /// behind is no node, and neither is another program on its old port.
    pub async fn discover(home: &Path) -> Result<Option<Self>> {
        let failed = |error| {
            HiveError::caused(ErrorKind::Failed, "cannot find out whether a node runs", &error)
        };
        let Some(Address { address, pid }) = Address::load(home).map_err(failed)? else {
            return Ok(None);
        };
        let Some(token) = Token::load(home).map_err(failed)? else { return Ok(None) };
        let remote = Self { address, pid: Some(pid), token };
        Ok(remote.answers_for_home().await.then_some(remote))
    }

    /// The node of a home that is known to listen at an address, as its own children know. Fails
    /// if the home has no token.
    pub fn at(address: SocketAddr, home: &Path) -> Result<Self> {
        let token = Token::load(home).map_err(|error| {
            HiveError::caused(ErrorKind::Failed, "cannot talk to the node", &error)
        })?;
        let token = token.ok_or_else(|| {
            let message = format!("no node has run in `{}`", home.display());
            HiveError::new(ErrorKind::Failed, message)
        })?;
        Ok(Self { address, pid: None, token })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, where `api.addr` told it.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    async fn answers_for_home(&self) -> bool {
        let nonce = access::nonce();
        let asked = async {
            let path = format!("{HEALTH}?nonce={nonce}");
            let request = Request::get(path).header(HOST, self.address.to_string());
            let answer = self.exchange(request.body(Full::default()).map_err(unsendable)?).await?;
            answer.json::<Health>().await
        };
        match tokio::time::timeout(HELLO_TIMEOUT, asked).await {
            Ok(Ok(health)) => {
                health.service == "hive" && health.proof == Some(self.token.proof(&nonce))
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(path).await?.json().await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(Method::POST, &own(path), JSON, json(body)?).await?.json().await
    }

    async fn stream<T>(&self, path: &str, body: &impl Serialize) -> Result<Events<T>>
    where
        T: DeserializeOwned + Send + 'static,
    {
        Ok(self.send(Method::POST, &own(path), NDJSON, json(body)?).await?.events())
    }

    async fn ask(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, &own(path), JSON, Bytes::new()).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Bytes,
    ) -> Result<Answer> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.token.secret()))
            .expect("hexadecimal digits may stand in a header");
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, accept)
            .body(Full::new(body))
            .map_err(unsendable)?;
        let answer = self.exchange(request).await?;
        if answer.response.status().is_success() { Ok(answer) } else { Err(answer.error().await) }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let address = self.address;
        let unreachable = |error: &(dyn std::error::Error + 'static)| {
            let message = format!("cannot reach the node at `{address}`");
            HiveError::caused(ErrorKind::Failed, message, error)
        };
        let socket = tokio::time::timeout(HELLO_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|elapsed| unreachable(&elapsed))?
            .map_err(|error| unreachable(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(socket)).await.map_err(|error| unreachable(&error))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // What goes wrong on it is told by the answer that it cuts off.
            let _ = connection.await;
        }));
        let response = sender.send_request(request).await.map_err(|error| cut_off(&error))?;
        Ok(Answer { response, connection })
    }
}

impl Answer {
    async fn bytes(self) -> Result<Bytes> {
        let body = Limited::new(self.response.into_body(), ANSWER_LEN).collect().await;
        let bytes = body.map_err(|error| cut_off(error.as_ref()))?.to_bytes();
        drop(self.connection);
        Ok(bytes)
    }

    async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            HiveError::caused(ErrorKind::Failed, "the node's answer makes no sense", &error)
        })
    }

    async fn error(self) -> HiveError {
        let status = self.response.status();
        match self.json::<ErrorBody>().await {
            Ok(body) => body.error,
            Err(_) => HiveError::new(ErrorKind::Failed, format!("the node answered `{status}`")),
        }
    }

    /// The bytes as they come.
    fn pieces(self) -> Events<Bytes> {
        let connection = self.connection;
        let frames = BodyStream::new(self.response.into_body()).map(move |frame| {
            // Mentioned so that the stream owns it.
            let _ = &connection;
            match frame {
                Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
                Err(error) => Err(cut_off(&error)),
            }
        });
        frames.boxed()
    }

    fn events<T: DeserializeOwned + Send + 'static>(self) -> Events<T> {
        ndjson::events(self.pieces())
    }

    /// A line of JSON, then bytes.
    async fn reading(self) -> Result<Reading> {
        let mut pieces = self.pieces();
        let mut line = BytesMut::new();
        let end = loop {
            if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
                break end;
            }
            if line.len() > HEAD_LEN {
                return Err(ndjson::strange("a line without an end"));
            }
            let piece = pieces.next().await.ok_or_else(|| ndjson::strange("half a line"))??;
            line.extend_from_slice(&piece);
        };
        let head = line.split_to(end + 1);
        let head: ReadHead =
            serde_json::from_slice(&head).map_err(|error| ndjson::strange(&error.to_string()))?;
        let first = stream::iter((!line.is_empty()).then(|| Ok(line.freeze())));
        Ok(Reading {
            file: head.file,
            start: head.start,
            len: head.len,
            bytes: first.chain(pieces).boxed(),
        })
    }
}

fn json(body: &impl Serialize) -> Result<Bytes> {
    // Paths are what can fail here: JSON has no bytes that are not text.
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| {
        HiveError::caused(ErrorKind::Usage, "cannot put this request into words", &error)
    })
}

/// The path of an endpoint of the node's own.
fn own(path: &str) -> String {
    format!("{PREFIX}{path}")
}

/// A path with parameters.
fn query(path: &str, params: &impl Serialize) -> Result<String> {
    let fields = serde_json::to_value(params).map_err(|error| {
        HiveError::caused(ErrorKind::Usage, "cannot put this request into words", &error)
    })?;
    let mut query = path.to_owned();
    for (i, (name, value)) in fields.as_object().into_iter().flatten().enumerate() {
        query.push(if i == 0 { '?' } else { '&' });
        query.push_str(name);
        query.push('=');
        let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                query.push(char::from(byte));
            } else {
                write!(query, "%{byte:02X}").expect("a string takes any text");
            }
        }
    }
    Ok(query)
}

fn unsendable(error: hyper::http::Error) -> HiveError {
    HiveError::caused(ErrorKind::Usage, "cannot put this request into words", &error)
}

fn cut_off(error: &(dyn std::error::Error + 'static)) -> HiveError {
    HiveError::caused(ErrorKind::Failed, "the node went away before it had answered", error)
        .hint("`hive status` says whether it runs; what was verified is kept")
}

#[async_trait]
impl Hive for Remote {
    async fn add(&self, request: AddRequest) -> Result<Events<AddEvent>> {
        self.stream("/add", &request).await
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Events<FetchEvent>> {
        self.stream("/fetch", &request).await
    }

    async fn look(&self, request: PullRequest) -> Result<Listing> {
        self.post("/look", &request).await
    }

    async fn pull(&self, request: PullRequest) -> Result<Events<PullEvent>> {
        self.stream("/pull", &request).await
    }

    async fn discover(&self) -> Result<Vec<Discovered>> {
        self.get("/discover").await
    }

    async fn quantize(&self, request: QuantizeRequest) -> Result<Events<QuantizeEvent>> {
        self.stream("/quantize", &request).await
    }

    async fn follow(&self, model: &str) -> Result<Events<FetchEvent>> {
        let path = own(&query("/follow", &ModelParam { model: model.to_owned() })?);
        Ok(self.send(Method::GET, &path, NDJSON, Bytes::new()).await?.events())
    }

    async fn run(&self, request: RunRequest) -> Result<Events<RunEvent>> {
        self.stream("/run", &request).await
    }

    async fn embed(&self, request: EmbedRequest) -> Result<Embeddings> {
        self.post("/embed", &request).await
    }

    async fn loaded(&self) -> Result<Vec<LoadedModel>> {
        self.get("/loaded").await
    }

    async fn unload(&self, model: &str) -> Result<()> {
        let Empty {} = self.post("/unload", &ModelParam { model: model.to_owned() }).await?;
        Ok(())
    }

    async fn read(&self, request: ReadRequest) -> Result<Reading> {
        let ReadRequest { model, file, start, len } = request;
        let path = query("/read", &ReadParams { model, file, start, len })?;
        self.ask(&path).await?.reading().await
    }

    async fn list(&self) -> Result<Vec<ModelSummary>> {
        self.get("/models").await
    }

    async fn show(&self, model: &str) -> Result<ModelDetails> {
        self.get(&query("/model", &ModelParam { model: model.to_owned() })?).await
    }

    async fn block(&self, cid: &str) -> Result<Vec<u8>> {
        let path = query("/block", &CidParam { cid: cid.to_owned() })?;
        Ok(self.ask(&path).await?.bytes().await?.to_vec())
    }

    async fn search(&self, request: SearchRequest) -> Result<Vec<Offer>> {
        self.get(&query("/search", &SearchParams::from(request))?).await
    }

    async fn share(&self, model: &str, visibility: Visibility) -> Result<ModelSummary> {
        self.post("/share", &ShareBody { model: model.to_owned(), visibility }).await
    }

    async fn remove(&self, model: &str) -> Result<u64> {
        let freed: Freed = self.post("/remove", &ModelParam { model: model.to_owned() }).await?;
        Ok(freed.freed)
    }

    async fn pin(&self, model: &str, pinned: bool) -> Result<ModelSummary> {
        self.post("/pin", &PinBody { model: model.to_owned(), pinned }).await
    }

    async fn cancel(&self, model: &str) -> Result<()> {
        let Empty {} = self.post("/cancel", &ModelParam { model: model.to_owned() }).await?;
        Ok(())
    }

    async fn gc(&self, dry_run: bool) -> Result<GcReport> {
        self.post("/gc", &GcBody { dry_run }).await
    }

    async fn verify(&self, model: Option<&str>, repair: bool) -> Result<Events<VerifyEvent>> {
        let body = VerifyBody { model: model.map(ToOwned::to_owned), repair };
        self.stream("/verify", &body).await
    }

    async fn connect(&self, address: &str) -> Result<()> {
        let Empty {} = self.post("/connect", &ConnectBody { address: address.to_owned() }).await?;
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<PeerSummary>> {
        self.get("/peers").await
    }

    async fn identity(&self) -> Result<Identity> {
        self.get("/identity").await
    }

    async fn metrics(&self) -> Result<String> {
        let answer = self.send(Method::GET, METRICS, "*/*", Bytes::new()).await?;
        let bytes = answer.bytes().await?;
        String::from_utf8(bytes.to_vec()).map_err(|_| ndjson::strange("figures that are no text"))
    }

    async fn status(&self) -> Result<Status> {
        self.get("/status").await
    }

    async fn doctor(&self) -> Result<Diagnosis> {
        self.post("/doctor", &Empty {}).await
    }

    async fn shutdown(&self) -> Result<()> {
        let Empty {} = self.post("/shutdown", &Empty {}).await?;
        Ok(())
    }
}
