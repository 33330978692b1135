//! What a hub promises of a file, and the check of it.

use std::fmt;
use std::io::{self, Read};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Bytes read at once.
const BUFFER_LEN: usize = 1 << 20;

/// A digest that a file has to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promise {
    /// The SHA-256 of the bytes, as hubs name large files.
    Sha256([u8; 32]),
    /// The id of the git blob with these bytes, as hubs name small ones: SHA-1 over the length and
    /// the bytes. Enough against accidents, not against whoever wrote both files.
    GitBlob([u8; 20]),
}

impl Promise {
    /// Reads the 64 digits of a SHA-256.
    pub fn sha256(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok()?;
        Some(Self::Sha256(digest))
    }

    /// Reads the 40 digits of a git blob.
    pub(crate) fn git_blob(text: &str) -> Option<Self> {
        let mut digest = [0; 20];
        hex::decode_to_slice(text, &mut digest).ok()?;
        Some(Self::GitBlob(digest))
    }

    /// Reads either, as caches name their files.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::sha256(text).or_else(|| Self::git_blob(text))
    }

    /// The digest's bytes, if it is a SHA-256.
    pub fn as_sha256(&self) -> Option<[u8; 32]> {
        match self {
            Self::Sha256(digest) => Some(*digest),
            Self::GitBlob(_) => None,
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => f.write_str(&hex::encode(digest)),
            Self::GitBlob(digest) => f.write_str(&hex::encode(digest)),
        }
    }
}

/// A check that takes bytes as they come.
#[derive(Clone)]
pub(crate) enum Check {
    Sha256(Sha256, [u8; 32]),
    GitBlob(Sha1, [u8; 20]),
}

impl Check {
    /// Begins the check of a file of `size` bytes.
    pub(crate) fn new(promise: Promise, size: u64) -> Self {
        match promise {
            Promise::Sha256(expected) => Self::Sha256(Sha256::new(), expected),
            Promise::GitBlob(expected) => {
                let mut hash = Sha1::new();
                hash.update(format!("blob {size}\0"));
                Self::GitBlob(hash, expected)
            }
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash, _) => hash.update(bytes),
            Self::GitBlob(hash, _) => hash.update(bytes),
        }
    }

    /// Whether all the bytes were the right ones.
    pub(crate) fn holds(self) -> bool {
        match self {
            Self::Sha256(hash, expected) => hash.finalize().as_slice() == expected,
            Self::GitBlob(hash, expected) => hash.finalize().as_slice() == expected,
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Check")
    }
}

/// Reads into a check until the end, and says how many bytes that were.
pub(crate) fn read_into(check: &mut Check, mut reader: impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_LEN];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                check.update(&buffer[..n]);
                total += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(promise: &str, bytes: &[u8]) -> bool {
        let mut check = Check::new(Promise::parse(promise).unwrap(), bytes.len() as u64);
        let n = read_into(&mut check, bytes).unwrap();
        n == bytes.len() as u64 && check.holds()
    }

    #[test]
    fn promises_are_those_of_git_and_of_sha256sum() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        // `printf 'hello\n' | git hash-object --stdin`
        let blob = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert!(holds(sha256, b"abc") && !holds(sha256, b"abd"));
        assert!(holds(blob, b"hello\n") && !holds(blob, b"hello"));
    }

    #[test]
    fn what_is_no_digest_is_no_promise() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for text in ["", "../../x", &sha256[1..], &format!("{sha256}0"), &sha256.replace('b', "g")]
        {
            assert_eq!(Promise::parse(text), None, "{text}");
        }
    }
}
