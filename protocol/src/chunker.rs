//! Chunker 1: where a file is cut. Two machines that hold the same bytes cut alike, for ever.
//!
//! In a GGUF or safetensors file the header, with the padding after it, is a chunk of its own, cut
//! every 64 MiB. Then the tensors are walked by offset, each with the padding after it: a chunk
//! closes at a tensor border once it has 4 MiB, or before a tensor that would take it past 64 MiB. A
//! tensor over 64 MiB starts a chunk and is cut every 64 MiB; its last piece goes on as any open
//! chunk does. Every other file is cut every 64 MiB: one that is not of these formats, a malformed
//! one, one without tensors, and one that would give more than 32,768 chunks.
//!
//! So two models that share tensors share chunks. Golden vectors hold the rule in place.

use crate::gguf;
use crate::limits::{CHUNK_CLOSE_LEN, CHUNK_LEN, CHUNKS_PER_FILE};
use crate::safetensors;

/// What the beginning of a file says about where to cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sniff {
    /// At least this many bytes of the file are needed to say.
    NeedMore(u64),
    /// The lengths of the chunks, in order.
    Cuts(Vec<u64>),
}

/// Looks at the beginning of a file of `file_len` bytes.
///
/// A file of over 2 TiB has no block. Its cuts are one more than a block may have, whatever its
/// length, so that it is refused where the block is made and no memory goes with a claimed length.
pub fn sniff(prefix: &[u8], file_len: u64) -> Sniff {
    if file_len > CHUNK_LEN * CHUNKS_PER_FILE as u64 {
        return Sniff::Cuts(plain(file_len));
    }
    if file_len < 8 || prefix.len() < 8 && file_len > prefix.len() as u64 {
        return if file_len < 8 { Sniff::Cuts(plain(file_len)) } else { Sniff::NeedMore(8) };
    }
    if prefix.starts_with(&gguf::MAGIC) {
        return match gguf::parse(prefix, file_len) {
            Ok(gguf::Parse::NeedMore { at_least }) => Sniff::NeedMore(at_least),
            Ok(gguf::Parse::Done(header)) => Sniff::Cuts(cuts(&header.tensor_starts(), file_len)),
            Err(_) => Sniff::Cuts(plain(file_len)),
        };
    }
    match safetensors::parse(prefix, file_len) {
        safetensors::Parse::NeedMore(len) => Sniff::NeedMore(len),
        safetensors::Parse::Header(header) => Sniff::Cuts(cuts(&header.offsets, file_len)),
        safetensors::Parse::No => Sniff::Cuts(plain(file_len)),
    }
}

/// Cuts every 64 MiB; a file of over 2 TiB as [`sniff`] says.
pub fn plain(file_len: u64) -> Vec<u64> {
    let mut lens = Vec::new();
    cut_evenly(file_len.min(CHUNK_LEN * (CHUNKS_PER_FILE as u64 + 1)), &mut lens);
    lens
}

fn cut_evenly(mut len: u64, lens: &mut Vec<u64>) {
    while len > 0 {
        let piece = len.min(CHUNK_LEN);
        lens.push(piece);
        len -= piece;
    }
}

/// Cuts at tensors that begin at `offsets` (absolute, ascending, in the file).
fn cuts(offsets: &[u64], file_len: u64) -> Vec<u64> {
    let Some(&first) = offsets.first() else { return plain(file_len) };
    let mut lens = Vec::new();
    cut_evenly(first, &mut lens);
    let ends = offsets[1..].iter().copied().chain([file_len]);
    let mut open = 0;
    for (&begin, end) in offsets.iter().zip(ends) {
        let tensor = end - begin;
        if open > 0 && open + tensor > CHUNK_LEN {
            lens.push(open);
            open = 0;
        }
        open += tensor;
        while open > CHUNK_LEN {
            lens.push(CHUNK_LEN);
            open -= CHUNK_LEN;
        }
        if open >= CHUNK_CLOSE_LEN {
            lens.push(open);
            open = 0;
        }
    }
    if open > 0 {
        lens.push(open);
    }
    if lens.len() > CHUNKS_PER_FILE { plain(file_len) } else { lens }
}

#[cfg(test)]
mod tests;
