//! How somebody without a certificate proves to have been invited.
//!
//! An invite is an ed25519 key pair that follows from a secret of 16 bytes. The secret never
//! travels: who was invited signs a [`Redemption`] that names its own node, so whoever carries it to
//! an admin cannot use it. The admin knows the invite's public key, and keeps how often and until
//! when it may be redeemed.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::{MembershipError, NetworkId};
use crate::codec::{self, DecodeError, Rules};
use crate::id::NodeKey;
use crate::limits::REDEMPTION_LEN;
use crate::signed;

/// What the invite's key is derived under.
const KEY_CONTEXT: &str = "hive 1 invite key";

/// What a redemption is signed as.
const DOMAIN: &str = "hive/redemption/1";

/// What an invite code carries, and lets its bearer in. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteSecret(pub [u8; 16]);

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret(…)")
    }
}

impl InviteSecret {
    fn key(&self) -> SigningKey {
        SigningKey::from_bytes(&blake3::derive_key(KEY_CONTEXT, &self.0))
    }

    /// The invite's public key, by which an admin knows it.
    pub fn invite(&self) -> NodeKey {
        signed::public_key(&self.key())
    }

    /// Asks for a certificate for `node`.
    pub fn redeem(&self, network: NetworkId, node: NodeKey) -> Vec<u8> {
        let key = self.key();
        let sig = key.sign(&message(network, node)).to_bytes();
        codec::encode(&Redemption { v: 1, sig, node, invite: signed::public_key(&key) })
    }
}

/// "Who holds this invite asks for a certificate for this node." `{v:1, sig, node, invite}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redemption {
    v: u64,
    #[serde(with = "crate::id::serde_bytes_32")]
    sig: [u8; 64],
    /// Who wants to become a member.
    pub node: NodeKey,
    /// The invite's public key.
    pub invite: NodeKey,
}

impl Rules for Redemption {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)
    }
}

fn message(network: NetworkId, node: NodeKey) -> Vec<u8> {
    signed::message(DOMAIN, &network.to_string(), &node.0)
}

impl Redemption {
    /// Reads a redemption and checks that the invite's key has signed it for this network. Whether
    /// the invite is known, and still good, is the admin's to say.
    pub fn verify(bytes: &[u8], network: NetworkId) -> Result<Self, MembershipError> {
        let this: Self = codec::decode(bytes, REDEMPTION_LEN)?;
        let forged = |_| MembershipError::ForgedRedemption;
        let key = VerifyingKey::from_bytes(&this.invite.0).map_err(forged)?;
        if key.is_weak() {
            return Err(MembershipError::ForgedRedemption);
        }
        let sig = Signature::from_bytes(&this.sig);
        key.verify_strict(&message(network, this.node), &sig).map_err(forged)?;
        Ok(this)
    }
}
