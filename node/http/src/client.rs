//! A node seen through its local API.
//!
//! [`Remote`] opens a connection for each call, so that dropping a call or a stream closes exactly
//! what it used, and the node sees it go. It shows its token only to a server that proved to hold
//! the same one.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use hive_api::{
    AddEvent, AddRequest, ErrorKind, Events, FetchEvent, FetchRequest, GcReport, Hive, HiveError,
    Identity, ModelDetails, ModelSummary, Offer, PeerSummary, Result, RunEvent, RunRequest, Status,
    VerifyEvent, Visibility,
};
use http_body_util::{BodyExt as _, BodyStream, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::access::{self, Address, Token};
use crate::control::{
    ConnectBody, Empty, Freed, GcBody, Health, ModelParam, PREFIX, PinBody, ShareBody, VerifyBody,
};
use crate::guard::HEALTH;
use crate::ndjson;
use crate::problem::ErrorBody;

/// How long the loopback interface may take to connect, or a node to say that it is there.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes in an answer at most, streams aside.
const ANSWER_LEN: usize = 64 << 20;

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
        self.send(Method::GET, path, Bytes::new()).await?.json().await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(Method::POST, path, json(body)?).await?.json().await
    }

    async fn stream<T>(&self, path: &str, body: &impl Serialize) -> Result<Events<T>>
    where
        T: DeserializeOwned + Send + 'static,
    {
        Ok(self.send(Method::POST, path, json(body)?).await?.events())
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Answer> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.token.secret()))
            .expect("hexadecimal digits may stand in a header");
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(format!("{PREFIX}{path}"))
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, bearer)
            .header(CONTENT_TYPE, "application/json")
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

    fn events<T: DeserializeOwned + Send + 'static>(self) -> Events<T> {
        let connection = self.connection;
        let frames = BodyStream::new(self.response.into_body()).map(move |frame| {
            // Mentioned so that the stream owns it.
            let _ = &connection;
            match frame {
                Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
                Err(error) => Err(cut_off(&error)),
            }
        });
        ndjson::events(frames)
    }
}

fn json(body: &impl Serialize) -> Result<Bytes> {
    // Paths are what can fail here: JSON has no bytes that are not text.
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| {
        HiveError::caused(ErrorKind::Usage, "cannot put this request into words", &error)
    })
}

/// A path with one parameter.
fn query(path: &str, name: &str, value: &str) -> String {
    let mut query = format!("{path}?{name}=");
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            write!(query, "%{byte:02X}").expect("a string takes any text");
        }
    }
    query
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

    async fn run(&self, request: RunRequest) -> Result<Events<RunEvent>> {
        self.stream("/run", &request).await
    }

    async fn list(&self) -> Result<Vec<ModelSummary>> {
        self.get("/models").await
    }

    async fn show(&self, model: &str) -> Result<ModelDetails> {
        self.get(&query("/model", "model", model)).await
    }

    async fn block(&self, cid: &str) -> Result<Vec<u8>> {
        let path = query("/block", "cid", cid);
        let answer = self.send(Method::GET, &path, Bytes::new()).await?;
        Ok(answer.bytes().await?.to_vec())
    }

    async fn search(&self, text: &str) -> Result<Vec<Offer>> {
        self.get(&query("/search", "text", text)).await
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

    async fn status(&self) -> Result<Status> {
        self.get("/status").await
    }

    async fn shutdown(&self) -> Result<()> {
        let Empty {} = self.post("/shutdown", &Empty {}).await?;
        Ok(())
    }
}
