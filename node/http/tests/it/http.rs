//! A client that keeps apart what a server said: status, headers, bytes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::Served;

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An answer whose body is still to come. Dropping it hangs up.
pub(crate) struct Open {
    pub(crate) response: Response<Incoming>,
    buffer: BytesMut,
    _connection: AbortOnDropHandle<()>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Open {
    /// The rest of it; an error if it was cut off.
    pub(crate) async fn whole(self) -> Result<Answer, hyper::Error> {
        let (parts, body) = self.response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.expect("it ends")?;
        let status = parts.status.as_u16();
        Ok(Answer { status, headers: parts.headers, body: body.to_bytes() })
    }

    /// The next paragraph of a stream of server-sent events; `None` at the end.
    pub(crate) async fn event(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event = self.buffer.split_to(end + 2);
                return Some(String::from_utf8(event.to_vec()).unwrap().trim_end().to_owned());
            }
            let frame = tokio::time::timeout(PATIENCE, self.response.body_mut().frame()).await;
            let bytes = frame.expect("something comes")?.unwrap().into_data().unwrap();
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// All events of a stream that ends, without `data: `.
    pub(crate) async fn events(mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event.strip_prefix("data: ").unwrap_or(&event).to_owned());
        }
        events
    }
}

impl Served {
    /// Sends a request with the token and waits for the head of the answer.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Open {
        let socket = TcpStream::connect(self.server.address()).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.server.address().to_string())
            .header("authorization", format!("Bearer {}", self.token()))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = tokio::time::timeout(PATIENCE, sender.send_request(request));
        let response = response.await.expect("an answer comes").unwrap();
        Open { response, buffer: BytesMut::new(), _connection: connection }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.open(Method::GET, path, &[], Vec::new()).await.whole().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.open_post(path, body).await.whole().await.unwrap()
    }

    pub(crate) async fn open_post(&self, path: &str, body: &Value) -> Open {
        self.open(Method::POST, path, &[], serde_json::to_vec(body).unwrap()).await
    }
}
