use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::tls as stock;
use rustls::{CipherSuite, HandshakeKind, SignatureScheme};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;

type Pipe = Compat<tokio::io::DuplexStream>;

fn pipe() -> (Pipe, Pipe) {
    let (left, right) = tokio::io::duplex(64 << 10);
    (left.compat(), right.compat())
}

fn identity() -> (Keypair, PeerId) {
    let identity = Keypair::generate_ed25519();
    let peer = identity.public().to_peer_id();
    (identity, peer)
}

fn tls() -> Tls {
    Tls::new(&identity().0).unwrap()
}

/// Shakes hands over a pipe, `dialer` dialing.
async fn shake<D, L>(
    dialer: D,
    listener: L,
) -> (Result<D::Output, D::Error>, Result<L::Output, L::Error>)
where
    D: OutboundConnectionUpgrade<Pipe, Info = &'static str>,
    L: InboundConnectionUpgrade<Pipe, Info = &'static str>,
{
    let (left, right) = pipe();
    let dial = dialer.upgrade_outbound(left, PROTOCOL);
    futures::join!(dial, listener.upgrade_inbound(right, PROTOCOL))
}

/// Sends bytes from one side to the other and then the end.
async fn carry<A, B>(mut from: A, mut to: B) -> (A, B)
where
    A: AsyncWrite + Unpin,
    B: AsyncRead + Unpin,
{
    let sent: Vec<u8> = (0..3_000_001).map(|i| (i % 251) as u8).collect();
    let mut received = Vec::new();
    let send = async {
        from.write_all(&sent).await.unwrap();
        from.close().await.unwrap();
    };
    let ((), result) = futures::join!(send, to.read_to_end(&mut received));
    result.unwrap();
    assert!(received == sent, "{} bytes of {} arrived, or others", received.len(), sent.len());
    (from, to)
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let ((dialer, dialer_id), (listener, listener_id)) = (identity(), identity());
    let (dialed, accepted) = shake(Tls::new(&dialer).unwrap(), Tls::new(&listener).unwrap()).await;
    let ((seen_by_dialer, out), (seen_by_listener, inn)) = (dialed.unwrap(), accepted.unwrap());
    assert_eq!((seen_by_dialer, seen_by_listener), (listener_id, dialer_id));
    let (out, inn) = carry(out, inn).await;
    carry(inn, out).await;
}

#[tokio::test]
async fn a_cpu_with_aes_instructions_dials_with_aes() {
    let fastest = if has_aes_instructions() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
    } else {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    };
    let (dialed, _) = shake(tls(), tls()).await;
    assert_eq!(dialed.unwrap().1.cipher_suite(), Some(fastest));
    let (dialed, _) = shake(tls(), stock::Config::new(&identity().0).unwrap()).await;
    assert_eq!(dialed.unwrap().1.cipher_suite(), Some(fastest));
}

#[tokio::test]
async fn stock_libp2p_dials_us() {
    let ((dialer, dialer_id), (listener, listener_id)) = (identity(), identity());
    let stock = stock::Config::new(&dialer).unwrap();
    let (dialed, accepted) = shake(stock, Tls::new(&listener).unwrap()).await;
    let ((seen_by_dialer, out), (seen_by_listener, inn)) = (dialed.unwrap(), accepted.unwrap());
    assert_eq!((seen_by_dialer, seen_by_listener), (listener_id, dialer_id));
    let (out, inn) = carry(out, inn).await;
    carry(inn, out).await;
}

#[tokio::test]
async fn we_dial_stock_libp2p() {
    let ((dialer, dialer_id), (listener, listener_id)) = (identity(), identity());
    let stock = stock::Config::new(&listener).unwrap();
    let (dialed, accepted) = shake(Tls::new(&dialer).unwrap(), stock).await;
    let ((seen_by_dialer, out), (seen_by_listener, inn)) = (dialed.unwrap(), accepted.unwrap());
    assert_eq!((seen_by_dialer, seen_by_listener), (listener_id, dialer_id));
    let (inn, out) = carry(inn, out).await;
    carry(out, inn).await;
}

#[tokio::test]
async fn a_dialer_shows_itself_to_nobody_but_whom_it_expects() {
    let (listener, listener_id) = identity();
    let listener = Tls::new(&listener).unwrap();
    let (dialed, _) = shake(tls().expecting(listener_id), listener.clone()).await;
    assert_eq!(dialed.unwrap().0, listener_id);
    let (dialed, accepted) = shake(tls().expecting(identity().1), listener).await;
    assert!(matches!(dialed, Err(TlsError::Handshake(_))), "{dialed:?}");
    assert!(matches!(accepted, Err(TlsError::Handshake(_))), "{accepted:?}");
}

#[tokio::test]
async fn more_than_one_certificate_is_refused_from_either_side() {
    let (certificate, key) = certificate::generate(&identity().0).unwrap();
    let (other, _) = certificate::generate(&identity().0).unwrap();
    let two = Tls::with_certificates(vec![certificate, other], &key).unwrap();
    assert!(shake(tls(), two.clone()).await.0.is_err());
    assert!(shake(two, tls()).await.1.is_err());
}

