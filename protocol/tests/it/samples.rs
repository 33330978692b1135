//! Values and files that several tests use. All of them follow from what stands here.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use hive_protocol::card::{Card, Kind, Parent};
use hive_protocol::catalog::{Capability, Head};
use hive_protocol::{BlockId, ChunkId, Digest, NodeKey};
use ipld_core::ipld::Ipld;
use serde_bytes::ByteBuf;

/// 2026-01-01.
pub(crate) const NOW: u64 = 1_767_225_600;

/// Byte `i` is `i mod 251`, as in the test vectors of BLAKE3.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..251).collect();
    period.iter().copied().cycle().take(len).collect()
}

/// The id of the chunk that is this text.
pub(crate) fn chunk(text: &str) -> ChunkId {
    ChunkId::of(text.as_bytes())
}

/// The id of a block, made from the digest of a text.
pub(crate) fn block(text: &str) -> BlockId {
    BlockId(Digest::of(text.as_bytes()))
}

/// The signing key with all bytes alike.
pub(crate) fn key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

pub(crate) fn public(byte: u8) -> NodeKey {
    hive_protocol::signed::public_key(&key(byte))
}

/// A card with nothing but what it must have.
pub(crate) fn small_card() -> Card {
    Card {
        v: 1,
        id: block("model"),
        publisher: public(1),
        version: 1,
        name: "tiny".parse().unwrap(),
        kind: Kind::Model,
        size: 7,
        format: None,
        architecture: None,
        quantization: None,
        parameters: None,
        license: None,
        source: None,
        sha256: BTreeMap::new(),
        parents: Vec::new(),
        issued: NOW,
        expires: NOW + 86_400,
        ext: BTreeMap::new(),
        critical: Vec::new(),
    }
}

/// A card with every field.
pub(crate) fn full_card() -> Card {
    let ext = [
        ("z".to_owned(), Ipld::Bool(true)),
        ("notes".to_owned(), Ipld::List(vec![Ipld::Integer(-1), Ipld::Float(0.5), Ipld::Null])),
        ("see".to_owned(), Ipld::Link(block("elsewhere").cid())),
    ];
    Card {
        kind: Kind::Adapter,
        name: "Qwen/Qwen3-0.6B@main".parse().unwrap(),
        format: Some("gguf".to_owned()),
        architecture: Some("qwen3".to_owned()),
        quantization: Some("Q4_K_M".to_owned()),
        parameters: Some(596_049_920),
        license: Some("Apache-2.0".to_owned()),
        source: Some("https://example.org/qwen".to_owned()),
        sha256: BTreeMap::from([
            (String::new(), ByteBuf::from([0xaa; 32])),
            ("b/long.safetensors".to_owned(), ByteBuf::from([0xbb; 32])),
            ("z.json".to_owned(), ByteBuf::from([0xcc; 32])),
        ]),
        parents: vec![Parent { id: block("base"), relation: "finetuned".to_owned() }],
        ext: BTreeMap::from(ext),
        ..small_card()
    }
}

pub(crate) fn head(node: u8) -> Head {
    Head {
        v: 1,
        node: public(node),
        seq: 42,
        list: block("list"),
        count: 3,
        issued: NOW,
        expires: NOW + 3_600,
    }
}

pub(crate) fn capability(node: u8) -> Capability {
    Capability {
        v: 1,
        node: public(node),
        name: Some("workbench".to_owned()),
        seq: 7,
        agent: "hive/0.1.0".to_owned(),
        runs: vec!["llama".to_owned(), "gemma3".to_owned()],
        models: 2,
        memory: 32 << 30,
        memory_free: 20 << 30,
        cores: 8,
        load: 125,
        issued: NOW,
        expires: NOW + 600,
    }
}

/// A GGUF header: values, then tensors of a name and an offset, padded to `alignment`.
pub(crate) fn gguf(version: u32, alignment: Option<u32>, tensors: &[(&str, u64)]) -> Vec<u8> {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend(u64::from(alignment.is_some()).to_le_bytes());
    if let Some(alignment) = alignment {
        text(&mut bytes, "general.alignment");
        bytes.extend(4u32.to_le_bytes());
        bytes.extend(alignment.to_le_bytes());
    }
    for (name, offset) in tensors {
        text(&mut bytes, name);
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(32u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    let padded = bytes.len().next_multiple_of(alignment.unwrap_or(32) as usize);
    bytes.resize(padded, 0);
    bytes
}

/// A safetensors header.
pub(crate) fn safetensors(json: &str) -> Vec<u8> {
    [(json.len() as u64).to_le_bytes().to_vec(), json.as_bytes().to_vec()].concat()
}
