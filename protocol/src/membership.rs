//! Who belongs to a private network, and how two of its nodes prove it to each other.
//!
//! A private network is an ed25519 key pair of its own. Its secret key signs a [`Certificate`] for
//! each member and one growing list of [`Revocations`]; whoever has that key is an admin. An
//! [`InviteCode`] lets a person in who has no certificate yet. Two members prove membership to each
//! other in a [`handshake`] before anything else is said on a connection.
//!
//! The network's *public* key is known to members and invited people only: it is what the first
//! message of the handshake proves. Its hash, the [`NetworkId`], is public: it stands in the names
//! of protocols and tells nothing of the key.
//!
//! Never reads a clock and never rolls dice: time, serials and secrets are arguments. Never stores
//! anything: what is to be kept is handed out.
//!
//! Invariant: nothing counts that the network's key has not signed, and what was revoked once stays
//! revoked, whatever anybody sends.

mod certificate;
mod code;
mod error;
pub mod handshake;
mod invite;
mod revocations;

use std::fmt;
use std::str::FromStr;

use cid::multibase::Base;
use ed25519_dalek::{SigningKey, VerifyingKey};

pub use self::certificate::{Certificate, Member, Role, Serial};
pub use self::code::{CodeError, InviteCode};
pub use self::error::{MembershipError, Refusal};
pub use self::invite::{InviteSecret, Redemption};
pub use self::revocations::{Merge, RevocationList, Revocations};

use crate::id::NodeKey;
use crate::signed;

/// What the network's id is derived under.
const ID_CONTEXT: &str = "hive 1 network id";

/// Base32 of RFC 4648, in lower case and without padding.
const BASE32: Base = Base::Base32Lower;

/// A private network's public key. `Debug` shows the network's id only: who knows the key can tell
/// members apart from strangers, and be told apart by them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkKey(NodeKey);

impl NetworkKey {
    /// The public key of a network's secret key.
    pub fn of(secret: &SigningKey) -> Self {
        Self(signed::public_key(secret))
    }

    /// Reads a public key; `None` if it is none, or a weak one under which anything verifies.
    pub fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(&bytes).ok()?;
        (!key.is_weak()).then_some(Self(NodeKey(bytes)))
    }

    /// The key's bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.0
    }

    /// The network's public name.
    pub fn id(&self) -> NetworkId {
        NetworkId(blake3::derive_key(ID_CONTEXT, &self.0.0))
    }

    /// The key as a statement's publisher.
    pub(crate) fn publisher(&self) -> NodeKey {
        self.0
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkKey(of {})", self.id())
    }
}

/// A private network's public name: BLAKE3's derive-key of its public key. As text it is the
/// `<net>` of protocol names: 52 characters of base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub [u8; 32]);

/// A text that is no private network's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the id of a private network: 52 of a-z and 2-7")]
pub struct NetworkIdError {
    /// The beginning of what was given.
    text: String,
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32.encode(self.0))
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkId({self})")
    }
}

impl FromStr for NetworkId {
    type Err = NetworkIdError;

    fn from_str(text: &str) -> Result<Self, NetworkIdError> {
        let error = || NetworkIdError { text: text.chars().take(64).collect() };
        if text.len() != 52 {
            return Err(error());
        }
        let bytes = BASE32.decode(text).map_err(|_| error())?;
        let id = Self(bytes.try_into().map_err(|_| error())?);
        // One id has one text, down to the bits after its end.
        if id.to_string() == text { Ok(id) } else { Err(error()) }
    }
}
