//! Reads the header of a GGUF file from its first bytes.
//!
//! A header is what stands before the weights: a version, named values (the model's shape, its
//! tokenizer) and a table that says where each tensor begins. Reading it is asked of bytes that a
//! stranger chose, and two machines must come to the same answer, because the chunker cuts a file
//! where its tensors begin. So the rules are strict and few, each is a constant or a variant of
//! [`GgufError`], and none of them depends on what a tensor's type or a value means: a type that
//! is invented tomorrow changes no file's id.
//!
//! ```text
//! "GGUF" | version u32 | n_tensors u64 | n_values u64 | values | tensors | padding | weights
//! value  = key: str | type u32 | payload         str = length u64 | UTF-8
//! tensor = name: str | n_dims u32 | dims u64 … | kind u32 | offset u64 (from the weights' start)
//! ```
//!
//! Pure: the caller holds the file and hands over a prefix of it; [`parse`] says when it needs a
//! longer one.
//!
//! Invariant: whatever is allocated is bounded by the bytes at hand, never by a count that they
//! claim.

mod kind;
mod value;

use std::collections::BTreeSet;

pub use kind::Kind;
pub use value::{Array, Strings, Value};

use crate::limits::HEADER_LEN;

/// The first bytes of the format.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// Tensors in a file at most; the largest mixture of experts has some 2,000.
pub const MAX_TENSORS: u64 = 65_536;

/// Named values in a file at most; models have 20 to 60.
pub const MAX_VALUES: u64 = 4_096;

/// Bytes in a key or a tensor's name at most; ggml itself holds 64.
pub const MAX_NAME_LEN: u64 = 256;

/// Bytes in a string at most: chat templates reach some 30 KiB.
pub const MAX_STRING_LEN: u64 = 1 << 20;

/// Elements in an array at most: four times the largest list of merges.
pub const MAX_ARRAY_LEN: u64 = 4 << 20;

/// Dimensions of a tensor at most, as in ggml.
pub const MAX_DIMS: u32 = 4;

/// Where a tensor may begin if the file does not say: multiples of this.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// The header of a file, every rule of this module checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Version of the format: 2 or 3, which differ in nothing that is read here.
    pub version: u32,
    /// Every tensor begins at a multiple of this.
    pub alignment: u64,
    /// The named values in the file's order. No key occurs twice.
    pub metadata: Vec<(String, Value)>,
    /// The tensors in the file's order. No name and no offset occurs twice.
    pub tensors: Vec<TensorInfo>,
    /// Where the weights begin, from the start of the file.
    pub data_offset: u64,
}

/// Where a tensor stands and what it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name: `blk.0.attn_q.weight`.
    pub name: String,
    /// Its dimensions, the fastest running first, each at least 1; their product fits an `i64`.
    pub dims: Vec<u64>,
    /// Its ggml type, as the file has it; [`Kind::from_u32`] knows the common ones.
    pub kind: u32,
    /// Where it begins, from [`Header::data_offset`].
    pub offset: u64,
}

/// What a prefix of a file tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Parse {
    /// The header is whole.
    Done(Header),
    /// The header is longer than the prefix. The next try takes at least this many bytes, which
    /// is more than the prefix had and at most the length of the file.
    NeedMore {
        /// Bytes from the start of the file.
        at_least: u64,
    },
}

/// Why a file is not GGUF, or not one that hive reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file does not begin with `GGUF`.
    #[error("not a GGUF file")]
    NotGguf,
    /// The file was written for big-endian machines.
    #[error("a big-endian GGUF file")]
    BigEndian,
    /// The version is neither 2 nor 3.
    #[error("GGUF version {version}, known are 2 and 3")]
    Version {
        /// The version in the file.
        version: u32,
    },
    /// The file ends inside its header.
    #[error("the file ends inside its header")]
    Truncated,
    /// The header is longer than a header may be.
    #[error("the header is longer than {HEADER_LEN} bytes")]
    HeaderTooLong,
    /// A count or a length is over its limit.
    #[error("{what}: {n}, at most {max}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The number in the file.
        n: u64,
        /// The limit.
        max: u64,
    },
    /// A string is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// Which string.
        what: &'static str,
    },
    /// A key or a tensor's name is empty or has control characters.
    #[error("{what} is empty or has control characters")]
    BadName {
        /// Which name.
        what: &'static str,
    },
    /// A value has a type that the format does not have, or an array of arrays.
    #[error("the value `{key}` has type {kind}, which is not read")]
    ValueType {
        /// Key of the value.
        key: String,
        /// The number of the type.
        kind: u32,
    },
    /// A truth value is neither 0 nor 1.
    #[error("the value `{key}` is a truth value other than 0 and 1")]
    BadBool {
        /// Key of the value.
        key: String,
    },
    /// A key or a tensor's name occurs twice.
    #[error("`{name}` occurs twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// `general.alignment` is not a `u32`, not a power of two, or out of range.
    #[error("the alignment is not a power of two from 8 to 4096")]
    Alignment,
    /// A tensor has no dimensions, too many, an empty one, or more elements than can be counted.
    #[error("the tensor `{name}` has impossible dimensions")]
    Dims {
        /// Name of the tensor.
        name: String,
    },
    /// A tensor begins outside the file, at an unaligned place or where another one does.
    #[error("the tensor `{name}` begins at an impossible place")]
    Offset {
        /// Name of the tensor.
        name: String,
    },
}

