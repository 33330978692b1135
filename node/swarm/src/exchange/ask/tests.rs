//! An asker against a peer that the test writes byte by byte.

use futures::AsyncWriteExt;
use hive_protocol::chunk_message::{Range, Status};
use hive_protocol::limits::GROUP_LEN;
use hive_protocol::{BlockId, ChunkId};
use proptest::prelude::*;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::super::traffic::Traffic;
use super::*;

type Pipe = Compat<tokio::io::DuplexStream>;

/// Two groups, the second of 100 bytes.
fn range() -> Range {
    Range { chunk: ChunkId::of(b"chunk"), size: GROUP_LEN + 100, first: 0, n: 2 }
}

struct Asked {
    peer: Pipe,
    events: mpsc::Receiver<ExchangeEvent>,
    asker: JoinHandle<()>,
}

/// Asks for [`range`] of a peer that has read the request.
async fn asked() -> Asked {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (tx, events) = mpsc::channel(2);
    let request = ChunkRequest::new(BlockId::of(b"model"), vec![range()]);
    let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let ask =
        Ask::new(request.clone(), tx, Arc::default(), Arc::<Traffic>::default().begin(), slot);
    let asker = tokio::spawn(ask.run(ours.compat()));
    let mut peer = Timed::new(theirs.compat(), REQUEST_TIMEOUT);
    assert_eq!(ChunkRequest::decode(&peer.header().await.unwrap()).unwrap(), request);
    Asked { peer: peer.into_inner(), events, asker }
}

fn granted(ranges: Vec<Range>) -> Vec<u8> {
    wire::header(&ChunkResponse::ok(ranges, 1).encode())
}

/// Answers with `bytes` and the end of the stream; says how the request ended, and how many bytes
/// of groups came before.
async fn answered(bytes: Vec<u8>, end: bool) -> (u64, Option<Failure>) {
    let Asked { mut peer, mut events, asker } = asked().await;
    let answer = async {
        // The asker may leave early.
        let _ = peer.write_all(&bytes).await;
        if end {
            let _ = peer.close().await;
        }
        peer
    };
    let hear = async {
        let mut received = 0;
        while let Some(event) = events.recv().await {
            match event {
                ExchangeEvent::Header(_) | ExchangeEvent::Part(_) => {}
                ExchangeEvent::Group { bytes, .. } => received += bytes.len() as u64,
                ExchangeEvent::End => return (received, None),
                ExchangeEvent::Failed(failure) => return (received, Some(failure)),
            }
        }
        panic!("closed without an end")
    };
    let (_peer, heard) = futures::join!(answer, hear);
    asker.await.unwrap();
    heard
}

#[tokio::test(start_paused = true)]
async fn what_was_granted_comes_group_by_group() {
    let Asked { mut peer, mut events, .. } = asked().await;
    let answer = async {
        peer.write_all(&granted(vec![range()])).await.unwrap();
        peer.write_all(&vec![1; GROUP_LEN as usize]).await.unwrap();
        peer.write_all(&[2; 100]).await.unwrap();
        peer.close().await.unwrap();
    };
    let hear = async {
        let mut heard = Vec::new();
        while let Some(event) = events.recv().await {
            heard.push(event);
        }
        heard
    };
    let ((), heard) = futures::join!(answer, hear);
    let [
        ExchangeEvent::Header(_),
        ExchangeEvent::Group { index: 0, bytes: first, .. },
        ExchangeEvent::Group { index: 1, bytes: second, .. },
        ExchangeEvent::End,
    ] = &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!((first.len() as u64, first[0], &second[..]), (GROUP_LEN, 1, &[2; 100][..]));
}

#[tokio::test(start_paused = true)]
async fn of_a_slow_group_the_parts_are_told() {
    let Asked { mut peer, mut events, .. } = asked().await;
    let answer = async {
        peer.write_all(&granted(vec![range()])).await.unwrap();
        for _ in 0..GROUP_LEN as usize / COUNTED {
            peer.write_all(&vec![1; COUNTED]).await.unwrap();
            tokio::time::advance(TOLD / 2).await;
        }
        drop(peer);
    };
    let hear = async {
        let (mut parts, mut whole) = (Vec::new(), 0);
        while let Some(event) = events.recv().await {
            match event {
                ExchangeEvent::Part(bytes) => parts.push(bytes),
                ExchangeEvent::Group { bytes, .. } => whole += bytes.len() as u64,
                ExchangeEvent::Header(_) | ExchangeEvent::End | ExchangeEvent::Failed(_) => {}
            }
        }
        (parts, whole)
    };
    let ((), (parts, whole)) = futures::join!(answer, hear);
    let sum: u64 = parts.iter().sum();
    assert!((5..=8).contains(&parts.len()), "{parts:?}");
    assert!(GROUP_LEN / 2 < sum && sum <= whole, "{sum} of {whole}");
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let refusal = ChunkResponse::refuse(Status::Busy, 500);
    let (received, failure) = answered(wire::header(&refusal.encode()), true).await;
    assert!(received == 0 && failure.is_none(), "{failure:?}");
}

