//! Names of bytes: a CIDv1 with a BLAKE3 multihash, and nothing else in version 1.
//!
//! [`ChunkId`] names a chunk's bytes (codec raw), [`BlockId`] a manifest, card or list (codec
//! DAG-CBOR). Both are 32 bytes inside, so an unknown hash, codec or digest length cannot exist
//! past parsing. [`NodeKey`] is the ed25519 key that a node's peer id is made of.

use std::fmt;
use std::str::FromStr;

use cid::Cid;
use multihash::Multihash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Multicodec code of BLAKE3 as a multihash.
pub const BLAKE3: u64 = 0x1e;
/// Multicodec code of raw bytes.
pub const RAW: u64 = 0x55;
/// Multicodec code of DAG-CBOR.
pub const DAG_CBOR: u64 = 0x71;

/// A BLAKE3-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest in lower-case hexadecimal.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// Why a text or a CID is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not a CID at all.
    #[error("`{text}` is not a CID")]
    NotACid {
        /// What was given.
        text: String,
    },
    /// A CID of version 0.
    #[error("a CID of version {version}; hive's ids have version 1")]
    Version {
        /// Its version.
        version: u64,
    },
    /// A CID of something else.
    #[error("codec {codec:#x}; {wanted:#x} is wanted here")]
    Codec {
        /// Its codec.
        codec: u64,
        /// The codec of this kind of id.
        wanted: u64,
    },
    /// A hash that hive does not use.
    #[error("hash {code:#x} of {len} bytes; hive's ids use BLAKE3 (0x1e) of 32 bytes")]
    Hash {
        /// Its multihash code.
        code: u64,
        /// Its digest's length.
        len: usize,
    },
}

fn digest_of(cid: &Cid, wanted: u64) -> Result<Digest, IdError> {
    if cid.version() != cid::Version::V1 {
        return Err(IdError::Version { version: cid.version().into() });
    }
    if cid.codec() != wanted {
        return Err(IdError::Codec { codec: cid.codec(), wanted });
    }
    let hash = cid.hash();
    match <[u8; 32]>::try_from(hash.digest()) {
        Ok(digest) if hash.code() == BLAKE3 => Ok(Digest(digest)),
        _ => Err(IdError::Hash { code: hash.code(), len: hash.digest().len() }),
    }
}

fn cid_of(digest: &Digest, codec: u64) -> Cid {
    let hash = Multihash::wrap(BLAKE3, &digest.0).expect("32 bytes fit a multihash of 64");
    Cid::new_v1(codec, hash)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $codec:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Digest);

        impl $name {
            /// Names bytes.
            pub fn of(bytes: &[u8]) -> Self {
                Self(Digest::of(bytes))
            }

            /// Whether these are the bytes that the id names.
            pub fn names(&self, bytes: &[u8]) -> bool {
                Self::of(bytes) == *self
            }

            /// The id as a CID.
            pub fn cid(&self) -> Cid {
                cid_of(&self.0, $codec)
            }

            /// Enough of the id for a person: its last 8 characters, where ids differ.
            pub fn short(&self) -> String {
                let text = self.to_string();
                text[text.len() - 8..].to_owned()
            }

            /// The multihash of the id, which is its key in the DHT.
            pub fn multihash(&self) -> Vec<u8> {
                self.cid().hash().to_bytes()
            }
        }

        impl TryFrom<&Cid> for $name {
            type Error = IdError;

            fn try_from(cid: &Cid) -> Result<Self, IdError> {
                digest_of(cid, $codec).map(Self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let not_a_cid = || IdError::NotACid { text: text.to_owned() };
                // A CID of ours has 59 characters; the bound keeps a long text out of the error.
                if text.len() > 128 {
                    return Err(IdError::NotACid { text: format!("{}…", text.chars().take(32).collect::<String>()) });
                }
                Self::try_from(&Cid::from_str(text).map_err(|_| not_a_cid())?)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.cid().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.cid().serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let cid = Cid::deserialize(deserializer)?;
                Self::try_from(&cid).map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// The name of a chunk: at most 64 MiB of one file.
    ChunkId, RAW
}
id! {
    /// The name of a block: a file block, a tree, a card or a catalog list. The ids that people
    /// fetch are of this kind.
    BlockId, DAG_CBOR
}

/// An ed25519 public key: what a node's peer id or a publisher is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeKey(#[serde(with = "serde_bytes_32")] pub [u8; 32]);

impl NodeKey {
    /// The key in lower-case hexadecimal.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", &self.hex()[..16])
    }
}

/// 32 bytes as a CBOR byte string, where serde alone would write an array of integers.
pub(crate) mod serde_bytes_32 {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let bytes: Vec<u8> = serde_bytes::deserialize(deserializer)?;
        let len = bytes.len();
        bytes.try_into().map_err(|_| D::Error::custom(format!("{len} bytes where {N} are wanted")))
    }
}

#[cfg(test)]
mod tests;
