//! Why somebody is not let in, as this side knows it and as the other side is told.

use serde::{Deserialize, Serialize};

use super::certificate::Serial;
use crate::codec::DecodeError;

/// What a peer is told, who has shown something that the network signed once, or an invite. Whoever
/// shows a forgery is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its certificate is over.
    #[error("the certificate has expired; ask an admin of the network for a new invite")]
    Expired,
    /// Its certificate begins later.
    #[error("the certificate is not valid yet; check both machines' clocks")]
    NotYetValid,
    /// Its certificate was revoked, or the node with all that it may bring.
    #[error("the certificate was revoked by an admin of the network")]
    Revoked,
    /// No admin knows the invite.
    #[error("no admin knows this invite; it may have been withdrawn: ask for a new one")]
    UnknownInvite,
    /// The invite is over.
    #[error("the invite has expired; ask an admin of the network for a new one")]
    InviteExpired,
    /// As many as may have redeemed it.
    #[error("the invite is used up; ask an admin of the network for a new one")]
    InviteUsedUp,
    /// Nobody who could redeem the invite can be asked.
    #[error("no admin of the network can be reached to redeem the invite; try again later")]
    NoAdmin,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::UnknownInvite,
        Self::InviteExpired,
        Self::InviteUsedUp,
        Self::NoAdmin,
    ];
}

/// Why a handshake did not make a member of the peer, or of this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The first message does not prove that the peer knows the network.
    #[error("a stranger: it does not know the network's key")]
    Stranger,
    /// Something that the network's key has not signed.
    #[error("a forged {what}: the network's key has not signed it")]
    Forged {
        /// What: `certificate` or `revocation list`.
        what: &'static str,
    },
    /// A redemption that the invite's key has not signed for this node and network.
    #[error("a forged redemption: the invite has not signed it for this node")]
    ForgedRedemption,
    /// The certificate names another node than the one that shows it.
    #[error("the certificate of another node ({serial})")]
    OtherNode {
        /// Which certificate.
        serial: Serial,
    },
    /// The certificate is over.
    #[error("certificate {serial} expired at {expired}, now is {now}")]
    Expired {
        /// Which certificate.
        serial: Serial,
        /// When it ended, in seconds since 1970.
        expired: u64,
        /// Our time.
        now: u64,
    },
    /// The certificate begins later than our clock allows.
    #[error(
        "certificate {serial} was issued at {issued}, which is after now ({now}); check this machine's clock"
    )]
    NotYetValid {
        /// Which certificate.
        serial: Serial,
        /// When it was made, in seconds since 1970.
        issued: u64,
        /// Our time.
        now: u64,
    },
    /// The certificate stands in the revocation list.
    #[error("certificate {serial} is revoked")]
    Revoked {
        /// Which certificate.
        serial: Serial,
    },
    /// No admin knows the invite.
    #[error("an invite that no admin knows")]
    UnknownInvite,
    /// The invite is over.
    #[error("an invite that has expired")]
    InviteExpired,
    /// As many as may have redeemed it.
    #[error("an invite that is used up")]
    InviteUsedUp,
    /// The admin has revoked this node, whatever invite it brings.
    #[error("an invite, but the node was revoked")]
    NodeRevoked,
    /// Nobody who could redeem the invite can be asked.
    #[error("an invite that no admin could be asked about")]
    NoAdmin,
    /// The peer has refused this node.
    #[error("the peer refuses this node: {0}")]
    RefusedByPeer(Refusal),
    /// This node has nothing to show that the peer could check.
    #[error("this node is not a member of the network yet: join with an invite code first")]
    NotAMember,
    /// A message that is none, too long, or out of turn.
    #[error("malformed: {0}")]
    Malformed(DecodeError),
}

impl MembershipError {
    /// The reason in one word, for counters and logs. Always one of [`Self::KINDS`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Forged { .. } | Self::ForgedRedemption => "forged",
            Self::OtherNode { .. } => "other_node",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Revoked { .. } | Self::NodeRevoked => "revoked",
            Self::UnknownInvite => "unknown_invite",
            Self::InviteExpired => "invite_expired",
            Self::InviteUsedUp => "invite_used_up",
            Self::NoAdmin => "no_admin",
            Self::RefusedByPeer(_) => "refused_by_peer",
            Self::NotAMember => "not_a_member",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Every word of [`Self::kind`].
    pub const KINDS: [&'static str; 13] = [
        "stranger",
        "forged",
        "other_node",
        "expired",
        "not_yet_valid",
        "revoked",
        "unknown_invite",
        "invite_expired",
        "invite_used_up",
        "no_admin",
        "refused_by_peer",
        "not_a_member",
        "malformed",
    ];

    /// What the peer is told of it; `None` is silence.
    pub fn told(&self) -> Option<Refusal> {
        match self {
            Self::Expired { .. } => Some(Refusal::Expired),
            Self::NotYetValid { .. } => Some(Refusal::NotYetValid),
            Self::Revoked { .. } | Self::NodeRevoked => Some(Refusal::Revoked),
            Self::UnknownInvite => Some(Refusal::UnknownInvite),
            Self::InviteExpired => Some(Refusal::InviteExpired),
            Self::InviteUsedUp => Some(Refusal::InviteUsedUp),
            Self::NoAdmin => Some(Refusal::NoAdmin),
            Self::Stranger
            | Self::Forged { .. }
            | Self::ForgedRedemption
            | Self::OtherNode { .. }
            | Self::RefusedByPeer(_)
            | Self::NotAMember
            | Self::Malformed(_) => None,
        }
    }
}

impl From<DecodeError> for MembershipError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}
