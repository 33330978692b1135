use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::yamux as stock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;

type Pipe = Compat<tokio::io::DuplexStream>;

/// Puts two upgrades on a pipe.
async fn connect<D, L>(dialer: D, listener: L) -> (StreamMuxerBox, StreamMuxerBox)
where
    D: OutboundConnectionUpgrade<Pipe, Info = &'static str>,
    L: InboundConnectionUpgrade<Pipe, Info = &'static str>,
    D::Output: StreamMuxer<Substream: Send, Error: Send + Sync> + Send + 'static,
    L::Output: StreamMuxer<Substream: Send, Error: Send + Sync> + Send + 'static,
{
    let (left, right) = tokio::io::duplex(256 << 10);
    let dialed = dialer.upgrade_outbound(left.compat(), PROTOCOL).await;
    let accepted = listener.upgrade_inbound(right.compat(), PROTOCOL).await;
    let (Ok(dialed), Ok(accepted)) = (dialed, accepted) else { panic!("nothing to fail") };
    (StreamMuxerBox::new(dialed), StreamMuxerBox::new(accepted))
}

/// Drives two connections for as long as `work` takes.
async fn drive<T>(
    left: &mut StreamMuxerBox,
    right: &mut StreamMuxerBox,
    work: impl Future<Output = T>,
) -> T {
    futures::pin_mut!(work);
    std::future::poll_fn(|cx| {
        let _ = left.poll_unpin(cx);
        let _ = right.poll_unpin(cx);
        work.poll_unpin(cx)
    })
    .await
}

/// Opens a stream from left to right; its first byte travels with it.
async fn open(
    left: &mut StreamMuxerBox,
    right: &mut StreamMuxerBox,
) -> (SubstreamBox, SubstreamBox) {
    let mut out = std::future::poll_fn(|cx| left.poll_outbound_unpin(cx)).await.unwrap();
    drive(left, right, out.write_all(b"x")).await.unwrap();
    let mut inn = std::future::poll_fn(|cx| {
        let _ = left.poll_unpin(cx);
        right.poll_inbound_unpin(cx)
    })
    .await
    .unwrap();
    drive(left, right, inn.read_exact(&mut [0])).await.unwrap();
    (out, inn)
}

/// An echo of several windows comes back whole.
async fn echoes((mut left, mut right): (StreamMuxerBox, StreamMuxerBox)) {
    let (out, inn) = open(&mut left, &mut right).await;
    let sent: Vec<u8> = (0..3_000_001).map(|i| (i % 251) as u8).collect();
    let mut received = Vec::new();
    let (mut out_read, mut out_write) = out.split();
    let (mut inn_read, mut inn_write) = inn.split();
    let send = async {
        out_write.write_all(&sent).await.unwrap();
        out_write.close().await.unwrap();
    };
    let echo = async {
        futures::io::copy(&mut inn_read, &mut inn_write).await.unwrap();
        inn_write.close().await.unwrap();
    };
    let receive = async {
        out_read.read_to_end(&mut received).await.unwrap();
    };
    drive(&mut left, &mut right, async { futures::join!(send, echo, receive) }).await;
    assert!(received == sent, "{} bytes of {} came back, or others", received.len(), sent.len());
}

#[tokio::test]
async fn ours_carries_streams_to_ours() {
    echoes(connect(Yamux::default(), Yamux::default()).await).await;
}

#[tokio::test]
async fn stock_libp2p_dials_us() {
    echoes(connect(stock::Config::default(), Yamux::default()).await).await;
}

#[tokio::test]
async fn we_dial_stock_libp2p() {
    echoes(connect(Yamux::default(), stock::Config::default()).await).await;
}

#[tokio::test]
async fn a_dropped_stream_is_reset() {
    let (mut left, mut right) = connect(Yamux::default(), Yamux::default()).await;
    let (out, mut inn) = open(&mut left, &mut right).await;
    drop(out);
    let endless = async {
        loop {
            if let Err(error) = inn.write_all(&[0; 1_000]).await {
                return error.kind();
            }
        }
    };
    assert_eq!(drive(&mut left, &mut right, endless).await, io::ErrorKind::WriteZero);
}

/// A connection of ours whose peer opened `n` streams, and what it wrote when all were seen. The
/// streams are taken if `take`.
async fn opened(n: usize, take: bool) -> (usize, Vec<u8>) {
    let (left, mut right) = tokio::io::duplex(64 << 10);
    let accepted = Yamux::default().upgrade_inbound(left.compat(), PROTOCOL).await;
    let mut ours = StreamMuxerBox::new(accepted.unwrap());
    // Window updates by nothing that open streams, in the numbers of a dialer.
    for id in (1..).step_by(2).take(n) {
        let mut frame = [0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        frame[4..8].copy_from_slice(&u32::to_be_bytes(id));
        right.write_all(&frame).await.unwrap();
    }
    right.shutdown().await.unwrap();
    let mut streams = Vec::new();
    std::future::poll_fn(|cx| {
        while take && let Poll::Ready(Ok(stream)) = ours.poll_inbound_unpin(cx) {
            streams.push(stream);
        }
        ours.poll_unpin(cx).map(drop)
    })
    .await;
    while let Some(Ok(stream)) =
        std::future::poll_fn(|cx| ours.poll_inbound_unpin(cx)).now_or_never()
    {
        streams.push(stream);
    }
    drop(ours);
    let mut written = Vec::new();
    right.read_to_end(&mut written).await.unwrap();
    (streams.len(), written)
}

/// The type and flags of each frame, none of which has a body.
fn frames(written: &[u8]) -> Vec<(u8, u8)> {
    written.chunks(12).map(|frame| (frame[1], frame[3])).collect()
}

#[tokio::test]
async fn streams_that_nobody_takes_are_reset_beyond_the_bound() {
    let (n_kept, written) = opened(MAX_WAITING, false).await;
    assert_eq!((n_kept, frames(&written).contains(&(0, 8))), (MAX_WAITING, false));
    let (n_kept, written) = opened(MAX_WAITING + 1, false).await;
    assert_eq!((n_kept, frames(&written).contains(&(0, 8))), (MAX_WAITING, true));
}

#[tokio::test]
async fn a_peer_that_opens_too_many_streams_is_told_to_go() {
    const GO_AWAY: u8 = 3;
    let told = |written: &[u8]| frames(written).iter().any(|&(kind, _)| kind == GO_AWAY);
    let (n_taken, written) = opened(MAX_STREAMS, true).await;
    assert_eq!((n_taken, told(&written)), (MAX_STREAMS, false));
    let (n_taken, written) = opened(MAX_STREAMS + 1, true).await;
    assert_eq!((n_taken, told(&written)), (MAX_STREAMS, true));
}

/// A line that broke without a word takes nothing more, neither data nor a goodbye.
#[tokio::test]
async fn a_connection_closes_though_the_line_takes_nothing() {
    let (left, _right) = tokio::io::duplex(1 << 10);
    let mut left = Yamux::default().upgrade_outbound(left.compat(), PROTOCOL).await.unwrap();
    let mut out = std::future::poll_fn(|cx| left.poll_outbound_unpin(cx)).await.unwrap();
    let piece = vec![0; 64 << 10];
    let stuck = std::future::poll_fn(|cx| {
        let _ = left.poll_unpin(cx);
        Pin::new(&mut out).poll_write(cx, &piece).map(drop)
    });
    stuck.await;
    assert!(left.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
    let begun = tokio::time::Instant::now();
    std::future::poll_fn(|cx| left.poll_close_unpin(cx)).await.unwrap();
    assert!(begun.elapsed() >= CLOSE_TIMEOUT);
}
