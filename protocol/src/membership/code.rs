//! The text that lets somebody in: pasted into a terminal, or scanned from a QR code.
//!
//! `hive1`, then base32 of DAG-CBOR and four bytes of checksum. Upper and lower case are alike, so
//! that it fits the alphanumeric mode of QR codes; spaces and line ends are dropped, since terminals
//! and mail programs break long words.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BASE32, InviteSecret, NetworkKey};
use crate::codec::{self, DecodeError, Rules};
use crate::limits::{INVITE_ADDRESS_LEN, INVITE_ADDRESSES, INVITE_NAME_LEN, INVITE_TEXT_LEN};
use crate::path::deceives;

/// What every code begins with, before its version.
const PREFIX: &str = "hive";

/// The version of codes that this build reads and writes.
const VERSION: &str = "1";

/// What the checksum is derived under.
const CHECKSUM_CONTEXT: &str = "hive 1 invite code";

/// Bytes of checksum at the end. It finds mistakes; whoever wants to can make one that fits.
const CHECKSUM_LEN: usize = 4;

/// What an invited person is given. `Debug` shows neither the secret nor the network's key.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteCode {
    /// The network.
    pub network: NetworkKey,
    /// What is redeemed.
    pub secret: InviteSecret,
    /// When the invite ends, in seconds since 1970.
    pub expires: u64,
    /// Multiaddrs of members, each with its peer.
    pub addresses: Vec<String>,
    /// What the owner calls the network.
    pub name: String,
}

/// Why a text is no invite code that can be used, or an invite cannot be written as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// Something else.
    #[error("that is not an invite code: those begin with `{PREFIX}{VERSION}`")]
    NotACode,
    /// Cut off, or mistyped.
    #[error(
        "the invite code is damaged: copy it again, whole, from its first to its last character"
    )]
    Damaged,
    /// Of a later hive.
    #[error("the invite code was made by a newer hive than this one: update hive")]
    Newer,
    /// Over.
    #[error("the invite code expired at {expired}, now is {now}; ask for a new one")]
    Expired {
        /// When it ended, in seconds since 1970.
        expired: u64,
        /// Our time.
        now: u64,
    },
    /// Its checksum is right, its content is not.
    #[error("the invite code is malformed: {0}")]
    Malformed(DecodeError),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    v: u64,
    name: String,
    #[serde(with = "crate::id::serde_bytes_32")]
    secret: [u8; 16],
    expires: u64,
    #[serde(with = "crate::id::serde_bytes_32")]
    network: [u8; 32],
    addresses: Vec<String>,
}

impl Rules for Body {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        if self.name.len() > INVITE_NAME_LEN
            || self.name.chars().any(|char| char.is_control() || deceives(char))
        {
            return Err(DecodeError::rule(format!(
                "a network's name has at most {INVITE_NAME_LEN} bytes and no invisible characters"
            )));
        }
        if self.addresses.len() > INVITE_ADDRESSES {
            return Err(DecodeError::rule(format!("over {INVITE_ADDRESSES} addresses")));
        }
        let is_address = |text: &String| {
            text.starts_with('/')
                && text.len() <= INVITE_ADDRESS_LEN
                && text.chars().all(|char| char.is_ascii_graphic())
        };
        if !self.addresses.iter().all(is_address) {
            return Err(DecodeError::rule(format!(
                "an address begins with `/` and has at most {INVITE_ADDRESS_LEN} visible ASCII characters"
            )));
        }
        if NetworkKey::from_bytes(self.network).is_none() {
            return Err(DecodeError::rule("the network's key is not a valid ed25519 key"));
        }
        Ok(())
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let [a, b, c, d, ..] = blake3::derive_key(CHECKSUM_CONTEXT, body);
    [a, b, c, d]
}

impl InviteCode {
    /// The code, in lower case. In upper case it means the same.
    pub fn encode(&self) -> Result<String, CodeError> {
        let body = Body {
            v: 1,
            name: self.name.clone(),
            secret: self.secret.0,
            expires: self.expires,
            network: self.network.to_bytes(),
            addresses: self.addresses.clone(),
        };
        body.check().map_err(CodeError::Malformed)?;
        let mut bytes = codec::encode(&body);
        bytes.extend(checksum(&bytes));
        Ok(format!("{PREFIX}{VERSION}{}", BASE32.encode(bytes)))
    }

    /// Reads a code, which may have expired.
    pub fn decode(text: &str) -> Result<Self, CodeError> {
        if text.len() > INVITE_TEXT_LEN {
            return Err(CodeError::NotACode);
        }
        let text: String = text
            .chars()
            .filter(|char| !char.is_whitespace())
            .map(|char| char.to_ascii_lowercase())
            .collect();
        let versioned = text.strip_prefix(PREFIX).ok_or(CodeError::NotACode)?;
        let Some(base32) = versioned.strip_prefix(VERSION) else {
            // A digit there is another version; anything else is a word that begins like ours.
            let is_version = versioned.starts_with(|char: char| char.is_ascii_digit());
            return Err(if is_version { CodeError::Newer } else { CodeError::NotACode });
        };
        let bytes = BASE32.decode(base32).map_err(|_| CodeError::Damaged)?;
        // One code has one text, down to the bits after its end.
        if BASE32.encode(&bytes) != base32 {
            return Err(CodeError::Damaged);
        }
        let (body, sum) = bytes
            .len()
            .checked_sub(CHECKSUM_LEN)
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or(CodeError::Damaged)?;
        if checksum(body) != sum {
            return Err(CodeError::Damaged);
        }
        let body: Body = codec::decode(body, INVITE_TEXT_LEN).map_err(|error| match error {
            DecodeError::Version { .. } => CodeError::Newer,
            error => CodeError::Malformed(error),
        })?;
        let Body { name, secret, expires, network, addresses, .. } = body;
        let network = NetworkKey::from_bytes(network).ok_or(CodeError::Damaged)?;
        Ok(Self { network, secret: InviteSecret(secret), expires, addresses, name })
    }

    /// Reads a code that can still be redeemed at `now`.
    pub fn decode_at(text: &str, now: u64) -> Result<Self, CodeError> {
        let code = Self::decode(text)?;
        if code.expires <= now {
            return Err(CodeError::Expired { expired: code.expires, now });
        }
        Ok(code)
    }
}

impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InviteCode")
            .field("network", &self.network)
            .field("name", &self.name)
            .field("expires", &self.expires)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