#[tokio::test]
async fn an_identity_that_did_not_sign_the_certificate_is_refused_from_either_side() {
    let ((thief, thief_id), (victim, _)) = (identity(), identity());
    let (certificate, key) = certificate::generate(&thief).unwrap();

    // The forger's tools are right: with the thief's own identity all is well.
    let own = claim(&certificate, &key, &thief, &thief);
    let own = Tls::with_certificates(vec![own], &key).unwrap();
    assert_eq!(shake(tls(), own).await.0.unwrap().0, thief_id);

    let forged = claim(&certificate, &key, &thief, &victim);
    let forged = Tls::with_certificates(vec![forged], &key).unwrap();
    assert!(shake(tls(), forged.clone()).await.0.is_err());
    assert!(shake(forged, tls()).await.1.is_err());
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused_from_either_side() {
    let (certificate, _) = certificate::generate(&identity().0).unwrap();
    let (_, key) = certificate::generate(&identity().0).unwrap();
    let borrowed = Tls::with_certificates(vec![certificate], &key).unwrap();
    assert!(shake(tls(), borrowed.clone()).await.0.is_err());
    assert!(shake(borrowed, tls()).await.1.is_err());
}

/// Puts `claimed` for `actual` in the libp2p extension and signs the certificate again, so that the
/// identity's signature in the extension is all that is wrong.
fn claim(
    certificate: &CertificateDer<'_>,
    key: &PrivateKeyDer<'_>,
    actual: &Keypair,
    claimed: &Keypair,
) -> CertificateDer<'static> {
    let raw = |identity: &Keypair| identity.public().try_into_ed25519().unwrap().to_bytes();
    let mut bytes = certificate.to_vec();
    let at = bytes.windows(32).position(|window| window == raw(actual)).unwrap();
    bytes[at..at + 32].copy_from_slice(&raw(claimed));

    let body = element(&bytes, 0).start;
    let signed = body..element(&bytes, body).end;
    let algorithm_end = element(&bytes, signed.end).end;
    // A bit string, which begins with its number of unused bits.
    let signature = element(&bytes, algorithm_end);
    let signature = signature.start + 1..signature.end;

    let signer = aws_lc_rs::sign::any_ecdsa_type(key).unwrap();
    let signer = signer.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
    // Signatures vary by a few bytes; the lengths around this one stay.
    let mut signatures = std::iter::repeat_with(|| signer.sign(&bytes[signed.clone()]).unwrap());
    let new = signatures.find(|new| new.len() == signature.len()).unwrap();
    bytes[signature].copy_from_slice(&new);
    CertificateDer::from(bytes)
}

/// Where the content of the DER element at `at` is.
fn element(der: &[u8], at: usize) -> std::ops::Range<usize> {
    let (n_len, len) = match der[at + 1] {
        short if short < 0x80 => (0, usize::from(short)),
        long => {
            let n_len = usize::from(long & 0x7f);
            let len = &der[at + 2..at + 2 + n_len];
            (n_len, len.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)))
        }
    };
    let start = at + 2 + n_len;
    start..start + len
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let (mut dialer, listener) = pipe();
    // A ClientHello of TLS 1.2: a random, no session, one suite, no compression, no extension.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let accept = tls().upgrade_inbound(listener, PROTOCOL);
    let (sent, accepted) = futures::join!(dialer.write_all(&hello), accept);
    sent.unwrap();
    let Err(TlsError::Handshake(error)) = accepted else { panic!("accepted") };
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    assert!(matches!(error, Some(rustls::Error::PeerIncompatible(_))), "{error:?}");
    let mut alert = [0; 7];
    dialer.read_exact(&mut alert).await.unwrap();
    assert_eq!(alert[0], 0x15, "an alert, not a ServerHello");
}

#[tokio::test]
async fn no_session_is_resumed() {
    let (dialer, listener) = (tls(), tls());
    for _ in 0..2 {
        let (dialed, accepted) = shake(dialer.clone(), listener.clone()).await;
        let (out, inn) = carry(dialed.unwrap().1, accepted.unwrap().1).await;
        let (_, out) = carry(inn, out).await;
        assert_eq!(out.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn keys_are_never_logged() {
    let tls = tls();
    assert!(!tls.client.key_log.will_log("CLIENT_TRAFFIC_SECRET_0"));
    assert!(!tls.server.key_log.will_log("CLIENT_TRAFFIC_SECRET_0"));
}

#[tokio::test]
async fn a_connection_that_is_cut_does_not_look_closed() {
    let (dialed, accepted) = shake(tls(), tls()).await;
    let (mut out, mut inn) = (dialed.unwrap().1, accepted.unwrap().1);
    out.write_all(b"half a").await.unwrap();
    out.flush().await.unwrap();
    drop(out);
    let mut received = Vec::new();
    let error = inn.read_to_end(&mut received).await.unwrap_err();
    assert_eq!((error.kind(), &received[..]), (io::ErrorKind::UnexpectedEof, &b"half a"[..]));
}

#[tokio::test]
async fn a_changed_record_ends_the_connection() {
    let (left, mut middle_left) = pipe();
    let (mut middle_right, right) = pipe();
    let (dial, accept) =
        (tls().upgrade_outbound(left, PROTOCOL), tls().upgrade_inbound(right, PROTOCOL));
    let (dialed, accepted) = {
        let in_the_middle = async {
            let (mut from_left, mut to_left) = (&mut middle_left).split();
            let (mut from_right, mut to_right) = (&mut middle_right).split();
            let there = futures::io::copy(&mut from_left, &mut to_right);
            let back = futures::io::copy(&mut from_right, &mut to_left);
            let _ = futures::join!(there, back);
        };
        let shaken = async { futures::join!(dial, accept) };
        tokio::select! {
            () = in_the_middle => panic!("the middle ended first"),
            shaken = shaken => shaken,
        }
    };
    let (mut out, mut inn) = (dialed.unwrap().1, accepted.unwrap().1);
    out.write_all(&[1; 1_000]).await.unwrap();
    out.flush().await.unwrap();
    let mut record = [0; 1_022];
    middle_left.read_exact(&mut record).await.unwrap();
    record[500] ^= 1;
    middle_right.write_all(&record).await.unwrap();
    let error = inn.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
