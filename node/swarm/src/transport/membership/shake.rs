//! Carries the handshake over the first stream of a connection.
//!
//! The dialer opens the stream; no protocol is negotiated on it, since it is the first and has one
//! use. Messages are framed as in `model/1`. The streams' own machinery is driven meanwhile, as
//! nobody else does that yet; other streams that come early wait there, within its bounds.
//!
//! Memory: a stranger costs a message of 64 bytes. Only who has shown to know the network takes one
//! of a bounded number of places, in which messages of 128 KiB may come.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use futures::future::poll_fn;
use futures::{AsyncReadExt, AsyncWriteExt};
use hive_protocol::NodeKey;
use hive_protocol::codec::DecodeError;
use hive_protocol::limits::{HANDSHAKE_LEN, HELLO_LEN};
use hive_protocol::membership::handshake::{Answer, Dialer, Listener, refusal};
use hive_protocol::membership::{Member, MembershipError};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use tokio::time::timeout;

use super::Connection;
use super::state::{Membership, Shows};
use crate::codec::{read, write};
use crate::identity::Peer;
use crate::limits::{GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT};

/// Which side of the handshake this node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Opens the stream and speaks first.
    Dialer,
    /// Waits to be spoken to.
    Listener,
}

/// Why a connection did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// One of the two is not let in by the other.
    #[error("not a member: {0}")]
    Membership(#[from] MembershipError),
    /// Nothing, or too little, came in time.
    #[error("the membership handshake did not end within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    /// The peer, or the network, ended the connection.
    #[error(
        "the peer ended the membership handshake without a word: it is in another network, or takes this node for a stranger ({reason})"
    )]
    Silence {
        /// How it ended.
        reason: String,
    },
    /// The peer's id is not made of an ed25519 key, so no certificate can be for it.
    #[error("the peer's key is not ed25519, so that it cannot be a member")]
    Key,
}

impl HandshakeError {
    /// The reason in one word, for counters and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Membership(error) => error.kind(),
            Self::Timeout => "timeout",
            Self::Silence { .. } => "silence",
            Self::Key => "key",
        }
    }

    fn ended(error: &io::Error) -> Self {
        match error.kind() {
            // What `codec` says of a frame that is none.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                let rule = error.to_string();
                MembershipError::Malformed(DecodeError::Rule { rule }).into()
            }
            _ => Self::Silence { reason: error.to_string() },
        }
    }
}

/// Lets a connection pass, or ends it.
pub(super) async fn admit(
    membership: &Membership,
    (peer, mut streams): Connection,
    side: Side,
) -> io::Result<Connection> {
    let shaken = timeout(HANDSHAKE_TIMEOUT, shake(membership, peer, &mut streams, side)).await;
    let error = match shaken {
        Ok(Ok(member)) => {
            membership.proven(peer, member);
            return Ok((peer, streams));
        }
        Ok(Err(error)) => error,
        Err(_) => HandshakeError::Timeout,
    };
    membership.refused(Peer(peer), &error);
    Err(io::Error::other(error))
}

async fn shake(
    membership: &Membership,
    peer: PeerId,
    streams: &mut StreamMuxerBox,
    side: Side,
) -> Result<Member, HandshakeError> {
    let key = Peer(peer).node_key().ok_or(HandshakeError::Key)?;
    let mut stream = first_stream(streams, side).await.map_err(|e| HandshakeError::ended(&e))?;
    let talk = async {
        match side {
            Side::Dialer => dial(membership, key, &mut stream).await,
            Side::Listener => listen(membership, Peer(peer), key, &mut stream).await,
        }
    };
    drive(streams, talk).await
}

async fn first_stream(streams: &mut StreamMuxerBox, side: Side) -> io::Result<SubstreamBox> {
    poll_fn(|cx| {
        let stream = match side {
            Side::Dialer => streams.poll_outbound_unpin(cx)?,
            Side::Listener => streams.poll_inbound_unpin(cx)?,
        };
        match stream {
            Poll::Ready(stream) => Poll::Ready(Ok(stream)),
            Poll::Pending => {
                progress(streams, cx)?;
                Poll::Pending
            }
        }
    })
    .await
}

/// Lets the streams' machinery work. It is never done.
fn progress(streams: &mut StreamMuxerBox, cx: &mut Context<'_>) -> io::Result<()> {
    // What it tells, a changed address, is nothing to somebody who is not let in yet.
    while streams.poll_unpin(cx)?.is_ready() {}
    Ok(())
}

