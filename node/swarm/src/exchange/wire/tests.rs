use futures::AsyncReadExt;
use proptest::prelude::*;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;

type Pipe = Compat<tokio::io::DuplexStream>;

/// Long enough for a busy machine, short enough to wait for.
const LIMIT: Duration = Duration::from_millis(500);

fn pipe(capacity: usize) -> (Timed<Pipe>, Pipe) {
    let (left, right) = tokio::io::duplex(capacity);
    (Timed::new(left.compat(), LIMIT), right.compat())
}

fn length(bytes: &[u8]) -> Result<Option<usize>, WireError> {
    let mut length = Length::default();
    for &byte in bytes {
        if let Some(len) = length.push(byte)? {
            return Ok(Some(len));
        }
    }
    Ok(None)
}

#[test]
fn a_length_has_one_spelling_and_a_bound() {
    assert!(matches!(length(&[0]), Ok(Some(0))));
    assert!(matches!(length(&[0x7f]), Ok(Some(127))));
    assert!(matches!(length(&[0x80, 1]), Ok(Some(128))));
    assert!(matches!(length(&[0x80, 0x80, 4]), Ok(Some(CHUNK_HEADER_LEN))));
    assert!(matches!(length(&[0x81, 0x80, 4]), Err(WireError::Length)), "one more than allowed");
    assert!(matches!(length(&[0x80, 0]), Err(WireError::Length)), "not the shortest");
    assert!(matches!(length(&[0x80; 3]), Err(WireError::Length)), "endless");
    assert!(matches!(length(&[0x80, 0x80]), Ok(None)));
}

#[tokio::test]
async fn a_stream_that_stands_still_is_given_up() {
    let (mut timed, mut peer) = pipe(1 << 10);
    peer.write_all(b"ab").await.unwrap();
    assert!(matches!(timed.fill(&mut [0; 3]).await, Err(WireError::Stalled)));
    assert!(matches!(timed.write(&[0; 2 << 10]).await, Err(WireError::Stalled)));
}

#[tokio::test]
async fn a_slow_stream_is_not() {
    let (mut timed, mut peer) = pipe(1 << 10);
    let slow = async {
        for _ in 0..8 {
            tokio::time::sleep(LIMIT / 4).await;
            peer.write_all(b"a").await.unwrap();
        }
    };
    let mut all = [0; 8];
    let ((), result) = futures::join!(slow, timed.fill(&mut all));
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn time_in_which_nobody_reads_does_not_count() {
    let (mut timed, mut peer) = pipe(1 << 10);
    tokio::time::sleep(2 * LIMIT).await;
    let late = async {
        tokio::time::sleep(LIMIT / 4).await;
        peer.write_all(b"a").await.unwrap();
    };
    let mut byte = [0];
    let (result, ()) = futures::join!(timed.fill(&mut byte), late);
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn a_header_cut_short_is_not_a_header() {
    let (mut timed, mut peer) = pipe(1 << 10);
    peer.write_all(&header(&[7; 300])[..200]).await.unwrap();
    peer.close().await.unwrap();
    assert!(matches!(timed.header().await, Err(WireError::Ended)));
}

proptest! {
    #[test]
    fn what_is_written_as_a_header_is_read_as_one(body in prop::collection::vec(any::<u8>(), 0..70_000)) {
        let bytes = header(&body);
        let read = length(&bytes);
        if body.len() > CHUNK_HEADER_LEN {
            prop_assert!(matches!(read, Err(WireError::Length)));
        } else {
            prop_assert!(matches!(read, Ok(Some(len)) if len == body.len()));
        }
    }

    #[test]
    fn any_bytes_are_a_length_or_an_error(bytes: [u8; 4]) {
        if let Ok(len) = length(&bytes) {
            let len = len.expect("a length ends within four bytes or is refused");
            prop_assert!(len <= CHUNK_HEADER_LEN);
            prop_assert!(bytes.starts_with(&header(&vec![0; len])[..header(&vec![0; len]).len() - len]));
        }
    }
}

#[tokio::test]
async fn a_header_goes_through_a_stream() {
    let (mut timed, mut peer) = pipe(1 << 10);
    timed.write(&header(b"hello")).await.unwrap();
    timed.close().await.unwrap();
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, b"\x05hello");
}
