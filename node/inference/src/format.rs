//! Tells by its first bytes what a file is, so that a refusal says more than "not GGUF".
//!
//! Pickles are programs: reading one runs it. They may be stored, fetched and exported, and they
//! are never loaded, whatever a file is called.

/// Says what a file is if it is of a known kind that is not run here.
pub(crate) fn not_ours(prefix: &[u8]) -> Option<&'static str> {
    match prefix {
        _ if pickle(prefix).is_some() => pickle(prefix),
        [_, _, _, _, _, _, _, _, b'{', ..] => Some(
            "this is a safetensors file; its model is run from the directory that has it together \
             with `config.json` and `tokenizer.json`",
        ),
        [0x89, b'H', b'D', b'F', ..] => {
            Some("this is an HDF5 file; models are run from GGUF files")
        }
        _ if prefix.starts_with(b"ggml") || prefix.starts_with(b"lmgg") => {
            Some("this is a GGML file from before GGUF; convert the model to GGUF")
        }
        _ => None,
    }
}

/// Says what a file is if it holds a pickle.
pub(crate) fn pickle(prefix: &[u8]) -> Option<&'static str> {
    match prefix {
        [0x80, 2..=5, ..] => Some(
            "this is a Python pickle, and loading one runs the code inside it; \
             convert the model to GGUF",
        ),
        [b'P', b'K', 3, 4, ..] => Some(
            "this is a zip archive, as PyTorch writes its pickles into, and loading one runs the \
             code inside it; convert the model to GGUF",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::not_ours;

    #[test]
    fn a_pickle_is_known_by_its_bytes() {
        assert!(not_ours(b"\x80\x02}q\x00").is_some_and(|text| text.contains("pickle")));
        assert!(not_ours(b"PK\x03\x04archive/data.pkl").is_some_and(|text| text.contains("zip")));
    }

    #[test]
    fn safetensors_are_known_by_their_bytes() {
        let text = not_ours(b"\x40\0\0\0\0\0\0\0{\"a\":1}").expect("it is known");
        assert!(text.contains("safetensors"));
    }

    #[test]
    fn gguf_and_nothing_at_all_are_left_to_the_parser() {
        assert_eq!(not_ours(b"GGUF\x03\0\0\0\0\0"), None);
        assert_eq!(not_ours(b""), None);
    }
}
