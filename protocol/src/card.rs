//! What somebody says an id *is*: name, kind, licence, source, digests, lineage.
//!
//! A card is an opinion with a signature. What the header of the file itself says (format,
//! architecture, quantisation, parameters) is derived again by whoever holds the file; the rest is
//! the publisher's word.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, Rules};
use crate::id::{BlockId, NodeKey};
use crate::limits::{CARD_ENTRIES, CARD_LEN, TEXT_LEN};
use crate::name::Name;
use crate::signed::{Statement, Validity};

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Weights that generate or embed.
    Model,
    /// A LoRA adapter.
    Adapter,
    /// A tokenizer.
    Tokenizer,
    /// A data set.
    Dataset,
    /// Anything else.
    Other,
}

/// Where a model comes from: another model, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// The other model.
    pub id: BlockId,
    /// `quantized`, `finetuned`, `merged`, `adapter_of`, …
    pub relation: String,
}

/// The card's fields as DESIGN names them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// 1.
    pub v: u64,
    /// What it is about.
    pub id: BlockId,
    /// Who says so; the same key as the envelope's.
    pub publisher: NodeKey,
    /// Grows with each new card of this publisher for this name.
    pub version: u64,
    /// What the publisher calls it.
    pub name: Name,
    /// What it is for.
    pub kind: Kind,
    /// Bytes in all its files.
    pub size: u64,
    /// `gguf`, `safetensors`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// `llama`, `gemma3`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// `Q4_K_M`, `F16`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// Number of weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// An SPDX expression or a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where the publisher had it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// SHA-256 of each file by its path in the tree; the path of a single file is empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, serde_bytes::ByteBuf>,
    /// Lineage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Parent>,
    /// Seconds since 1970.
    pub issued: u64,
    /// Seconds since 1970.
    pub expires: u64,
    /// What others may add; a reader that does not know a key ignores it …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ext: BTreeMap<String, Ipld>,
    /// … unless its name stands here: then it refuses the card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub critical: Vec<String>,
}

impl Rules for Card {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        if let Some(unknown) = self.critical.first() {
            return Err(DecodeError::rule(format!(
                "the card needs `{}`, which this build does not know",
                unknown.chars().take(64).collect::<String>()
            )));
        }
        let texts =
            [&self.format, &self.architecture, &self.quantization, &self.license, &self.source];
        let texts = texts.into_iter().flatten();
        let relations = self.parents.iter().map(|parent| &parent.relation);
        let mut texts = texts.chain(relations).chain(self.sha256.keys()).chain(self.ext.keys());
        if texts.any(|text| text.len() > TEXT_LEN || text.chars().any(char::is_control)) {
            return Err(DecodeError::rule(format!(
                "a text of over {TEXT_LEN} bytes or with control characters"
            )));
        }
        let counts = [self.sha256.len(), self.parents.len(), self.ext.len()];
        if counts.into_iter().any(|n| n > CARD_ENTRIES) {
            return Err(DecodeError::rule(format!("a list of over {CARD_ENTRIES} entries")));
        }
        if self.sha256.values().any(|digest| digest.len() != 32) {
            return Err(DecodeError::rule("a SHA-256 digest that has not 32 bytes"));
        }
        Ok(())
    }
}

impl Statement for Card {
    const DOMAIN: &'static str = "hive/card/1";
    const MAX_LEN: usize = CARD_LEN;

    fn validity(&self) -> Validity {
        Validity { issued: self.issued, expires: self.expires }
    }

    fn is_of(&self, publisher: NodeKey, _signer: NodeKey) -> bool {
        self.publisher == publisher
    }
}
