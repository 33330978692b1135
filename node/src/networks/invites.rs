//! The invites that an admin has made, and who came in with which.
//!
//! Decides; the desk writes down what was decided before anybody hears of it. No clock, no dice.
//!
//! Invariant: a use is counted once for each node, however often it asks; and a node whose
//! certificate from an invite was revoked gets none from that invite again.

use hive_api::{InviteSummary, MemberRole};
use hive_protocol::NodeKey;
use hive_protocol::membership::{Certificate, Redemption, Refusal, Role, Serial};
use hive_swarm::Peer;
use serde::{Deserialize, Serialize};

use super::limits::{INVITE_PREFIX, INVITES, REDEEMED};

/// All invites of one network, as `invites.json` has them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Book {
    v: u32,
    invites: Vec<Invite>,
}

impl Default for Book {
    fn default() -> Self {
        Self { v: 1, invites: Vec::new() }
    }
}

/// An invite. Of its secret nothing is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invite {
    #[serde(with = "as_hex")]
    key: [u8; 32],
    role: Role,
    created: u64,
    expires: u64,
    /// Seconds that certificates live that are made of it.
    member_secs: u64,
    uses: u32,
    withdrawn: bool,
    redeemed: Vec<Redeemed>,
}

/// A node that came in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Redeemed {
    #[serde(with = "as_hex")]
    node: [u8; 32],
    #[serde(with = "as_hex")]
    serial: [u8; 16],
    at: u64,
    expires: u64,
    #[serde(with = "as_hex")]
    certificate: Vec<u8>,
}

/// What becomes of a redemption that is not refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The node has come in with it already; here is its certificate.
    Again(Vec<u8>),
    /// It may come in.
    New {
        /// Which invite.
        at: usize,
        /// As what.
        role: Role,
        /// Seconds that the certificate lives.
        member_secs: u64,
    },
}

/// What an invite shall be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) role: Role,
    pub(crate) created: u64,
    pub(crate) expires: u64,
    pub(crate) member_secs: u64,
    pub(crate) uses: u32,
}

/// A certificate that came of an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) node: NodeKey,
    pub(crate) role: Role,
    pub(crate) serial: Serial,
    pub(crate) expires: u64,
}

impl Book {
    /// Whether this build can read it.
    pub(crate) fn is_known_version(&self) -> bool {
        self.v == 1
    }

    /// Writes an invite down; `None` if there are too many. Those that ended unused are forgotten.
    pub(crate) fn add(&mut self, key: NodeKey, terms: Terms, now: u64) -> Option<InviteSummary> {
        self.invites.retain(|invite| !invite.redeemed.is_empty() || invite.is_open(now));
        // Those that let somebody in stay, and are bounded by how many may come in.
        if self.invites.iter().filter(|invite| invite.is_open(now)).count() >= INVITES {
            return None;
        }
        let Terms { role, created, expires, member_secs, uses } = terms;
        let (withdrawn, redeemed) = (false, Vec::new());
        let key = key.0;
        let invite = Invite { key, role, created, expires, member_secs, uses, withdrawn, redeemed };
        let summary = invite.summary(now, |_| false);
        self.invites.push(invite);
        Some(summary)
    }

    /// Judges a redemption whose signature was checked.
    pub(crate) fn judge(
        &self,
        redemption: &Redemption,
        is_revoked: impl Fn(&Serial) -> bool,
        now: u64,
    ) -> Result<Judged, Refusal> {
        let mut known = self.invites.iter().enumerate();
        let (at, invite) = known
            .find(|(_, invite)| invite.key == redemption.invite.0)
            .ok_or(Refusal::UnknownInvite)?;
        let mut before = invite.redeemed.iter().filter(|came| came.node == redemption.node.0);
        if let Some(came) = before.next() {
            return if is_revoked(&Serial(came.serial)) {
                Err(Refusal::Revoked)
            } else if came.expires <= now {
                Err(Refusal::InviteExpired)
            } else {
                Ok(Judged::Again(came.certificate.clone()))
            };
        }
        if invite.withdrawn {
            return Err(Refusal::UnknownInvite);
        }
        if invite.expires <= now {
            return Err(Refusal::InviteExpired);
        }
        let everybody: usize = self.invites.iter().map(|invite| invite.redeemed.len()).sum();
        if invite.left() == 0 || everybody >= REDEEMED {
            return Err(Refusal::InviteUsedUp);
        }
        Ok(Judged::New { at, role: invite.role, member_secs: invite.member_secs })
    }

