//! Private networks: what a home knows of them, who is let in, and who is put out.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::hive::Result;
use crate::secret::Secret;

/// What a front may ask about private networks. A network is named by its name, its id, or eight
/// characters or more of the id's beginning; by nothing, if it is the one that the node is in or the
/// only one that the home knows.
#[async_trait]
pub trait Networks: Send + Sync {
    /// The private networks that the home knows, by name.
    async fn networks(&self) -> Result<Vec<NetworkSummary>>;
    /// Makes a network. This node is its first member and its admin.
    async fn create_network(&self, request: CreateNetwork) -> Result<NetworkSummary>;
    /// Forgets a network and all that the home has of it, and says what it was.
    async fn leave_network(&self, request: LeaveNetwork) -> Result<NetworkSummary>;
    /// Makes an invite. Only an admin can.
    async fn invite(&self, request: InviteRequest) -> Result<Invitation>;
    /// The invites that were made here, the newest first.
    async fn invites(&self, network: Option<&str>) -> Result<Vec<InviteSummary>>;
    /// Takes an invite back. Who came in with it stays.
    async fn withdraw(&self, network: Option<&str>, invite: &str) -> Result<InviteSummary>;
    /// The members that this node is connected to, and those that came in with its invites.
    async fn members(&self, network: Option<&str>) -> Result<Vec<MemberSummary>>;
    /// Revokes certificates: all that are known of a peer, or the one with a serial.
    async fn revoke(&self, network: Option<&str>, who: &str) -> Result<Revoked>;
}

/// What a member of a private network may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// Fetches and serves.
    Member,
    /// Relays for others, too.
    Relay,
    /// Lets others in and puts them out.
    Admin,
}

impl MemberRole {
    /// The role in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Relay => "relay",
            Self::Admin => "admin",
        }
    }
}

/// This node's certificate in a private network, as far as it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OwnMembership {
    /// The network's id.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What this node may do; `null` while it is only invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<MemberRole>,
    /// The certificate's serial, by which it can be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// When the certificate ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Why others refuse this node, if they do: not a member yet, expired, revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Something about a certificate that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// Whether others refuse this node already.
    pub urgent: bool,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub remedy: String,
}

/// Seconds before a certificate's end from which on its owner is told: a month.
const ENDS_SOON_SECS: u64 = 30 * 24 * 3600;

impl OwnMembership {
    /// What is wrong with this node's membership at `now`, if anything is.
    pub fn concern(&self, now: u64) -> Option<Concern> {
        let name = &self.name;
        let new_invite = "ask an admin of the network for a new invite, and `hive join CODE`";
        if let Some(problem) = &self.problem {
            return Some(Concern {
                urgent: true,
                found: format!("no member of the network `{name}`: {problem}"),
                remedy: if self.serial.is_some() {
                    new_invite.to_owned()
                } else {
                    "an admin's node has to be reached first; or `hive join CODE` with a new invite"
                        .to_owned()
                },
            });
        }
        let left = self.expires?.saturating_sub(now);
        (left < ENDS_SOON_SECS && self.role != Some(MemberRole::Admin)).then(|| Concern {
            urgent: left == 0,
            found: match left / 86_400 {
                0 => format!("the certificate for the network `{name}` ends within a day"),
                days => format!("the certificate for the network `{name}` ends in {days} days"),
            },
            remedy: new_invite.to_owned(),
        })
    }
}

/// A private network that the home knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NetworkSummary {
    /// This node's part in it.
    #[serde(flatten)]
    pub own: OwnMembership,
    /// Whether it is the one that this node is in, or would be.
    pub current: bool,
    /// Whether the network's secret key is in this home, so that it can invite and revoke.
    pub has_key: bool,
    /// Full addresses to join through.
    pub addresses: Vec<String>,
    /// Certificates that are revoked, as far as is known here.
    pub revoked: u64,
}

/// A wish for a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateNetwork {
    /// What to call it: 1 to 64 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// Full addresses that its invites carry besides those of the node.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// A wish to be in a network no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LeaveNetwork {
    /// Which.
    pub network: String,
    /// Also if the network's secret key is here and goes with it.
    #[serde(default)]
    pub with_key: bool,
}

/// A wish for an invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// To which network.
    #[serde(default)]
    pub network: Option<String>,
    /// As what: member or relay.
    pub role: MemberRole,
    /// Seconds that it can be redeemed.
    pub expires_secs: u64,
    /// Nodes that it lets in.
    pub uses: u32,
    /// Seconds that a certificate made of it lives; as long as it may if absent.
    #[serde(default)]
    pub member_secs: Option<u64>,
}

/// An invite that was just made. Its code is shown once and not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Invitation {
    /// The code, which lets its bearer in.
    pub code: Secret,
    /// What is kept of the invite.
    #[serde(flatten)]
    pub invite: InviteSummary,
    /// The network's id.
    pub network: String,
    /// What its owner calls it.
    pub name: String,
    /// Full addresses in the code.
    pub addresses: Vec<String>,
}

/// An invite that was made here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InviteSummary {
    /// Its public key; says nothing of the code.
    pub invite: String,
    /// As what it lets in.
    pub role: MemberRole,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// Nodes that it lets in.
    pub uses: u32,
    /// Nodes that it may still let in; 0 for one that is over or was taken back.
    pub uses_left: u32,
    /// Whether it was taken back.
    pub withdrawn: bool,
    /// Who came in with it.
    pub redeemed: Vec<Redeemed>,
}

/// A node that came in with an invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Redeemed {
    /// The node's id.
    pub peer: String,
    /// Its certificate's serial.
    pub serial: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// When the certificate ends, in seconds since 1970.
    pub expires: u64,
    /// Whether the certificate is revoked.
    pub revoked: bool,
}

/// A member of a private network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemberSummary {
    /// The node's id.
    pub peer: String,
    /// What it calls itself, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do.
    pub role: MemberRole,
    /// Its certificate's serial.
    pub serial: String,
    /// When the certificate ends, in seconds since 1970.
    pub expires: u64,
    /// Whether it is connected now, or is this node.
    pub connected: bool,
    /// Whether it is this node.
    pub this_node: bool,
    /// Whether its certificate is revoked.
    pub revoked: bool,
}

/// What a revocation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Revoked {
    /// The network's id.
    pub network: String,
    /// Serials that are revoked now and were not before.
    pub serials: Vec<String>,
    /// Invites that were taken back with them: who came in knows the code.
    pub withdrawn: Vec<String>,
    /// The number of the revocation list.
    pub seq: u64,
    /// Whether a node runs here that tells others of it.
    pub told: bool,
}
