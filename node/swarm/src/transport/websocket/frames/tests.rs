use futures::executor::block_on;
use futures::io::Cursor;
use futures::{AsyncReadExt, AsyncWriteExt, join};
use proptest::prelude::*;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;

/// A peer that has sent `bytes` and takes whatever comes.
#[derive(Debug)]
struct Said {
    bytes: Cursor<Vec<u8>>,
    heard: Vec<u8>,
}

impl AsyncRead for Said {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_read(cx, buf)
    }
}

impl AsyncWrite for Said {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.heard.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn client(bytes: &[u8]) -> Frames<Said> {
    let bytes = Cursor::new(bytes.to_vec());
    Frames::new(Said { bytes, heard: Vec::new() }, Role::Client)
}

/// What a client reads of a server that says this.
fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    block_on(client(bytes).read_to_end(&mut all)).map(|_| all)
}

async fn through(sent: &[u8], from: Role, to: Role, pipe: usize) -> Vec<u8> {
    let (here, there) = tokio::io::duplex(pipe);
    let mut from = Frames::new(here.compat(), from);
    let mut to = Frames::new(there.compat(), to);
    let send = async {
        from.write_all(sent).await.expect("written");
        from.close().await.expect("closed");
    };
    let mut received = Vec::new();
    let receive = async { to.read_to_end(&mut received).await.expect("read") };
    join!(send, receive);
    received
}

#[tokio::test]
async fn bytes_arrive_as_they_were_whatever_the_sizes() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 300_000] {
        let sent: Vec<u8> = (0..len).map(|i: u32| (i * 7 % 251) as u8).collect();
        for pipe in [if len < 200 { 13 } else { 5_003 }, 100_000] {
            assert_eq!(through(&sent, Role::Client, Role::Server, pipe).await, sent, "{len}");
            assert_eq!(through(&sent, Role::Server, Role::Client, pipe).await, sent, "{len}");
        }
    }
}

#[test]
fn a_frame_that_says_to_be_endless_is_read_as_it_comes() {
    let mut frames = client(&[&[0x82, 127, 0x3f, 0, 0, 0, 0, 0, 0, 0][..], b"some bytes"].concat());
    let mut some = [0; 4];
    block_on(frames.read_exact(&mut some)).expect("read");
    assert_eq!(&some, b"some");
    assert!(frames.sending.capacity() == 0);
    let error = block_on(frames.read_to_end(&mut Vec::new())).expect_err("cut");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn pieces_of_a_message_are_one_stream_and_a_ping_between_is_answered() {
    let mut frames =
        client(&[&[0x02, 3][..], b"abc", &[0x89, 2], b"hi", &[0x00, 0], &[0x80, 1], b"d"].concat());
    let mut all = Vec::new();
    block_on(frames.read_to_end(&mut all)).expect("read");
    assert_eq!(all, b"abcd");
    let heard = &frames.socket.heard;
    assert_eq!(heard[..2], [0x8a, 0x82], "a masked pong");
    let mut payload = heard[6..].to_vec();
    Mask { key: heard[2..6].try_into().expect("four"), at: 0 }.apply(&mut payload);
    assert_eq!(payload, b"hi");
}

#[test]
fn the_end_is_answered_once_and_ends_writing() {
    let mut frames = client(&[0x88, 2, 0x03, 0xe8, 0x82, 1, b'x']);
    let mut all = Vec::new();
    block_on(frames.read_to_end(&mut all)).expect("read");
    assert!(all.is_empty(), "nothing counts after the end");
    assert_eq!(frames.socket.heard[0], 0x88);
    assert!(block_on(frames.write_all(b"more")).is_err());
    let heard = frames.socket.heard.len();
    block_on(frames.close()).expect("closed");
    assert_eq!(frames.socket.heard.len(), heard, "said once");
}

#[test]
fn what_is_no_frame_is_refused() {
    for (what, bytes) in [
        ("text", &[0x81, 1, b'a'][..]),
        ("an extension", &[0xc2, 1, b'a']),
        ("masked by a server", &[0x82, 0x81, 1, 2, 3, 4, b'a']),
        ("a ping in pieces", &[0x09, 0, 0x80, 0]),
        ("a long ping", &[0x89, 126, 0, 200]),
        ("an unknown opcode", &[0x83, 0]),
    ] {
        assert_eq!(read(bytes).expect_err(what).kind(), io::ErrorKind::InvalidData, "{what}");
    }
    let unmasked = Cursor::new(vec![0x82, 1, b'a']);
    let mut server = Frames::new(Said { bytes: unmasked, heard: Vec::new() }, Role::Server);
    assert!(block_on(server.read_to_end(&mut Vec::new())).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic_or_are_gathered(
        bytes in prop::collection::vec(any::<u8>(), 0..512),
        server in any::<bool>(),
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let said = Said { bytes: Cursor::new(bytes), heard: Vec::new() };
        let mut frames = Frames::new(said, role);
        let mut all = Vec::new();
        let _ = block_on(frames.read_to_end(&mut all));
        prop_assert!(all.len() <= 512 && frames.sending.len() <= 2 * (CONTROL + HEADER));
    }
}
