//! A private network between real nodes on the loopback: invites, restarts, an admin behind a member,
//! and who is put out.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::time::Duration;

use hive_api::{
    CreateNetwork, ErrorKind, HiveError, Invitation, InviteRequest, LeaveNetwork, MemberRole,
};
use hive_node::{Config, DhtServer, Node};
use hive_protocol::membership::InviteCode;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// A test that takes longer has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often to look at a fact that nobody announces.
const LOOK: Duration = Duration::from_millis(20);

fn config(home: &Path, network: &str) -> Config {
    Config {
        home: home.join("home"),
        network: network.to_owned(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        mdns: false,
        allow_private: true,
        dht_server: DhtServer::Always,
        reserve: Some(0),
        ..Config::default()
    }
}

async fn start(config: Config) -> Node {
    // A node that ended may take a moment to let go of its home.
    let end = Instant::now() + PATIENCE;
    loop {
        match Node::start(config.clone()).await {
            Err(error) if error.to_string().contains("in use") && Instant::now() < end => {
                sleep(LOOK).await;
            }
            started => return started.unwrap(),
        }
    }
}

async fn eventually(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !fact().await {
        assert!(Instant::now() < end, "{what} did not happen");
        sleep(LOOK).await;
    }
}

/// A home with a network, and its node in it.
async fn admin() -> (Node, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "home");
    let maker = start(Config { online: false, ..config.clone() }).await;
    let made = CreateNetwork { name: "home".to_owned(), addresses: Vec::new() };
    maker.hive().create_network(made).await.unwrap();
    maker.shutdown().await;
    (start(config).await, dir)
}

fn terms(uses: u32) -> InviteRequest {
    let (network, role, member_secs) = (None, MemberRole::Member, None);
    InviteRequest { network, role, expires_secs: 600, uses, member_secs }
}

async fn invite(node: &Node, terms: InviteRequest) -> Invitation {
    node.hive().invite(terms).await.unwrap()
}

fn code(invitation: &Invitation) -> InviteCode {
    InviteCode::decode(invitation.code.expose()).unwrap()
}

/// Comes with a code; the node is a member, or the reason.
async fn join(dir: &Path, code: InviteCode) -> Result<Node, HiveError> {
    join_within(dir, code, PATIENCE).await
}

async fn join_within(dir: &Path, code: InviteCode, patience: Duration) -> Result<Node, HiveError> {
    let node = start(Config { invite: Some(code), ..config(dir, "main") }).await;
    let admitted = timeout(PATIENCE * 2, node.admitted(patience)).await.expect("it ends");
    match admitted {
        Ok(()) => Ok(node),
        Err(error) => {
            node.shutdown().await;
            Err(error)
        }
    }
}

async fn is_connected(node: &Node, peer: &str) -> bool {
    let peers = node.hive().peers().await.unwrap();
    peers.iter().any(|known| known.peer == peer && known.connected)
}

async fn connected(a: &Node, b: &Node) {
    let (a_id, b_id) = (a.peer(), b.peer());
    eventually("a connection", async || {
        is_connected(a, &b_id).await && is_connected(b, &a_id).await
    })
    .await;
}

