//! Statements with a name under them.
//!
//! A [`Signed`] envelope carries the canonical bytes of a statement, the publisher's key and an
//! ed25519 signature over `domain ‖ network ‖ payload`, each of the first two preceded by its length
//! as one byte. A publisher may delegate to a node's key; then the delegation travels inside.
//! Verification is `verify_strict`: one signature, one meaning.
//!
//! Never decides whether a statement is *new*: the caller keeps the highest version it has seen of
//! each publisher (replay state, on disk).

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, Rules};
use crate::id::NodeKey;
use crate::limits::{CLOCK_SKEW_SECS, STATEMENT_TTL_SECS};

/// What a statement is about to be signed as; a signature for one domain is none for another.
pub trait Statement: Serialize + DeserializeOwned + Rules {
    /// The domain, at most 255 bytes, different for every kind of statement.
    const DOMAIN: &'static str;
    /// Bytes of a signed statement of this kind at most.
    const MAX_LEN: usize;
    /// Seconds it may live at most.
    const TTL_SECS: u64 = STATEMENT_TTL_SECS;

    /// When it was made and when it ends, in seconds since 1970.
    fn validity(&self) -> Validity;

    /// Whether the statement speaks for whom it is signed: `publisher` answers for it, `signer` is
    /// the key that signed, which differs if the publisher delegated. Without this anyone could
    /// sign with his own key what a statement says that somebody else says.
    fn is_of(&self, publisher: NodeKey, signer: NodeKey) -> bool;
}

/// When a statement holds, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// When it was made.
    pub issued: u64,
    /// When it ends.
    pub expires: u64,
}

impl Validity {
    fn check(self, now: u64, ttl: u64) -> Result<(), SignedError> {
        if self.expires <= self.issued || self.expires - self.issued > ttl {
            return Err(SignedError::Validity);
        }
        if self.issued > now.saturating_add(CLOCK_SKEW_SECS) {
            return Err(SignedError::FromTheFuture { issued: self.issued, now });
        }
        if self.expires <= now {
            return Err(SignedError::Expired { expired: self.expires, now });
        }
        Ok(())
    }
}

/// Why a signed statement does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// Envelope or payload are malformed.
    #[error("malformed")]
    Decode(#[from] DecodeError),
    /// A key that is no point of the curve, or a weak one.
    #[error("the key is not a valid ed25519 key")]
    Key,
    /// Wrong key, other bytes, another domain or another network.
    #[error("the signature does not fit the statement")]
    Signature,
    /// Made later than our clock allows.
    #[error("issued at {issued}, which is after now ({now}); check this machine's clock")]
    FromTheFuture {
        /// When it says it was made.
        issued: u64,
        /// Our time.
        now: u64,
    },
    /// Over.
    #[error("expired at {expired}, now is {now}")]
    Expired {
        /// When it ended.
        expired: u64,
        /// Our time.
        now: u64,
    },
    /// A life of nothing, or of more than this kind may have.
    #[error("its validity is empty or too long")]
    Validity,
    /// The statement names somebody else than who signed it.
    #[error("the statement is signed by another than it names")]
    Publisher,
    /// The delegation is of another publisher or for another key.
    #[error("the delegation is not for this key")]
    Delegation,
}

/// The envelope on the wire: `{v:1, publisher, payload, sig, by?}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    v: u64,
    publisher: NodeKey,
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
    #[serde(with = "crate::id::serde_bytes_32")]
    sig: [u8; 64],
    /// A signed [`Delegation`], when a node signs for the publisher.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    by: Option<Vec<u8>>,
}

impl Rules for Signed {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)
    }
}

/// A statement that was verified, and who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    /// Who answers for it.
    pub publisher: NodeKey,
    /// What it says.
    pub statement: T,
}

/// A publisher lets a node sign for it: `{v:1, node, issued, expires}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    v: u64,
    /// The key that may sign.
    pub node: NodeKey,
    /// Seconds since 1970.
    pub issued: u64,
    /// Seconds since 1970.
    pub expires: u64,
}