/// Reads the header of a file of `file_len` bytes from its first bytes.
///
/// The answer depends on the file alone, not on how much of it is handed over: a longer prefix
/// never turns a header or an error into something else.
pub fn parse(prefix: &[u8], file_len: u64) -> Result<Parse, GgufError> {
    let prefix = match usize::try_from(file_len) {
        Ok(len) if len < prefix.len() => &prefix[..len],
        _ => prefix,
    };
    match read_header(&mut Reader { bytes: prefix, at: 0, file_len }) {
        Ok(header) => Ok(Parse::Done(header)),
        Err(Stop::NeedMore { at_least }) => Ok(Parse::NeedMore { at_least }),
        Err(Stop::Bad(error)) => Err(error),
    }
}

impl Header {
    /// Returns the value under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find_map(|(k, value)| (k == key).then_some(value))
    }

    /// Returns the string under a key.
    pub fn str(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the whole number under a key, of whatever integer type, if it fits.
    pub fn u32(&self, key: &str) -> Option<u32> {
        self.get(key)?.as_u64().and_then(|n| u32::try_from(n).ok())
    }

    /// Returns the number under a key, if it is a floating-point one.
    pub fn f32(&self, key: &str) -> Option<f32> {
        match self.get(key)? {
            Value::F32(x) => Some(*x),
            Value::F64(x) => Some(*x as f32),
            _ => None,
        }
    }

    /// Returns the truth value under a key.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// Returns the array under a key.
    pub fn array(&self, key: &str) -> Option<&Array> {
        match self.get(key)? {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// Returns the strings under a key.
    pub fn strings(&self, key: &str) -> Option<&Strings> {
        match self.array(key)? {
            Array::Str(strings) => Some(strings),
            _ => None,
        }
    }

    /// Returns a tensor by its name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// The family of models that this one is of: `llama`, `gemma3`, …
    pub fn architecture(&self) -> Option<&str> {
        self.str("general.architecture")
    }

    /// The name that the file gives itself.
    pub fn name(&self) -> Option<&str> {
        self.str("general.name")
    }

    /// The longest sequence that the model was made for, in tokens.
    pub fn context_length(&self) -> Option<u32> {
        self.u32(&format!("{}.context_length", self.architecture()?))
    }

    /// Number of weights in all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.n_elements()))
    }

    /// How the weights were quantised, in the words of the tools that do it: `Q4_K_M`.
    pub fn quantization(&self) -> Option<&'static str> {
        kind::file_type_name(self.u32("general.file_type")?)
    }

    /// Where each tensor begins, from the start of the file, in ascending order.
    pub fn tensor_starts(&self) -> Vec<u64> {
        let mut starts: Vec<u64> =
            self.tensors.iter().map(|tensor| self.data_offset + tensor.offset).collect();
        starts.sort_unstable();
        starts
    }
}

impl TensorInfo {
    /// Number of elements.
    pub fn n_elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Bytes that the tensor takes, if its type is one that [`Kind`] knows and its rows fill whole
    /// blocks of it.
    pub fn byte_len(&self) -> Option<u64> {
        let kind = Kind::from_u32(self.kind)?;
        let row = self.dims.first()?;
        if !row.is_multiple_of(kind.block_len()) {
            return None;
        }
        (self.n_elements() / kind.block_len()).checked_mul(kind.block_bytes())
    }
}

/// Why reading ended before the header did.
pub(crate) enum Stop {
    NeedMore { at_least: u64 },
    Bad(GgufError),
}

impl From<GgufError> for Stop {
    fn from(error: GgufError) -> Self {
        Self::Bad(error)
    }
}

/// Takes bytes from the front of the prefix.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    file_len: u64,
}

