//! `hive update-check`: whether others run a newer version.
//!
//! Nobody is asked but the peers of the node that runs, and of them only what they say of their
//! software when they connect. Nothing is downloaded, and nothing happens unless it is called.

use hive_api::PeerSummary;
use serde_json::json;

use crate::node::{Handle, Need};
use crate::session::Session;

/// The version of this program.
const OURS: &str = env!("CARGO_PKG_VERSION");

/// Tell whether connected peers run a newer version; asks nobody else, downloads nothing
#[derive(Debug, clap::Args)]
pub(crate) struct UpdateCheckArgs {}

/// Compares.
pub(crate) async fn update_check(session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let open = Handle::open(&session.settings, Need::Disk);
    let handle = session.stop.unless_wanted(open).await??;
    let hive = handle.hive();
    // A store by itself knows nobody.
    let peers = if handle.is_remote() {
        session.stop.unless_wanted(hive.peers()).await.and_then(|peers| peers)
    } else {
        Ok(Vec::new())
    };
    drop(hive);
    handle.close().await;
    let seen = Seen::of(&peers?);
    if printer.json() {
        return Ok(printer.object(&json!({
            "version": OURS, "newest": seen.newest.map(Version::text),
            "newer": seen.newer, "peers": seen.peers,
        }))?);
    }
    printer.data(format_args!("this is hive {OURS}"))?;
    match (seen.peers, seen.newest) {
        (0, _) => printer.talk(
            "no peer is connected to compare with; `hive join` meets some. Releases are where this \
             program came from",
        ),
        (peers, Some(newest)) if seen.newer > 0 => printer.data(format_args!(
            "{} of {peers} connected peers run a newer one, up to {}. That is what they say; get a \
             release from where this program came from",
            seen.newer,
            newest.text()
        ))?,
        (peers, _) => {
            printer.data(format_args!("none of {peers} connected peers runs a newer one"))?;
        }
    }
    Ok(())
}

/// Major, minor, patch. What comes before a release (`-rc.1`) is not counted as newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(str::parse);
        let version = Self(parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        parts.next().is_none().then_some(version)
    }

    fn text(self) -> String {
        format!("{}.{}.{}", self.0, self.1, self.2)
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Connected peers that run hive.
    peers: usize,
    /// Of these, how many run a newer one.
    newer: usize,
    newest: Option<Version>,
}

impl Seen {
    fn of(peers: &[PeerSummary]) -> Self {
        // What comes before a release is compared as if it were that release.
        let ours = Version::parse(OURS.split(['-', '+']).next().unwrap_or(OURS));
        let agents = peers.iter().filter(|peer| peer.connected).filter_map(|peer| {
            let version = peer.agent.as_deref()?.strip_prefix("hive/")?;
            Version::parse(version)
        });
        let mut seen = Self::default();
        for version in agents {
            seen.peers += 1;
            seen.newer += usize::from(Some(version) > ours);
            seen.newest = seen.newest.max(Some(version));
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(agent: &str, connected: bool) -> PeerSummary {
        PeerSummary {
            peer: "x".into(),
            name: None,
            agent: Some(agent.into()),
            connected,
            addresses: Vec::new(),
            transports: Vec::new(),
            path: None,
            links: vec![],
            goodput: None,
            why: None,
            rtt_ms: None,
            banned_secs: None,
            capability: None,
        }
    }

    #[test]
    fn only_connected_peers_that_run_hive_count() {
        let ours = format!("hive/{OURS}");
        let peers = [
            peer(&ours, true),
            peer("hive/900.1.0", true),
            peer("hive/901.0.0", false),
            peer("hive/902.0.0-rc.1", true),
            peer("kubo/903.0.0", true),
            peer("hive/latest", true),
        ];
        let seen = Seen::of(&peers);
        assert_eq!(seen, Seen { peers: 2, newer: 1, newest: Some(Version(900, 1, 0)) });
        assert_eq!(Seen::of(&peers[..1]).newer, 0);
    }

    #[test]
    fn versions_are_numbers_and_not_texts() {
        assert!(Version::parse("0.10.0") > Version::parse("0.9.9"));
        for text in ["", "1", "1.2", "1.2.3.4", "a.b.c", "1.2.-3", "1.2.3-rc.1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
