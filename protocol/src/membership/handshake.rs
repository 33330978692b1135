//! How two peers prove to each other that they belong to one network, before anything else is said.
//!
//! ```text
//! dialer                                         listener
//!   1  Hello{tag}                        ─▶        wrong tag: ends in silence
//!         ◀─  2  Welcome{tag, certificate, revocations?}
//!   wrong tag or certificate: ends
//!   3  Proof{certificate, revocations?}  ─▶        asks an admin, if it is no admin itself
//!      or Redeem{redemption}
//!         ◀─  4  Accepted{} or Granted{certificate}, or Refused{reason}, or silence
//! ```
//!
//! A tag is BLAKE3, keyed by what the network's public key derives, over who dials and who listens.
//! These are the keys that the connection has proven, so nobody can use another's tag; and a
//! stranger, who does not know the network's key, gets no answer from which to learn that there is
//! a network. Revocations are merged before the other's certificate is judged.
//!
//! Only says what to send and what came of what was received; the bytes are carried by the caller,
//! who ends the connection on any error, after sending what the error lets it. Each step consumes
//! the one before, so none can be left out or come twice.

mod dialer;
mod listener;
mod message;

pub use self::dialer::{Admitted, Dialer, Proving, Welcomed};
pub use self::listener::{Answer, Greeted, Listener, Redeeming, Waiting, refusal};
pub use self::message::Message;

use super::{NetworkKey, RevocationList};
use crate::codec::DecodeError;
use crate::id::NodeKey;

/// What the key of tags is derived under.
const TAG_CONTEXT: &str = "hive 1 membership tag";

/// Who a handshake is between.
#[derive(Debug, Clone, Copy)]
struct Parties {
    network: NetworkKey,
    dialer: NodeKey,
    listener: NodeKey,
}

/// Whose tag it is.
#[derive(Debug, Clone, Copy)]
enum By {
    Dialer = 1,
    Listener = 2,
}

impl Parties {
    fn tag(&self, by: By) -> blake3::Hash {
        let key = blake3::derive_key(TAG_CONTEXT, &self.network.to_bytes());
        let parts = [&[by as u8][..], &self.dialer.0, &self.listener.0].concat();
        blake3::keyed_hash(&key, &parts)
    }
}

/// The list, if the other side does not know one as new.
fn newer_than(known: &RevocationList, seq: u64) -> Option<serde_bytes::ByteBuf> {
    let bytes = known.bytes().filter(|_| known.seq() > seq)?;
    Some(serde_bytes::ByteBuf::from(bytes))
}

fn out_of_turn() -> DecodeError {
    DecodeError::rule("a message of the handshake out of turn")
}
