//! The named values of a header.
//!
//! Arrays are held as arrays of their own type and strings in one piece, so that a value takes
//! about the memory that it takes in the file: a vocabulary of 262,144 tokens is 4 MB, not the
//! 10 MB of as many `String`s.

use super::{GgufError, MAX_ARRAY_LEN, MAX_STRING_LEN, Reader, Stop};

/// A named value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is the type that it is named for")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Str(String),
    Array(Array),
}

/// An array, all of one type. The format's arrays of arrays are refused: no model has them.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each variant is the type that it is named for")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Str(Strings),
}

/// Many strings in one piece of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    /// Where each string ends in `text`. A header is under 64 MiB, so 32 bits hold it.
    ends: Vec<u32>,
}

impl Strings {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the string at a place.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => self.ends[before] as usize,
            None => 0,
        };
        Some(&self.text[start..end])
    }

    /// Returns the strings in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).expect("the index is below the length"))
    }
}

impl<'a> FromIterator<&'a str> for Strings {
    /// Joins strings. They must be under 4 GiB in all.
    fn from_iter<I: IntoIterator<Item = &'a str>>(strings: I) -> Self {
        let mut joined = Self::default();
        for string in strings {
            joined.text.push_str(string);
            joined.ends.push(u32::try_from(joined.text.len()).expect("strings are under 4 GiB"));
        }
        joined
    }
}

impl Value {
    /// Returns a whole number of whatever integer type, if it is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::U64(n) => Some(n),
            Self::I8(n) => n.try_into().ok(),
            Self::I16(n) => n.try_into().ok(),
            Self::I32(n) => n.try_into().ok(),
            Self::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>, key: &str) -> Result<Self, Stop> {
        Ok(match reader.u32()? {
            0 => Self::U8(u8::from_le_bytes(reader.bytes()?)),
            1 => Self::I8(i8::from_le_bytes(reader.bytes()?)),
            2 => Self::U16(u16::from_le_bytes(reader.bytes()?)),
            3 => Self::I16(i16::from_le_bytes(reader.bytes()?)),
            4 => Self::U32(reader.u32()?),
            5 => Self::I32(i32::from_le_bytes(reader.bytes()?)),
            6 => Self::F32(f32::from_le_bytes(reader.bytes()?)),
            7 => {
                let [byte] = reader.bytes()?;
                Self::Bool(truth(byte, key)?)
            }
            8 => Self::Str(reader.str("a string", MAX_STRING_LEN)?.to_owned()),
            9 => Self::Array(Array::read(reader, key)?),
            10 => Self::U64(reader.u64()?),
            11 => Self::I64(i64::from_le_bytes(reader.bytes()?)),
            12 => Self::F64(f64::from_le_bytes(reader.bytes()?)),
            kind => return Err(GgufError::ValueType { key: key.to_owned(), kind }.into()),
        })
    }
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(items) => items.len(),
            Self::I8(items) => items.len(),
            Self::U16(items) => items.len(),
            Self::I16(items) => items.len(),
            Self::U32(items) => items.len(),
            Self::I32(items) => items.len(),
            Self::U64(items) => items.len(),
            Self::I64(items) => items.len(),
            Self::F32(items) => items.len(),
            Self::F64(items) => items.len(),
            Self::Bool(items) => items.len(),
            Self::Str(items) => items.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(reader: &mut Reader<'_>, key: &str) -> Result<Self, Stop> {
        let kind = reader.u32()?;
        let n = reader.count("elements of an array", MAX_ARRAY_LEN)?;
        Ok(match kind {
            0 => Self::U8(numbers(reader, n, u8::from_le_bytes)?),
            1 => Self::I8(numbers(reader, n, i8::from_le_bytes)?),
            2 => Self::U16(numbers(reader, n, u16::from_le_bytes)?),
            3 => Self::I16(numbers(reader, n, i16::from_le_bytes)?),
            4 => Self::U32(numbers(reader, n, u32::from_le_bytes)?),
            5 => Self::I32(numbers(reader, n, i32::from_le_bytes)?),
            6 => Self::F32(numbers(reader, n, f32::from_le_bytes)?),
            7 => {
                let bytes = reader.take(n)?;
                Self::Bool(bytes.iter().map(|&byte| truth(byte, key)).collect::<Result<_, _>>()?)
            }
            8 => Self::Str(strings(reader, n)?),
            10 => Self::U64(numbers(reader, n, u64::from_le_bytes)?),
            11 => Self::I64(numbers(reader, n, i64::from_le_bytes)?),
            12 => Self::F64(numbers(reader, n, f64::from_le_bytes)?),
            kind => return Err(GgufError::ValueType { key: key.to_owned(), kind }.into()),
        })
    }
}

fn truth(byte: u8, key: &str) -> Result<bool, GgufError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(GgufError::BadBool { key: key.to_owned() }),
    }
}

fn numbers<T, const N: usize>(
    reader: &mut Reader<'_>,
    n: u64,
    from_bytes: fn([u8; N]) -> T,
) -> Result<Vec<T>, Stop> {
    // `n` is under MAX_ARRAY_LEN and `N` at most 8, so this does not overflow.
    let bytes = reader.take(n * N as u64)?;
    let (numbers, _) = bytes.as_chunks::<N>();
    Ok(numbers.iter().map(|&number| from_bytes(number)).collect())
}

fn strings(reader: &mut Reader<'_>, n: u64) -> Result<Strings, Stop> {
    // Each string has at least its length before it: a count that the file cannot hold, or that
    // this prefix does not yet hold, ends here rather than after an allocation.
    reader.expect(n * 8)?;
    let mut strings = Strings { text: String::new(), ends: Vec::with_capacity(n as usize) };
    for _ in 0..n {
        strings.text.push_str(reader.str("a string in an array", MAX_STRING_LEN)?);
        strings.ends.push(strings.text.len() as u32);
    }
    Ok(strings)
}
