//! This node is in no private network.

use async_trait::async_trait;
use hive_api::{
    CreateNetwork, Invitation, InviteRequest, InviteSummary, LeaveNetwork, MemberSummary,
    NetworkSummary, Networks, Result, Revoked,
};

use super::{Fake, no};

#[async_trait]
impl Networks for Fake {
    async fn networks(&self) -> Result<Vec<NetworkSummary>> {
        no()
    }
    async fn create_network(&self, _: CreateNetwork) -> Result<NetworkSummary> {
        no()
    }
    async fn leave_network(&self, _: LeaveNetwork) -> Result<NetworkSummary> {
        no()
    }
    async fn invite(&self, _: InviteRequest) -> Result<Invitation> {
        no()
    }
    async fn invites(&self, _: Option<&str>) -> Result<Vec<InviteSummary>> {
        no()
    }
    async fn withdraw(&self, _: Option<&str>, _: &str) -> Result<InviteSummary> {
        no()
    }
    async fn members(&self, _: Option<&str>) -> Result<Vec<MemberSummary>> {
        no()
    }
    async fn revoke(&self, _: Option<&str>, _: &str) -> Result<Revoked> {
        no()
    }
}