    /// Writes down that a node came in.
    pub(crate) fn admit(&mut self, at: usize, certificate: &Certificate, signed: Vec<u8>) {
        if let Some(invite) = self.invites.get_mut(at) {
            invite.redeemed.push(Redeemed {
                node: certificate.node.0,
                serial: certificate.serial.0,
                at: certificate.issued,
                expires: certificate.expires,
                certificate: signed,
            });
        }
    }

    /// The invite that a text names: its key or the beginning of it; an error says how many if it
    /// is not one.
    pub(crate) fn find(&self, text: &str) -> Result<usize, usize> {
        let text = text.to_ascii_lowercase();
        let named = |invite: &Invite| hex::encode(invite.key).starts_with(&text);
        let found: Vec<usize> = match text.len() {
            INVITE_PREFIX.. => {
                (0..self.invites.len()).filter(|&at| named(&self.invites[at])).collect()
            }
            _ => Vec::new(),
        };
        match found.as_slice() {
            [at] => Ok(*at),
            several => Err(several.len()),
        }
    }

    /// Takes an invite back.
    pub(crate) fn withdraw(&mut self, at: usize) {
        if let Some(invite) = self.invites.get_mut(at) {
            invite.withdrawn = true;
        }
    }

    /// Takes back what the bearers of these certificates came in with, if it would let anybody else
    /// in: they know its code. Says which.
    pub(crate) fn withdraw_of(&mut self, serials: &[Serial], now: u64) -> Vec<String> {
        let came = |invite: &Invite| {
            invite.redeemed.iter().any(|came| serials.contains(&Serial(came.serial)))
        };
        let mut withdrawn = Vec::new();
        for invite in &mut self.invites {
            if invite.is_open(now) && came(invite) {
                invite.withdrawn = true;
                withdrawn.push(hex::encode(invite.key));
            }
        }
        withdrawn
    }

    /// Every certificate that came of an invite.
    pub(crate) fn issued(&self) -> impl Iterator<Item = Issued> {
        self.invites.iter().flat_map(|invite| {
            invite.redeemed.iter().map(|came| Issued {
                node: NodeKey(came.node),
                role: invite.role,
                serial: Serial(came.serial),
                expires: came.expires,
            })
        })
    }

    /// All invites for people, the newest first.
    pub(crate) fn summaries(
        &self,
        now: u64,
        is_revoked: impl Fn(&Serial) -> bool + Copy,
    ) -> Vec<InviteSummary> {
        self.invites.iter().rev().map(|invite| invite.summary(now, is_revoked)).collect()
    }

    /// One of them.
    pub(crate) fn summary(
        &self,
        at: usize,
        now: u64,
        is_revoked: impl Fn(&Serial) -> bool,
    ) -> Option<InviteSummary> {
        self.invites.get(at).map(|invite| invite.summary(now, is_revoked))
    }
}

impl Invite {
    fn left(&self) -> u32 {
        let used = u32::try_from(self.redeemed.len()).unwrap_or(u32::MAX);
        self.uses.saturating_sub(used)
    }

    fn is_open(&self, now: u64) -> bool {
        !self.withdrawn && self.expires > now && self.left() > 0
    }

    fn summary(&self, now: u64, is_revoked: impl Fn(&Serial) -> bool) -> InviteSummary {
        let redeemed = self.redeemed.iter().map(|came| hive_api::Redeemed {
            peer: shown(NodeKey(came.node)),
            serial: Serial(came.serial).to_string(),
            at: came.at,
            expires: came.expires,
            revoked: is_revoked(&Serial(came.serial)),
        });
        InviteSummary {
            invite: hex::encode(self.key),
            role: role_name(self.role),
            created: self.created,
            expires: self.expires,
            uses: self.uses,
            uses_left: if self.is_open(now) { self.left() } else { 0 },
            withdrawn: self.withdrawn,
            redeemed: redeemed.collect(),
        }
    }
}

/// A node's key as the id that people know it by.
pub(crate) fn shown(node: NodeKey) -> String {
    Peer::from_node_key(&node).map_or_else(|| node.hex(), |peer| peer.to_string())
}

/// A role as fronts say it.
pub(crate) fn role_name(role: Role) -> MemberRole {
    match role {
        Role::Member => MemberRole::Member,
        Role::Relay => MemberRole::Relay,
        Role::Admin => MemberRole::Admin,
    }
}

/// Bytes as hexadecimal digits.
mod as_hex {
    use serde::Serializer;
    use serde::de::{Deserialize as _, Deserializer, Error as _};

    pub(super) fn serialize<S: Serializer>(
        bytes: impl AsRef<[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(text).map_err(D::Error::custom)?;
        T::try_from(bytes).map_err(|_| D::Error::custom("of another length"))
    }
}

#[cfg(test)]
mod tests;
