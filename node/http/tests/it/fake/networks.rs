//! Private networks, by heart.

use async_trait::async_trait;
use hive_api::{
    CreateNetwork, Invitation, InviteRequest, InviteSummary, LeaveNetwork, MemberRole,
    MemberSummary, NetworkSummary, Networks, OwnMembership, Redeemed, Result, Revoked, Secret,
};

use super::Fake;

/// The code of every invite.
pub(crate) const CODE: &str = "hive1-canary-code";

pub(crate) fn own() -> OwnMembership {
    OwnMembership {
        id: "abc".into(),
        name: "home".into(),
        role: Some(MemberRole::Admin),
        serial: Some("00ff".into()),
        expires: Some(u64::MAX),
        problem: None,
    }
}

pub(crate) fn network() -> NetworkSummary {
    let invited = OwnMembership {
        role: None,
        serial: None,
        expires: None,
        problem: Some("x".into()),
        ..own()
    };
    NetworkSummary {
        own: invited,
        current: true,
        has_key: true,
        addresses: vec!["/ip4/192.0.2.1/tcp/1/p2p/x".into()],
        revoked: 3,
    }
}

pub(crate) fn invite() -> InviteSummary {
    InviteSummary {
        invite: "ff00".into(),
        role: MemberRole::Relay,
        created: 1,
        expires: 2,
        uses: 3,
        uses_left: 2,
        withdrawn: false,
        redeemed: vec![Redeemed {
            peer: "12D3KooWx".into(),
            serial: "01".into(),
            at: 4,
            expires: 5,
            revoked: true,
        }],
    }
}

pub(crate) fn invitation() -> Invitation {
    Invitation {
        code: Secret::new(CODE),
        invite: invite(),
        network: "abc".into(),
        name: "home".into(),
        addresses: vec![],
    }
}

pub(crate) fn member() -> MemberSummary {
    MemberSummary {
        peer: "12D3KooWx".into(),
        name: None,
        role: MemberRole::Member,
        serial: "01".into(),
        expires: 5,
        connected: true,
        this_node: false,
        revoked: false,
    }
}

pub(crate) fn revoked() -> Revoked {
    let (serials, withdrawn) = (vec!["01".into()], vec!["ff00".into()]);
    Revoked { network: "abc".into(), serials, withdrawn, seq: 7, told: true }
}

#[async_trait]
impl Networks for Fake {
    async fn networks(&self) -> Result<Vec<NetworkSummary>> {
        self.note("networks".into());
        Ok(vec![network()])
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<NetworkSummary> {
        self.note(format!("{request:?}"));
        Ok(network())
    }

    async fn leave_network(&self, request: LeaveNetwork) -> Result<NetworkSummary> {
        self.note(format!("{request:?}"));
        Ok(network())
    }

    async fn invite(&self, request: InviteRequest) -> Result<Invitation> {
        self.note(format!("{request:?}"));
        Ok(invitation())
    }

    async fn invites(&self, network: Option<&str>) -> Result<Vec<InviteSummary>> {
        self.note(format!("invites {network:?}"));
        Ok(vec![invite()])
    }

    async fn withdraw(&self, network: Option<&str>, invite: &str) -> Result<InviteSummary> {
        self.note(format!("withdraw {network:?} {invite}"));
        Ok(self::invite())
    }

    async fn members(&self, network: Option<&str>) -> Result<Vec<MemberSummary>> {
        self.note(format!("members {network:?}"));
        Ok(vec![member()])
    }

    async fn revoke(&self, network: Option<&str>, who: &str) -> Result<Revoked> {
        self.note(format!("revoke {network:?} {who}"));
        Ok(revoked())
    }
}
