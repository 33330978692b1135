//! DAG-CBOR as such, and the blocks that ids name.

use hive_protocol::catalog::List;
use hive_protocol::codec::{self, DecodeError, Rules};
use hive_protocol::limits::{BLOCK_LEN, CHUNK_LEN, CHUNKS_PER_FILE, MODEL_LEN};
use hive_protocol::manifest::Manifest;
use hive_protocol::{BlockId, Geometry};
use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use crate::{Memory, Target, Verdict};

const MEMORY: Memory = Memory { fixed: 64 << 10, per_byte: 512 };

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "cbor",
        promise: "any DAG-CBOR: hive takes exactly what `serde_ipld_dagcbor` reads and writes back as the same bytes",
        // Hive's own reader is held to `MEMORY`. The other, asked alone, believes a list's length up to
        // a megabyte at each of its 256 levels, which is why it is asked behind `codec::check` only.
        memory: Memory { fixed: 320 << 20, per_byte: 512 },
        run: cbor,
    },
    Target {
        name: "block",
        promise: "file blocks, trees and catalog lists: one spelling, sizes that add up, chunks and files within limits, paths that stay below",
        memory: MEMORY,
        run: |bytes| Verdict::of_any(bytes, &[manifest, list]),
    },
];

/// Any value at all.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Any(Ipld);

impl Rules for Any {
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// Our reader beside another's: where they disagree, one block would have two ids, or none.
fn cbor(bytes: &[u8]) -> Verdict {
    let ours = MEMORY.hold(bytes.len(), || codec::decode::<Any>(bytes, BLOCK_LEN));
    if let Err(DecodeError::TooDeep { .. }) = ours {
        return Verdict::Refused;
    }
    let theirs = serde_ipld_dagcbor::from_slice::<Ipld>(bytes).ok();
    let again = theirs.and_then(|value| serde_ipld_dagcbor::to_vec(&value).ok());
    let canonical = again.is_some_and(|again| again == bytes);
    assert_eq!(codec::check(bytes).is_ok(), canonical, "{:?}", codec::check(bytes));
    assert_eq!(ours.is_ok(), canonical, "{:?}", ours.err());
    Verdict::of(canonical)
}

fn manifest(bytes: &[u8]) -> Verdict {
    let Ok(manifest) = Manifest::decode(bytes) else { return Verdict::Refused };
    assert_eq!(manifest.encode(), bytes);
    let id = BlockId::of(bytes);
    assert_eq!(manifest.id(), id);
    assert_eq!(Manifest::verify(id, bytes).as_ref(), Ok(&manifest));
    assert!(manifest.size() <= MODEL_LEN && bytes.len() <= BLOCK_LEN);
    match &manifest {
        Manifest::File(file) => {
            assert!(file.chunks().len() <= CHUNKS_PER_FILE);
            assert!(file.chunks().iter().all(|&(_, size)| 0 < size && size <= CHUNK_LEN));
            let sum: u64 = file.chunks().iter().map(|(_, size)| size).sum();
            assert_eq!(sum, file.size());
            if let Ok(geometry) = Geometry::checked(file.chunks().iter().copied()) {
                assert!(geometry.size() <= sum);
            }
        }
        Manifest::Tree(tree) => {
            for file in tree.files() {
                crate::names::goes_nowhere_but_down(file.path());
            }
        }
    }
    Verdict::Accepted
}

fn list(bytes: &[u8]) -> Verdict {
    let Ok(list) = codec::decode::<List>(bytes, BLOCK_LEN) else { return Verdict::Refused };
    assert_eq!(codec::encode(&list), bytes);
    Verdict::Accepted
}
