//! Private networks of this home: which it knows, which it is in, and, where it has a network's
//! secret key, whom it lets in and puts out.
//!
//! [`known`] is the files, [`desk`] what an admin does, [`admission`] the way in with an invite,
//! [`keeper`] the tasks of a node that is in one, [`front`] what commands see. The handshake itself
//! is the swarm's ([`hive_swarm::Membership`]); here is what has to outlive a process.
//!
//! Never logs a code, an invite's secret or a network's key, and never puts anything that a peer said
//! into a path.
//!
//! Invariant: a node whose setting names a private network that it cannot be in does not start, so
//! that nothing of it goes to a public one instead.

mod admission;
mod desk;
mod disk;
mod front;
mod invites;
mod keeper;
mod known;
mod limits;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hive_api::{ErrorKind, HiveError, OwnMembership, Result};
use hive_protocol::NodeKey;
use hive_protocol::membership::{Certificate, MembershipError, NetworkId, RevocationList, Role};
use hive_swarm::{Credential, Membership, MembershipEvent, RedeemRequest};
use tokio::sync::{broadcast, mpsc};

use crate::config::Config;
use crate::local::now;
use desk::Desk;
pub(crate) use keeper::spawn;
use known::Known;

/// The private networks of a home, and the one that its node is in.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    current: Option<Current>,
    /// Held by whoever changes a network's files.
    writing: Mutex<()>,
}

/// The private network that this node is in.
#[derive(Debug)]
pub(crate) struct Current {
    known: Known,
    membership: Membership,
    /// Where the network's secret key is here.
    desk: Option<Arc<Desk>>,
    /// For the desk's task, which takes it.
    requests: Mutex<Option<mpsc::Receiver<RedeemRequest>>>,
    /// From before the first connection, for whoever waits to be let in.
    events: Mutex<Option<broadcast::Receiver<MembershipEvent>>>,
}

/// Finds out which network the configuration names and, if that is a private one, what this node has
/// to show there. The configuration then names it by its id and has its addresses.
pub(crate) fn open(mut config: Config, node: NodeKey) -> Result<(Config, Networks)> {
    let known = match config.invite.take() {
        Some(code) => Some(admission::accept(&config.home, &code, node)?),
        None => match known::named(&config.home, &config.network) {
            Ok(known) => known.map(|known| (known, false)),
            Err(error) if !config.online => return Ok((config, Networks::without(&error))),
            Err(error) => return Err(error),
        },
    };
    let Some((known, redeem)) = known else {
        if config.online && config.network.parse::<NetworkId>().is_ok() {
            let message =
                format!("this home does not know the private network `{}`", config.network);
            return Err(HiveError::new(ErrorKind::Usage, message).hint(
                "join it with an invite: `hive join CODE`; or name another: `hive network use NAME`",
            ));
        }
        return Ok((config, Networks::default()));
    };
    config.network = known.id.to_string();
    for address in &known.addresses {
        if !config.bootstrap.contains(address) {
            config.bootstrap.push(address.clone());
        }
    }
    let current = match Current::open(known, node, redeem) {
        Ok(current) => current,
        Err(error) if !config.online => return Ok((config, Networks::without(&error))),
        Err(error) => return Err(error),
    };
    Ok((config, Networks { current: Some(current), writing: Mutex::default() }))
}

impl Networks {
    /// A home that cannot be in its private network now. The models on its disk can be used all the
    /// same, and `hive network leave` mends it.
    fn without(error: &HiveError) -> Self {
        tracing::warn!(%error, "this home cannot be in its private network");
        Self::default()
    }

    /// What the swarm is to let members in by.
    pub(crate) fn membership(&self) -> Option<Membership> {
        self.current.as_ref().map(|current| current.membership.clone())
    }

    /// This node's part in the network that it is in, if that is a private one.
    pub(crate) fn own(&self) -> Option<OwnMembership> {
        self.current.as_ref().map(|current| describe(&current.known, &current.membership.own()))
    }

    /// The id of the private network that this node is in.
    pub(crate) fn private(&self) -> Option<String> {
        self.current_id().map(|id| id.to_string())
    }

    fn current_id(&self) -> Option<NetworkId> {
        self.current.as_ref().map(|current| current.known.id)
    }

