//! A private network over TCP and QUIC: who gets in, and that nobody else is ever seen.

mod invites;
mod strangers;

use std::time::Duration;

use ed25519_dalek::SigningKey;
use hive_protocol::NodeKey;
use hive_protocol::membership::{
    Certificate, MembershipError, Merge, NetworkKey, RevocationList, Role, Serial,
};
use hive_swarm::{
    Config, Credential, DialError, Membership, MembershipEvent, NodeIdentity, Peer, RedeemRequest,
    StartError, SwarmEvent,
};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::support::{Node, config, soon, start_as};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const BOTH: [&str; 2] = [TCP, QUIC];
const YEAR: u64 = 365 * 86_400;

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}

/// A private network, whose secret key these tests have.
struct Net {
    secret: SigningKey,
}

impl Net {
    fn new() -> Self {
        Self { secret: SigningKey::from_bytes(&rand::random()) }
    }

    fn key(&self) -> NetworkKey {
        NetworkKey::of(&self.secret)
    }
}

fn certificate(node: NodeKey, role: Role) -> Certificate {
    Certificate::new(node, role, Serial(rand::random()), now() - 60, now() + YEAR)
}

/// A node's key and its part in a network, before it starts.
struct Part {
    identity: NodeIdentity,
    membership: Membership,
}

fn identity() -> NodeIdentity {
    NodeIdentity::from_ed25519_secret(rand::random())
}

fn node_key(identity: &NodeIdentity) -> NodeKey {
    identity.peer().node_key().expect("an ed25519 key")
}

impl Part {
    fn with(net: NetworkKey, identity: NodeIdentity, credential: Credential) -> Self {
        let membership = Membership::new(net, node_key(&identity), credential, None, None);
        Self { membership: membership.expect("a membership"), identity }
    }

    fn member(net: &Net) -> Self {
        let identity = identity();
        let certificate = certificate(node_key(&identity), Role::Member).sign(&net.secret);
        Self::with(net.key(), identity, Credential::Certificate(certificate))
    }

    /// An admin, and what it is asked.
    fn admin(net: &Net) -> (Self, mpsc::Receiver<RedeemRequest>) {
        let identity = identity();
        let node = node_key(&identity);
        let certificate = certificate(node, Role::Admin).sign(&net.secret);
        let (asked_in, asked) = mpsc::channel(8);
        let credential = Credential::Certificate(certificate);
        let membership = Membership::new(net.key(), node, credential, None, Some(asked_in));
        (Self { membership: membership.expect("a membership"), identity }, asked)
    }

    fn start(self, listen: &str) -> Private {
        let config = Config {
            network: self.membership.network().to_string(),
            listen: vec![listen.to_owned()],
            membership: Some(self.membership.clone()),
            ..config()
        };
        let events = self.membership.events();
        Private { node: start_as(&self.identity, config), membership: self.membership, events }
    }
}

/// A node of a private network, or one that would like to be.
struct Private {
    node: Node,
    membership: Membership,
    events: broadcast::Receiver<MembershipEvent>,
}

impl Private {
    async fn address(&self) -> String {
        self.node.client.listen_addrs().await.remove(0)
    }

    async fn dial(&self, other: &Self) -> Result<Peer, DialError> {
        soon("the dial", self.node.client.dial(&other.address().await)).await
    }

    /// The next refusal, in one word.
    async fn refuses(&mut self, who: Peer) -> &'static str {
        let wait = async {
            loop {
                match self.events.recv().await.expect("the membership lives") {
                    MembershipEvent::Refused { peer, kind, .. } if peer == who => return kind,
                    _ => {}
                }
            }
        };
        soon("a refusal", wait).await
    }

    /// Whether the swarm has seen anybody so far.
    async fn has_seen_nobody(&mut self) -> bool {
        let (connected, state) =
            (self.node.client.connected().await, self.node.client.network_state().await);
        let mut seen = 0;
        while let Ok(event) = self.node.events.try_recv() {
            seen += usize::from(matches!(
                event,
                SwarmEvent::PeerConnected { .. } | SwarmEvent::PeerIdentified { .. }
            ));
        }
        connected.is_empty() && state.connected == 0 && state.dht_peers == 0 && seen == 0
    }
}

