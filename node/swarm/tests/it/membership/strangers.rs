//! Peers that keep to no rule: scripted over bare transports, without a swarm of their own.

use std::time::Duration;

use futures::future::poll_fn;
use futures::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use hive_protocol::NodeKey;
use hive_protocol::membership::handshake::{Dialer, Message};
use hive_protocol::membership::{NetworkKey, RevocationList, Role};
use hive_swarm::transport::{self, Connections, Options};
use hive_swarm::{Credential, Membership};
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse, Transport};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};

use super::{BOTH, Net, Part, Private, WITHIN, certificate, now};
use crate::support::soon;

/// For how long nothing shall come where nothing may.
const QUIET: Duration = Duration::from_millis(300);

/// Somebody with a transport and nothing else.
struct Bare {
    keypair: Keypair,
    transport: Connections,
}

/// A connection of it, and the first stream on it.
struct Line {
    streams: StreamMuxerBox,
    stream: SubstreamBox,
}

impl Bare {
    fn new() -> Self {
        let keypair = Keypair::generate_ed25519();
        let transport = transport::build(&keypair, &Options::default()).expect("a transport");
        Self { keypair, transport }
    }

    fn peer(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }

    fn key(&self) -> NodeKey {
        let key = self.keypair.public().try_into_ed25519().expect("an ed25519 key");
        NodeKey(key.to_bytes())
    }

    async fn connect(&mut self, other: &Private) -> Line {
        let address: Multiaddr = other.address().await.parse().expect("an address");
        let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let dial = self.transport.dial(address, opts).expect("a dial");
        let (_, mut streams) = soon("the connection", dial).await.expect("a connection");
        let stream = poll_fn(|cx| streams.poll_outbound_unpin(cx));
        let stream = soon("the stream", stream).await.expect("a stream");
        Line { streams, stream }
    }

    fn hello(&self, net: NetworkKey, other: &Private) -> Vec<u8> {
        let peer = other.node.peer().node_key().expect("an ed25519 key");
        framed(&Dialer::new(net, self.key(), peer).hello())
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut len = message.len();
    while len >= 0x80 {
        frame.push(len as u8 | 0x80);
        len >>= 7;
    }
    frame.push(len as u8);
    frame.extend_from_slice(message);
    frame
}

impl Line {
    /// Writes what it can, until the other side ends it; says how many bytes came back until then.
    async fn say(&mut self, bytes: &[u8]) -> usize {
        let Self { streams, stream } = self;
        let talk = async {
            let written = stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok();
            let mut heard = Vec::new();
            let _ = stream.take(1 << 20).read_to_end(&mut heard).await;
            (written, heard.len())
        };
        let mut talk = std::pin::pin!(talk);
        let both = poll_fn(|cx| {
            if let std::task::Poll::Ready((_, heard)) = talk.as_mut().poll(cx) {
                return std::task::Poll::Ready(heard);
            }
            match streams.poll_unpin(cx) {
                std::task::Poll::Ready(Err(_)) => talk.as_mut().poll(cx).map(|(_, heard)| heard),
                _ => std::task::Poll::Pending,
            }
        });
        tokio::time::timeout(WITHIN, both).await.expect("the member ends it in time")
    }

    /// Writes, and reads one frame.
    async fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Self { streams, stream } = self;
        let talk = async {
            stream.write_all(bytes).await.expect("written");
            stream.flush().await.expect("written");
            let len = length(stream).await;
            let mut body = vec![0; len];
            stream.read_exact(&mut body).await.expect("a frame");
            body
        };
        let mut talk = std::pin::pin!(talk);
        let both = poll_fn(|cx| {
            let said = talk.as_mut().poll(cx);
            let _ = streams.poll_unpin(cx);
            said
        });
        soon("a frame", both).await
    }
}

async fn length(stream: &mut (impl AsyncRead + Unpin)) -> usize {
    let (mut len, mut shift) = (0, 0);
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.expect("a length");
        len |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            return len;
        }
    }
}

