//! What programs on this machine say: bodies of the local API, and the frames between a node and a
//! model's process.

use std::fmt::Debug;

use hive_api::{AddRequest, EmbedRequest, GenerateRequest, RunRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Memory, Target, Verdict};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "api-json",
        promise: "requests of the local API: what is read is written and read again as the same",
        memory: Memory { fixed: 32 << 10, per_byte: 1_024 },
        run: api_json,
    },
    Target {
        name: "http-request",
        promise: "bodies of OpenAI's clients: 1 to 16 requests, each within its ranges; a `Range` lies within its file",
        // A request for 16 answers is copied for each.
        memory: Memory { fixed: 128 << 10, per_byte: 8 << 10 },
        run: |bytes| Verdict::of_any(bytes, &[openai_json, range_header]),
    },
    Target {
        name: "worker-frames",
        promise: "orders and reports in a model's pipes: what is passed on does not change",
        // A frame's length is believed up to 16 MiB: both ends are one program.
        memory: Memory { fixed: 40 << 20, per_byte: 1_024 },
        run: worker_frames,
    },
];

fn api_json(bytes: &[u8]) -> Verdict {
    let read = again::<GenerateRequest>(bytes)
        | again::<RunRequest>(bytes)
        | again::<EmbedRequest>(bytes)
        | again::<AddRequest>(bytes);
    Verdict::of(read)
}

/// Whether it is one; then writing it is another way to say it.
fn again<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) -> bool {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return false };
    let written = serde_json::to_vec(&read);
    let written = written.unwrap_or_else(|error| panic!("read, and cannot be written: {error}"));
    let again = serde_json::from_slice::<T>(&written);
    let again = again.unwrap_or_else(|error| panic!("written, and cannot be read: {error}"));
    let twice = serde_json::to_vec(&again).unwrap_or_default();
    assert_eq!(written, twice, "{read:?}");
    true
}

fn openai_json(bytes: &[u8]) -> Verdict {
    let Some(requests) = hive_http::fuzzing::chat(bytes) else {
        let read = hive_http::fuzzing::completion(bytes) | hive_http::fuzzing::embeddings(bytes);
        return Verdict::of(read);
    };
    assert!((1..=16).contains(&requests.len()));
    for request in &requests {
        let sampling = &request.sampling;
        assert!((0.0..=2.0).contains(&sampling.temperature));
        assert!(sampling.top_p.is_none_or(|p| (0.0..=1.0).contains(&p)));
        assert!(sampling.logit_bias.values().all(|bias| (-100.0..=100.0).contains(bias)));
        assert!(request.max_tokens != Some(0) && request.stop.len() <= 4);
        assert!(request.logprobs.is_none_or(|top| top <= 20));
    }
    Verdict::Accepted
}

/// The input: the size of a file, and a header.
fn range_header(bytes: &[u8]) -> Verdict {
    let Some((size, header)) = bytes.split_first_chunk::<8>() else { return Verdict::Refused };
    let Ok(header) = std::str::from_utf8(header) else { return Verdict::Refused };
    let size = u64::from_le_bytes(*size);
    let Some((start, len)) = hive_http::fuzzing::range(header, size) else {
        return Verdict::Refused;
    };
    assert!(0 < len && start < size && len <= size - start);
    Verdict::Accepted
}

fn worker_frames(bytes: &[u8]) -> Verdict {
    let n_read = hive_worker::fuzzing::orders(bytes) + hive_worker::fuzzing::reports(bytes);
    Verdict::of(n_read > 0)
}
