//! Strict DAG-CBOR: one value, one encoding.
//!
//! [`decode`] refuses whatever does not encode back to the same bytes, since a second spelling of
//! the same block would be a second id for it. [`check`] walks the bytes first without recursion or
//! allocation, so that no depth and no claimed length reaches serde.
//! Format: the IPLD DAG-CBOR specification (RFC 8949 with definite lengths, shortest integers, map
//! keys sorted by length and then bytes, tag 42 alone, 64-bit floats).

use cid::Cid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;

/// Characters of a decoder's complaint that are kept.
const REASON_LEN: usize = 200;

/// Why bytes are not the block or message that was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// More bytes than this kind of message may have.
    #[error("{len} bytes, at most {max} are allowed")]
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The bytes end inside a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// Bytes are left over after the value.
    #[error("{n_bytes} bytes after the end of the value")]
    Trailing {
        /// How many.
        n_bytes: usize,
    },
    /// Deeper nesting than any of ours.
    #[error("nested deeper than {max}")]
    TooDeep {
        /// Depth allowed.
        max: usize,
    },
    /// CBOR, but not as DAG-CBOR spells it.
    #[error("not canonical: {what} at byte {at}")]
    NotCanonical {
        /// What is spelled otherwise.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// Canonical, but with missing, unknown or mistyped fields.
    #[error("not of the expected shape: {reason}")]
    Shape {
        /// What the decoder said.
        reason: String,
    },
    /// A version that this build does not know.
    #[error("version {v} is not known, this build reads version {known}")]
    Version {
        /// Version found.
        v: u64,
        /// Version known.
        known: u64,
    },
    /// Well-formed, but against a rule of its kind.
    #[error("{rule}")]
    Rule {
        /// The rule that is broken.
        rule: String,
    },
}

impl DecodeError {
    /// What serde says of a shape. It quotes the sender's text, which may have megabytes.
    fn shape(reason: &str) -> Self {
        let printable = |char: char| if char.is_control() { '\u{fffd}' } else { char };
        Self::Shape { reason: reason.chars().take(REASON_LEN).map(printable).collect() }
    }

    pub(crate) fn rule(rule: impl Into<String>) -> Self {
        Self::Rule { rule: rule.into() }
    }
}

/// A type whose values obey rules that its shape alone does not express.
pub trait Rules {
    /// Checks every rule. A value that passed `decode` has passed this.
    fn check(&self) -> Result<(), DecodeError>;
}

/// Encodes a value canonically.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value)
        .expect("writing to memory cannot fail, and ours has no map with a key that is not text")
}

/// Reads a value of at most `max` bytes, refusing every spelling but the canonical one.
pub fn decode<T: DeserializeOwned + Serialize + Rules>(
    bytes: &[u8],
    max: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong { len: bytes.len(), max });
    }
    check(bytes)?;
    let value: T = serde_ipld_dagcbor::from_slice(bytes).map_err(|error| match error {
        serde_ipld_dagcbor::DecodeError::Msg(reason) => DecodeError::shape(&reason),
        error => DecodeError::shape(&error.to_string()),
    })?;
    value.check()?;
    if encode(&value) != bytes {
        return Err(DecodeError::NotCanonical { what: "does not encode to the same bytes", at: 0 });
    }
    Ok(value)
}

/// Refuses any version but `known`.
pub(crate) fn check_version(v: u64, known: u64) -> Result<(), DecodeError> {
    if v == known { Ok(()) } else { Err(DecodeError::Version { v, known }) }
}

/// An open map or array of [`check`]: how many items it still awaits, and the last key of a map.
#[derive(Clone, Copy)]
struct Open<'a> {
    left: u64,
    is_map: bool,
    last_key: Option<&'a [u8]>,
    key_next: bool,
}