impl Delegation {
    /// Lets `node` sign until `expires`.
    pub fn new(node: NodeKey, issued: u64, expires: u64) -> Self {
        Self { v: 1, node, issued, expires }
    }
}

impl Rules for Delegation {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)
    }
}

impl Statement for Delegation {
    const DOMAIN: &'static str = "hive/delegation/1";
    const MAX_LEN: usize = 320;

    fn validity(&self) -> Validity {
        Validity { issued: self.issued, expires: self.expires }
    }

    fn is_of(&self, _publisher: NodeKey, _signer: NodeKey) -> bool {
        // It names only whom it allows.
        true
    }
}

/// What is signed: lengths make it impossible to move a byte from one part to the next.
pub(crate) fn message(domain: &str, network: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(2 + domain.len() + network.len() + payload.len());
    for part in [domain, network] {
        message.push(
            u8::try_from(part.len()).expect("domains and network ids have at most 255 bytes"),
        );
        message.extend_from_slice(part.as_bytes());
    }
    message.extend_from_slice(payload);
    message
}

/// The public key of a signing key.
pub fn public_key(key: &SigningKey) -> NodeKey {
    NodeKey(key.verifying_key().to_bytes())
}

/// Signs a statement by the publisher's own key. `network` is empty for a statement meant for every
/// network.
pub fn sign<T: Statement>(statement: &T, network: &str, key: &SigningKey) -> Vec<u8> {
    seal(statement, network, key, public_key(key), None)
}

/// Signs a statement by a node's key for a publisher who allowed it.
pub fn sign_for<T: Statement>(
    statement: &T,
    network: &str,
    node: &SigningKey,
    publisher: NodeKey,
    delegation: Vec<u8>,
) -> Vec<u8> {
    seal(statement, network, node, publisher, Some(delegation))
}

fn seal<T: Statement>(
    statement: &T,
    network: &str,
    key: &SigningKey,
    publisher: NodeKey,
    by: Option<Vec<u8>>,
) -> Vec<u8> {
    let payload = codec::encode(statement);
    let sig = key.sign(&message(T::DOMAIN, network, &payload)).to_bytes();
    codec::encode(&Signed { v: 1, publisher, payload, sig, by })
}

/// Verifies a signed statement at time `now` (seconds since 1970) in `network`.
pub fn verify<T: Statement>(
    bytes: &[u8],
    network: &str,
    now: u64,
) -> Result<Verified<T>, SignedError> {
    let signed: Signed = codec::decode(bytes, T::MAX_LEN)?;
    let signer = match &signed.by {
        None => signed.publisher,
        Some(by) => {
            let outer: Signed = codec::decode(by, Delegation::MAX_LEN)?;
            // A delegation of a delegation would be a chain without end.
            if outer.by.is_some() || outer.publisher != signed.publisher {
                return Err(SignedError::Delegation);
            }
            open::<Delegation>(&outer, outer.publisher, "", now)?.node
        }
    };
    let statement = open(&signed, signer, network, now)?;
    Ok(Verified { publisher: signed.publisher, statement })
}

fn open<T: Statement>(
    signed: &Signed,
    signer: NodeKey,
    network: &str,
    now: u64,
) -> Result<T, SignedError> {
    let key = VerifyingKey::from_bytes(&signer.0).map_err(|_| SignedError::Key)?;
    if key.is_weak() {
        return Err(SignedError::Key);
    }
    key.verify_strict(
        &message(T::DOMAIN, network, &signed.payload),
        &Signature::from_bytes(&signed.sig),
    )
    .map_err(|_| SignedError::Signature)?;
    let statement: T = codec::decode(&signed.payload, T::MAX_LEN)?;
    if !statement.is_of(signed.publisher, signer) {
        return Err(SignedError::Publisher);
    }
    statement.validity().check(now, T::TTL_SECS)?;
    Ok(statement)
}

#[cfg(test)]
mod tests;
