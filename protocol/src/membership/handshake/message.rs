//! The messages of the handshake: `{v:1, msg: …}`, a variant a map of one key.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::codec::{self, DecodeError, Rules};
use crate::limits::{CERTIFICATE_LEN, REDEMPTION_LEN, REVOCATIONS_LEN};
use crate::membership::Refusal;

/// A message. Which one may come stands in [`super`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// 1, from the dialer: it knows the network.
    Hello {
        /// What only somebody who knows the network's key can compute, for these two peers.
        #[serde(with = "crate::id::serde_bytes_32")]
        tag: [u8; 32],
    },
    /// 2, from the listener: it knows the network, too, and is a member.
    Welcome {
        /// As in [`Message::Hello`], with the listener's role.
        #[serde(with = "crate::id::serde_bytes_32")]
        tag: [u8; 32],
        /// The listener's certificate.
        certificate: ByteBuf,
        /// The newest list that the listener knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revocations: Option<ByteBuf>,
    },
    /// 3, from a dialer that is a member.
    Proof {
        /// The dialer's certificate.
        certificate: ByteBuf,
        /// The newest list that the dialer knows, if it is newer than the listener's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revocations: Option<ByteBuf>,
    },
    /// 3, from a dialer that has an invite: a [`crate::membership::Redemption`].
    Redeem(ByteBuf),
    /// 4, from the listener, to a member.
    Accepted {
        /// A list that the listener has learnt since message 2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revocations: Option<ByteBuf>,
    },
    /// 4, from the listener, to somebody whose invite was redeemed.
    Granted {
        /// The dialer's certificate from now on.
        certificate: ByteBuf,
        /// A list that the listener has learnt since message 2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revocations: Option<ByteBuf>,
    },
    /// 4, from the listener, after which the connection ends.
    Refused(Refusal),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    v: u64,
    msg: Message,
}

impl Rules for Envelope {
    fn check(&self) -> Result<(), DecodeError> {
        codec::check_version(self.v, 1)?;
        let fits = |bytes: &ByteBuf, max: usize| match bytes.len() {
            len if len > max => Err(DecodeError::TooLong { len, max }),
            _ => Ok(()),
        };
        match &self.msg {
            Message::Hello { .. } | Message::Refused(_) => Ok(()),
            Message::Redeem(redemption) => fits(redemption, REDEMPTION_LEN),
            Message::Accepted { revocations } => {
                revocations.iter().try_for_each(|list| fits(list, REVOCATIONS_LEN))
            }
            Message::Welcome { certificate, revocations, .. }
            | Message::Proof { certificate, revocations }
            | Message::Granted { certificate, revocations } => {
                fits(certificate, CERTIFICATE_LEN)?;
                revocations.iter().try_for_each(|list| fits(list, REVOCATIONS_LEN))
            }
        }
    }
}

impl Message {
    /// The canonical bytes, without their length.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&Envelope { v: 1, msg: self.clone() })
    }

    /// Reads a message of at most `max` bytes.
    pub fn decode(bytes: &[u8], max: usize) -> Result<Self, DecodeError> {
        codec::decode(bytes, max).map(|envelope: Envelope| envelope.msg)
    }
}