/// Walks one DAG-CBOR value and refuses everything that is not canonical. No allocation, no
/// recursion; time linear in the bytes.
pub fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut at = 0;
    let mut stack =
        [Open { left: 1, is_map: false, last_key: None, key_next: false }; limits::CBOR_DEPTH + 1];
    let mut depth = 0;
    loop {
        while stack[depth].left == 0 {
            if depth == 0 {
                return match bytes.len() - at {
                    0 => Ok(()),
                    n_bytes => Err(DecodeError::Trailing { n_bytes }),
                };
            }
            depth -= 1;
        }
        let start = at;
        let (major, argument) = head(bytes, &mut at)?;
        let open = &mut stack[depth];
        open.left -= 1;
        let is_key = open.key_next;
        if open.is_map {
            open.key_next = !open.key_next;
        }
        if is_key && major != 3 {
            return Err(DecodeError::NotCanonical {
                what: "a map key that is not text",
                at: start,
            });
        }
        match major {
            0 | 1 => {}
            2 | 3 => {
                let text = take(bytes, &mut at, argument)?;
                if major == 3 && std::str::from_utf8(text).is_err() {
                    return Err(DecodeError::NotCanonical {
                        what: "text that is not UTF-8",
                        at: start,
                    });
                }
                if is_key {
                    let last = open.last_key.replace(text);
                    if last.is_some_and(|last| (last.len(), last) >= (text.len(), text)) {
                        return Err(DecodeError::NotCanonical {
                            what: "map keys out of order or twice",
                            at: start,
                        });
                    }
                }
            }
            4 | 5 => {
                // Each item takes a byte at least, so a claim past the end is found here.
                let items = if major == 5 { argument.checked_mul(2) } else { Some(argument) };
                let items = items.filter(|&n| n <= (bytes.len() - at) as u64);
                let items = items.ok_or(DecodeError::Truncated)?;
                depth += 1;
                if depth > limits::CBOR_DEPTH {
                    return Err(DecodeError::TooDeep { max: limits::CBOR_DEPTH });
                }
                let is_map = major == 5;
                stack[depth] = Open { left: items, is_map, last_key: None, key_next: is_map };
            }
            6 => {
                if argument != 42 {
                    return Err(DecodeError::NotCanonical {
                        what: "a tag other than 42",
                        at: start,
                    });
                }
                let inner = at;
                let (major, len) = head(bytes, &mut at)?;
                let link = if major == 2 { take(bytes, &mut at, len)? } else { &[] };
                check_link(link, inner)?;
            }
            _ => {}
        }
    }
}

/// Refuses a link that is not one CID behind a zero. Whoever reads a CID from bytes stops at its end,
/// so that bytes behind it would be a second spelling of the same link.
fn check_link(link: &[u8], at: usize) -> Result<(), DecodeError> {
    let Some((0, mut cid)) = link.split_first() else {
        let what = "a link that is not bytes with a leading zero";
        return Err(DecodeError::NotCanonical { what, at });
    };
    Cid::read_bytes(&mut cid)
        .map_err(|error| DecodeError::shape(&format!("a link that is no CID: {error}")))?;
    if cid.is_empty() {
        Ok(())
    } else {
        Err(DecodeError::NotCanonical { what: "bytes after the CID of a link", at })
    }
}

/// Reads a major type and its argument, which must have its shortest form.
fn head(bytes: &[u8], at: &mut usize) -> Result<(u8, u64), DecodeError> {
    let start = *at;
    let first = take(bytes, at, 1)?[0];
    let (major, low) = (first >> 5, first & 31);
    if major == 7 {
        return match low {
            // false, true, null
            20..=22 => Ok((7, 0)),
            27 => {
                let bits = take(bytes, at, 8)?;
                let value = f64::from_be_bytes(bits.try_into().expect("eight bytes were taken"));
                let what = match value {
                    value if !value.is_finite() => "a float that is not finite",
                    // It equals the other zero, which is the one that is written.
                    value if value == 0.0 && value.is_sign_negative() => "a zero with a sign",
                    _ => return Ok((7, 0)),
                };
                Err(DecodeError::NotCanonical { what, at: start })
            }
            _ => {
                Err(DecodeError::NotCanonical { what: "a simple value or short float", at: start })
            }
        };
    }
    let (argument, least) = match low {
        0..=23 => return Ok((major, u64::from(low))),
        24 => (u64::from(take(bytes, at, 1)?[0]), 24),
        25 => (be(take(bytes, at, 2)?), 1 << 8),
        26 => (be(take(bytes, at, 4)?), 1 << 16),
        27 => (be(take(bytes, at, 8)?), 1 << 32),
        31 => {
            return Err(DecodeError::NotCanonical { what: "an indefinite length", at: start });
        }
        _ => return Err(DecodeError::NotCanonical { what: "a reserved length", at: start }),
    };
    if argument < least {
        return Err(DecodeError::NotCanonical {
            what: "an integer not in its shortest form",
            at: start,
        });
    }
    Ok((major, argument))
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn take<'a>(bytes: &'a [u8], at: &mut usize, len: u64) -> Result<&'a [u8], DecodeError> {
    let len = usize::try_from(len).map_err(|_| DecodeError::Truncated)?;
    let end = at.checked_add(len).ok_or(DecodeError::Truncated)?;
    let taken = bytes.get(*at..end).ok_or(DecodeError::Truncated)?;
    *at = end;
    Ok(taken)
}

#[cfg(test)]
mod tests;