async fn refused(member: &mut Private, by: &Bare) -> &'static str {
    member.refuses(by.peer().to_string().parse().expect("a peer")).await
}

/// Whatever a stranger sends, not one byte comes back.
#[tokio::test]
async fn a_stranger_is_told_nothing_whatever_it_sends() {
    for listen in BOTH {
        let net = Net::new();
        let mut member = Part::member(&net).start(listen);
        let wrong = NetworkKey::of(&Net::new().secret);
        for (what, kind) in [
            ("another network's tag", "stranger"),
            ("multistream", "malformed"),
            ("a megabyte", "malformed"),
            ("a promise of 2 MiB", "malformed"),
            ("another's tag", "stranger"),
        ] {
            let mut bare = Bare::new();
            let bytes = match what {
                "another network's tag" => bare.hello(wrong, &member),
                "multistream" => framed(b"/multistream/1.0.0\n"),
                "a megabyte" => framed(&vec![7; 1 << 20]),
                "a promise of 2 MiB" => vec![0x80, 0x80, 0x80, 0x01],
                // What a member may have said to this very node, on its own connection.
                _ => Bare::new().hello(net.key(), &member),
            };
            let mut line = bare.connect(&member).await;
            assert_eq!(line.say(&bytes).await, 0, "{what}");
            assert_eq!(refused(&mut member, &bare).await, kind, "{what}");
        }
        assert!(member.has_seen_nobody().await);
        assert_eq!(member.membership.handshakes(), 0, "no stranger had a place");
    }
}

/// A peer that opens a stream, or none, and says nothing, is gone within the deadline; meanwhile
/// members come in.
#[tokio::test]
async fn silence_is_ended_in_time() {
    for listen in BOTH {
        let net = Net::new();
        let member = Part::member(&net).start(listen);
        let mut silent = [Bare::new(), Bare::new()];
        let mut first = silent[0].connect(&member).await;
        let mut second = silent[1].connect(&member).await;
        let part = [0x36];
        let friend = Part::member(&net).start(listen);
        let (nothing, a_byte, dialed) =
            tokio::join!(first.say(&[]), second.say(&part), friend.dial(&member));
        assert_eq!((nothing, a_byte), (0, 0));
        assert_eq!(dialed, Ok(member.node.peer()));
        assert_eq!(member.membership.refused_total(), [("timeout", 2)]);
        assert_eq!(member.node.client.connected().await, [friend.node.peer()]);
    }
}

/// A certificate that the network never gave to this node: stolen from a handshake, or forged.
#[tokio::test]
async fn a_stolen_or_forged_certificate_is_met_with_silence() {
    for listen in BOTH {
        let net = Net::new();
        let mut member = Part::member(&net).start(listen);
        let other = Part::member(&net);
        let stolen = other.membership.kept().borrow().certificate.clone().expect("a member");
        for (kind, stolen) in [("other_node", Some(stolen)), ("forged", None)] {
            // It was a member once, and knows the network's key.
            let mut bare = Bare::new();
            let forged = || {
                let other = Net::new();
                certificate(bare.key(), Role::Admin).sign(&other.secret)
            };
            let shown = stolen.unwrap_or_else(forged);
            let hello = bare.hello(net.key(), &member);
            let mut line = bare.connect(&member).await;
            let welcome = line.ask(&hello).await;
            let peer = member.node.peer().node_key().expect("an ed25519 key");
            let mut known = RevocationList::new(net.key());
            let dialer = Dialer::new(net.key(), bare.key(), peer);
            let welcomed = dialer.on_welcome(&welcome, &mut known, now()).expect("welcomed");
            let (_, proof) = welcomed.prove(shown, &known);
            assert_eq!(line.say(&framed(&proof)).await, 0, "{kind}");
            assert_eq!(refused(&mut member, &bare).await, kind);
        }
        assert!(member.has_seen_nobody().await);
    }
}

