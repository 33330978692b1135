//! What nodes announce by gossip: the head of their catalog, and what they can do.
//!
//! A [`Head`] is small and points to a [`List`], a block that is fetched by its CID like any other.
//! A [`Capability`] is the whole statement. Both are signed (see [`crate::signed`]) for one network.

pub mod pace;

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, Rules};
use crate::id::{BlockId, NodeKey};
use crate::limits::{CAPABILITY_LEN, CARDS_PER_LIST, GOSSIP_TTL_SECS, HEAD_LEN, TEXT_LEN};
use crate::signed::{Statement, Validity};

/// "My catalog is now this list." `{v:1, node, seq, list, count, issued, expires}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// 1.
    pub v: u64,
    /// The node that serves the list and the models in it.
    pub node: NodeKey,
    /// Grows with each head of this node; a lower or equal one is a replay.
    pub seq: u64,
    /// The [`List`].
    pub list: BlockId,
    /// Cards in it.
    pub count: u64,
    /// Seconds since 1970.
    pub issued: u64,
    /// Seconds since 1970.
    pub expires: u64,
}

impl Rules for Head {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        if self.count > CARDS_PER_LIST as u64 {
            return Err(DecodeError::rule(format!("a list has at most {CARDS_PER_LIST} cards")));
        }
        Ok(())
    }
}

impl Statement for Head {
    const DOMAIN: &'static str = "hive/head/1";
    const MAX_LEN: usize = HEAD_LEN;
    const TTL_SECS: u64 = GOSSIP_TTL_SECS;

    fn validity(&self) -> Validity {
        Validity { issued: self.issued, expires: self.expires }
    }

    // A node speaks for itself, or nobody could trust its `seq`.
    fn is_of(&self, _publisher: NodeKey, signer: NodeKey) -> bool {
        self.node == signer
    }
}

/// A catalog: signed cards, each as its envelope's bytes. `{v:1, cards:[bytes…]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// 1.
    pub v: u64,
    /// Signed [`crate::card::Card`]s.
    pub cards: Vec<serde_bytes::ByteBuf>,
}

impl Rules for List {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        if self.cards.len() > CARDS_PER_LIST {
            return Err(DecodeError::rule(format!("a list has at most {CARDS_PER_LIST} cards")));
        }
        Ok(())
    }
}

/// "This is what I can do for others." Memory in bytes, load in thousandths of all cores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// 1.
    pub v: u64,
    /// Who can do it.
    pub node: NodeKey,
    /// What the node calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Grows with each statement of this node.
    pub seq: u64,
    /// The software and its version.
    pub agent: String,
    /// Architectures that it can run.
    pub runs: Vec<String>,
    /// Models that it holds whole and can run now.
    pub models: u64,
    /// Memory of the machine.
    pub memory: u64,
    /// Memory that is free.
    pub memory_free: u64,
    /// Processor cores.
    pub cores: u64,
    /// Load of the machine: 1000 is all cores busy.
    pub load: u64,
    /// Seconds since 1970.
    pub issued: u64,
    /// Seconds since 1970.
    pub expires: u64,
}

impl Rules for Capability {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        let mut texts = self.runs.iter().chain([&self.agent]).chain(&self.name);
        if texts.any(|text| text.len() > TEXT_LEN || text.chars().any(char::is_control)) {
            return Err(DecodeError::rule(format!(
                "a text of over {TEXT_LEN} bytes or with control characters"
            )));
        }
        Ok(())
    }
}

impl Statement for Capability {
    const DOMAIN: &'static str = "hive/capability/1";
    const MAX_LEN: usize = CAPABILITY_LEN;
    const TTL_SECS: u64 = GOSSIP_TTL_SECS;

    fn validity(&self) -> Validity {
        Validity { issued: self.issued, expires: self.expires }
    }

    // A node speaks for itself, or nobody could trust its `seq`.
    fn is_of(&self, _publisher: NodeKey, signer: NodeKey) -> bool {
        self.node == signer
    }
}
