//! What this node knows of its private network: its own certificate or invite, what is revoked, and
//! who is connected.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hive_protocol::NodeKey;
use hive_protocol::membership::{
    Certificate, InviteSecret, Member, MembershipError, Merge, NetworkId, NetworkKey,
    RevocationList,
};
use libp2p::PeerId;
use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit, broadcast, mpsc, watch};

use super::redeem::{Desk, Forwards, RedeemRequest};
use super::shake::HandshakeError;
use crate::identity::Peer;
use crate::limits::{HANDSHAKES, MEMBERS, MEMBERSHIP_EVENTS, REFUSALS_TOLD};

/// What a node has to show. `Debug` shows which, not what.
#[derive(Clone)]
pub enum Credential {
    /// A certificate's signed bytes.
    Certificate(Vec<u8>),
    /// An invite's secret, until it is redeemed.
    Invite(InviteSecret),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate(_) => "Certificate(…)",
            Self::Invite(_) => "Invite(…)",
        })
    }
}

/// What the node keeps on disk, as it is now. `Debug` shows lengths only, here and in
/// [`MembershipEvent`]: a certificate has the network's key in it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// This node's certificate.
    pub certificate: Option<Vec<u8>>,
    /// The newest revocation list.
    pub revocations: Option<Vec<u8>>,
}

/// What happens in a private network. A listener that is too slow loses the oldest; what must not be
/// lost stands in [`Membership::kept`].
#[derive(Clone, PartialEq, Eq)]
pub enum MembershipEvent {
    /// An invite was redeemed; this node is a member.
    Granted {
        /// Its certificate.
        certificate: Vec<u8>,
    },
    /// A newer revocation list came.
    Revocations {
        /// Its signed bytes.
        bytes: Vec<u8>,
    },
    /// A connection did not pass, whichever of the two began it.
    Refused {
        /// With whom; the connection has proven that.
        peer: Peer,
        /// Why, in one word.
        kind: &'static str,
        /// Why, for people.
        reason: String,
    },
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("certificate", &self.certificate.as_ref().map(Vec::len))
            .field("revocations", &self.revocations.as_ref().map(Vec::len))
            .finish()
    }
}

impl fmt::Debug for MembershipEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted { certificate } => write!(f, "Granted({} bytes)", certificate.len()),
            Self::Revocations { bytes } => write!(f, "Revocations({} bytes)", bytes.len()),
            Self::Refused { peer, reason, .. } => write!(f, "Refused({peer:?}: {reason})"),
        }
    }
}

/// This node's part in a private network. Clones are the same.
#[derive(Clone)]
pub struct Membership {
    shared: Arc<Shared>,
}

