//! Announcements.

use hive_swarm::{AnnounceError, Config, Gossip, Peer, ServerMode, Verdict};

use crate::support::{Node, config, join, soon, start};

async fn next(node: &mut Node) -> (Peer, Vec<u8>, Verdict) {
    match soon("the announcement", node.started.gossip.recv()).await.expect("runs") {
        Gossip::Head { source, bytes, verdict, .. }
        | Gossip::Capability { source, bytes, verdict } => (source, bytes.to_vec(), verdict),
    }
}

/// Three in a row: what the one in the middle accepts reaches the last, with its author's name.
#[tokio::test]
async fn what_is_accepted_is_passed_on_and_what_is_rejected_is_not() {
    let mut middle = start(config());
    // Those two never hear of each other from the one in the middle.
    let aside = Config {
        bootstrap: middle.client.listen_addrs().await,
        dht_server: ServerMode::Never,
        ..config()
    };
    let (author, mut last) = (start(aside.clone()), start(aside));
    author.stands(|state| state.connected > 0).await;
    last.stands(|state| state.connected > 0).await;

    author.client.announce_head(b"forged".to_vec()).await.expect("runs");
    let (source, bytes, verdict) = next(&mut middle).await;
    assert_eq!((source, bytes.as_slice()), (author.peer(), &b"forged"[..]));
    verdict.reject();

    author.client.announce_capability(b"ignored".to_vec()).await.expect("runs");
    let (_, bytes, verdict) = next(&mut middle).await;
    assert_eq!(bytes, b"ignored");
    verdict.ignore();

    author.client.announce_head(b"good".to_vec()).await.expect("runs");
    let (_, bytes, verdict) = next(&mut middle).await;
    assert_eq!(bytes, b"good");
    verdict.accept();

    let (source, bytes, _) = next(&mut last).await;
    assert_eq!((source, bytes.as_slice()), (author.peer(), &b"good"[..]));
}

/// Whoever sends them: a replay has another sender and another signature, and is the same message.
#[tokio::test]
async fn the_same_bytes_are_delivered_once() {
    let mut hears = start(config());
    let author = join(&[&hears]).await;
    author.client.announce_head(b"first".to_vec()).await.expect("runs");
    let (source, bytes, verdict) = next(&mut hears).await;
    assert_eq!((source, bytes.as_slice()), (author.peer(), &b"first"[..]));
    verdict.ignore();

    let replays = Config {
        bootstrap: hears.client.listen_addrs().await,
        dht_server: ServerMode::Never,
        ..config()
    };
    let replays = start(replays);
    replays.client.announce_capability(b"here".to_vec()).await.expect("runs");
    let (_, bytes, _) = next(&mut hears).await;
    assert_eq!(bytes, b"here");
    replays.client.announce_head(b"first".to_vec()).await.expect("runs");
    replays.client.announce_head(b"second".to_vec()).await.expect("runs");
    let (source, bytes, _) = next(&mut hears).await;
    assert_eq!((source, bytes.as_slice()), (replays.peer(), &b"second"[..]));
}

/// An author that announces without end is heard as often as is reasonable.
#[tokio::test]
async fn a_flood_of_announcements_is_cut() {
    let mut hears = start(config());
    let author = join(&[&hears]).await;
    author.client.announce_capability(b"first".to_vec()).await.expect("runs");
    drop(next(&mut hears).await);
    for n in 0..200_u32 {
        author.client.announce_head(n.to_le_bytes().to_vec()).await.expect("runs");
    }
    // Another's is heard after the flood.
    let other = join(&[&hears]).await;
    other.client.announce_head(b"after".to_vec()).await.expect("runs");
    let mut n_heard = 0;
    loop {
        let (source, bytes, verdict) = next(&mut hears).await;
        drop(verdict);
        if source == other.peer() {
            assert_eq!(bytes, b"after");
            break;
        }
        n_heard += 1;
    }
    let burst = hive_swarm::limits::GOSSIP_BURST as usize;
    assert!(n_heard <= burst + 5, "{n_heard} of 200 were heard");
}

#[tokio::test]
async fn what_is_announced_to_nobody_is_heard_by_who_comes() {
    let author = start(config());
    author.client.announce_head(b"old".to_vec()).await.expect("runs");
    author.client.announce_head(b"head".to_vec()).await.expect("runs");
    author.client.announce_capability(b"capability".to_vec()).await.expect("runs");
    let mut hears = join(&[&author]).await;
    let mut heard = vec![next(&mut hears).await.1, next(&mut hears).await.1];
    heard.sort();
    assert_eq!(heard, [&b"capability"[..], b"head"]);
}

#[tokio::test]
async fn an_announcement_over_its_limit_is_refused_here() {
    let author = start(config());
    let max = hive_protocol::limits::HEAD_LEN;
    let refused = author.client.announce_head(vec![0; max + 1]).await;
    assert_eq!(refused, Err(AnnounceError::TooLong { len: max + 1, max }));
}
