//! What comes before a message: its length, WebSocket frames, and the addresses that peers tell.

use hive_protocol::limits::CHUNK_HEADER_LEN;
use hive_swarm::fuzzing;

use crate::{Memory, Target, Verdict};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "wire-frames",
        promise: "lengths in front of headers: one spelling; WebSocket requests and frames: no more comes out than went in",
        memory: Memory { fixed: 256 << 10, per_byte: 32 },
        run: frames,
    },
    Target {
        name: "wire-address",
        promise: "addresses and ids of peers: what a stranger tells is public, short, of that peer, and read back",
        memory: Memory { fixed: 64 << 10, per_byte: 512 },
        run: address,
    },
];

fn frames(bytes: &[u8]) -> Verdict {
    let length = fuzzing::header_length(bytes);
    assert!(length.is_none_or(|len| len <= CHUNK_HEADER_LEN));
    let mut taken = fuzzing::websocket_request(bytes);
    for by_server in [false, true] {
        let read = fuzzing::websocket(bytes, by_server);
        assert!(read.is_none_or(|len| len <= bytes.len()));
        taken |= read.is_some_and(|len| len > 0);
    }
    Verdict::of(taken)
}

fn address(bytes: &[u8]) -> Verdict {
    let peer = std::str::from_utf8(bytes).is_ok_and(fuzzing::peer);
    Verdict::of(fuzzing::address(bytes) || peer)
}