struct Shared {
    key: NetworkKey,
    node: NodeKey,
    state: Mutex<State>,
    kept: watch::Sender<Kept>,
    events: broadcast::Sender<MembershipEvent>,
    desk: Desk,
    dialing: Semaphore,
    listening: Semaphore,
    /// Who has it may redeem this node's own invite.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct State {
    known: RevocationList,
    certificate: Option<Vec<u8>>,
    invite: Option<InviteSecret>,
    members: HashMap<PeerId, Proven>,
    refused: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Proven {
    member: Member,
    connected: bool,
}

/// What this node shows in a handshake.
pub(super) enum Shows {
    Certificate(Vec<u8>),
    /// Nobody else redeems while the guard is held.
    Invite(InviteSecret, #[expect(dead_code, reason = "held")] OwnedMutexGuard<()>),
    Nothing,
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("network", &self.network()).finish_non_exhaustive()
    }
}

impl PartialEq for Membership {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Membership {}

impl Membership {
    /// What `node` is in the network of this key. A certificate or list that the network's key has
    /// not signed, or a certificate of another node, is an error; one that has expired or is revoked
    /// is not: the others will say so, and [`Self::own`] does. `admin` is for a node that has the
    /// network's secret key; while it is full, invites are refused.
    pub fn new(
        network: NetworkKey,
        node: NodeKey,
        credential: Credential,
        revocations: Option<&[u8]>,
        admin: Option<mpsc::Sender<RedeemRequest>>,
    ) -> Result<Self, MembershipError> {
        let mut known = RevocationList::new(network);
        if let Some(bytes) = revocations {
            known.merge(bytes, now())?;
        }
        let (certificate, invite) = match credential {
            Credential::Certificate(bytes) => (Some(bytes), None),
            Credential::Invite(secret) => (None, Some(secret)),
        };
        if let Some(bytes) = &certificate {
            match Certificate::judge(bytes, &network, node, &known, now()) {
                Ok(_) => {}
                Err(
                    error @ (MembershipError::Expired { .. }
                    | MembershipError::NotYetValid { .. }
                    | MembershipError::Revoked { .. }),
                ) => tracing::warn!(%error, "other members will refuse this node"),
                Err(error) => return Err(error),
            }
        }
        let kept = Kept {
            certificate: certificate.clone(),
            revocations: known.bytes().map(<[u8]>::to_vec),
        };
        let (members, refused) = (HashMap::new(), BTreeMap::new());
        let shared = Shared {
            key: network,
            node,
            state: Mutex::new(State { known, certificate, invite, members, refused }),
            kept: watch::Sender::new(kept),
            events: broadcast::Sender::new(MEMBERSHIP_EVENTS),
            desk: Desk::new(admin),
            dialing: Semaphore::new(HANDSHAKES),
            listening: Semaphore::new(HANDSHAKES),
            turn: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The network's id; as text it is the network's name in [`crate::Config`].
    pub fn network(&self) -> NetworkId {
        self.shared.key.id()
    }

    /// The node whose membership it is.
    pub fn node(&self) -> NodeKey {
        self.shared.node
    }

    /// What this node's certificate is worth now; [`MembershipError::NotAMember`] while it is only
    /// invited.
    pub fn own(&self) -> Result<Member, MembershipError> {
        let state = self.state();
        let bytes = state.certificate.as_ref().ok_or(MembershipError::NotAMember)?;
        Certificate::judge(bytes, &self.shared.key, self.shared.node, &state.known, now())
    }

    /// What is to be kept on disk, told whenever it changes.
    pub fn kept(&self) -> watch::Receiver<Kept> {
        self.shared.kept.subscribe()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<MembershipEvent> {
        self.shared.events.subscribe()
    }

    /// Takes a revocation list that was made here or brought by hand. It counts at once: connections
    /// with those that it revokes end.
    pub fn set_revocations(&self, bytes: &[u8]) -> Result<Merge, MembershipError> {
        self.learn(|known, now| known.merge(bytes, now))
    }

    /// The members that this node is connected to.
    pub fn members(&self) -> Vec<(Peer, Member)> {
        let state = self.state();
        let connected = state.members.iter().filter(|(_, proven)| proven.connected);
        connected.map(|(peer, proven)| (Peer(*peer), proven.member)).collect()
    }

    /// Connected peers that are members no longer: revoked, or expired.
    pub fn revoked_peers(&self) -> Vec<Peer> {
        let (state, now) = (self.state(), now());
        let over = |member: &Member| state.known.revokes(&member.serial) || member.expires <= now;
        let connected = state.members.iter().filter(|(_, proven)| proven.connected);
        connected.filter(|(_, proven)| over(&proven.member)).map(|(peer, _)| Peer(*peer)).collect()
    }

    /// Connections that did not pass since the start, by [`HandshakeError::kind`].
    pub fn refused_total(&self) -> Vec<(&'static str, u64)> {
        self.state().refused.iter().map(|(kind, n)| (*kind, *n)).collect()
    }

    /// Peers that show certificates right now, of [`HANDSHAKES`] each way.
    pub fn handshakes(&self) -> usize {
        let Shared { dialing, listening, .. } = &*self.shared;
        2 * HANDSHAKES - dialing.available_permits() - listening.available_permits()
    }

    // What follows is for the gate and the swarm's loop.

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves a half-made state behind.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn key(&self) -> NetworkKey {
        self.shared.key
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.shared.desk
    }

    pub(crate) fn attach(&self) -> Forwards {
        self.shared.desk.attach()
    }

    pub(super) async fn place_to_dial(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphores are never closed.
        self.shared.dialing.acquire().await.ok()
    }

    pub(super) async fn place_to_listen(&self) -> Option<SemaphorePermit<'_>> {
        self.shared.listening.acquire().await.ok()
    }

    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        self.state().certificate.clone()
    }

    /// Gives the handshake what is known of revocations, and takes what it learns.
    pub(super) fn learn<T>(&self, step: impl FnOnce(&mut RevocationList, u64) -> T) -> T {
        let (made, news) = {
            let mut state = self.state();
            let before = state.known.seq();
            let made = step(&mut state.known, now());
            let list = state.known.list().filter(|list| list.seq != before);
            let news = list.map(|list| (list.seq, list.serials.len()));
            (made, news.zip(state.known.bytes().map(<[u8]>::to_vec)))
        };
        if let Some(((seq, n), bytes)) = news {
            tracing::info!(seq, n, "a newer list of revoked certificates");
            self.keep();
            self.tell(MembershipEvent::Revocations { bytes });
        }
        made
    }

    /// Tells what is to be kept. The state is locked inside of the watch, never the other way round,
    /// so that whoever looks at the watch may ask for the state.
    fn keep(&self) {
        self.shared.kept.send_modify(|kept| {
            let state = self.state();
            kept.certificate.clone_from(&state.certificate);
            kept.revocations = state.known.bytes().map(<[u8]>::to_vec);
        });
    }

    pub(super) async fn shows(&self) -> Shows {
        if let Some(certificate) = self.certificate() {
            return Shows::Certificate(certificate);
        }
        let turn = self.shared.turn.clone().lock_owned().await;
        let state = self.state();
        match (&state.certificate, &state.invite) {
            (Some(certificate), _) => Shows::Certificate(certificate.clone()),
            (None, Some(secret)) => Shows::Invite(secret.clone(), turn),
            (None, None) => Shows::Nothing,
        }
    }

    /// The handshake has checked the certificate.
    pub(super) fn granted(&self, certificate: Vec<u8>) {
        tracing::info!(network = %self.network(), "this node is now a member of the network");
        {
            let mut state = self.state();
            state.certificate = Some(certificate.clone());
            state.invite = None;
        }
        self.keep();
        self.tell(MembershipEvent::Granted { certificate });
    }

    /// A peer has passed; its connection goes to the swarm, which may still have no room for it.
    pub(super) fn proven(&self, peer: PeerId, member: Member) {
        tracing::debug!(%peer, role = %member.role, serial = %member.serial, "a member");
        let members = &mut self.state().members;
        if members.len() >= MEMBERS {
            members.retain(|_, proven| proven.connected);
        }
        let connected = members.get(&peer).is_some_and(|proven| proven.connected);
        members.insert(peer, Proven { member, connected });
    }

    pub(super) fn refused(&self, peer: Peer, error: &HandshakeError) {
        let kind = error.kind();
        let so_far = {
            let mut state = self.state();
            let count = state.refused.entry(kind).or_default();
            *count += 1;
            *count
        };
        // Anybody can be refused as often as he likes; the log is to stay readable.
        if so_far <= REFUSALS_TOLD || so_far.is_power_of_two() {
            tracing::info!(%peer, kind, so_far, reason = %error, "connection refused: no proof of membership");
        } else {
            tracing::debug!(%peer, kind, reason = %error, "connection refused: no proof of membership");
        }
        self.tell(MembershipEvent::Refused { peer, kind, reason: error.to_string() });
    }

    /// The swarm has a connection with the peer. `false` if nothing is known of its membership.
    pub(crate) fn connected(&self, peer: PeerId) -> bool {
        match self.state().members.get_mut(&peer) {
            Some(proven) => {
                proven.connected = true;
                true
            }
            None => false,
        }
    }

    /// The swarm has no connection with the peer any more.
    pub(crate) fn left(&self, peer: &PeerId) {
        // Not forgotten: another connection of it may have passed already and be on its way.
        if let Some(proven) = self.state().members.get_mut(peer) {
            proven.connected = false;
        }
    }

    /// Tells whoever listens; nobody may.
    fn tell(&self, event: MembershipEvent) {
        let _ = self.shared.events.send(event);
    }
}
