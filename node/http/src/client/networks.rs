//! Private networks, through the local API.

use async_trait::async_trait;
use hive_api::{
    CreateNetwork, Invitation, InviteRequest, InviteSummary, LeaveNetwork, MemberSummary,
    NetworkSummary, Networks, Result, Revoked,
};

use super::{Remote, query};
use crate::control::networks::{NetworkParam, RevokeBody, WithdrawBody};

fn of(network: Option<&str>) -> NetworkParam {
    NetworkParam { network: network.map(ToOwned::to_owned) }
}

#[async_trait]
impl Networks for Remote {
    async fn networks(&self) -> Result<Vec<NetworkSummary>> {
        self.get("/networks").await
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<NetworkSummary> {
        self.post("/networks/create", &request).await
    }

    async fn leave_network(&self, request: LeaveNetwork) -> Result<NetworkSummary> {
        self.post("/networks/leave", &request).await
    }

    async fn invite(&self, request: InviteRequest) -> Result<Invitation> {
        self.post("/invite", &request).await
    }

    async fn invites(&self, network: Option<&str>) -> Result<Vec<InviteSummary>> {
        self.get(&query("/invites", &of(network))?).await
    }

    async fn withdraw(&self, network: Option<&str>, invite: &str) -> Result<InviteSummary> {
        let NetworkParam { network } = of(network);
        self.post("/invites/withdraw", &WithdrawBody { network, invite: invite.to_owned() }).await
    }

    async fn members(&self, network: Option<&str>) -> Result<Vec<MemberSummary>> {
        self.get(&query("/members", &of(network))?).await
    }

    async fn revoke(&self, network: Option<&str>, who: &str) -> Result<Revoked> {
        let NetworkParam { network } = of(network);
        self.post("/revoke", &RevokeBody { network, who: who.to_owned() }).await
    }
}
