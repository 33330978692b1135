//! What commands and the local API do with private networks.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use hive_api::{
    CreateNetwork, ErrorKind, HiveError, Invitation, InviteRequest, InviteSummary, LeaveNetwork,
    MemberSummary, NetworkSummary, Result, Revoked,
};
use hive_protocol::limits::MEMBERSHIP_TTL_SECS;
use hive_protocol::membership::{InviteCode, MembershipError, RevocationList, Serial};
use hive_protocol::{NodeKey, limits as wire};
use hive_swarm::Peer;

use super::desk::{self, Desk};
use super::invites::{Terms, role_name, shown};
use super::known::{self, Known};
use super::limits::{INVITE_SECS, OWN_ADDRESSES, USES};
use super::{describe, judge};
use crate::local::{Local, blocking, now};

#[async_trait]
impl hive_api::Networks for Local {
    async fn networks(&self) -> Result<Vec<NetworkSummary>> {
        self.with_networks(|this| {
            known::list(&this.config.home)?.iter().map(|known| this.summary_of(known)).collect()
        })
        .await
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<NetworkSummary> {
        self.with_networks(move |this| {
            check_addresses(&request.addresses)?;
            let CreateNetwork { name, addresses } = request;
            let known = Known::create(&this.config.home, &name, addresses, this.node(), now())?;
            tracing::info!(network = %known.id, "a private network was made");
            this.summary_of(&known)
        })
        .await
    }

    async fn leave_network(&self, request: LeaveNetwork) -> Result<NetworkSummary> {
        self.with_networks(move |this| {
            let known = known::meant(&this.config.home, Some(&request.network), None)?;
            let name = &known.name;
            if this.swarm.is_some() && this.networks.current_of(&known).is_some() {
                let message = format!("the node that runs is in the network `{name}`");
                return Err(HiveError::new(ErrorKind::Refused, message)
                    .hint("stop it first, or let it be in another: `hive network use NAME` and start it anew"));
            }
            if known.has_secret() && !request.with_key {
                let message = format!("the secret key of the network `{name}` is in this home");
                return Err(HiveError::new(ErrorKind::Refused, message).hint(
                    "without that key nobody can invite or revoke any more: copy the directory `networks` first, \
                     then leave with `--with-key`",
                ));
            }
            let summary = this.summary_of(&known)?;
            known.forget()?;
            Ok(summary)
        })
        .await
    }

    async fn invite(&self, request: InviteRequest) -> Result<Invitation> {
        let own = self.addresses().await;
        self.with_networks(move |this| this.make_invite(request, own)).await
    }

    async fn invites(&self, network: Option<&str>) -> Result<Vec<InviteSummary>> {
        let network = network.map(str::to_owned);
        self.with_networks(move |this| {
            let desk = this.desk(network.as_deref())?;
            let now = now();
            Ok(desk.summaries(&this.revoked_of(desk.known(), now)?, now))
        })
        .await
    }

    async fn withdraw(&self, network: Option<&str>, invite: &str) -> Result<InviteSummary> {
        let (network, invite) = (network.map(str::to_owned), invite.to_owned());
        self.with_networks(move |this| {
            let desk = this.desk(network.as_deref())?;
            let now = now();
            desk.withdraw(&invite, &this.revoked_of(desk.known(), now)?, now)
        })
        .await
    }

    async fn members(&self, network: Option<&str>) -> Result<Vec<MemberSummary>> {
        let network = network.map(str::to_owned);
        self.with_networks(move |this| this.members_of(network.as_deref())).await
    }

    async fn revoke(&self, network: Option<&str>, who: &str) -> Result<Revoked> {
        let (network, who) = (network.map(str::to_owned), who.to_owned());
        self.with_networks(move |this| this.put_out(network.as_deref(), &who)).await
    }
}

impl Local {
    /// Does something with the files of networks; one at a time.
    async fn with_networks<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        blocking(move || {
            let _writing = this.networks.lock();
            work(&this)
        })
        .await
    }

    fn node(&self) -> NodeKey {
        NodeKey(self.node_key.verifying_key().to_bytes())
    }

