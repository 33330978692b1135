//! The headers of model files, and where the chunker cuts.

use hive_protocol::chunker::{self, Sniff};
use hive_protocol::gguf::{self, MAX_DIMS, MAX_TENSORS, MAX_VALUES};
use hive_protocol::limits::{CHUNK_LEN, CHUNKS_PER_FILE, HEADER_LEN};
use hive_protocol::safetensors;

use crate::{Memory, Target, Verdict};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "gguf",
        promise: "the same from any prefix; tensors are aligned, apart and begin in the file; cuts cover the file",
        memory: Memory { fixed: 4 << 20, per_byte: 512 },
        run: gguf_header,
    },
    Target {
        name: "safetensors",
        promise: "the same from any prefix; tensors lie within the file; cuts cover the file",
        memory: Memory { fixed: 4 << 20, per_byte: 512 },
        run: safetensors_header,
    },
];

/// Lengths that the file may have: as it came, with weights behind it, as long as it can be said.
fn file_lens(bytes: &[u8]) -> [u64; 3] {
    let len = bytes.len() as u64;
    [len, len + (70 << 20), u64::MAX]
}

/// Prefixes that are read first.
fn prefixes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    [0, 7, 8, bytes.len() / 2, bytes.len().saturating_sub(1)]
        .into_iter()
        .filter_map(|len| bytes.get(..len))
}

fn gguf_header(bytes: &[u8]) -> Verdict {
    let mut accepted = false;
    for file_len in file_lens(bytes) {
        let whole = gguf::parse(bytes, file_len);
        for prefix in prefixes(bytes) {
            match gguf::parse(prefix, file_len) {
                Ok(gguf::Parse::NeedMore { at_least }) => {
                    assert!(at_least > prefix.len() as u64 && at_least <= file_len);
                    assert!(at_least <= HEADER_LEN);
                }
                early => assert!(alike(&early, &whole), "a longer prefix says otherwise"),
            }
        }
        if let Ok(gguf::Parse::Done(header)) = &whole {
            accepted = true;
            in_file(header, file_len);
        }
        cuts_cover(bytes, file_len);
    }
    Verdict::of(accepted)
}

/// Whether two readings say the same. A value may be NaN, which is not equal to itself.
fn alike<T: PartialEq + std::fmt::Debug>(one: &T, other: &T) -> bool {
    one == other || format!("{one:?}") == format!("{other:?}")
}

/// Every tensor begins in the file, aligned, where no other does, and can be counted.
fn in_file(header: &gguf::Header, file_len: u64) {
    assert!(header.tensors.len() as u64 <= MAX_TENSORS);
    assert!(header.metadata.len() as u64 <= MAX_VALUES);
    assert!(header.data_offset <= file_len && header.data_offset <= HEADER_LEN);
    let starts = header.tensor_starts();
    assert!(starts.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(starts.iter().all(|&start| header.data_offset <= start && start < file_len));
    for tensor in &header.tensors {
        assert!(tensor.offset.is_multiple_of(header.alignment));
        assert!((1..=MAX_DIMS as usize).contains(&tensor.dims.len()));
        let n =
            tensor.dims.iter().try_fold(1_i64, |n, &dim| n.checked_mul(i64::try_from(dim).ok()?));
        assert_eq!(n, i64::try_from(tensor.n_elements()).ok());
        assert!(n.is_some_and(|n| n > 0));
        let _ = tensor.byte_len();
    }
    let _ = (header.parameters(), header.architecture(), header.context_length());
    let _ = (header.name(), header.quantization());
}

fn safetensors_header(bytes: &[u8]) -> Verdict {
    let mut accepted = false;
    for file_len in file_lens(bytes) {
        let whole = safetensors::parse(bytes, file_len);
        for prefix in prefixes(bytes) {
            match safetensors::parse(prefix, file_len) {
                safetensors::Parse::NeedMore(len) => {
                    assert!(len > prefix.len() as u64 && len <= file_len && len <= HEADER_LEN);
                }
                early => assert_eq!(early, whole, "a longer prefix says otherwise"),
            }
        }
        if let safetensors::Parse::Header(header) = &whole {
            accepted = true;
            assert!(header.data_offset <= file_len);
            assert!(header.offsets.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(header.offsets.iter().all(|&at| header.data_offset <= at && at < file_len));
        }
        cuts_cover(bytes, file_len);
    }
    Verdict::of(accepted)
}

/// What is cut is the file, all of it, in pieces that chunks may have.
fn cuts_cover(bytes: &[u8], file_len: u64) {
    match chunker::sniff(bytes, file_len) {
        Sniff::NeedMore(more) => assert!(more > bytes.len() as u64 && more <= file_len),
        Sniff::Cuts(lens) => {
            assert!(lens.iter().all(|&len| 0 < len && len <= CHUNK_LEN));
            if lens.len() <= CHUNKS_PER_FILE {
                assert_eq!(lens.iter().sum::<u64>(), file_len);
            }
        }
    }
}
