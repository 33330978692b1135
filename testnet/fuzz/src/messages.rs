//! What peers say to each other: `chunk/1`, `model/1`, the group hashes and bitmaps in them.

use hive_protocol::chunk_message::{ChunkRequest, ChunkResponse};
use hive_protocol::group::{self, ChunkHasher, GroupProof};
use hive_protocol::limits::{
    CHUNK_LEN, GROUP_LEN, GROUPS_PER_CHUNK, RANGES_PER_REQUEST, REQUEST_LEN, REQUEST_PAYLOAD_LEN,
    RESPONSE_LEN,
};
use hive_protocol::message::{Groups, Have, Request, Response};
use hive_protocol::{Bitfield, ChunkId};

use crate::{Memory, Target, Verdict};

const MEMORY: Memory = Memory { fixed: 64 << 10, per_byte: 512 };

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "chunk-message",
        promise: "requests and answers: one spelling; at most 16 ranges and 16 MiB, each within its chunk",
        memory: MEMORY,
        run: |bytes| Verdict::of_any(bytes, &[chunk_request, chunk_response]),
    },
    Target {
        name: "model-message",
        promise: "requests and answers: one spelling; bitmaps and group hashes that are taken are those of a model",
        memory: MEMORY,
        run: |bytes| Verdict::of_any(bytes, &[model_request, model_response]),
    },
    Target {
        name: "group-proof",
        promise: "hashes prove a chunk only if they are its own, and then each of its groups and no other bytes",
        // The chunk of up to 3 MiB that the check makes.
        memory: Memory { fixed: 4 << 20, per_byte: 64 },
        run: group_proof,
    },
];

fn chunk_request(bytes: &[u8]) -> Verdict {
    let Ok(request) = ChunkRequest::decode(bytes) else { return Verdict::Refused };
    assert_eq!(request.encode(), bytes);
    assert!((1..=RANGES_PER_REQUEST).contains(&request.ranges.len()));
    assert!((1..=REQUEST_PAYLOAD_LEN).contains(&request.payload_len()));
    for range in &request.ranges {
        assert!(range.size <= CHUNK_LEN && !range.is_empty());
        assert!(u64::from(range.first) * GROUP_LEN + range.len() <= range.size);
        assert!(range.group_lens().all(|len| 0 < len && len <= GROUP_LEN));
    }
    // The answer that grants all of it is one.
    assert!(ChunkResponse::ok(request.ranges.clone(), 0).answers(&request));
    Verdict::Accepted
}

fn chunk_response(bytes: &[u8]) -> Verdict {
    let Ok(response) = ChunkResponse::decode(bytes) else { return Verdict::Refused };
    assert_eq!(response.encode(), bytes);
    assert!(response.ranges.len() <= RANGES_PER_REQUEST);
    assert!(response.payload_len() <= REQUEST_PAYLOAD_LEN);
    // Whatever was asked: what answers it grants no more than that.
    let half = response.ranges.len().div_ceil(2);
    let asked = ChunkRequest::new(
        hive_protocol::BlockId::of(b"model"),
        response.ranges.iter().take(half).copied().collect(),
    );
    if response.answers(&asked) {
        assert!(response.payload_len() <= asked.payload_len());
    }
    Verdict::Accepted
}

fn model_request(bytes: &[u8]) -> Verdict {
    let Ok(request) = Request::decode(bytes) else { return Verdict::Refused };
    assert_eq!(request.encode(), bytes);
    assert!(bytes.len() <= REQUEST_LEN);
    Verdict::Accepted
}

fn model_response(bytes: &[u8]) -> Verdict {
    let Ok(response) = Response::decode(bytes) else { return Verdict::Refused };
    assert_eq!(response.encode(), bytes);
    assert!(bytes.len() <= RESPONSE_LEN);
    match &response {
        Response::Have(Have { groups: Groups::Bitmap(bitmap), .. }) => {
            let n_bits = bitmap.len() as u32 * 8;
            for len in n_bits.saturating_sub(7)..=n_bits {
                if let Some(field) = Bitfield::from_bytes(bitmap, len) {
                    assert_eq!(field.to_bytes(), bitmap.as_ref());
                }
            }
        }
        Response::GroupHashes(lists) => {
            assert!(lists.iter().all(|list| list.len() <= 32 * GROUPS_PER_CHUNK));
        }
        _ => {}
    }
    Verdict::Accepted
}

/// The input: which hash is changed and how, how long the chunk is said to be, and hashes.
fn group_proof(input: &[u8]) -> Verdict {
    let Some((length, rest)) = input.split_first_chunk::<8>() else { return Verdict::Refused };
    let length = u64::from_le_bytes(*length);
    let (hashes, left) = rest.as_chunks::<32>();
    let chunk = ChunkId::of(left);
    // Hashes of a stranger's choice for a chunk that he names, too.
    if GroupProof::verify(chunk, length, hashes.to_vec()).is_ok() {
        assert!(length <= GROUP_LEN && hashes.is_empty(), "a chunk was found by its hashes");
    }
    // An honest chunk of a length near that, of a few groups, with one hash of the input's.
    let len = 1 + length % (3 * GROUP_LEN);
    let byte = left.first().copied().unwrap_or_default();
    let bytes = vec![byte; len as usize];
    let mut hasher = ChunkHasher::new();
    hasher.update(&bytes);
    let proof = hasher.finish();
    let own = proof.hashes().to_vec();
    assert_eq!(GroupProof::verify(proof.chunk(), len, own.clone()).as_ref(), Ok(&proof));
    for (index, bytes) in (0..).zip(bytes.chunks(GROUP_LEN as usize)) {
        assert!(proof.holds(index, bytes));
        assert_eq!(bytes.len() as u64, group::group_len(len, index));
        assert!(!proof.holds(index, bytes.split_last().map_or(&[], |(_, rest)| rest)));
    }
    if let (Some(theirs), false) = (hashes.first(), own.is_empty()) {
        let mut changed = own.clone();
        let at = byte as usize % changed.len();
        if let Some(hash) = changed.get_mut(at) {
            *hash = *theirs;
        }
        let verified = GroupProof::verify(proof.chunk(), len, changed.clone());
        assert_eq!(verified.is_ok(), changed == own, "hashes of other bytes were taken");
        return Verdict::of(own.len() == hashes.len());
    }
    Verdict::Refused
}
