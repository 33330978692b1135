//! A bug that is there on purpose: a fuzzer that does not find it finds nothing.
//!
//! It is one that a reader of GGUF files had (candle-core 0.11.1): the place of the weights is
//! rounded up to `general.alignment`, and the file may say that this is 0. Hive's own reader
//! (`hive_protocol::gguf`) refuses any alignment that is no power of two from 8 to 4096.

use crate::{Memory, Target, Verdict};

/// Must be found by `scripts/fuzz.sh`, and is by no means run by its other targets.
pub const CANARY: Target = Target {
    name: "canary",
    promise: "breaks at a GGUF header with an alignment of 0; a fuzzer must find that",
    memory: Memory { fixed: 4 << 10, per_byte: 4 },
    run: unchecked_alignment,
};

fn unchecked_alignment(bytes: &[u8]) -> Verdict {
    const KEY: &[u8] = b"general.alignment";
    if !bytes.starts_with(b"GGUF") {
        return Verdict::Refused;
    }
    let Some(at) = bytes.windows(KEY.len()).position(|window| window == KEY) else {
        return Verdict::Refused;
    };
    let value = bytes.get(at + KEY.len()..).and_then(|rest| rest.split_first_chunk::<4>());
    let Some(([4, 0, 0, 0], rest)) = value else { return Verdict::Refused };
    let Some((alignment, _)) = rest.split_first_chunk::<4>() else { return Verdict::Refused };
    let alignment = u64::from(u32::from_le_bytes(*alignment));
    let data_offset = (bytes.len() as u64).div_ceil(alignment) * alignment;
    Verdict::of(data_offset >= bytes.len() as u64)
}
