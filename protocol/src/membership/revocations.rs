//! Which certificates no longer count: one list a network, which only grows.
//!
//! A list is honoured whatever its dates: what was revoked stays revoked. `expires` says until when
//! the network's owner means to have made a newer one, and is for people to look at.

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use super::certificate::{Serial, open};
use super::{MembershipError, NetworkKey};
use crate::codec::{self, DecodeError, Rules};
use crate::id::NodeKey;
use crate::limits::{MEMBERSHIP_TTL_SECS, REVOCATIONS_LEN, REVOKED_SERIALS};
use crate::signed::{self, Statement, Validity};

/// "These certificates no longer count." `{v:1, seq, serials, issued, expires}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    /// 1.
    pub v: u64,
    /// Grows with every list of the network; the first is 1.
    pub seq: u64,
    /// Sorted, none twice.
    pub serials: Vec<Serial>,
    /// Seconds since 1970.
    pub issued: u64,
    /// Seconds since 1970.
    pub expires: u64,
}

impl Rules for Revocations {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        if self.seq == 0 {
            return Err(DecodeError::rule("the first list has the number 1"));
        }
        if self.serials.len() > REVOKED_SERIALS {
            return Err(DecodeError::rule(format!("over {REVOKED_SERIALS} serials are revoked")));
        }
        if !self.serials.is_sorted_by(|a, b| a < b) {
            return Err(DecodeError::rule("serials out of order or twice"));
        }
        Ok(())
    }
}

impl Statement for Revocations {
    const DOMAIN: &'static str = "hive/revocations/1";
    const MAX_LEN: usize = REVOCATIONS_LEN;
    const TTL_SECS: u64 = MEMBERSHIP_TTL_SECS;

    fn validity(&self) -> Validity {
        Validity { issued: self.issued, expires: self.expires }
    }

    // As with certificates: nobody but the network's own key.
    fn is_of(&self, publisher: NodeKey, signer: NodeKey) -> bool {
        publisher == signer
    }
}

impl Revocations {
    /// The signed bytes that members pass on.
    pub fn sign(&self, network: &SigningKey) -> Vec<u8> {
        signed::sign(self, &NetworkKey::of(network).id().to_string(), network)
    }
}

/// What came of a list that somebody had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// It is the one known already.
    Same,
    /// It is older than the one known.
    Older,
    /// It is newer, and replaces the one known.
    Newer,
    /// It claims to be newer, or as new, but leaves out what was revoked. The one known stays. The
    /// network's owner has signed two histories, as happens when its key is restored from a backup.
    Conflict,
}

/// The newest list that this node knows, with its signed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    network: NetworkKey,
    newest: Option<(Revocations, Vec<u8>)>,
}

impl RevocationList {
    /// Knows of no list.
    pub fn new(network: NetworkKey) -> Self {
        Self { network, newest: None }
    }

    /// Takes a list that somebody had, if the network's key has signed it and it is newer.
    pub fn merge(&mut self, bytes: &[u8], now: u64) -> Result<Merge, MembershipError> {
        if self.bytes() == Some(bytes) {
            return Ok(Merge::Same);
        }
        let (list, _) = open::<Revocations>(bytes, &self.network, now, "revocation list")?;
        if let Some((known, _)) = &self.newest {
            if list.seq < known.seq {
                return Ok(Merge::Older);
            }
            let keeps = |serial: &Serial| list.serials.binary_search(serial).is_ok();
            if list.seq == known.seq || !known.serials.iter().all(keeps) {
                return Ok(Merge::Conflict);
            }
        }
        self.newest = Some((list, bytes.to_vec()));
        Ok(Merge::Newer)
    }

    /// The next list, not signed yet: what is revoked already, and `more`.
    pub fn next(
        &self,
        more: impl IntoIterator<Item = Serial>,
        issued: u64,
        expires: u64,
    ) -> Result<Revocations, DecodeError> {
        let known = self.newest.as_ref().map(|(known, _)| known);
        let mut serials = known.map(|known| known.serials.clone()).unwrap_or_default();
        serials.extend(more.into_iter().take(REVOKED_SERIALS + 1));
        serials.sort_unstable();
        serials.dedup();
        let seq = known.map_or(0, |known| known.seq).saturating_add(1);
        let list = Revocations { v: 1, seq, serials, issued, expires };
        list.check()?;
        Ok(list)
    }

    /// Whether a certificate no longer counts.
    pub fn revokes(&self, serial: &Serial) -> bool {
        self.list().is_some_and(|list| list.serials.binary_search(serial).is_ok())
    }

    /// The newest list.
    pub fn list(&self) -> Option<&Revocations> {
        self.newest.as_ref().map(|(list, _)| list)
    }

    /// Its signed bytes, to be kept and passed on.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.newest.as_ref().map(|(_, bytes)| bytes.as_slice())
    }

    /// The number of the newest list; 0 for none.
    pub fn seq(&self) -> u64 {
        self.list().map_or(0, |list| list.seq)
    }
}
