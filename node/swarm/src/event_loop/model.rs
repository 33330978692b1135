//! `model/1`: requests of ours on their way, and requests of peers that the node answers.

use std::collections::HashMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hive_protocol::message::{Request, Response};
use libp2p::PeerId;
use libp2p::request_response::{
    Event, InboundRequestId, Message, OutboundFailure, OutboundRequestId, ResponseChannel,
};
use tokio::sync::{mpsc, oneshot};

use super::{EventLoop, answer};
use crate::client::Reply;
use crate::codec::Asked;
use crate::error::RequestError;
use crate::identity::Peer;
use crate::inbound::{InboundRequest, Responder};
use crate::limits::{ASKING_PER_PEER, RETRY_MS, SERVING, SERVING_PER_PEER};

/// A request that the node has answered, or dropped.
pub(super) struct Answered {
    id: InboundRequestId,
    peer: PeerId,
    channel: ResponseChannel<Response>,
    response: Option<Response>,
}

/// Somebody who waits for a response.
struct Asking {
    peer: PeerId,
    reply: Reply<Result<Response, RequestError>>,
    /// What was asked, until it was asked again: the connection that it left on may close for a
    /// better one. Asking twice does no harm; nothing on this protocol changes anything twice.
    request: Option<Request>,
}

/// See the module.
pub(super) struct Model {
    requests: mpsc::Sender<InboundRequest>,
    /// Requests that the node has.
    pub(super) serving: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Responses that are not on their way yet: they are in memory until the peer has read them.
    sending: HashMap<InboundRequestId, PeerId>,
    /// Requests of each peer that are served or whose responses are being sent.
    serving_of: HashMap<PeerId, usize>,
    asking: HashMap<OutboundRequestId, Asking>,
    asking_of: HashMap<PeerId, usize>,
}

impl Model {
    pub(super) fn new(requests: mpsc::Sender<InboundRequest>) -> Self {
        Self {
            requests,
            serving: FuturesUnordered::new(),
            sending: HashMap::new(),
            serving_of: HashMap::new(),
            asking: HashMap::new(),
            asking_of: HashMap::new(),
        }
    }
}

fn busy() -> Response {
    Response::Busy { retry_ms: RETRY_MS }
}

/// Counts one less.
fn release(counts: &mut HashMap<PeerId, usize>, peer: PeerId) {
    if let Some(count) = counts.get_mut(&peer) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&peer);
        }
    }
}

impl EventLoop {
    /// Asks a connected peer.
    pub(super) fn ask(
        &mut self,
        peer: PeerId,
        request: Request,
        reply: Reply<Result<Response, RequestError>>,
    ) {
        let count = self.model.asking_of.entry(peer).or_default();
        if *count >= ASKING_PER_PEER {
            return answer(reply, Err(RequestError::TooMany));
        }
        *count += 1;
        let asked = Asked::Known(request.clone());
        let id = self.swarm.behaviour_mut().model.send_request(&peer, asked);
        self.model.asking.insert(id, Asking { peer, reply, request: Some(request) });
    }

    pub(super) fn on_model(&mut self, event: Event<Asked, Response>) {
        match event {
            Event::Message { peer, message, .. } => match message {
                Message::Request { request_id, request, channel } => {
                    self.on_inbound(peer, request_id, request, channel);
                }
                Message::Response { request_id, response } => {
                    self.on_response(request_id, Ok(response));
                }
            },
            Event::OutboundFailure { request_id, error, .. } => {
                self.on_response(request_id, Err(request_error(error)));
            }
            Event::InboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, %error, "response not delivered");
                self.on_sent(request_id);
            }
            Event::ResponseSent { request_id, .. } => self.on_sent(request_id),
        }
    }

    fn on_response(&mut self, id: OutboundRequestId, result: Result<Response, RequestError>) {
        let Some(Asking { peer, reply, request }) = self.model.asking.remove(&id) else { return };
        let closed = matches!(result, Err(RequestError::Closed));
        if let Some(request) = request.filter(|_| closed && self.swarm.is_connected(&peer)) {
            let id = self.swarm.behaviour_mut().model.send_request(&peer, Asked::Known(request));
            self.model.asking.insert(id, Asking { peer, reply, request: None });
            return;
        }
        release(&mut self.model.asking_of, peer);
        answer(reply, result);
    }

    fn on_inbound(
        &mut self,
        peer: PeerId,
        id: InboundRequestId,
        asked: Asked,
        channel: ResponseChannel<Response>,
    ) {
        let Asked::Known(request) = asked else {
            return self.respond(channel, Response::Unsupported);
        };
        let of_peer = self.model.serving_of.get(&peer).copied().unwrap_or(0);
        if self.model.serving.len() + self.model.sending.len() >= SERVING
            || of_peer >= SERVING_PER_PEER
        {
            return self.respond(channel, busy());
        }
        if let Request::Redeem(bytes) = request {
            let redeemed = self.members.redeemed(bytes.into_vec(), Peer(peer));
            *self.model.serving_of.entry(peer).or_default() += 1;
            let wait =
                async move { Answered { id, peer, channel, response: Some(redeemed.await) } };
            return self.model.serving.push(wait.boxed());
        }
        let (answer, answered) = oneshot::channel();
        let inbound = InboundRequest { peer: Peer(peer), request, reply: Responder { answer } };
        // The peer has others to ask. It is owed an answer, not a queue.
        if self.model.requests.try_send(inbound).is_err() {
            return self.respond(channel, busy());
        }
        *self.model.serving_of.entry(peer).or_default() += 1;
        let wait = async move { Answered { id, peer, channel, response: answered.await.ok() } };
        self.model.serving.push(wait.boxed());
    }

    pub(super) fn on_answered(&mut self, answered: Answered) {
        let Answered { id, peer, channel, response } = answered;
        let response = response.unwrap_or_else(busy);
        // A peer that has left gets no answer; one that is sent tells how that ended.
        match self.swarm.behaviour_mut().model.send_response(channel, response) {
            Ok(()) => drop(self.model.sending.insert(id, peer)),
            Err(_) => release(&mut self.model.serving_of, peer),
        }
    }

    fn on_sent(&mut self, id: InboundRequestId) {
        if let Some(peer) = self.model.sending.remove(&id) {
            release(&mut self.model.serving_of, peer);
        }
    }

    fn respond(&mut self, channel: ResponseChannel<Response>, response: Response) {
        // A peer that has left gets no answer.
        let _ = self.swarm.behaviour_mut().model.send_response(channel, response);
    }
}

fn request_error(error: OutboundFailure) -> RequestError {
    match error {
        OutboundFailure::Timeout => RequestError::Timeout,
        // Requests are sent to connected peers only: it has left in between.
        OutboundFailure::ConnectionClosed | OutboundFailure::DialFailure => RequestError::Closed,
        OutboundFailure::UnsupportedProtocols => RequestError::Unsupported,
        OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            RequestError::Malformed(error)
        }
        OutboundFailure::Io(error) => RequestError::Io(error),
    }
}