    /// The current network, if it is this one.
    fn current_of(&self, known: &Known) -> Option<&Current> {
        self.current.as_ref().filter(|current| current.known.id == known.id)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // It guards files, which are whole whatever became of the last holder.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    /// `redeem`: an invite goes before a certificate that is good still.
    fn open(known: Known, node: NodeKey, redeem: bool) -> Result<Self> {
        let now = now();
        let desk = Desk::open(&known)?.map(Arc::new);
        let revoked = known.revoked(now)?;
        let mut certificate = known.certificate()?;
        if let Some(secret) = known.secret()?
            && !lasts(certificate.as_deref(), &known, node, &revoked, now)
        {
            certificate = Some(known.certify_self(&secret, node, now)?);
        }
        let invitation = known.invitation()?;
        let is_good = |bytes: &Vec<u8>| judge(bytes, &known, node, &revoked, now).is_ok();
        let credential = match (certificate, invitation) {
            (Some(certificate), Some(_)) if !redeem && is_good(&certificate) => {
                Credential::Certificate(certificate)
            }
            (_, Some(secret)) => Credential::Invite(secret),
            (Some(certificate), None) => Credential::Certificate(certificate),
            (None, None) => {
                let message =
                    format!("this home has no certificate of the network `{}`", known.name);
                return Err(HiveError::new(ErrorKind::Refused, message)
                    .hint("ask an admin of the network for an invite: `hive join CODE`"));
            }
        };
        let (sender, requests) = mpsc::channel(limits::REDEEM_QUEUE);
        let admin = desk.is_some().then_some(sender);
        let membership = Membership::new(known.key, node, credential, revoked.bytes(), admin);
        let membership = membership.map_err(|error| refused(&known, &error))?;
        let events = Mutex::new(Some(membership.events()));
        let requests = Mutex::new(desk.is_some().then_some(requests));
        Ok(Self { known, membership, desk, requests, events })
    }

    /// The newest revocation list that is known: by the node, or on the disk.
    fn revoked(&self, now: u64) -> Result<RevocationList> {
        let mut list = self.known.revoked(now)?;
        if let Some(bytes) = self.membership.kept().borrow().revocations.as_deref()
            && let Err(error) = list.merge(bytes, now)
        {
            tracing::error!(%error, "the node's own revocation list does not hold");
        }
        Ok(list)
    }
}

fn judge(
    certificate: &[u8],
    known: &Known,
    node: NodeKey,
    revoked: &RevocationList,
    now: u64,
) -> std::result::Result<hive_protocol::membership::Member, MembershipError> {
    Certificate::judge(certificate, &known.key, node, revoked, now)
}

/// Whether an admin's certificate will do for a while.
fn lasts(
    certificate: Option<&[u8]>,
    known: &Known,
    node: NodeKey,
    revoked: &RevocationList,
    now: u64,
) -> bool {
    let judged = certificate.map(|bytes| judge(bytes, known, node, revoked, now));
    matches!(judged, Some(Ok(member))
        if member.role == Role::Admin && member.expires > now.saturating_add(limits::RENEW_SECS))
}

/// This node's part in a network, for people.
fn describe(
    known: &Known,
    own: &std::result::Result<hive_protocol::membership::Member, MembershipError>,
) -> OwnMembership {
    let (member, problem) = match own {
        Ok(member) => (Some(member), None),
        Err(MembershipError::NotAMember) => (None, Some("invited, not a member yet".to_owned())),
        Err(error) => (None, Some(error.to_string())),
    };
    let (serial, expires) = match own {
        Ok(member) => (Some(member.serial), Some(member.expires)),
        Err(MembershipError::Expired { serial, expired, .. }) => (Some(*serial), Some(*expired)),
        Err(MembershipError::Revoked { serial } | MembershipError::NotYetValid { serial, .. }) => {
            (Some(*serial), None)
        }
        Err(_) => (None, None),
    };
    OwnMembership {
        id: known.id.to_string(),
        name: known.name.clone(),
        role: member.map(|member| invites::role_name(member.role)),
        serial: serial.map(|serial| serial.to_string()),
        expires,
        problem,
    }
}

/// This node's own certificate does not hold.
fn refused(known: &Known, error: &MembershipError) -> HiveError {
    let message = format!("this node is no member of the network `{}`", known.name);
    HiveError::caused(ErrorKind::Refused, message, error).hint(match error {
        MembershipError::NotYetValid { .. } => {
            "set this machine's clock right and try again"
        }
        MembershipError::Revoked { .. } => {
            "an admin of the network has put this node out; only a new invite lets it in again: `hive join CODE`"
        }
        _ => "ask an admin of the network for a new invite: `hive join CODE`",
    })
}

#[cfg(test)]
mod tests;