/// Runs a talk over one of the streams while it keeps all of them going.
async fn drive<T>(
    streams: &mut StreamMuxerBox,
    talk: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    let mut talk = pin!(talk);
    poll_fn(|cx| {
        if let Poll::Ready(end) = talk.as_mut().poll(cx) {
            return Poll::Ready(end);
        }
        match progress(streams, cx) {
            Ok(()) => Poll::Pending,
            // The last words may have come with the end of the connection.
            Err(error) => match talk.as_mut().poll(cx) {
                Poll::Ready(end) => Poll::Ready(end),
                Poll::Pending => Poll::Ready(Err(HandshakeError::ended(&error))),
            },
        }
    })
    .await
}

async fn receive(stream: &mut SubstreamBox, max: usize) -> Result<Vec<u8>, HandshakeError> {
    read(stream, max).await.map_err(|error| HandshakeError::ended(&error))
}

async fn send(stream: &mut SubstreamBox, message: &[u8]) -> Result<(), HandshakeError> {
    write(stream, message, HANDSHAKE_LEN).await.map_err(|error| HandshakeError::ended(&error))
}

async fn dial(
    membership: &Membership,
    peer: NodeKey,
    stream: &mut SubstreamBox,
) -> Result<Member, HandshakeError> {
    let dialer = Dialer::new(membership.key(), membership.node(), peer);
    send(stream, &dialer.hello()).await?;
    let _place = membership.place_to_dial().await;
    let welcome = receive(stream, HANDSHAKE_LEN).await?;
    let welcomed = membership.learn(|known, now| dialer.on_welcome(&welcome, known, now))?;
    // While an invite is being redeemed over one connection, the others wait here and then show
    // what came of it.
    let shows = membership.shows().await;
    let (proving, message) = match &shows {
        Shows::Certificate(bytes) => {
            membership.learn(|known, _| welcomed.prove(bytes.clone(), known))
        }
        Shows::Invite(secret, _) => welcomed.redeem(secret),
        Shows::Nothing => return Err(MembershipError::NotAMember.into()),
    };
    send(stream, &message).await?;
    let verdict = receive(stream, HANDSHAKE_LEN).await?;
    let admitted = membership.learn(|known, now| proving.on_verdict(&verdict, known, now))?;
    if let Some(certificate) = admitted.granted {
        membership.granted(certificate);
    }
    // Says goodbye; whether the listener still hears it is all the same.
    let _ = stream.close().await;
    Ok(admitted.peer)
}

async fn listen(
    membership: &Membership,
    peer: Peer,
    key: NodeKey,
    stream: &mut SubstreamBox,
) -> Result<Member, HandshakeError> {
    let listener = Listener::new(membership.key(), membership.node(), key);
    let greeted = listener.on_hello(&receive(stream, HELLO_LEN).await?)?;
    let _place = membership.place_to_listen().await;
    // A node that is only invited yet has nothing to show, and takes nobody's word.
    let certificate = membership.certificate().ok_or(MembershipError::NotAMember)?;
    let (waiting, welcome) = membership.learn(|known, _| greeted.welcome(certificate, known));
    send(stream, &welcome).await?;
    let proof = receive(stream, HANDSHAKE_LEN).await?;
    let judged = match membership.learn(|known, now| waiting.on_proof(&proof, known, now)) {
        Ok(Answer::Accepted { peer, message }) => Ok((peer, message)),
        Ok(Answer::Redeem(redeeming)) => {
            match membership.redeem(redeeming.asked(), redeeming.bytes(), peer).await {
                Ok(bytes) => membership
                    .learn(|known, now| redeeming.granted(bytes, known, now))
                    .map_err(|error| {
                        tracing::warn!(%error, "an admin, or who asked it, gave a wrong certificate");
                        MembershipError::NoAdmin
                    }),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    match judged {
        Ok((member, message)) => {
            send(stream, &message).await?;
            let _ = stream.close().await;
            Ok(member)
        }
        Err(error) => {
            if let Some(message) = refusal(&error) {
                let _ = timeout(GOODBYE_TIMEOUT, refuse(stream, &message)).await;
            }
            Err(error.into())
        }
    }
}

/// Sends a refusal and waits until it was read: ending a QUIC connection takes back what is still
/// on its way.
async fn refuse(stream: &mut SubstreamBox, message: &[u8]) -> Result<(), HandshakeError> {
    send(stream, message).await?;
    let _ = stream.close().await;
    // Nothing is to come but the end.
    let _ = stream.read(&mut [0]).await;
    Ok(())
}
