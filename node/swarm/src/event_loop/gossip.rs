//! Announcements: ours, until somebody has them, and those of others, until the node has judged
//! them.
//!
//! What is too long, too frequent, of a banned node or more than the node can judge goes no
//! further. Everything else waits for a verdict before it is passed on.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::PeerId;
use libp2p::gossipsub::{
    Event, IdentTopic, Message, MessageAcceptance, MessageId, PublishError, TopicHash,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{EventLoop, answer};
use crate::behaviour::topic;
use crate::client::{Reply, Topic};
use crate::identity::Peer;
use crate::inbound::{Gossip, Judgement, Verdict};
use crate::limits::{
    FORWARD_BURST, FORWARDS_PER_SECOND, GOSSIP_BURST, GOSSIP_PER_SECOND, GOSSIP_QUEUE,
    VERDICT_TIMEOUT,
};
use crate::meter::Meter;

/// A message and what the node thinks of it.
pub(super) struct Judged {
    id: MessageId,
    neighbour: PeerId,
    judgement: Judgement,
}

/// See the module.
pub(super) struct Gossiping {
    queue: mpsc::Sender<Gossip>,
    topics: Vec<(Topic, IdentTopic)>,
    /// Messages that the node judges.
    pub(super) judging: FuturesUnordered<BoxFuture<'static, Judged>>,
    /// The newest announcement of each kind, until somebody has it.
    unheard: HashMap<Topic, Vec<u8>>,
    authors: Meter<PeerId>,
    neighbours: Meter<PeerId>,
}

impl Gossiping {
    pub(super) fn new(queue: mpsc::Sender<Gossip>, network: &str) -> Self {
        Self {
            queue,
            topics: Topic::ALL.map(|kind| (kind, topic(network, kind))).into(),
            judging: FuturesUnordered::new(),
            unheard: HashMap::new(),
            authors: Meter::new(GOSSIP_BURST, GOSSIP_PER_SECOND),
            neighbours: Meter::new(FORWARD_BURST, FORWARDS_PER_SECOND),
        }
    }

    fn kind(&self, hash: &TopicHash) -> Option<Topic> {
        self.topics.iter().find(|(_, topic)| topic.hash() == *hash).map(|(kind, _)| *kind)
    }
}

impl EventLoop {
    pub(super) fn on_announce(&mut self, kind: Topic, bytes: Vec<u8>, reply: Reply<()>) {
        self.gossip.unheard.insert(kind, bytes);
        self.publish(kind);
        answer(reply, ());
    }

    fn publish(&mut self, kind: Topic) {
        let Some(bytes) = self.gossip.unheard.remove(&kind) else { return };
        let Some((_, topic)) = self.gossip.topics.iter().find(|(other, _)| *other == kind) else {
            return;
        };
        match self.swarm.behaviour_mut().gossip.publish(topic.hash(), bytes.clone()) {
            Ok(_) | Err(PublishError::Duplicate) => {}
            // Nobody has said yet that they listen, or all are slow.
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => {
                self.gossip.unheard.insert(kind, bytes);
            }
            Err(error) => tracing::warn!(%error, ?kind, "not announced"),
        }
    }

    pub(super) fn tick_gossip(&mut self) {
        for kind in Topic::ALL {
            self.publish(kind);
        }
    }

    pub(super) fn on_gossip(&mut self, event: Event) {
        match event {
            Event::Message { propagation_source, message_id, message } => {
                if let Err(judgement) = self.examine(propagation_source, &message_id, message) {
                    self.judge(&message_id, propagation_source, judgement);
                }
            }
            Event::Subscribed { topic, .. } => {
                if let Some(kind) = self.gossip.kind(&topic) {
                    self.publish(kind);
                }
            }
            _ => {}
        }
    }

    /// Hands a message to the node, or says at once what becomes of it.
    fn examine(
        &mut self,
        neighbour: PeerId,
        id: &MessageId,
        message: Message,
    ) -> Result<(), Judgement> {
        let kind = self.gossip.kind(&message.topic).ok_or(Judgement::Ignore)?;
        let author = message.source.ok_or(Judgement::Reject)?;
        if message.data.len() > kind.max_len() {
            return Err(Judgement::Reject);
        }
        let now = Instant::now();
        if self.peers.is_banned(&author)
            || self.gossip.judging.len() >= GOSSIP_QUEUE
            || !self.gossip.neighbours.allows(neighbour, now)
            || !self.gossip.authors.allows(author, now)
        {
            return Err(Judgement::Ignore);
        }
        let (judgement, judged) = oneshot::channel();
        let verdict = Verdict { judgement };
        let (source, bytes) = (Peer(author), Bytes::from(message.data));
        let gossip = match kind {
            Topic::Head => Gossip::Head { source, via: Peer(neighbour), bytes, verdict },
            Topic::Capability => Gossip::Capability { source, bytes, verdict },
        };
        self.gossip.queue.try_send(gossip).map_err(|_| Judgement::Ignore)?;
        let id = id.clone();
        let wait = async move {
            let judgement = timeout(VERDICT_TIMEOUT, judged).await;
            let judgement = judgement.ok().and_then(Result::ok).unwrap_or(Judgement::Ignore);
            Judged { id, neighbour, judgement }
        };
        self.gossip.judging.push(wait.boxed());
        Ok(())
    }

    pub(super) fn on_judged(&mut self, judged: Judged) {
        self.judge(&judged.id, judged.neighbour, judged.judgement);
    }

    fn judge(&mut self, id: &MessageId, neighbour: PeerId, judgement: Judgement) {
        let acceptance = match judgement {
            Judgement::Accept => MessageAcceptance::Accept,
            Judgement::Ignore => MessageAcceptance::Ignore,
            Judgement::Reject => MessageAcceptance::Reject,
        };
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(id, &neighbour, acceptance);
    }
}
