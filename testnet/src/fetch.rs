//! A fetch as a test follows it: every event is kept, every wait has an end.

use anyhow::{Context as _, bail};
use futures::StreamExt;
use hive_api::{Events, FetchEvent, FetchPeer, HiveError};
use std::path::PathBuf;

use crate::wait::within;

/// A fetch that is going on. Dropping it leaves it.
pub struct Fetch {
    stream: Events<FetchEvent>,
    events: Vec<FetchEvent>,
    error: Option<HiveError>,
}

/// How a fetch ended well.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Every event from the beginning to the last.
    pub events: Vec<FetchEvent>,
    /// Where the file is.
    pub path: PathBuf,
    /// Seconds it took.
    pub seconds: f64,
    /// Each peer's part.
    pub peers: Vec<FetchPeer>,
}

impl Fetched {
    /// The part of a peer; nothing when it took none.
    pub fn part(&self, peer: &str) -> Option<&FetchPeer> {
        self.peers.iter().find(|part| part.peer == peer)
    }

    /// Verified bytes from a peer.
    pub fn bytes_from(&self, peer: &str) -> u64 {
        self.part(peer).map_or(0, |part| part.bytes)
    }

    /// Verified bytes from all peers.
    pub fn bytes_from_peers(&self) -> u64 {
        self.peers.iter().map(|part| part.bytes).sum()
    }

    /// Bytes that were on this disk before.
    pub fn present(&self) -> u64 {
        present(&self.events)
    }

    /// Peers that sent wrong bytes.
    pub fn struck(&self) -> Vec<&str> {
        self.peers.iter().filter(|part| part.struck).map(|part| part.peer.as_str()).collect()
    }
}

fn present(events: &[FetchEvent]) -> u64 {
    let manifest = events.iter().find_map(|event| match event {
        FetchEvent::Manifest { present, .. } => Some(*present),
        _ => None,
    });
    manifest.unwrap_or(0)
}

/// Verified bytes that an event tells of.
pub fn bytes_in(event: &FetchEvent) -> Option<u64> {
    match event {
        FetchEvent::Progress { bytes, .. } => Some(*bytes),
        FetchEvent::Manifest { present, .. } => Some(*present),
        _ => None,
    }
}

impl Fetch {
    pub(crate) fn new(stream: Events<FetchEvent>) -> Self {
        Self { stream, events: Vec::new(), error: None }
    }

    /// What happened so far.
    pub fn events(&self) -> &[FetchEvent] {
        &self.events
    }

    /// The most verified bytes that were told so far.
    pub fn bytes(&self) -> u64 {
        self.events.iter().filter_map(bytes_in).max().unwrap_or(0)
    }

    async fn next(&mut self) -> anyhow::Result<Option<&FetchEvent>> {
        match within("the next event of a fetch", self.stream.next()).await? {
            None => Ok(None),
            Some(Ok(event)) => {
                // No fetch may ever take back what it said was verified.
                if let Some(bytes) = bytes_in(&event) {
                    anyhow::ensure!(
                        bytes >= self.bytes(),
                        "progress went from {} to {bytes}",
                        self.bytes()
                    );
                }
                self.events.push(event);
                Ok(self.events.last())
            }
            Some(Err(error)) => {
                self.error = Some(error);
                Ok(None)
            }
        }
    }

    /// Follows the fetch up to the first event that `wanted` picks.
    ///
    /// # Errors
    ///
    /// The fetch ended, or nothing happened for too long.
    pub async fn until(
        &mut self,
        wanted: impl Fn(&FetchEvent) -> bool,
    ) -> anyhow::Result<FetchEvent> {
        while let Some(event) = self.next().await? {
            if wanted(event) {
                return Ok(event.clone());
            }
        }
        bail!("the fetch ended with {:?} after {:?}", self.error, self.events.last())
    }

    /// Follows the fetch until so many bytes are verified.
    ///
    /// # Errors
    ///
    /// The fetch ended, or nothing happened for too long.
    pub async fn until_bytes(&mut self, bytes: u64) -> anyhow::Result<()> {
        self.until(|event| bytes_in(event).is_some_and(|here| here >= bytes)).await.map(drop)
    }

    /// Follows the fetch to its end, which has to be a good one.
    ///
    /// # Errors
    ///
    /// The fetch failed, or nothing happened for too long.
    pub async fn finish(mut self) -> anyhow::Result<Fetched> {
        while self.next().await?.is_some() {}
        if let Some(error) = self.error {
            return Err(error).context("the fetch failed");
        }
        match self.events.last() {
            Some(FetchEvent::Done { path, seconds, peers, .. }) => Ok(Fetched {
                path: path.clone(),
                seconds: *seconds,
                peers: peers.clone(),
                events: self.events,
            }),
            last => bail!("the last event is {last:?}"),
        }
    }

    /// Follows the fetch to its end, which has to be an error.
    ///
    /// # Errors
    ///
    /// The fetch succeeded, or nothing happened for too long.
    pub async fn failure(&mut self) -> anyhow::Result<HiveError> {
        while self.next().await?.is_some() {}
        self.error.clone().with_context(|| format!("the fetch ended with {:?}", self.events.last()))
    }
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch").field("events", &self.events).finish_non_exhaustive()
    }
}
