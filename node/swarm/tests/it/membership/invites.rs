//! Invites: redeemed on the first connection, by an admin or through a member.

use hive_protocol::membership::{InviteSecret, Refusal, Role};
use hive_swarm::{Credential, MembershipEvent, Peer, RedeemRequest};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{BOTH, Net, Part, certificate, identity, reason};
use crate::support::soon;

/// Answers as an admin's node does, for an invite that so many nodes may redeem. Says at the end who
/// has brought redemptions.
fn admit(
    net: &Net,
    mut asked: mpsc::Receiver<RedeemRequest>,
    invite: &InviteSecret,
    mut uses: usize,
) -> JoinHandle<Vec<Peer>> {
    let (net, invite) = (Net { secret: net.secret.clone() }, invite.invite());
    tokio::spawn(async move {
        let mut carriers = Vec::new();
        while let Some(RedeemRequest { redemption, from, reply }) = asked.recv().await {
            carriers.push(from);
            let answer = if redemption.invite != invite {
                Err(Refusal::UnknownInvite)
            } else if uses == 0 {
                Err(Refusal::InviteUsedUp)
            } else {
                uses -= 1;
                Ok(certificate(redemption.node, Role::Member).sign(&net.secret))
            };
            let _ = reply.send(answer);
        }
        carriers
    })
}

fn invited(net: &Net, secret: &InviteSecret) -> Part {
    Part::with(net.key(), identity(), Credential::Invite(secret.clone()))
}

#[tokio::test]
async fn an_invite_is_redeemed_on_the_first_connection_and_then_used_up() {
    for listen in BOTH {
        let net = Net::new();
        let secret = InviteSecret(rand::random());
        let (admin, asked) = Part::admin(&net);
        let desk = admit(&net, asked, &secret, 1);
        let mut admin = admin.start(listen);
        let mut guest = invited(&net, &secret).start(listen);
        let mut kept = guest.membership.kept();
        assert!(guest.membership.own().is_err());

        assert_eq!(guest.dial(&admin).await, Ok(admin.node.peer()));
        guest.node.knows(admin.node.peer()).await;
        let stored = soon("the certificate", kept.wait_for(|kept| kept.certificate.is_some()));
        let stored = stored.await.expect("the membership lives").certificate.clone();
        assert_eq!(guest.membership.own().map(|own| own.role), Ok(Role::Member));
        let told = guest.events.recv().await.expect("an event");
        let certificate = stored.expect("it was waited for");
        assert_eq!(told, MembershipEvent::Granted { certificate });

        // With it the guest is a member to everybody.
        let other = Part::member(&net).start(listen);
        assert_eq!(guest.dial(&other).await, Ok(other.node.peer()));

        let mut late = invited(&net, &secret).start(listen);
        assert!(reason(late.dial(&admin).await).contains("the invite is used up"));
        assert_eq!(admin.refuses(late.node.peer()).await, "invite_used_up");
        assert_eq!(late.refuses(admin.node.peer()).await, "refused_by_peer");
        assert!(late.has_seen_nobody().await);

        let unknown = invited(&net, &InviteSecret(rand::random())).start(listen);
        assert!(reason(unknown.dial(&admin).await).contains("no admin knows this invite"));
        assert_eq!(admin.refuses(unknown.node.peer()).await, "unknown_invite");

        let peers = [guest.node.peer(), late.node.peer(), unknown.node.peer()];
        drop((admin, guest, other, late, unknown));
        assert_eq!(soon("the desk", desk).await.expect("no panic"), peers);
    }
}

/// Whoever comes second waits, and shows the certificate.
#[tokio::test]
async fn one_invite_for_one_node_is_enough_for_several_connections_at_once() {
    let net = Net::new();
    let secret = InviteSecret(rand::random());
    let (admin, asked) = Part::admin(&net);
    let desk = admit(&net, asked, &secret, 1);
    let admin = admin.start(BOTH[0]);
    let other = Part::member(&net).start(BOTH[1]);
    assert!(other.dial(&admin).await.is_ok());
    let guest = invited(&net, &secret).start(BOTH[0]);
    let (first, second) = tokio::join!(guest.dial(&admin), guest.dial(&other));
    assert_eq!((first, second), (Ok(admin.node.peer()), Ok(other.node.peer())));
    drop((admin, other, guest));
    assert_eq!(soon("the desk", desk).await.expect("no panic").len(), 1);
}

#[tokio::test]
async fn a_member_that_is_no_admin_carries_a_redemption_to_one() {
    for listen in BOTH {
        let net = Net::new();
        let secret = InviteSecret(rand::random());
        let (admin, asked) = Part::admin(&net);
        let desk = admit(&net, asked, &secret, 1);
        let mut carrier = Part::member(&net).start(listen);
        let guest = invited(&net, &secret).start(listen);

        // Without an admin the invite keeps.
        let words = reason(guest.dial(&carrier).await);
        assert!(words.contains("no admin of the network can be reached"), "{words}");
        assert_eq!(carrier.refuses(guest.node.peer()).await, "no_admin");

        let admin = admin.start(listen);
        assert!(carrier.dial(&admin).await.is_ok());
        assert_eq!(guest.dial(&carrier).await, Ok(carrier.node.peer()));
        assert!(guest.membership.own().is_ok());
        // The reason travels as well.
        let late = invited(&net, &secret).start(listen);
        assert!(reason(late.dial(&carrier).await).contains("the invite is used up"));

        let peer = carrier.node.peer();
        drop((admin, carrier, guest, late));
        let carriers = soon("the desk", desk).await.expect("no panic");
        assert_eq!(carriers, [peer, peer], "the admin knows who has brought it");
    }
}

/// Who is only invited has nothing to show.
#[tokio::test]
async fn a_guest_lets_nobody_in() {
    let net = Net::new();
    let mut guest = invited(&net, &InviteSecret([1; 16])).start(BOTH[0]);
    let mut member = Part::member(&net).start(BOTH[0]);
    assert!(reason(member.dial(&guest).await).contains("without a word"));
    assert_eq!(guest.refuses(member.node.peer()).await, "not_a_member");
    assert!(guest.has_seen_nobody().await && member.has_seen_nobody().await);
}

#[tokio::test]
async fn an_admin_whose_node_does_not_answer_is_no_admin() {
    let net = Net::new();
    let (admin, asked) = Part::admin(&net);
    drop(asked);
    let mut admin = admin.start(BOTH[0]);
    let guest = invited(&net, &InviteSecret([1; 16])).start(BOTH[0]);
    assert!(reason(guest.dial(&admin).await).contains("no admin"));
    assert_eq!(admin.refuses(guest.node.peer()).await, "no_admin");
}
