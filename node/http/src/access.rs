//! The two files by which programs of the same user find a node and prove themselves to it.
//!
//! Both are 0600 and replaced by renaming, so a reader sees a whole file or none.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of the token's file in the home.
const TOKEN_FILE: &str = "api.token";
/// Name of the address' file in the home.
const ADDRESS_FILE: &str = "api.addr";
/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;
/// Keeps a proof from being mistaken for anything else that a token may one day sign.
const PROOF_DOMAIN: &[u8] = b"hive local api health 1\n";
/// Bytes that either file has at most; more is not ours.
const FILE_LEN: u64 = 4096;

/// Why one of the two files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a caller presents: 32 random bytes in hexadecimal, kept in `api.token`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Reads the home's token, or makes one where there is none that was kept secret and whole.
    pub fn load_or_create(home: &Path) -> Result<Self, AccessError> {
        if let Some(token) = Self::load(home)? {
            return Ok(token);
        }
        let token = Self(hex(&rand::random::<[u8; TOKEN_BYTES]>()));
        write_private(&home.join(TOKEN_FILE), token.0.as_bytes())?;
        Ok(token)
    }

    /// Reads the home's token. A malformed one, or one that others could have read, is none.
    pub fn load(home: &Path) -> Result<Option<Self>, AccessError> {
        let path = home.join(TOKEN_FILE);
        let Some(text) = read_private(&path)? else { return Ok(None) };
        let text = text.trim();
        let whole = text.len() == 2 * TOKEN_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
        Ok(whole.then(|| Self(text.to_owned())))
    }

    /// The token as it travels in `Authorization: Bearer`. Never log it.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether a presented text is the token. Takes the same time wherever they differ.
    pub(crate) fn matches(&self, presented: &[u8]) -> bool {
        let ours = self.0.as_bytes();
        if presented.len() != ours.len() {
            return false;
        }
        let differing = ours.iter().zip(presented).fold(0, |acc, (a, b)| acc | (a ^ b));
        std::hint::black_box(differing) == 0
    }

    /// What only a holder of the token can answer to `nonce`.
    pub(crate) fn proof(&self, nonce: &str) -> String {
        let key = blake3::hash(self.0.as_bytes());
        let mut hasher = blake3::Hasher::new_keyed(key.as_bytes());
        hasher.update(PROOF_DOMAIN).update(nonce.as_bytes());
        hasher.finalize().to_string()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// What `api.addr` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    /// Where the node listens.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) pid: u32,
}

impl Address {
    /// Reads the home's file; `None` if there is none or it says nothing of use.
    pub(crate) fn load(home: &Path) -> Result<Option<Self>, AccessError> {
        let text = read_private(&home.join(ADDRESS_FILE))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

/// The file `api.addr` of a node that serves. Dropping it removes the file, if it is still ours.
#[derive(Debug)]
pub(crate) struct Announced {
    home: PathBuf,
    address: Address,
}

impl Announced {
    /// Writes where this process listens.
    pub(crate) fn write(home: &Path, address: SocketAddr) -> Result<Self, AccessError> {
        let address = Address { address, pid: std::process::id() };
        let text = serde_json::to_string(&address).expect("an address and a number are JSON");
        write_private(&home.join(ADDRESS_FILE), text.as_bytes())?;
        Ok(Self { home: home.to_owned(), address })
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if matches!(Address::load(&self.home), Ok(Some(now)) if now == self.address) {
            // A file that stays is a stale file, which readers know how to treat.
            let _ = fs::remove_file(self.home.join(ADDRESS_FILE));
        }
    }
}

/// Randomness that proves an answer fresh.
pub(crate) fn nonce() -> String {
    hex(&rand::random::<[u8; 16]>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}

/// Reads a small file; `None` if it is not there, or if others may read it.
fn read_private(path: &Path) -> Result<Option<String>, AccessError> {
    let error = |source| AccessError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(error(source)),
    };
    if !is_private(&file.metadata().map_err(error)?) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(FILE_LEN).read_to_end(&mut bytes).map_err(error)?;
    Ok(String::from_utf8(bytes).ok())
}

#[cfg(unix)]
fn is_private(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode().trailing_zeros() >= 6
}

/// Elsewhere the home directory's own access list is what keeps others out.
#[cfg(not(unix))]
fn is_private(_: &fs::Metadata) -> bool {
    true
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), AccessError> {
    let next = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // Left behind by a crash of a process with our id; what it holds is worth nothing.
        let _ = fs::remove_file(&next);
        options.open(&next)?.write_all(bytes)?;
        fs::rename(&next, path)
    };
    write().map_err(|source| AccessError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_kept_between_starts_and_readable_by_its_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let token = Token::load_or_create(home.path()).unwrap();
        assert_eq!(Token::load_or_create(home.path()).unwrap(), token);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |mode| fs::Permissions::from_mode(mode);
            let path = home.path().join(TOKEN_FILE);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, mode(0o644)).unwrap();
            assert_ne!(Token::load_or_create(home.path()).unwrap(), token, "it was readable");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn broken_token_file_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        write_private(&home.path().join(TOKEN_FILE), b"short").unwrap();
        let token = Token::load_or_create(home.path()).unwrap();
        assert_eq!(token.secret().len(), 64);
    }

    #[test]
    fn token_matches_itself_only_and_debug_hides_it() {
        let home = tempfile::tempdir().unwrap();
        let token = Token::load_or_create(home.path()).unwrap();
        assert!(token.matches(token.secret().as_bytes()));
        assert!(!token.matches(b""));
        assert!(!token.matches(&[b'0'; 64]));
        assert!(!token.matches(&token.secret().as_bytes()[..63]));
        assert!(!format!("{token:?}").contains(token.secret()));
    }

    #[test]
    fn address_file_goes_with_its_owner_and_not_with_a_successor() {
        let home = tempfile::tempdir().unwrap();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let first = Announced::write(home.path(), at(1)).unwrap();
        let second = Announced::write(home.path(), at(2)).unwrap();
        drop(first);
        assert_eq!(Address::load(home.path()).unwrap().unwrap().address, at(2));
        drop(second);
        assert_eq!(Address::load(home.path()).unwrap(), None);
    }
}