/// Where a home keeps its private networks.
fn networks_dir(dir: &Path) -> std::path::PathBuf {
    dir.join("home").join("networks")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_makes_a_member_that_stays_one_after_a_restart() {
    let (admin, _home) = admin().await;
    let invitation = invite(&admin, terms(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let node = join(dir.path(), code(&invitation)).await.unwrap();
    connected(&admin, &node).await;

    let own = node.hive().status().await.unwrap().membership.unwrap();
    assert_eq!(
        (own.name.as_str(), own.role, own.problem),
        ("home", Some(MemberRole::Member), None)
    );
    assert_eq!(node.hive().status().await.unwrap().network, own.id);
    let [listed] = admin.hive().invites(None).await.unwrap().try_into().unwrap();
    assert_eq!((listed.uses_left, listed.redeemed.len()), (0, 1));
    assert_eq!(listed.redeemed[0].peer, node.peer());
    let members = admin.hive().members(None).await.unwrap();
    let mut roles: Vec<_> = members.iter().map(|m| (m.peer.clone(), m.role, m.connected)).collect();
    roles.sort_by(|a, b| a.0.cmp(&b.0));
    let mut expected =
        vec![(admin.peer(), MemberRole::Admin, true), (node.peer(), MemberRole::Member, true)];
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(roles, expected);

    // By its certificate this time, with the addresses that it kept and without the code.
    let network = own.id;
    node.shutdown().await;
    let files = networks_dir(dir.path()).join(&network);
    assert!(files.join("certificate").exists() && !files.join("invitation").exists());
    let again = start(config(dir.path(), &network)).await;
    again.admitted(Duration::ZERO).await.expect("it is a member already");
    connected(&admin, &again).await;
    // The same code again changes nothing: it is not even looked at.
    again.shutdown().await;
    let again = join(dir.path(), code(&invitation)).await.unwrap();
    connected(&admin, &again).await;
    assert_eq!(admin.hive().invites(None).await.unwrap()[0].redeemed.len(), 1);
    again.shutdown().await;
    admin.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_is_no_good_is_refused_with_its_reason_and_leaves_nothing() {
    let (admin, _home) = admin().await;
    let used = invite(&admin, terms(1)).await;
    let first = tempfile::tempdir().unwrap();
    let member = join(first.path(), code(&used)).await.unwrap();
    let taken = invite(&admin, terms(1)).await;
    admin.hive().withdraw(None, &taken.invite.invite[..12]).await.unwrap();
    let short = invite(&admin, InviteRequest { expires_secs: 1, ..terms(1) }).await;
    eventually("the end of an invite", async || {
        admin
            .hive()
            .invites(None)
            .await
            .unwrap()
            .iter()
            .any(|listed| listed.invite == short.invite.invite && listed.uses_left == 0)
    })
    .await;
    for (invitation, reason) in
        [(&used, "used up"), (&taken, "no admin knows"), (&short, "expired")]
    {
        let dir = tempfile::tempdir().unwrap();
        let error = join(dir.path(), code(invitation)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.hint.is_some());
        assert_eq!(std::fs::read_dir(networks_dir(dir.path())).unwrap().count(), 0);
    }
    // Nobody of them was seen by anybody.
    let peers = admin.hive().peers().await.unwrap();
    assert_eq!(peers.iter().map(|peer| &peer.peer).collect::<Vec<_>>(), [&member.peer()]);
    member.shutdown().await;
    admin.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_put_out_is_disconnected_and_cannot_return_with_the_code_it_knows() {
    let (admin, _home) = admin().await;
    let invitation = invite(&admin, terms(5)).await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = join(dir.path(), code(&invitation)).await.unwrap();
    let stays = join(other.path(), code(&invitation)).await.unwrap();
    connected(&admin, &node).await;
    connected(&admin, &stays).await;
    let (peer, network) = (node.peer(), invitation.network.clone());

    let revoked = admin.hive().revoke(None, &peer).await.unwrap();
    assert_eq!((revoked.serials.len(), revoked.seq, revoked.told), (1, 1, true));
    assert_eq!(revoked.withdrawn, std::slice::from_ref(&invitation.invite.invite));
    eventually("the end of its connections", async || !is_connected(&admin, &peer).await).await;
    assert!(is_connected(&admin, &stays.peer()).await);

    // It comes again, and learns why not.
    node.shutdown().await;
    let again = start(config(dir.path(), &network)).await;
    eventually("the news of its revocation", async || {
        let own = again.hive().status().await.unwrap().membership.unwrap();
        own.problem.is_some_and(|problem| problem.contains("revoked"))
    })
    .await;
    assert!(!is_connected(&admin, &peer).await);
    again.shutdown().await;
    // With the code: as itself, and as somebody new.
    let error = join(dir.path(), code(&invitation)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("revoked"), "{error}");
    let new = tempfile::tempdir().unwrap();
    let error = join(new.path(), code(&invitation)).await.unwrap_err();
    assert!(error.to_string().contains("no admin knows"), "{error}");

    // Revoked twice is revoked once; a new invite is a new beginning.
    assert!(admin.hive().revoke(None, &peer).await.unwrap().serials.is_empty());
    let second = invite(&admin, terms(1)).await;
    let back = join(dir.path(), code(&second)).await.unwrap();
    connected(&admin, &back).await;
    back.shutdown().await;
    stays.shutdown().await;
    admin.shutdown().await;
}

/// The list outlives the admin, and reaches members that were away when it was made.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_put_out_while_nobody_ran_is_out_for_all_who_come_back() {
    let (admin, home) = admin().await;
    let invitation = invite(&admin, terms(2)).await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bad = join(dir.path(), code(&invitation)).await.unwrap();
    let good = join(other.path(), code(&invitation)).await.unwrap();
    connected(&admin, &good).await;
    let (bad_peer, network) = (bad.peer(), invitation.network.clone());
    for node in [bad, good, admin] {
        node.shutdown().await;
    }
    // As `hive network revoke` does without a running node.
    let offline = start(Config { online: false, ..config(home.path(), "home") }).await;
    assert!(!offline.hive().revoke(None, &bad_peer).await.unwrap().told);
    offline.shutdown().await;

    let admin = start(config(home.path(), "home")).await;
    let address = admin.addresses().remove(0);
    let back = |dir: &Path| Config { bootstrap: vec![address.clone()], ..config(dir, &network) };
    let good = start(back(other.path())).await;
    connected(&admin, &good).await;
    // From the admin to the member's disk.
    let list = networks_dir(other.path()).join(&network).join("revocations");
    eventually("the list", async || list.exists()).await;
    admin.shutdown().await;
    // The member alone keeps it out.
    let bad = start(Config { bootstrap: good.addresses(), ..config(dir.path(), &network) }).await;
    eventually("the news", async || {
        let own = bad.hive().status().await.unwrap().membership.unwrap();
        own.problem.is_some_and(|problem| problem.contains("revoked"))
    })
    .await;
    assert!(!is_connected(&good, &bad_peer).await);
    bad.shutdown().await;
    good.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_brings_the_redemption_to_the_admin_and_says_when_there_is_none() {
    let (admin, _home) = admin().await;
    let invitation = invite(&admin, terms(3)).await;
    let (dir, other, third) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let member = join(dir.path(), code(&invitation)).await.unwrap();
    connected(&admin, &member).await;

    // The way to the member is all that the code tells.
    let through = InviteCode { addresses: member.addresses(), ..code(&invitation) };
    let node = join(other.path(), through.clone()).await.unwrap();
    assert_eq!(admin.hive().invites(None).await.unwrap()[0].redeemed.len(), 2);
    node.shutdown().await;

    let admin_peer = admin.peer();
    admin.shutdown().await;
    eventually("the admin's end", async || !is_connected(&member, &admin_peer).await).await;
    let patience = Duration::from_secs(3);
    let error = join_within(third.path(), through, patience).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("no admin"), "{error}");
    // The invite is kept: the admin may come back.
    let network = &invitation.network;
    assert!(networks_dir(third.path()).join(network).join("invitation").exists());
    member.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_leads_nowhere_says_so_and_is_kept() {
    let (admin, _home) = admin().await;
    let invitation = invite(&admin, terms(1)).await;
    let code = code(&invitation);
    admin.shutdown().await;
    let dir = tempfile::tempdir().unwrap();
    let error = join_within(dir.path(), code, Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("home"), "{error}");
    assert!(networks_dir(dir.path()).join(&invitation.network).join("invitation").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_that_was_answered_survives_the_admin_and_is_answered_alike() {
    let (admin, home) = admin().await;
    let invitation = invite(&admin, terms(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let node = join(dir.path(), code(&invitation)).await.unwrap();
    let serial = node.hive().status().await.unwrap().membership.unwrap().serial;
    node.shutdown().await;
    // The admin starts anew, and the node has lost what it was given: as if it had never arrived.
    admin.shutdown().await;
    let admin = start(config(home.path(), "home")).await;
    let files = networks_dir(dir.path()).join(&invitation.network);
    std::fs::remove_file(files.join("certificate")).unwrap();
    let code = InviteCode { addresses: admin.addresses(), ..code(&invitation) };
    let node = join(dir.path(), code).await.unwrap();
    assert_eq!(node.hive().status().await.unwrap().membership.unwrap().serial, serial);
    assert_eq!(admin.hive().invites(None).await.unwrap()[0].redeemed.len(), 1);
    node.shutdown().await;
    admin.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_home_with_the_key_invites_and_it_does_not_lose_the_key_by_accident() {
    let (admin, home) = admin().await;
    let invitation = invite(&admin, terms(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let node = join(dir.path(), code(&invitation)).await.unwrap();
    let hive = node.hive();
    for refused in [
        hive.invite(terms(1)).await.unwrap_err(),
        hive.invites(None).await.unwrap_err(),
        hive.revoke(None, &admin.peer()).await.unwrap_err(),
    ] {
        assert_eq!(refused.kind, ErrorKind::Refused, "{refused}");
    }
    let usage = admin.hive().revoke(None, &admin.peer()).await.unwrap_err();
    assert_eq!(usage.kind, ErrorKind::Usage, "an admin does not put itself out");
    for wrong in [
        InviteRequest { uses: 0, ..terms(1) },
        InviteRequest { expires_secs: 0, ..terms(1) },
        InviteRequest { expires_secs: u64::MAX, ..terms(1) },
        InviteRequest { member_secs: Some(u64::MAX), ..terms(1) },
        InviteRequest { role: MemberRole::Admin, ..terms(1) },
        InviteRequest { network: Some("other".to_owned()), ..terms(1) },
    ] {
        let error = admin.hive().invite(wrong.clone()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage, "{wrong:?}: {error}");
    }
    let leave = |with_key| LeaveNetwork { network: "home".to_owned(), with_key };
    // The node that runs is in it.
    assert_eq!(hive.leave_network(leave(false)).await.unwrap_err().kind, ErrorKind::Refused);
    drop(hive);
    node.shutdown().await;
    admin.shutdown().await;
    let offline = start(Config { online: false, ..config(home.path(), "main") }).await;
    let hive = offline.hive();
    let error = hive.leave_network(leave(false)).await.unwrap_err();
    assert!(error.to_string().contains("secret key"), "{error}");
    assert_eq!(hive.networks().await.unwrap().len(), 1);
    hive.leave_network(leave(true)).await.unwrap();
    assert!(hive.networks().await.unwrap().is_empty());
    drop(hive);
    offline.shutdown().await;
}

/// To a stranger a member is a machine that speaks libp2p and hangs up.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_hung_up_on_and_seen_by_nobody() {
    let (admin, _home) = admin().await;
    let address = admin.addresses().remove(0);
    let dir = tempfile::tempdir().unwrap();
    let stranger = start(config(dir.path(), "main")).await;
    // Whether it has the connection for a moment depends on which side of it ends first.
    let _ = stranger.hive().connect(&address).await;
    let known = async || {
        let mut peers = stranger.hive().peers().await.unwrap().into_iter();
        peers.find(|peer| peer.peer == admin.peer())
    };
    eventually("the end of the connection", async || {
        known().await.is_none_or(|peer| !peer.connected)
    })
    .await;
    let known = known().await;
    assert!(
        known.as_ref().is_none_or(|peer| peer.agent.is_none() && peer.name.is_none()),
        "{known:?}"
    );
    assert!(admin.hive().peers().await.unwrap().is_empty());
    stranger.shutdown().await;
    admin.shutdown().await;
}