/// A peer that knows the network and then sends rubbish, too much or the wrong thing.
#[tokio::test]
async fn a_former_member_that_sends_rubbish_is_dropped() {
    let net = Net::new();
    let mut member = Part::member(&net).start(BOTH[0]);
    let accepted = Message::Accepted { revocations: None }.encode();
    let hello = |bare: &Bare, member: &Private| bare.hello(net.key(), member);
    for bytes in [framed(b"rubbish"), framed(&vec![0; 1 << 20]), framed(&accepted)] {
        let mut bare = Bare::new();
        let hello = hello(&bare, &member);
        let mut line = bare.connect(&member).await;
        let welcome = line.ask(&hello).await;
        assert!(welcome.len() < 1_000);
        assert_eq!(line.say(&bytes).await, 0);
        assert_eq!(refused(&mut member, &bare).await, "malformed");
    }
    assert!(member.has_seen_nobody().await);
}

/// Those that know the network's key and then hang take places, of which there are so many; the
/// rest waits, and nobody is served beyond them.
#[tokio::test]
async fn a_hundred_handshakes_at_once_are_bounded() {
    let net = Net::new();
    let mut member = Part::member(&net).start(BOTH[0]);
    let mut hung = Vec::new();
    // As many as libp2p lets in that are not done yet.
    for _ in 0..hive_swarm::limits::HANDSHAKES {
        let mut bare = Bare::new();
        let hello = bare.hello(net.key(), &member);
        let mut line = bare.connect(&member).await;
        assert!(!line.ask(&hello).await.is_empty());
        hung.push((bare, line));
    }
    assert_eq!(member.membership.handshakes(), hive_swarm::limits::HANDSHAKES);
    // The next one knows the network as well, and gets no answer while they hang.
    let mut late = Bare::new();
    let hello = late.hello(net.key(), &member);
    let mut line = late.connect(&member).await;
    assert!(tokio::time::timeout(QUIET, line.ask(&hello)).await.is_err(), "no place is free");
    assert_eq!(member.membership.handshakes(), hive_swarm::limits::HANDSHAKES);
    // They give up, and it gets its answer; so would a member.
    drop(hung);
    assert!(!line.ask(&[]).await.is_empty());
    drop(line);
    assert_eq!(refused(&mut member, &late).await, "silence");

    // A hundred members at once: all come in, some after others.
    let crowd: Vec<Private> = (0..100).map(|_| Part::member(&net).start(BOTH[0])).collect();
    let dials = crowd.iter().map(|one| async {
        // libp2p ends what is over its own bound of connections that are not done yet.
        for _ in 0..50 {
            assert!(member.membership.handshakes() <= hive_swarm::limits::HANDSHAKES);
            if one.dial(&member).await.is_ok() {
                return true;
            }
        }
        false
    });
    let dialed = soon("the crowd", futures::future::join_all(dials)).await;
    assert!(dialed.iter().all(|dialed| *dialed), "{dialed:?}");
    member.node.stands(|state| state.connected == 100).await;
    assert_eq!(member.membership.handshakes(), 0);
}

/// When both sides of a hole punch dial over QUIC, the one that is told to listen does not: libp2p
/// dials for it like for anybody. Somebody has to speak first all the same.
#[tokio::test]
async fn a_hole_punch_over_quic_passes_whichever_side_libp2p_calls_the_listener() {
    let net = Net::new();
    for role in [Endpoint::Dialer, Endpoint::Listener] {
        let member = Part::member(&net).start(BOTH[1]);
        let bare = Bare::new();
        let certificate = certificate(bare.key(), Role::Relay).sign(&net.secret);
        let credential = Credential::Certificate(certificate);
        let membership = Membership::new(net.key(), bare.key(), credential, None, None);
        let membership = membership.expect("a membership");
        let mut gated = transport::membership::gate(bare.transport, Some(membership));
        let address: Multiaddr = member.address().await.parse().expect("an address");
        let opts = DialOpts { role, port_use: PortUse::Reuse };
        let dial = gated.dial(address, opts).expect("a dial");
        let (peer, _streams) = soon("the connection", dial).await.expect("a member");
        assert_eq!(peer.to_string(), member.node.peer().to_string());
        assert_eq!(member.membership.refused_total(), []);
    }
}