    /// The network that is meant.
    fn network_meant(&self, text: Option<&str>) -> Result<Known> {
        known::meant(&self.config.home, text, self.networks.current_id())
    }

    /// The desk of the network that is meant.
    fn desk(&self, text: Option<&str>) -> Result<Arc<Desk>> {
        let known = self.network_meant(text)?;
        let open = match self.networks.current_of(&known) {
            Some(current) => current.desk.clone(),
            None => Desk::open(&known)?.map(Arc::new),
        };
        open.ok_or_else(|| {
            let message = format!("this home is no admin of the network `{}`", known.name);
            HiveError::new(ErrorKind::Refused, message)
                .hint("the home that made the network can do this: it has the network's secret key")
        })
    }

    fn revoked_of(&self, known: &Known, now: u64) -> Result<RevocationList> {
        match self.networks.current_of(known) {
            Some(current) => current.revoked(now),
            None => known.revoked(now),
        }
    }

    fn summary_of(&self, known: &Known) -> Result<NetworkSummary> {
        let now = now();
        let revoked = self.revoked_of(known, now)?;
        let current = self.networks.current_of(known);
        let own = match (current, known.certificate()?) {
            (Some(current), _) => current.membership.own(),
            (None, Some(bytes)) => judge(&bytes, known, self.node(), &revoked, now),
            (None, None) => Err(MembershipError::NotAMember),
        };
        Ok(NetworkSummary {
            own: describe(known, &own),
            current: current.is_some(),
            has_key: known.has_secret(),
            addresses: known.addresses.clone(),
            revoked: revoked.list().map_or(0, |list| list.serials.len() as u64),
        })
    }

    fn make_invite(&self, request: InviteRequest, own: Vec<String>) -> Result<Invitation> {
        let InviteRequest { network, role, expires_secs, uses, member_secs } = request;
        let usage = |message: String| Err(HiveError::new(ErrorKind::Usage, message));
        if !(1..=USES).contains(&uses) {
            return usage(format!("an invite lets in 1 to {USES} nodes"));
        }
        if !(1..=INVITE_SECS).contains(&expires_secs) {
            return usage(format!(
                "an invite ends after 1 second to {} days",
                INVITE_SECS / 86_400
            ));
        }
        let member_secs = member_secs.unwrap_or(MEMBERSHIP_TTL_SECS);
        if !(1..=MEMBERSHIP_TTL_SECS).contains(&member_secs) {
            let days = MEMBERSHIP_TTL_SECS / 86_400;
            return usage(format!("a certificate lives 1 second to {days} days"));
        }
        let role = desk::role_of(role)?;
        let desk = self.desk(network.as_deref())?;
        let now = now();
        let known = desk.known();
        // A node that is in another network now is not to be found under its addresses in this one.
        let own = if self.networks.current_of(known).is_some() { own } else { Vec::new() };
        let addresses = addresses(&known.addresses, own);
        let expires = now.saturating_add(expires_secs);
        let terms = Terms { role, created: now, expires, member_secs, uses };
        let (secret, invite) = desk.invite(terms, now)?;
        let code = InviteCode {
            network: known.key,
            secret,
            expires,
            addresses: addresses.clone(),
            name: known.name.clone(),
        };
        let code = code.encode().map_err(|error| {
            HiveError::caused(ErrorKind::Failed, "cannot write the invite as a code", &error)
        })?;
        Ok(Invitation {
            code: hive_api::Secret::new(code),
            invite,
            network: known.id.to_string(),
            name: known.name.clone(),
            addresses,
        })
    }

