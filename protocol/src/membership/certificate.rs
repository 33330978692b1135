//! What makes a node a member: its key, a role and a serial, signed by the network's key.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::SigningKey;
use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use super::{MembershipError, NetworkKey, RevocationList};
use crate::codec::{self, DecodeError, Rules};
use crate::id::NodeKey;
use crate::limits::{CARD_ENTRIES, CERTIFICATE_LEN, MEMBERSHIP_TTL_SECS, TEXT_LEN};
use crate::signed::{self, SignedError, Statement, Validity};

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Fetches and serves.
    Member,
    /// Relays for others, too.
    Relay,
    /// Has the network's secret key, and redeems invites.
    Admin,
}

impl Role {
    /// The role in one word, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Relay => "relay",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// 16 random bytes that name one certificate, so that it can be revoked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Serial(#[serde(with = "crate::id::serde_bytes_32")] pub [u8; 16]);

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// "This node is a member." `{v:1, node, role, serial, issued, expires, ext, critical}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// 1.
    pub v: u64,
    /// Whose it is.
    pub node: NodeKey,
    /// What the node may do.
    pub role: Role,
    /// Names it in the revocation list.
    pub serial: Serial,
    /// Seconds since 1970.
    pub issued: u64,
    /// Seconds since 1970.
    pub expires: u64,
    /// What others may add; a reader that does not know a key ignores it …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ext: BTreeMap<String, Ipld>,
    /// … unless its name stands here: then it refuses the certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub critical: Vec<String>,
}

impl Rules for Certificate {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        if let Some(unknown) = self.critical.first() {
            return Err(DecodeError::rule(format!(
                "the certificate needs `{}`, which this build does not know; update hive",
                unknown.chars().filter(|char| !char.is_control()).take(64).collect::<String>()
            )));
        }
        let is_text = |text: &String| text.len() <= TEXT_LEN && !text.chars().any(char::is_control);
        if self.ext.len() > CARD_ENTRIES || !self.ext.keys().all(is_text) {
            return Err(DecodeError::rule(format!(
                "over {CARD_ENTRIES} entries in `ext`, or a key of over {TEXT_LEN} bytes or with control characters"
            )));
        }
        Ok(())
    }
}

impl Statement for Certificate {
    const DOMAIN: &'static str = "hive/certificate/1";
    const MAX_LEN: usize = CERTIFICATE_LEN;
    const TTL_SECS: u64 = MEMBERSHIP_TTL_SECS;

    fn validity(&self) -> Validity {
        Validity { issued: self.issued, expires: self.expires }
    }

    // The network's own key, or a delegation of it could never be taken back.
    fn is_of(&self, publisher: NodeKey, signer: NodeKey) -> bool {
        publisher == signer
    }
}

/// A peer that has proven to be a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its key.
    pub node: NodeKey,
    /// What it may do.
    pub role: Role,
    /// Names its certificate.
    pub serial: Serial,
    /// When the certificate ends, in seconds since 1970.
    pub expires: u64,
}

impl Certificate {
    /// A certificate without extras. The serial is 16 random bytes.
    pub fn new(node: NodeKey, role: Role, serial: Serial, issued: u64, expires: u64) -> Self {
        let (ext, critical) = (BTreeMap::new(), Vec::new());
        Self { v: 1, node, role, serial, issued, expires, ext, critical }
    }

    /// The signed bytes that a member shows.
    pub fn sign(&self, network: &SigningKey) -> Vec<u8> {
        signed::sign(self, &NetworkKey::of(network).id().to_string(), network)
    }

    /// Reads the certificate of `node` and says whether it makes a member of it now. What is wrong
    /// is told in this order: signature, node, revocation, time.
    pub fn judge(
        bytes: &[u8],
        network: &NetworkKey,
        node: NodeKey,
        revoked: &RevocationList,
        now: u64,
    ) -> Result<Member, MembershipError> {
        let (certificate, time) = open::<Self>(bytes, network, now, "certificate")?;
        let Self { role, serial, expires, .. } = certificate;
        if certificate.node != node {
            return Err(MembershipError::OtherNode { serial });
        }
        if revoked.revokes(&serial) {
            return Err(MembershipError::Revoked { serial });
        }
        match time {
            Time::Valid => Ok(Member { node, role, serial, expires }),
            Time::Expired { expired } => Err(MembershipError::Expired { serial, expired, now }),
            Time::Future { issued } => Err(MembershipError::NotYetValid { serial, issued, now }),
        }
    }
}

/// How a statement stands to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// It holds.
    Valid,
    /// It is over.
    Expired { expired: u64 },
    /// It begins later than the clock's skew.
    Future { issued: u64 },
}

/// Reads what the network's key has signed, whatever the clock says, and says what it says. (Only a
/// statement whose signature is right is told to be out of time.)
pub(super) fn open<T: Statement>(
    bytes: &[u8],
    network: &NetworkKey,
    now: u64,
    what: &'static str,
) -> Result<(T, Time), MembershipError> {
    let id = network.id().to_string();
    let mut time = Time::Valid;
    let verified = signed::verify::<T>(bytes, &id, now).or_else(|error| match error {
        SignedError::Expired { expired, .. } => {
            time = Time::Expired { expired };
            signed::verify::<T>(bytes, &id, expired.saturating_sub(1))
        }
        SignedError::FromTheFuture { issued, .. } => {
            time = Time::Future { issued };
            signed::verify::<T>(bytes, &id, issued)
        }
        error => Err(error),
    });
    let verified = verified.map_err(|error| match error {
        SignedError::Decode(error) => MembershipError::Malformed(error),
        SignedError::Validity => DecodeError::rule(error.to_string()).into(),
        _ => MembershipError::Forged { what },
    })?;
    if verified.publisher != network.publisher() {
        return Err(MembershipError::Forged { what });
    }
    Ok((verified.statement, time))
}
