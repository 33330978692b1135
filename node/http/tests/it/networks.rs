//! Private networks come back from the other side as they went in.

use hive_api::{CreateNetwork, InviteRequest, LeaveNetwork, MemberRole, Networks as _};

use crate::Served;
use crate::fake::networks as fake;

/// A name that has everything a query or a body could stumble over.
const AWKWARD: &str = "a/b:c@d&e=f g+h%20ä?#\"\\";

#[tokio::test]
async fn answers_about_networks_are_equal_on_both_sides() {
    let served = Served::start().await;
    let remote = served.remote().await;
    let asked = || served.hive.last_asked();

    assert_eq!(remote.networks().await.unwrap(), [fake::network()]);
    let create = CreateNetwork { name: AWKWARD.into(), addresses: vec!["/x".into()] };
    assert_eq!(remote.create_network(create.clone()).await.unwrap(), fake::network());
    assert_eq!(asked(), format!("{create:?}"));
    let leave = LeaveNetwork { network: AWKWARD.into(), with_key: true };
    assert_eq!(remote.leave_network(leave.clone()).await.unwrap(), fake::network());
    assert_eq!(asked(), format!("{leave:?}"));

    let invite = InviteRequest {
        network: Some(AWKWARD.into()),
        role: MemberRole::Relay,
        expires_secs: u64::MAX,
        uses: 7,
        member_secs: Some(9),
    };
    let made = remote.invite(invite.clone()).await.unwrap();
    assert_eq!((made.code.expose(), &made), (fake::CODE, &fake::invitation()));
    assert_eq!(asked(), format!("{invite:?}"));

    for network in [None, Some(AWKWARD)] {
        assert_eq!(remote.invites(network).await.unwrap(), [fake::invite()]);
        assert_eq!(asked(), format!("invites {network:?}"));
        assert_eq!(remote.withdraw(network, AWKWARD).await.unwrap(), fake::invite());
        assert_eq!(asked(), format!("withdraw {network:?} {AWKWARD}"));
        assert_eq!(remote.members(network).await.unwrap(), [fake::member()]);
        assert_eq!(asked(), format!("members {network:?}"));
        assert_eq!(remote.revoke(network, AWKWARD).await.unwrap(), fake::revoked());
        assert_eq!(asked(), format!("revoke {network:?} {AWKWARD}"));
    }
}

#[test]
fn a_code_is_not_shown_by_debug() {
    let shown = format!("{:?}", fake::invitation());
    assert!(!shown.contains(fake::CODE), "{shown}");
}