    fn members_of(&self, network: Option<&str>) -> Result<Vec<MemberSummary>> {
        let known = self.network_meant(network)?;
        let now = now();
        let revoked = self.revoked_of(&known, now)?;
        let current = self.networks.current_of(&known);
        let mut seen = BTreeSet::new();
        let mut members = Vec::new();
        let own = match current {
            Some(current) => current.membership.own().ok(),
            None => known
                .certificate()?
                .and_then(|bytes| judge(&bytes, &known, self.node(), &revoked, now).ok()),
        };
        let connected = current.map(|current| current.membership.members()).unwrap_or_default();
        let here = own.map(|own| (self.peer, own)).into_iter().chain(connected);
        for (peer, member) in here {
            seen.insert(member.serial);
            let this_node = peer == self.peer;
            let said = if this_node {
                self.config.node_name.clone()
            } else {
                self.catalog.peer_name(peer)
            };
            members.push(MemberSummary {
                peer: peer.to_string(),
                name: said,
                role: role_name(member.role),
                serial: member.serial.to_string(),
                expires: member.expires,
                connected: true,
                this_node,
                revoked: revoked.revokes(&member.serial),
            });
        }
        let desk = match current {
            Some(current) => current.desk.clone(),
            None => Desk::open(&known)?.map(Arc::new),
        };
        let issued = desk.map(|desk| desk.issued()).unwrap_or_default();
        for came in issued.into_iter().filter(|came| !seen.contains(&came.serial)) {
            let peer = Peer::from_node_key(&came.node);
            members.push(MemberSummary {
                peer: shown(came.node),
                name: peer.and_then(|peer| self.catalog.peer_name(peer)),
                role: role_name(came.role),
                serial: came.serial.to_string(),
                expires: came.expires,
                connected: false,
                this_node: false,
                revoked: revoked.revokes(&came.serial),
            });
        }
        Ok(members)
    }

    fn put_out(&self, network: Option<&str>, who: &str) -> Result<Revoked> {
        let desk = self.desk(network)?;
        let known = desk.known();
        let now = now();
        let revoked = self.revoked_of(known, now)?;
        let serials = self.serials_of(&desk, who)?;
        let (signed, withdrawn) = desk.revoke(&serials, &revoked, now)?;
        let seq = revoked.seq() + u64::from(signed.is_some());
        if let (Some(signed), Some(current)) = (signed, self.networks.current_of(known)) {
            current.membership.set_revocations(&signed).map_err(|error| {
                HiveError::caused(
                    ErrorKind::Failed,
                    "cannot act on the new revocation list",
                    &error,
                )
            })?;
        }
        let new = serials.iter().filter(|serial| !revoked.revokes(serial));
        tracing::info!(network = %known.id, seq, "certificates were revoked");
        Ok(Revoked {
            network: known.id.to_string(),
            serials: new.map(ToString::to_string).collect(),
            withdrawn,
            seq,
            told: self.swarm.is_some() && self.networks.current_of(known).is_some(),
        })
    }

    /// The certificates that a user means: all that are known of a peer, or the one of a serial.
    fn serials_of(&self, desk: &Desk, who: &str) -> Result<Vec<Serial>> {
        let own_home = || {
            HiveError::new(
                ErrorKind::Usage,
                "that is this node, which has the network's secret key",
            )
            .hint("to end the network, make a new one and invite those who may stay")
        };
        let own = self.networks.own().and_then(|own| own.serial);
        if let Some(serial) = hex::decode(who).ok().and_then(|bytes| bytes.try_into().ok()) {
            let serial = Serial(serial);
            return if own == Some(serial.to_string()) {
                Err(own_home())
            } else {
                Ok(vec![serial])
            };
        }
        let Ok(peer) = who.parse::<Peer>() else {
            let message = "that is neither a peer's id nor a certificate's serial";
            return Err(HiveError::new(ErrorKind::Usage, message)
                .hint("`hive network members` lists both: 12D3KooW…, or 32 hexadecimal digits"));
        };
        if peer == self.peer {
            return Err(own_home());
        }
        let issued = desk.issued().into_iter().filter(|came| Some(came.node) == peer.node_key());
        let mut serials: BTreeSet<Serial> = issued.map(|came| came.serial).collect();
        if let Some(current) = self.networks.current_of(desk.known()) {
            let connected = current.membership.members();
            serials.extend(
                connected
                    .iter()
                    .filter(|(known, _)| *known == peer)
                    .map(|(_, member)| member.serial),
            );
        }
        if serials.is_empty() {
            let message = format!("no certificate of `{peer}` is known here");
            return Err(HiveError::new(ErrorKind::NotFound, message).hint(
                "it is neither connected nor came in with an invite of this home; if it is a member, \
                 `hive network members` on a node that it is connected to shows its serial, which can be revoked",
            ));
        }
        Ok(serials.into_iter().collect())
    }
}

