//! Has invites redeemed: by this node's admin, or by an admin that this node is connected to.

use std::sync::{Mutex, PoisonError};

use hive_protocol::membership::{MembershipError, Redemption, Refusal, Role};
use hive_protocol::message::Response;
use libp2p::PeerId;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::state::Membership;
use crate::error::RequestError;
use crate::identity::Peer;
use crate::limits::{ADMINS_ASKED, FORWARDS, REDEEM_TIMEOUT, REDEEMING};

/// Somebody with an invite asks this node, which is an admin, for a certificate.
#[derive(Debug)]
pub struct RedeemRequest {
    /// Which invite, and for which node. Its signature was checked.
    pub redemption: Redemption,
    /// Who brought it: the node itself, or a member that it is connected to.
    pub from: Peer,
    /// The certificate's signed bytes, or why there is none. Dropped, it means
    /// [`Refusal::NoAdmin`].
    pub reply: oneshot::Sender<Result<Vec<u8>, Refusal>>,
}

/// A redemption on its way to an admin; the swarm's loop sends it.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) admin: PeerId,
    pub(crate) redemption: Vec<u8>,
    pub(crate) reply: oneshot::Sender<Result<Response, RequestError>>,
}

/// Where the swarm's loop takes redemptions from.
pub(crate) type Forwards = mpsc::Receiver<Forward>;

/// Whom redemptions go to.
#[derive(Debug)]
pub(super) struct Desk {
    admin: Option<mpsc::Sender<RedeemRequest>>,
    swarm: Mutex<Option<mpsc::Sender<Forward>>>,
    room: Semaphore,
}

impl Desk {
    pub(super) fn new(admin: Option<mpsc::Sender<RedeemRequest>>) -> Self {
        Self { admin, swarm: Mutex::default(), room: Semaphore::new(REDEEMING) }
    }

    /// From now on the loop that has this sends what is to be forwarded.
    pub(super) fn attach(&self) -> Forwards {
        let (sender, receiver) = mpsc::channel(FORWARDS);
        *self.swarm.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    async fn ask_own(&self, redemption: Redemption, from: Peer) -> Result<Vec<u8>, Refusal> {
        let admin = self.admin.as_ref().ok_or(Refusal::NoAdmin)?;
        let (reply, answer) = oneshot::channel();
        let request = RedeemRequest { redemption, from, reply };
        admin.try_send(request).map_err(|_| Refusal::NoAdmin)?;
        answer.await.unwrap_or(Err(Refusal::NoAdmin))
    }

    async fn ask_other(&self, admin: PeerId, redemption: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let forward = Forward { admin, redemption, reply };
        let swarm = self.swarm.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let swarm = swarm.ok_or(Refusal::NoAdmin)?;
        swarm.try_send(forward).map_err(|_| Refusal::NoAdmin)?;
        match answer.await {
            Ok(Ok(Response::Redeemed { certificate })) => Ok(certificate.into_vec()),
            Ok(Ok(Response::RedeemRefused { reason })) => Err(reason),
            // An older node, one that is busy, or one that has left.
            _ => Err(Refusal::NoAdmin),
        }
    }
}

impl Membership {
    /// Gets a certificate for somebody who was invited and stands before this node. If this node
    /// knows nothing of the invite, it asks admins that it is connected to.
    pub(super) async fn redeem(
        &self,
        redemption: &Redemption,
        bytes: &[u8],
        from: Peer,
    ) -> Result<Vec<u8>, MembershipError> {
        let redeem = async {
            let Ok(_room) = self.desk().room.acquire().await else { return Err(Refusal::NoAdmin) };
            let mut refused = match self.desk().ask_own(redemption.clone(), from).await {
                Err(reason @ (Refusal::NoAdmin | Refusal::UnknownInvite)) => reason,
                answer => return answer,
            };
            for admin in self.admins() {
                match self.desk().ask_other(admin, bytes.to_vec()).await {
                    Err(Refusal::NoAdmin) => {}
                    // Each admin knows its own invites only.
                    Err(Refusal::UnknownInvite) => refused = Refusal::UnknownInvite,
                    answer => return answer,
                }
            }
            Err(refused)
        };
        let answer = timeout(REDEEM_TIMEOUT, redeem).await.unwrap_or(Err(Refusal::NoAdmin));
        answer.map_err(|reason| match reason {
            Refusal::UnknownInvite => MembershipError::UnknownInvite,
            Refusal::InviteExpired => MembershipError::InviteExpired,
            Refusal::InviteUsedUp => MembershipError::InviteUsedUp,
            Refusal::Revoked => MembershipError::NodeRevoked,
            // What an admin says of certificates means nothing here.
            Refusal::NoAdmin | Refusal::Expired | Refusal::NotYetValid => MembershipError::NoAdmin,
        })
    }

    /// Answers a member that brings somebody's redemption. It goes no further than to this node's
    /// own admin, so that nothing travels in circles.
    pub(crate) async fn carried(&self, bytes: Vec<u8>, from: Peer) -> Response {
        let answer = match Redemption::verify(&bytes, self.network()) {
            Ok(redemption) => {
                let redeem = async {
                    let Ok(_room) = self.desk().room.acquire().await else {
                        return Err(Refusal::NoAdmin);
                    };
                    self.desk().ask_own(redemption, from).await
                };
                timeout(REDEEM_TIMEOUT, redeem).await.unwrap_or(Err(Refusal::NoAdmin))
            }
            Err(error) => {
                tracing::info!(%from, %error, "a member brings a redemption that is none");
                Err(Refusal::UnknownInvite)
            }
        };
        match answer {
            Ok(certificate) => Response::Redeemed { certificate: certificate.into() },
            Err(reason) => Response::RedeemRefused { reason },
        }
    }

    /// Admins that this node is connected to, as many as are asked.
    fn admins(&self) -> Vec<PeerId> {
        let members = self.members().into_iter();
        let admins = members.filter(|(_, member)| member.role == Role::Admin);
        admins.map(|(peer, _)| peer.0).take(ADMINS_ASKED).collect()
    }
}
