//! What a user calls a model: an id or a name.

use std::fmt;
use std::str::FromStr;

use hive_protocol::id::IdError;
use hive_protocol::{BlockId, ChunkId, Name};

/// Characters of a hive id written as a CID. A text that long which starts like one was meant as one.
const ID_LEN: usize = 59;

/// An id or a name, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelRef {
    /// The id of a file or a tree.
    Id(BlockId),
    /// A name, or the beginning or the end of an id.
    Name(Name),
}

impl FromStr for ModelRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<BlockId>() {
            Ok(id) => return Ok(Self::Id(id)),
            Err(IdError::NotACid { .. }) if !looks_like_an_id(text) => {}
            Err(_) if text.parse::<ChunkId>().is_ok() => {
                return Err("this is the id of a chunk, a part of a file; models have ids that \
                            start with `bafyr4i`, as `hive add` and `hive search` print them"
                    .to_owned());
            }
            Err(IdError::NotACid { .. }) => {
                return Err(
                    "this looks like an id, but a character of it is wrong or missing".to_owned()
                );
            }
            Err(other) => return Err(format!("not an id of hive: {other}")),
        }
        text.parse().map(Self::Name).map_err(|error| format!("neither an id nor a name: {error}"))
    }
}

fn looks_like_an_id(text: &str) -> bool {
    text.len() >= ID_LEN
        && (text.starts_with("bafy") || text.starts_with("bafk"))
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_told_apart() {
        let id = BlockId::of(b"x");
        assert_eq!(id.to_string().parse(), Ok(ModelRef::Id(id)));
        for name in ["gemma3:270m", "Qwen/Qwen3@main", "bafyr4iabc", "x"] {
            assert_eq!(name.parse(), Ok(ModelRef::Name(name.parse().unwrap())));
        }
    }

    #[test]
    fn what_is_neither_says_why() {
        let chunk = ChunkId::of(b"x").to_string();
        let broken = BlockId::of(b"x").to_string().replace("bafyr4i", "bafyr411");
        let v0 = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
        for (text, why) in [
            (chunk.as_str(), "chunk"),
            (broken.as_str(), "looks like an id"),
            (v0, "version 0"),
            ("", "1 to 200 bytes"),
            ("../x", "cannot stand there"),
            ("a b", "cannot stand there"),
            ("a;rm", "cannot stand there"),
        ] {
            let error = text.parse::<ModelRef>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
