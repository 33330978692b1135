//! The way into a private network with an invite's code: what is kept of it, and how it ends.

use std::path::Path;
use std::time::Duration;

use hive_api::{ErrorKind, HiveError, Result};
use hive_protocol::NodeKey;
use hive_protocol::membership::{InviteCode, MembershipError, Refusal};
use hive_swarm::MembershipEvent;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::known::{self, Known};
use super::limits::RENEW_SECS;
use super::{Current, judge, refused};
use crate::local::{Local, blocking, now};
use crate::{Node, errors};

/// How long another member may take to know of an invite that the first one did not know of: each
/// admin knows its own.
const SECOND_OPINION: Duration = Duration::from_secs(3);

/// Takes a code, and says whether it is to be redeemed: a node that stays a member for a while yet
/// has no use for it.
pub(super) fn accept(home: &Path, code: &InviteCode, node: NodeKey) -> Result<(Known, bool)> {
    if let Some(known) = known::named(home, &code.network.id().to_string())? {
        let (certificate, revoked) = (known.certificate()?, known.revoked(now())?);
        let until = now().saturating_add(RENEW_SECS);
        let judged = certificate.map(|bytes| judge(&bytes, &known, node, &revoked, now()));
        if known.has_secret() || matches!(judged, Some(Ok(member)) if member.expires > until) {
            return Ok((known, false));
        }
    }
    Ok((Known::accept(home, code)?, true))
}

impl Node {
    /// Waits until this node is a member of the private network that it was started in; returns at
    /// once if it is one, or if the network is public.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with the reason when the invite is no good, and what was kept of it is
    /// forgotten; [`ErrorKind::Unreachable`] when nobody who could tell was reached within
    /// `patience`, and the invite is kept.
    pub async fn admitted(&self, patience: Duration) -> Result<()> {
        self.local().admitted(patience).await
    }
}

impl Local {
    async fn admitted(&self, patience: Duration) -> Result<()> {
        let Some(current) = &self.networks.current else { return Ok(()) };
        let result = current.wait(patience, &self.stop).await;
        if result.as_ref().is_err_and(|error| error.kind == ErrorKind::Refused)
            && matches!(current.membership.own(), Err(MembershipError::NotAMember))
        {
            let this = self.clone();
            blocking(move || {
                let _writing = this.networks.lock();
                this.networks
                    .current
                    .as_ref()
                    .map_or(Ok(()), |current| current.known.forget_invitation())
            })
            .await?;
        }
        result
    }
}

impl Current {
    async fn wait(
        &self,
        patience: Duration,
        stop: &tokio_util::sync::CancellationToken,
    ) -> Result<()> {
        let taken = self.events.lock().ok().and_then(|mut events| events.take());
        let mut events = taken.unwrap_or_else(|| self.membership.events());
        let mut deadline = Instant::now() + patience;
        // What is told if nothing better comes.
        let mut last = None;
        loop {
            match self.membership.own() {
                Ok(_) => return Ok(()),
                Err(MembershipError::NotAMember) => {}
                Err(error) => return Err(refused(&self.known, &error)),
            }
            tokio::select! {
                () = stop.cancelled() => return Err(errors::stopping()),
                () = tokio::time::sleep_until(deadline) => {
                    return Err(last.unwrap_or_else(|| self.unreached(None)));
                }
                event = events.recv() => match event {
                    Ok(MembershipEvent::Refused { reason, .. }) => match refusal_in(&reason) {
                        Some(Refusal::NoAdmin) => last = last.or(Some(self.unreached(Some(Refusal::NoAdmin)))),
                        Some(refusal @ Refusal::UnknownInvite) => {
                            deadline = deadline.min(Instant::now() + SECOND_OPINION);
                            last = Some(self.turned_away(refusal));
                        }
                        Some(refusal) => return Err(self.turned_away(refusal)),
                        None => tracing::debug!(%reason, "a way into the network ended"),
                    },
                    // Looked at above, whatever it was.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err(errors::stopping()),
                },
            }
        }
    }

    fn turned_away(&self, refusal: Refusal) -> HiveError {
        let message = format!("the network `{}` does not let this node in", self.known.name);
        HiveError::caused(ErrorKind::Refused, message, &refusal).hint(match refusal {
            Refusal::NotYetValid => "set this machine's clock right and run the same command again",
            Refusal::Revoked => "talk to an admin of the network: this node was put out on purpose",
            _ => "ask an admin of the network for a new code (`hive invite`), and join with that",
        })
    }

    fn unreached(&self, refusal: Option<Refusal>) -> HiveError {
        let name = &self.known.name;
        let (message, hint) = match refusal {
            Some(refusal) => (
                format!("the network `{name}` cannot let this node in now: {refusal}"),
                "an admin's node has to run, connected to the one that the code leads to; then run the same command again",
            ),
            None => (
                format!("nobody of the network `{name}` answers at the code's addresses"),
                "is the node that made the code running, and is this machine online? Run the same command again then; \
                 `--bootstrap ADDR` names another way in",
            ),
        };
        HiveError::new(ErrorKind::Unreachable, message).hint(hint)
    }
}

/// What a peer said when it refused this node: events tell it in words, and end with them.
fn refusal_in(reason: &str) -> Option<Refusal> {
    Refusal::ALL.into_iter().find(|refusal| reason.ends_with(&refusal.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_is_understood() {
        for refusal in Refusal::ALL {
            let reason = MembershipError::RefusedByPeer(refusal).to_string();
            assert_eq!(refusal_in(&reason), Some(refusal));
        }
        assert_eq!(refusal_in(&MembershipError::Stranger.to_string()), None);
    }
}
