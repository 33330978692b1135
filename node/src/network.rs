//! What the network is: peers, offers, connecting by hand.

use std::time::{Duration, Instant, SystemTime};

use futures::FutureExt as _;
use futures::future::join_all;
use hive_api::{ErrorKind, HiveError, Offer, PeerSummary, Result, SearchRequest};
use hive_protocol::BlockId;
use hive_protocol::catalog::pace;
use hive_protocol::message::{Request, Response};
use hive_store as store;
use hive_swarm as swarm;

use crate::errors;
use crate::local::{Local, blocking};
use crate::{announce, fit, names, reach};

/// Peers that are asked for their offers at once.
const ASKED: usize = 64;
/// How long a peer has to say whether it will announce them.
const ANSWER: Duration = Duration::from_secs(3);

impl Local {
    pub(crate) async fn known_peers(&self) -> Result<Vec<PeerSummary>> {
        let Some(swarm) = &self.swarm else { return Ok(Vec::new()) };
        let network = swarm.network_state().await;
        let mut peers: Vec<PeerSummary> =
            swarm.peers().await.into_iter().map(|peer| self.summary(peer, &network)).collect();
        peers.sort_by(|a, b| (!a.connected, &a.peer).cmp(&(!b.connected, &b.peer)));
        Ok(peers)
    }

    fn summary(&self, state: swarm::PeerState, network: &swarm::NetworkState) -> PeerSummary {
        let (said, capability) = match self.catalog.capability(state.peer) {
            Some((name, capability)) => (name, Some(capability)),
            None => (None, None),
        };
        let left = |until: SystemTime| {
            until.duration_since(SystemTime::now()).ok().map(|left| left.as_secs())
        };
        let mut transports: Vec<String> =
            state.transports.iter().map(|kind| reach::transport(*kind)).collect();
        transports.sort();
        transports.dedup();
        PeerSummary {
            path: reach::path(&state),
            links: reach::links(&state),
            goodput: self.goodput.of(state.peer),
            why: self.reach.why(&state, network),
            peer: state.peer.to_string(),
            name: said.or_else(|| state.name.as_deref().and_then(names::claim)),
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
        if !self.config.may_dial(address) {
            let message =
                format!("`{address}` is not dialed: this node keeps to the LAN (`lan-only`)");
            return Err(HiveError::new(ErrorKind::Refused, message)
                .hint("give a private IP address, or run the node without `--lan-only`"));
        }
        self.swarm()?.dial(address).await.map(drop).map_err(|error| {
            let kind = match &error {
                swarm::DialError::Address { .. } => ErrorKind::Usage,
                _ => ErrorKind::Unreachable,
            };
            HiveError::caused(kind, format!("cannot connect to `{address}`"), &error)
        })
    }

    pub(crate) async fn search_catalog(&self, request: SearchRequest) -> Result<Vec<Offer>> {
        let swarm = self.swarm()?;
        if request.refresh {
            self.ask_others(swarm).await;
        }
        let store = self.store.clone();
        let here = blocking(move || {
            let models =
                store.list().map_err(|error| errors::store("cannot read the index", &error))?;
            let whole = models.into_iter().filter(|model| model.state == store::State::Whole);
            Ok(whole.map(|model| model.id).collect::<std::collections::HashSet<BlockId>>())
        })
        .await?;
        let room = self.room();
        let fits = |size| room.map(|room| fit::fits(size, room));
        Ok(self.catalog.search(&request, |id| here.contains(id), fits))
    }

    /// Asks connected peers to announce what they offer, and waits until those that will have done
    /// so. They tell everybody at once and not more often than they would for newcomers, so many who
    /// ask cost the network no more than one; neither do we ask more often than that.
    async fn ask_others(&self, swarm: &swarm::Client) {
        let begun = Instant::now();
        {
            let mut last = self.asked_others.lock().expect("no holder of this lock panics");
            if last.is_some_and(|last| last.elapsed() < pace::NEWCOMERS) {
                return;
            }
            *last = Some(begun);
        }
        let ask = |peer: swarm::Peer| {
            let hello = Request::Hello { features: vec![announce::ANNOUNCE.into()] };
            let asking = tokio::time::timeout(ANSWER, swarm.request(peer, hello));
            asking.map(move |answer| match answer {
                Ok(Ok(Response::Hello { features, .. })) => {
                    features.iter().any(|feature| feature == announce::ANNOUNCE).then_some(peer)
                }
                _ => None,
            })
        };
        let peers = swarm.connected().await.into_iter().take(ASKED).map(ask);
        let will: Vec<_> = join_all(peers).await.into_iter().flatten().collect();
        let told = |peer: &swarm::Peer| self.catalog.heard_since(*peer, begun);
        let deadline = tokio::time::Instant::from_std(begun) + pace::NEWCOMERS + ANSWER;
        let mut changes = self.catalog.changes();
        while !will.iter().all(told) {
            tokio::select! {
                // The catalog lives as long as the node.
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(deadline) => return,
                () = self.stop.cancelled() => return,
            }
        }
    }
}
