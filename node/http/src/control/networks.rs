//! Private networks: which there are, who is invited, who is in, who is put out.

use axum::Json;
use axum::extract::State;
use hive_api::{
    CreateNetwork, Invitation, InviteRequest, InviteSummary, LeaveNetwork, MemberSummary,
    NetworkSummary, Revoked,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Control, own};
use crate::extract::{Body, Params};
use crate::openapi::{Operation, Table};

/// What the document files these under.
const TAG: &str = "private networks";

/// Which network; the one that the node is in, or the only one, if it is not said.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkParam {
    /// Its name, its id, or the beginning of its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<String>,
}

/// Body of `invites/withdraw`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WithdrawBody {
    /// Its network's name or id.
    #[serde(default)]
    pub(crate) network: Option<String>,
    /// The invite's public key, or the beginning of it.
    pub(crate) invite: String,
}

/// Body of `revoke`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeBody {
    /// The network's name or id.
    #[serde(default)]
    pub(crate) network: Option<String>,
    /// A peer's id or a certificate's serial.
    pub(crate) who: String,
}

/// Adds the endpoints.
pub(super) fn endpoints(table: Table<Control>) -> Table<Control> {
    let does = |summary| Operation::new(TAG, summary);
    table
        .get(
            &own("/networks"),
            networks,
            does("Lists the private networks that the home knows").json::<Vec<NetworkSummary>>(),
        )
        .post(
            &own("/networks/create"),
            create,
            does("Makes a private network; this node is its admin")
                .body::<CreateNetwork>()
                .json::<NetworkSummary>(),
        )
        .post(
            &own("/networks/leave"),
            leave,
            does("Forgets a private network").body::<LeaveNetwork>().json::<NetworkSummary>(),
        )
        .post(
            &own("/invite"),
            invite,
            does("Makes an invite; its code is shown once")
                .body::<InviteRequest>()
                .json::<Invitation>(),
        )
        .get(
            &own("/invites"),
            invites,
            does("Lists the invites that were made here")
                .query::<NetworkParam>()
                .json::<Vec<InviteSummary>>(),
        )
        .post(
            &own("/invites/withdraw"),
            withdraw,
            does("Takes an invite back").body::<WithdrawBody>().json::<InviteSummary>(),
        )
        .get(
            &own("/members"),
            members,
            does("Lists members: connected ones, and those that this home let in")
                .query::<NetworkParam>()
                .json::<Vec<MemberSummary>>(),
        )
        .post(
            &own("/revoke"),
            revoke,
            does("Revokes a peer's certificates, or one by its serial")
                .body::<RevokeBody>()
                .json::<Revoked>(),
        )
}

async fn networks(State(control): State<Control>) -> Answer<Vec<NetworkSummary>> {
    Ok(Json(control.hive.networks().await?))
}

async fn create(
    State(control): State<Control>,
    Body(request): Body<CreateNetwork>,
) -> Answer<NetworkSummary> {
    Ok(Json(control.hive.create_network(request).await?))
}

async fn leave(
    State(control): State<Control>,
    Body(request): Body<LeaveNetwork>,
) -> Answer<NetworkSummary> {
    Ok(Json(control.hive.leave_network(request).await?))
}

async fn invite(
    State(control): State<Control>,
    Body(request): Body<InviteRequest>,
) -> Answer<Invitation> {
    Ok(Json(control.hive.invite(request).await?))
}

async fn invites(
    State(control): State<Control>,
    Params(NetworkParam { network }): Params<NetworkParam>,
) -> Answer<Vec<InviteSummary>> {
    Ok(Json(control.hive.invites(network.as_deref()).await?))
}

async fn withdraw(
    State(control): State<Control>,
    Body(WithdrawBody { network, invite }): Body<WithdrawBody>,
) -> Answer<InviteSummary> {
    Ok(Json(control.hive.withdraw(network.as_deref(), &invite).await?))
}

async fn members(
    State(control): State<Control>,
    Params(NetworkParam { network }): Params<NetworkParam>,
) -> Answer<Vec<MemberSummary>> {
    Ok(Json(control.hive.members(network.as_deref()).await?))
}

async fn revoke(
    State(control): State<Control>,
    Body(RevokeBody { network, who }): Body<RevokeBody>,
) -> Answer<Revoked> {
    Ok(Json(control.hive.revoke(network.as_deref(), &who).await?))
}
