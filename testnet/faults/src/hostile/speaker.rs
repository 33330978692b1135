//! Somebody who gossips: statements about itself, good and not, on a stream of its own.

use std::time::Duration;

use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use futures::AsyncWriteExt as _;
use hive_protocol::catalog::Capability;
use hive_protocol::limits::GOSSIP_TTL_SECS;
use hive_protocol::signed;
use hive_testnet::attack::{Attacker, Pipe, Wire, frames};

use crate::victim::Victim;

const MESHSUB: &str = "/meshsub/1.1.0";
/// How often a victim is asked whether it has heard something.
const LOOK: Duration = Duration::from_millis(20);
/// How long it may take to hear.
const HEARD: Duration = Duration::from_secs(30);

/// The topic of what nodes can do.
pub(super) fn topic(network: &str) -> String {
    format!("/hive/{network}/caps/1")
}

/// What somebody says of itself: so many models, as of some second.
pub(super) fn capability(of: &Attacker, seq: u64, models: u64, issued: u64) -> Vec<u8> {
    capability_in(of.network(), of, seq, models, issued)
}

/// The same, meant for a network.
pub(super) fn capability_in(
    network: &str,
    of: &Attacker,
    seq: u64,
    models: u64,
    issued: u64,
) -> Vec<u8> {
    let key = SigningKey::from_bytes(of.secret());
    let capability = Capability {
        v: 1,
        node: signed::public_key(&key),
        name: None,
        seq,
        agent: "attacker/1".to_owned(),
        runs: Vec::new(),
        models,
        memory: 0,
        memory_free: 0,
        cores: 1,
        load: 0,
        issued,
        expires: issued + GOSSIP_TTL_SECS,
    };
    signed::sign(&capability, network, &key)
}

/// A connection with a stream of gossip.
pub(super) struct Speaker {
    pub(super) attacker: Attacker,
    pub(super) wire: Wire,
    stream: Pipe,
    seqno: u64,
}

impl Speaker {
    /// Connects and joins the topic.
    pub(super) async fn join(attacker: Attacker, address: &str) -> anyhow::Result<Self> {
        let wire = attacker.connect(address).await?;
        let stream = wire.open(MESHSUB).await?;
        let mut this = Self { attacker, wire, stream, seqno: 0 };
        let topic = topic(this.attacker.network());
        this.write(&frames::subscribe(&topic)).await?;
        this.write(&frames::graft([topic.as_str()])).await?;
        Ok(this)
    }

    /// Begins the stream anew, if the other side has ended it.
    pub(super) async fn reopen(&mut self) -> anyhow::Result<()> {
        self.stream = self.wire.open(MESHSUB).await?;
        Ok(())
    }

    /// Writes a frame.
    pub(super) async fn write(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(frame).await?;
        Ok(self.stream.flush().await?)
    }

    /// Passes on what an author has announced.
    pub(super) async fn pass_on(&mut self, author: &Attacker, data: &[u8]) -> anyhow::Result<()> {
        self.seqno += 1;
        let topic = topic(author.network());
        self.write(&author.publish(&topic, data, self.seqno, true)).await
    }

    /// Announces so many models of its own.
    pub(super) async fn say(&mut self, seq: u64, models: u64) -> anyhow::Result<()> {
        let myself = self.attacker.clone();
        self.pass_on(&myself, &capability(&myself, seq, models, super::now())).await
    }
}

/// Waits until a victim believes a peer to have so many models.
pub(super) async fn heard(victim: &mut Victim, peer: &str, models: u64) -> anyhow::Result<()> {
    let listening = async {
        let mut looks = tokio::time::interval(LOOK);
        while victim.models(peer).await? != Some(models) {
            looks.tick().await;
        }
        anyhow::Ok(())
    };
    let heard = tokio::time::timeout(HEARD, listening).await;
    heard.with_context(|| format!("an honest announcement was not heard within {HEARD:?}"))?
}