#[tokio::test]
async fn too_few_bytes_fail() {
    let bytes = [granted(vec![range()]), vec![0; GROUP_LEN as usize + 99]].concat();
    let (received, failure) = answered(bytes, true).await;
    assert_eq!(received, GROUP_LEN, "what came whole is handed on");
    assert!(matches!(failure, Some(Failure::Short)), "{failure:?}");
}

#[tokio::test]
async fn endless_bytes_fail() {
    let bytes = [granted(vec![range()]), vec![0; 3 * GROUP_LEN as usize]].concat();
    let (received, failure) = answered(bytes, false).await;
    assert_eq!(received, GROUP_LEN + 100);
    assert!(matches!(failure, Some(Failure::Excess)), "{failure:?}");
}

#[tokio::test]
async fn an_endless_header_fails() {
    let (_, failure) = answered(vec![0xff; 1 << 20], false).await;
    assert!(matches!(failure, Some(Failure::Length)), "{failure:?}");
}

#[tokio::test]
async fn a_grant_of_something_else_fails() {
    let other = Range { chunk: ChunkId::of(b"another"), ..range() };
    let more = Range { size: range().size + GROUP_LEN, n: 3, ..range() };
    for ranges in [vec![other], vec![more], vec![range(), range()], vec![]] {
        let (_, failure) = answered(granted(ranges), false).await;
        assert!(matches!(failure, Some(Failure::NotAsked)), "{failure:?}");
    }
}

#[tokio::test]
async fn a_dropped_receiver_drops_the_stream() {
    let Asked { mut peer, mut events, asker } = asked().await;
    peer.write_all(&granted(vec![range()])).await.unwrap();
    assert!(matches!(events.recv().await, Some(ExchangeEvent::Header(_))));
    drop(events);
    asker.await.unwrap();
    assert!(peer.write_all(&[0; 100]).await.is_err());
}

#[tokio::test]
async fn a_full_channel_stops_the_reading() {
    let Asked { mut peer, events, asker } = asked().await;
    peer.write_all(&granted(vec![range()])).await.unwrap();
    // The header takes one place of two, the first group the other, the second group waits.
    peer.write_all(&vec![0; GROUP_LEN as usize + 100]).await.unwrap();
    let more = vec![0; 1 << 20];
    let more = peer.write_all(&more);
    let blocked = tokio::time::timeout(std::time::Duration::from_millis(100), more).await;
    assert!(blocked.is_err(), "somebody read");
    drop(events);
    asker.await.unwrap();
}

#[tokio::test]
async fn what_was_withdrawn_before_its_stream_was_open_is_told() {
    let (ours, _theirs) = tokio::io::duplex(64 << 10);
    let (tx, mut events) = mpsc::channel(2);
    let request = ChunkRequest::new(BlockId::of(b"model"), vec![range()]);
    let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let traffic = Arc::<Traffic>::default();
    let ask = Ask::new(request, tx, Arc::default(), traffic.begin(), slot);
    traffic.withdraw();
    ask.run(ours.compat()).await;
    let event = events.recv().await;
    assert!(matches!(event, Some(ExchangeEvent::Failed(Failure::Withdrawn))), "{event:?}");
}

#[tokio::test]
async fn a_lost_connection_is_told() {
    let Asked { mut events, asker, .. } = asked().await;
    asker.abort();
    let event = events.recv().await;
    assert!(matches!(event, Some(ExchangeEvent::Failed(Failure::ConnectionClosed))), "{event:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_answer_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..2_000), framed: bool) {
        if framed {
            bytes = wire::header(&bytes);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (received, failure) = runtime.block_on(answered(bytes, true));
        prop_assert_eq!(received, 0);
        prop_assert!(failure.is_some());
    }

    #[test]
    fn no_change_of_a_true_answer_panics(at: prop::sample::Index, to: u8) {
        let mut bytes = granted(vec![range()]);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (_, failure) = runtime.block_on(answered(bytes, true));
        prop_assert!(failure.is_some(), "it has no payload");
    }
}