impl<'a> Reader<'a> {
    /// Returns the next `len` bytes, which need not be there.
    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], Stop> {
        let end = (self.at as u64).checked_add(len).ok_or(GgufError::Truncated)?;
        if self.file_len < end {
            return Err(GgufError::Truncated.into());
        }
        if HEADER_LEN < end {
            return Err(GgufError::HeaderTooLong.into());
        }
        // Under 64 MiB, so it fits whatever a `usize` is.
        let end_at = end as usize;
        let Some(bytes) = self.bytes.get(self.at..end_at) else {
            return Err(Stop::NeedMore { at_least: end });
        };
        self.at = end_at;
        Ok(bytes)
    }

    /// Stops unless the next `len` bytes are there; takes none of them.
    pub(crate) fn expect(&mut self, len: u64) -> Result<(), Stop> {
        let at = self.at;
        self.take(len)?;
        self.at = at;
        Ok(())
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.try_into().expect("take gives the length that was asked for"))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Stop> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Stop> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub(crate) fn str(&mut self, what: &'static str, max: u64) -> Result<&'a str, Stop> {
        let n = self.u64()?;
        if max < n {
            return Err(GgufError::TooMany { what, n, max }.into());
        }
        std::str::from_utf8(self.take(n)?).map_err(|_| GgufError::NotUtf8 { what }.into())
    }

    fn name(&mut self, what: &'static str) -> Result<String, Stop> {
        let name = self.str(what, MAX_NAME_LEN)?;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(GgufError::BadName { what }.into());
        }
        Ok(name.to_owned())
    }

    fn count(&mut self, what: &'static str, max: u64) -> Result<u64, Stop> {
        let n = self.u64()?;
        if max < n { Err(GgufError::TooMany { what, n, max }.into()) } else { Ok(n) }
    }
}

fn read_header(reader: &mut Reader<'_>) -> Result<Header, Stop> {
    // A short file of another kind is not GGUF rather than a broken GGUF.
    let start = &reader.bytes[..reader.bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(start) || reader.file_len < MAGIC.len() as u64 {
        return Err(GgufError::NotGguf.into());
    }
    reader.take(MAGIC.len() as u64)?;
    let version = reader.u32()?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 1..=3) => return Err(GgufError::BigEndian.into()),
        _ => return Err(GgufError::Version { version }.into()),
    }
    let n_tensors = reader.count("tensors", MAX_TENSORS)?;
    let n_values = reader.count("values", MAX_VALUES)?;

    let mut metadata = Vec::new();
    let mut keys = BTreeSet::new();
    for _ in 0..n_values {
        let key = reader.name("a key")?;
        let value = Value::read(reader, &key)?;
        if !keys.insert(key.clone()) {
            return Err(GgufError::Duplicate { name: key }.into());
        }
        metadata.push((key, value));
    }
    let alignment = match metadata.iter().find(|(key, _)| key == "general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some((_, Value::U32(n))) if n.is_power_of_two() && (8..=4096).contains(n) => u64::from(*n),
        Some(_) => return Err(GgufError::Alignment.into()),
    };

    let mut tensors = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..n_tensors {
        let tensor = read_tensor(reader)?;
        if !names.insert(tensor.name.clone()) {
            return Err(GgufError::Duplicate { name: tensor.name }.into());
        }
        tensors.push(tensor);
    }

    let mut data_offset = (reader.at as u64).next_multiple_of(alignment);
    if HEADER_LEN < data_offset {
        return Err(GgufError::HeaderTooLong.into());
    }
    if tensors.is_empty() {
        // A vocabulary alone need not be padded.
        data_offset = data_offset.min(reader.file_len);
    }
    check_offsets(&tensors, alignment, reader.file_len.saturating_sub(data_offset))?;
    Ok(Header { version, alignment, metadata, tensors, data_offset })
}

fn read_tensor(reader: &mut Reader<'_>) -> Result<TensorInfo, Stop> {
    let name = reader.name("the name of a tensor")?;
    let n_dims = reader.u32()?;
    if !(1..=MAX_DIMS).contains(&n_dims) {
        return Err(GgufError::Dims { name }.into());
    }
    let mut dims = Vec::with_capacity(n_dims as usize);
    for _ in 0..n_dims {
        dims.push(reader.u64()?);
    }
    let n_elements = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim));
    if !n_elements.is_some_and(|n| 0 < n && i64::try_from(n).is_ok()) {
        return Err(GgufError::Dims { name }.into());
    }
    let kind = reader.u32()?;
    let offset = reader.u64()?;
    Ok(TensorInfo { name, dims, kind, offset })
}

fn check_offsets(tensors: &[TensorInfo], alignment: u64, data_len: u64) -> Result<(), GgufError> {
    let mut seen = BTreeSet::new();
    for tensor in tensors {
        let aligned = tensor.offset.is_multiple_of(alignment);
        if !aligned || data_len <= tensor.offset || !seen.insert(tensor.offset) {
            return Err(GgufError::Offset { name: tensor.name.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
