//! The requests of one connection, both ways.
//!
//! Streams that ask are driven here, in the connection's task; a stream that is asked stays until
//! its request is read and then belongs to its [`Responder`].
//!
//! Invariant: at most [`OUTBOUND_PER_CONNECTION`](super::limits::OUTBOUND_PER_CONNECTION) asks (the
//! behaviour counts), [`INBOUND_PER_CONNECTION`] responders and [`REFUSALS_PER_CONNECTION`]
//! refusals exist.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use hive_protocol::chunk_message::Status;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent, DialUpgradeError,
    FullyNegotiatedInbound, FullyNegotiatedOutbound, StreamUpgradeError,
};
use libp2p::swarm::{ConnectionId, SubstreamProtocol};
use libp2p::{PeerId, Stream, StreamProtocol};
use tokio::sync::{Semaphore, mpsc};

use super::ask::Ask;
use super::limits::{
    INBOUND_PER_CONNECTION, OPEN_TIMEOUT, REFUSALS_PER_CONNECTION, REQUEST_TIMEOUT, RETRY_MS,
};
use super::serve::Responder;
use super::{Failure, Inbound};

/// Speaks `chunk/1` on one connection.
#[derive(Debug)]
pub struct Handler {
    protocol: StreamProtocol,
    peer: PeerId,
    connection: ConnectionId,
    inbound: mpsc::Sender<Inbound>,
    /// Whether the peer may have groups over this connection.
    serves: bool,
    serving: Arc<Semaphore>,
    refusing: Arc<Semaphore>,
    /// Asks that have no stream yet.
    asks: VecDeque<Ask>,
    streams: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Handler {
    pub(super) fn new(
        protocol: StreamProtocol,
        peer: PeerId,
        connection: ConnectionId,
        inbound: mpsc::Sender<Inbound>,
        serves: bool,
    ) -> Self {
        Self {
            protocol,
            peer,
            connection,
            inbound,
            serves,
            serving: Arc::new(Semaphore::new(INBOUND_PER_CONNECTION)),
            refusing: Arc::new(Semaphore::new(REFUSALS_PER_CONNECTION)),
            asks: VecDeque::new(),
            streams: FuturesUnordered::new(),
        }
    }

    fn on_inbound(&mut self, stream: Stream) {
        let slot = Arc::clone(&self.serving).try_acquire_owned();
        if let Some(slot) = slot.ok().filter(|_| self.serves) {
            let responder = Responder::new(stream, Some(slot));
            let queue = self.inbound.clone();
            self.streams.push(receive(self.peer, self.connection, responder, queue).boxed());
        } else if let Ok(slot) = Arc::clone(&self.refusing).try_acquire_owned() {
            let status = if self.serves { Status::Busy } else { Status::Unsupported };
            let refusal = refuse(Responder::new(stream, Some(slot)), status);
            self.streams.push(refusal.boxed());
        } else {
            tracing::debug!(peer = %self.peer, "request reset, too many are being refused");
        }
    }

    fn on_open_error(&mut self, ask: Ask, error: StreamUpgradeError<std::convert::Infallible>) {
        let failure = match error {
            StreamUpgradeError::Timeout => Failure::OpenTimeout,
            StreamUpgradeError::NegotiationFailed => Failure::Unsupported,
            StreamUpgradeError::Io(error) => Failure::Io(error),
            StreamUpgradeError::Apply(never) => match never {},
        };
        self.streams.push(ask.fail(failure).boxed());
    }
}

/// Reads a request and queues it.
async fn receive(
    peer: PeerId,
    connection: ConnectionId,
    mut responder: Responder,
    queue: mpsc::Sender<Inbound>,
) {
    // Each byte has its own deadline within; this is the one on all of them.
    let request = match tokio::time::timeout(REQUEST_TIMEOUT, responder.request()).await {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) => return refuse(responder, Status::Unsupported).await,
        Ok(Err(_)) | Err(_) => return,
    };
    if let Err(error) = queue.try_send(Inbound { peer, connection, request, responder }) {
        refuse(error.into_inner().responder, Status::Busy).await;
    }
}

async fn refuse(responder: Responder, status: Status) {
    let retry_ms = if status == Status::Busy { RETRY_MS } else { 0 };
    if let Err(error) = responder.refuse(status, retry_ms).await {
        tracing::debug!(%error, "refusal not delivered");
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Ask;
    type ToBehaviour = std::convert::Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Ask;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn connection_keep_alive(&self) -> bool {
        !self.asks.is_empty() || !self.streams.is_empty()
    }

    fn on_behaviour_event(&mut self, ask: Ask) {
        self.asks.push_back(ask);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: stream,
                ..
            }) => self.on_inbound(stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: ask,
            }) => self.streams.push(ask.run(stream).boxed()),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: ask, error }) => {
                self.on_open_error(ask, error);
            }
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<
        ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>,
    > {
        while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(cx) {}
        while let Some(ask) = self.asks.pop_front() {
            if !ask.is_cancelled() {
                let upgrade = ReadyUpgrade::new(self.protocol.clone());
                let protocol = SubstreamProtocol::new(upgrade, ask).with_timeout(OPEN_TIMEOUT);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
        }
        Poll::Pending
    }
}