fn check_addresses(addresses: &[String]) -> Result<()> {
    let fits = |address: &&String| {
        address.starts_with('/')
            && address.contains("/p2p/")
            && address.len() <= wire::INVITE_ADDRESS_LEN
            && address.chars().all(|c| c.is_ascii_graphic())
    };
    let message = match addresses.iter().find(|address| !fits(address)) {
        None if addresses.len() <= wire::INVITE_ADDRESSES => return Ok(()),
        None => format!("an invite has room for {} addresses", wire::INVITE_ADDRESSES),
        Some(_) => "an address of the network is not one that can be dialed".to_owned(),
    };
    Err(HiveError::new(ErrorKind::Usage, message)
        .hint("full addresses end in `/p2p/ID`, as `hive join` and `hive relay` print them"))
}

/// The addresses that an invite carries: the network's own first, then this node's, those that more
/// people can reach before the others.
fn addresses(network: &[String], mut own: Vec<String>) -> Vec<String> {
    own.sort_by_key(|address| reach(address));
    if own.iter().any(|address| reach(address) < Reach::Machine) {
        own.retain(|address| reach(address) < Reach::Machine);
    }
    let mut chosen: Vec<String> = Vec::new();
    for address in network.iter().chain(own.iter().take(OWN_ADDRESSES)) {
        let fits =
            address.len() <= wire::INVITE_ADDRESS_LEN && chosen.len() < wire::INVITE_ADDRESSES;
        if fits && !chosen.contains(address) {
            chosen.push(address.clone());
        }
    }
    chosen
}

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// From everywhere.
    World,
    /// Through a relay.
    Relay,
    /// From the same local network.
    Lan,
    /// From the same machine.
    Machine,
}

fn reach(address: &str) -> Reach {
    if address.contains("/p2p-circuit") {
        return Reach::Relay;
    }
    let mut parts = address.split('/').skip(1);
    match (parts.next(), parts.next().map(str::parse::<std::net::IpAddr>)) {
        (Some("ip4" | "ip6"), Some(Ok(ip))) if ip.is_loopback() || ip.is_unspecified() => {
            Reach::Machine
        }
        (Some("ip4"), Some(Ok(std::net::IpAddr::V4(ip))))
            if ip.is_private() || ip.is_link_local() =>
        {
            Reach::Lan
        }
        (Some("ip6"), Some(Ok(std::net::IpAddr::V6(ip))))
            if ip.is_unique_local() || ip.is_unicast_link_local() =>
        {
            Reach::Lan
        }
        _ => Reach::World,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_carries_what_most_people_can_reach() {
        let network = vec!["/dns4/relay.example/tcp/443/p2p/R".to_owned()];
        let own: Vec<String> = [
            "/ip4/127.0.0.1/tcp/1/p2p/A",
            "/ip4/192.168.1.2/tcp/1/p2p/A",
            "/ip4/198.51.100.1/tcp/1/p2p/R/p2p-circuit/p2p/A",
            "/ip6/2001:db8::1/tcp/1/p2p/A",
            "/ip4/10.0.0.1/tcp/1/p2p/A",
            "/ip4/10.0.0.2/tcp/1/p2p/A",
        ]
        .map(str::to_owned)
        .to_vec();
        assert_eq!(
            addresses(&network, own.clone()),
            [&network[0], &own[3], &own[2], &own[1], &own[4]].map(String::clone)
        );
        // On one machine, that is better than nothing.
        assert_eq!(addresses(&[], own[..1].to_vec()), own[..1]);
        assert!(addresses(&[], vec![format!("/ip4/10.0.0.1/{}", "a".repeat(250))]).is_empty());
    }
}