/// Why a dial failed, in words.
fn reason(dialed: Result<Peer, DialError>) -> String {
    match dialed {
        Err(DialError::Unreachable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_members_connect_and_know_each_others_role() {
    for listen in BOTH {
        let net = Net::new();
        let (admin, _asked) = Part::admin(&net);
        let (mut a, mut b) = (Part::member(&net).start(listen), admin.start(listen));
        assert_eq!(a.dial(&b).await, Ok(b.node.peer()));
        a.node.knows(b.node.peer()).await;
        b.node.knows(a.node.peer()).await;
        let role = |of: &Private, peer: Peer| {
            let members = of.membership.members();
            members.iter().find(|(other, _)| *other == peer).map(|(_, member)| member.role)
        };
        assert_eq!(role(&a, b.node.peer()), Some(Role::Admin));
        assert_eq!(role(&b, a.node.peer()), Some(Role::Member));
        assert_eq!((a.membership.refused_total(), b.membership.refused_total()), (vec![], vec![]));
        assert_eq!(a.membership.own().map(|own| own.role), Ok(Role::Member));
    }
}

/// All that a dialer can bring that is wrong, each with its own reason on both sides.
#[tokio::test]
async fn whoever_is_no_member_is_refused_and_never_seen() {
    for listen in BOTH {
        let net = Net::new();
        let other_net = Net::new();
        // With a forged certificate, or another's, a node of ours does not start: see `strangers`.
        let outsider = |kind: &str| {
            let identity = identity();
            let mut certificate = certificate(node_key(&identity), Role::Member);
            match kind {
                "expired" => certificate.expires = now() - 10,
                "not_yet_valid" => certificate.issued = now() + 86_400,
                // It has another network's key.
                _ => return Part::member(&other_net),
            }
            let credential = Credential::Certificate(certificate.sign(&net.secret));
            Part::with(net.key(), identity, credential)
        };
        for (kind, heard) in [
            ("expired", "the certificate has expired"),
            ("not_yet_valid", "not valid yet"),
            ("stranger", "without a word"),
        ] {
            let mut inside = Part::member(&net).start(listen);
            let mut outside = outsider(kind).start(listen);
            let words = reason(outside.dial(&inside).await);
            assert!(words.contains(heard), "{kind}: {words}");
            assert_eq!(inside.refuses(outside.node.peer()).await, kind);
            // The other way round it is the same, though the member speaks first.
            let words = reason(inside.dial(&outside).await);
            assert!(!words.is_empty(), "{kind}");
            let kinds = [inside.refuses(outside.node.peer()).await];
            assert!(kinds[0] == kind || kinds[0] == "silence", "{kinds:?}");
            assert!(inside.has_seen_nobody().await, "{kind}");
            assert!(outside.has_seen_nobody().await, "{kind}");
            let total: u64 = inside.membership.refused_total().iter().map(|(_, n)| n).sum();
            assert_eq!(total, 2, "{kind}");
        }
    }
}

/// The id is no secret. A node of hive that has only that learns neither who a member is nor what it
/// speaks.
#[tokio::test]
async fn a_stranger_with_the_networks_id_is_not_even_identified() {
    for listen in BOTH {
        let net = Net::new();
        let mut inside = Part::member(&net).start(listen);
        let network = net.key().id().to_string();
        let stranger = Config { network, listen: vec![listen.to_owned()], ..config() };
        let mut stranger = crate::support::start(stranger);
        // To itself it is connected for a moment: the keys are exchanged before membership.
        let _ = soon("the dial", stranger.client.dial(&inside.address().await)).await;
        assert_eq!(inside.refuses(stranger.peer()).await, "malformed");
        let mut learnt = false;
        while stranger.client.connected().await.contains(&inside.node.peer()) {
            tokio::task::yield_now().await;
        }
        while let Ok(event) = stranger.events.try_recv() {
            learnt |= matches!(event, SwarmEvent::PeerIdentified { .. });
        }
        assert!(!learnt && inside.has_seen_nobody().await);
        assert_eq!(stranger.client.network_state().await.dht_peers, 0);
    }
}

#[tokio::test]
async fn a_revoked_member_is_refused_wherever_the_list_has_come() {
    for listen in BOTH {
        let net = Net::new();
        let (mut a, mut b) = (Part::member(&net).start(listen), Part::member(&net).start(listen));
        let mut revoked = Part::member(&net).start(listen);
        let serial = revoked.membership.own().expect("a member").serial;
        let list = RevocationList::new(net.key()).next([serial], now(), now() + YEAR);
        let list = list.expect("a list").sign(&net.secret);
        assert_eq!(a.membership.set_revocations(&list), Ok(Merge::Newer));

        // `b` learns of it from `a`, and keeps it.
        let mut kept = b.membership.kept();
        assert_eq!(b.dial(&a).await, Ok(a.node.peer()));
        let wait = kept.wait_for(|kept| kept.revocations.as_deref() == Some(&list));
        drop(soon("the list", wait).await.expect("the membership lives"));
        for inside in [&mut a, &mut b] {
            let words = reason(revoked.dial(inside).await);
            assert!(words.contains("was revoked by an admin"), "{words}");
            assert_eq!(inside.refuses(revoked.node.peer()).await, "revoked");
            assert!(reason(inside.dial(&revoked).await).contains("is revoked"));
            let seen = inside.node.client.connected().await;
            assert!(!seen.contains(&revoked.node.peer()));
        }
        assert!(revoked.has_seen_nobody().await);
        assert!(matches!(revoked.membership.own(), Err(MembershipError::Revoked { .. })));
    }
}

/// Connections that are there already end, too.
#[tokio::test]
async fn a_later_revocation_ends_the_connection() {
    for listen in BOTH {
        let net = Net::new();
        let (mut a, b) = (Part::member(&net).start(listen), Part::member(&net).start(listen));
        assert_eq!(a.dial(&b).await, Ok(b.node.peer()));
        a.node.knows(b.node.peer()).await;
        assert_eq!(a.membership.revoked_peers(), []);

        let serial = b.membership.own().expect("a member").serial;
        let list = RevocationList::new(net.key()).next([serial], now(), now() + YEAR);
        a.membership.set_revocations(&list.expect("a list").sign(&net.secret)).expect("ours");
        let gone = a.node.until(|event| match event {
            SwarmEvent::PeerDisconnected { peer } => Some(*peer),
            _ => None,
        });
        assert_eq!(gone.await, b.node.peer());
        assert!(reason(b.dial(&a).await).contains("was revoked"));
    }
}

#[tokio::test]
async fn a_membership_of_another_node_or_network_does_not_start() {
    let net = Net::new();
    let part = Part::member(&net);
    let config = Config {
        network: part.membership.network().to_string(),
        membership: Some(part.membership.clone()),
        ..config()
    };
    let start = |config: Config, identity: &NodeIdentity| {
        hive_swarm::start(identity, config, CancellationToken::new()).expect_err("no start")
    };
    let other = start(config.clone(), &identity());
    assert!(matches!(other, StartError::OtherNode { .. }), "{other}");
    let other = start(Config { network: "main".to_owned(), ..config }, &part.identity);
    assert!(matches!(other, StartError::OtherNetwork { .. }), "{other}");

    let foreign = certificate(node_key(&identity()), Role::Member).sign(&net.secret);
    let made = |bytes: Vec<u8>| {
        let node = node_key(&part.identity);
        Membership::new(net.key(), node, Credential::Certificate(bytes), None, None)
    };
    assert!(matches!(made(foreign), Err(MembershipError::OtherNode { .. })));
    let forged = certificate(node_key(&part.identity), Role::Admin).sign(&Net::new().secret);
    assert!(matches!(made(forged), Err(MembershipError::Forged { .. })));
    let shown = format!("{:?}", part.membership);
    assert!(!shown.contains("ertificate(["), "{shown}");
}

/// Two that dial each other at once get one connection each way or both the same, never none.
#[tokio::test]
async fn two_members_that_dial_each_other_at_once_are_connected() {
    for listen in BOTH {
        let net = Net::new();
        let (a, b) = (Part::member(&net).start(listen), Part::member(&net).start(listen));
        let (to_b, to_a) = tokio::join!(a.dial(&b), b.dial(&a));
        assert_eq!((to_b, to_a), (Ok(b.node.peer()), Ok(a.node.peer())));
    }
}

/// What a test waits for that must come within the handshake's time, with some room.
const WITHIN: Duration = Duration::from_secs(15);
