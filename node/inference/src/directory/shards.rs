//! The tensors of a directory: one safetensors file, or shards that an index names.
//!
//! A header is the JSON of a stranger. It is read with every length bounded, no name and no field
//! twice, and it has to say where each byte of the file belongs: from the first to the last, none
//! left over and none twice.
//!
//! Invariant: a [`Tensor`] lies in its file and is as long as its shape and its type say.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use hive_api::EngineError;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{invalid, unsupported};

/// Bytes of JSON at the head of a file at most: 20,000 tensors take 3 MiB.
const MAX_HEADER: u64 = 16 << 20;
/// Tensors of a model at most, as in GGUF.
const MAX_TENSORS: usize = 65_536;
/// Bytes in a name at most.
const MAX_NAME: usize = 256;
/// Dimensions of a tensor at most.
const MAX_DIMS: usize = 8;

/// How elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    F16,
    BF16,
    /// Any other, of so many bytes. It may stand in a file, if it is not used.
    Other(u64),
}

impl Dtype {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => Self::Other(1),
            "U16" | "I16" => Self::Other(2),
            "U32" | "I32" => Self::Other(4),
            "U64" | "I64" | "F64" => Self::Other(8),
            _ => return None,
        })
    }

    /// Bytes of an element.
    pub(crate) fn n_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Other(n) => n,
        }
    }
}

/// Where a tensor stands and what it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tensor {
    /// Index of its file.
    pub(crate) file: usize,
    /// Where it begins, from the start of its file.
    pub(crate) offset: u64,
    pub(crate) dtype: Dtype,
    /// Its dimensions, the slowest running first.
    pub(crate) shape: Vec<u64>,
}

impl Tensor {
    /// Number of elements.
    pub(crate) fn n_elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// Reads where the tensors of a file are. `name` is the file's, for the errors.
pub(crate) fn read(
    reader: &mut (impl Read + Seek),
    name: &str,
    file: usize,
) -> Result<BTreeMap<String, Tensor>, EngineError> {
    let bad = |what: &str| invalid(format!("`{name}`: {what}"));
    let file_len = reader.seek(SeekFrom::End(0)).map_err(EngineError::Io)?;
    reader.seek(SeekFrom::Start(0)).map_err(EngineError::Io)?;
    if file_len < 8 {
        return Err(bad("the file ends before its header"));
    }
    let mut len = [0; 8];
    reader.read_exact(&mut len).map_err(EngineError::Io)?;
    if let Some(kind) = crate::format::pickle(&len) {
        return Err(unsupported(format!("`{name}`: {kind}")));
    }
    let len = u64::from_le_bytes(len);
    if MAX_HEADER < len {
        return Err(bad(&format!("a header of {len} bytes, at most {MAX_HEADER}")));
    }
    if file_len - 8 < len {
        return Err(bad("the file ends inside its header"));
    }
    let mut json = vec![0; len as usize];
    reader.read_exact(&mut json).map_err(EngineError::Io)?;
    let Entries(entries) = serde_json::from_slice(&json)
        .map_err(|error| bad(&format!("the header is not one of safetensors: {error}")))?;

    let data_len = file_len - 8 - len;
    let mut extents = Vec::with_capacity(entries.len());
    let mut tensors = BTreeMap::new();
    for (tensor, entry) in entries {
        let Entry { dtype, shape, data_offsets: [begin, end] } = entry;
        let Some(dtype) = Dtype::parse(&dtype) else {
            return Err(unsupported(format!(
                "`{name}`: `{tensor}` is stored as {}; supported are F32, F16 and BF16",
                dtype.escape_debug()
            )));
        };
        if shape.len() > MAX_DIMS {
            return Err(bad(&format!("`{tensor}` has {} dimensions", shape.len())));
        }
        let n_bytes = shape.iter().try_fold(dtype.n_bytes(), |n, &dim| n.checked_mul(dim));
        if n_bytes.is_none() || n_bytes != end.checked_sub(begin) {
            return Err(bad(&format!("`{tensor}` is not as long as its shape says")));
        }
        if data_len < end {
            return Err(bad(&format!("`{tensor}` runs past the end of the file")));
        }
        extents.push((begin, end));
        tensors.insert(tensor, Tensor { file, offset: 8 + len + begin, dtype, shape });
    }
    extents.sort_unstable();
    let mut covered = 0;
    for (begin, end) in extents {
        if begin != covered {
            let what = if begin < covered { "two tensors overlap" } else { "bytes of no tensor" };
            return Err(bad(&format!("{what} at {begin}")));
        }
        covered = end;
    }
    if covered != data_len {
        return Err(bad(&format!("bytes of no tensor at {covered}")));
    }
    Ok(tensors)
}

/// Reads several files that belong together.
pub(crate) fn read_all(
    files: &mut [File],
    names: &[String],
) -> Result<BTreeMap<String, Tensor>, EngineError> {
    let mut all = BTreeMap::new();
    for (index, (file, name)) in files.iter_mut().zip(names).enumerate() {
        for (tensor, place) in read(file, name, index)? {
            if all.len() == MAX_TENSORS {
                return Err(invalid(format!("more than {MAX_TENSORS} tensors")));
            }
            if all.contains_key(&tensor) {
                return Err(invalid(format!("`{tensor}` stands in two files")));
            }
            all.insert(tensor, place);
        }
    }
    Ok(all)
}

/// Which file has which tensor, from `model.safetensors.index.json`.
pub(crate) fn index(json: &[u8]) -> Result<BTreeMap<String, String>, EngineError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: Map<String>,
    }
    let index: Index = serde_json::from_slice(json)
        .map_err(|error| invalid(format!("`model.safetensors.index.json`: {error}")))?;
    for file in index.weight_map.0.values() {
        let plain = !file.is_empty()
            && file.len() <= MAX_NAME
            && file.ends_with(".safetensors")
            && !file.starts_with('.')
            && !file.contains(['/', '\\', ':'])
            && !file.chars().any(char::is_control);
        if !plain {
            return Err(invalid(format!(
                "`model.safetensors.index.json` names `{}`, which is not a plain file name",
                file.escape_debug()
            )));
        }
    }
    Ok(index.weight_map.0)
}

/// What a header says of a tensor.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    #[serde(deserialize_with = "dims")]
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Reads a shape; a list without end would take eight times its own length.
fn dims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    let dims = Vec::<u64>::deserialize(deserializer)?;
    if dims.len() > MAX_DIMS { Err(D::Error::custom("too many dimensions")) } else { Ok(dims) }
}

struct Entries(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Map(map) = Map::<Entry>::deserialize(deserializer)?;
        Ok(Self(map))
    }
}

/// Names, each once, to something. `__metadata__` is free text, which nobody here reads.
struct Map<T>(BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Visit<T> {
            type Value = Map<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Map<T>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if name.is_empty() || MAX_NAME < name.len() || name.contains(char::is_control) {
                        return Err(A::Error::custom("the name of a tensor is not a name"));
                    }
                    if entries.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    let value = map.next_value()?;
                    if let Some(_twice) = entries.insert(name, value) {
                        return Err(A::Error::custom("a tensor stands there twice"));
                    }
                }
                Ok(Map(entries))
            }
        }
        deserializer.deserialize_map(Visit(std::marker::PhantomData))
    }
}
