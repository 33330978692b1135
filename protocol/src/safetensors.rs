//! Where the tensors of a safetensors file stand. Nothing else of it is read here.
//!
//! Format: 8 bytes with the length of a JSON object, little endian, then the object: tensor names
//! to `{dtype, shape, data_offsets:[begin, end]}` and an optional `__metadata__`.
//!
//! The rules are structural and strict, so that every implementation cuts alike: no name and no
//! `data_offsets` stands twice, and every entry but `__metadata__` is an object with
//! `data_offsets`. What a type or a shape means is not looked at. Memory is bounded by the number of
//! tensors, not by what a hostile header repeats.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::HEADER_LEN;

/// Tensors in a file at most, as in GGUF; the largest shards of mixtures of experts have some
/// 20,000.
pub const MAX_TENSORS: usize = 65_536;

/// Tensors by offset, and where the data begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Bytes before the data.
    pub data_offset: u64,
    /// Where tensors begin, from the start of the file, ascending, each once.
    pub offsets: Vec<u64>,
}

/// The result of looking at the beginning of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parse {
    /// More of the beginning is needed: at least this many bytes of the file.
    NeedMore(u64),
    /// The header.
    Header(Header),
    /// Not a well-formed safetensors file.
    No,
}

/// Reads the header from the beginning of a file of `file_len` bytes.
pub fn parse(prefix: &[u8], file_len: u64) -> Parse {
    let Some(len) = prefix.first_chunk::<8>() else {
        return if file_len >= 8 { Parse::NeedMore(8) } else { Parse::No };
    };
    let len = u64::from_le_bytes(*len);
    if !(2..=HEADER_LEN - 8).contains(&len) || len > file_len.saturating_sub(8) {
        return Parse::No;
    }
    let data_offset = 8 + len;
    if prefix.get(8).is_some_and(|&byte| byte != b'{') {
        return Parse::No;
    }
    let Some(json) = prefix.get(8..data_offset as usize) else {
        return Parse::NeedMore(data_offset);
    };
    // Of values that it skips, serde_json would not look whether they are UTF-8.
    let Ok(json) = std::str::from_utf8(json) else { return Parse::No };
    let Ok(Entries(entries)) = serde_json::from_str(json) else { return Parse::No };
    let data_len = file_len - data_offset;
    let mut offsets = Vec::new();
    for (begin, end) in entries {
        if begin > end || end > data_len {
            return Parse::No;
        }
        // An empty tensor has no place of its own.
        if begin < end {
            offsets.push(data_offset + begin);
        }
    }
    offsets.sort_unstable();
    if offsets.windows(2).any(|pair| pair[0] == pair[1]) {
        return Parse::No;
    }
    Parse::Header(Header { data_offset, offsets })
}

/// The `data_offsets` of all tensors.
struct Entries(Vec<(u64, u64)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut names = BTreeSet::new();
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push(map.next_value::<Entry>()?.0);
                    }
                    if entries.len() > MAX_TENSORS || !names.insert(name) {
                        return Err(A::Error::custom("too many tensors, or one twice"));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// The `data_offsets` of a tensor.
struct Entry((u64, u64));

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
                let mut offsets = None;
                while let Some(field) = map.next_key::<String>()? {
                    if field != "data_offsets" {
                        map.next_value::<IgnoredAny>()?;
                    } else if offsets.replace(map.next_value()?).is_some() {
                        return Err(A::Error::duplicate_field("data_offsets"));
                    }
                }
                offsets.map(Entry).ok_or_else(|| A::Error::missing_field("data_offsets"))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}
