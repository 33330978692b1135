//! What the network is: peers, offers, connecting by hand.

use std::time::SystemTime;

use hive_api::{ErrorKind, HiveError, Offer, PeerSummary, Result};
use hive_protocol::BlockId;
use hive_store as store;
use hive_swarm as swarm;

use crate::errors;
use crate::local::{Local, blocking};

impl Local {
    pub(crate) async fn known_peers(&self) -> Result<Vec<PeerSummary>> {
        let Some(swarm) = &self.swarm else { return Ok(Vec::new()) };
        let mut peers: Vec<PeerSummary> =
            swarm.peers().await.into_iter().map(|peer| self.summary(peer)).collect();
        peers.sort_by(|a, b| (!a.connected, &a.peer).cmp(&(!b.connected, &b.peer)));
        Ok(peers)
    }

    fn summary(&self, state: swarm::PeerState) -> PeerSummary {
        let (said, capability) = match self.catalog.capability(state.peer) {
            Some((name, capability)) => (name, Some(capability)),
            None => (None, None),
        };
        let left = |until: SystemTime| {
            until.duration_since(SystemTime::now()).ok().map(|left| left.as_secs())
        };
        let mut transports: Vec<String> =
            state.transports.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
        transports.sort();
        transports.dedup();
        PeerSummary {
            peer: state.peer.to_string(),
            name: state.name.or(said),
            agent: state.agent,
            connected: state.connected,
            addresses: state.addresses,
            transports,
            rtt_ms: state.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            banned_secs: state.banned_until.and_then(left),
            capability,
        }
    }

    pub(crate) async fn connect_to(&self, address: &str) -> Result<()> {
        self.swarm()?.dial(address).await.map(drop).map_err(|error| {
            let kind = match &error {
                swarm::DialError::Address { .. } => ErrorKind::Usage,
                _ => ErrorKind::Unreachable,
            };
            HiveError::caused(kind, format!("cannot connect to `{address}`"), &error)
        })
    }

    pub(crate) async fn search_catalog(&self, text: &str) -> Result<Vec<Offer>> {
        self.swarm()?;
        let store = self.store.clone();
        let here = blocking(move || {
            let models =
                store.list().map_err(|error| errors::store("cannot read the index", &error))?;
            let whole = models.into_iter().filter(|model| model.state == store::State::Whole);
            Ok(whole.map(|model| model.id).collect::<std::collections::HashSet<BlockId>>())
        })
        .await?;
        Ok(self.catalog.search(text, |id| here.contains(id)))
    }
}
