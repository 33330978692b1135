//! The side that is spoken to, and says nothing before it knows to whom.

use super::{By, Message, Parties, newer_than, out_of_turn};
use crate::id::NodeKey;
use crate::limits::{HANDSHAKE_LEN, HELLO_LEN};
use crate::membership::{
    Certificate, Member, MembershipError, NetworkKey, Redemption, RevocationList,
};

/// A handshake that a peer begins.
#[derive(Debug)]
pub struct Listener(Parties);

/// The dialer knows the network.
#[derive(Debug)]
pub struct Greeted(Parties);

/// This node has shown its certificate, and waits for the dialer's.
#[derive(Debug)]
pub struct Waiting {
    parties: Parties,
    /// The number of the list that the dialer was shown.
    seq: u64,
}

/// The dialer has an invite, and an admin has to say what it is worth.
#[derive(Debug)]
pub struct Redeeming {
    parties: Parties,
    seq: u64,
    asked: Redemption,
    bytes: Vec<u8>,
}

/// What came of message 3.
#[derive(Debug)]
pub enum Answer {
    /// A member: send this, message 4.
    Accepted {
        /// Who the dialer is.
        peer: Member,
        /// Message 4.
        message: Vec<u8>,
    },
    /// An invite: ask an admin.
    Redeem(Redeeming),
}

impl Listener {
    /// Awaits a handshake of `peer` with `me`, both as the connection has proven them.
    pub fn new(network: NetworkKey, me: NodeKey, peer: NodeKey) -> Self {
        Self(Parties { network, dialer: peer, listener: me })
    }

    /// Reads message 1. After any error nothing is sent.
    pub fn on_hello(self, bytes: &[u8]) -> Result<Greeted, MembershipError> {
        let Self(parties) = self;
        let Message::Hello { tag } = Message::decode(bytes, HELLO_LEN)? else {
            return Err(out_of_turn().into());
        };
        // The hash compares in constant time.
        if parties.tag(By::Dialer) == tag {
            Ok(Greeted(parties))
        } else {
            Err(MembershipError::Stranger)
        }
    }
}

impl Greeted {
    /// Message 2, with this node's certificate.
    pub fn welcome(self, certificate: Vec<u8>, known: &RevocationList) -> (Waiting, Vec<u8>) {
        let Self(parties) = self;
        let message = Message::Welcome {
            tag: parties.tag(By::Listener).into(),
            certificate: certificate.into(),
            revocations: newer_than(known, 0),
        };
        (Waiting { parties, seq: known.seq() }, message.encode())
    }
}

impl Waiting {
    /// Reads message 3. `known` learns what the dialer knows, even if the dialer is not let in. On an
    /// error, [`refusal`] says what to send before the connection ends.
    pub fn on_proof(
        self,
        bytes: &[u8],
        known: &mut RevocationList,
        now: u64,
    ) -> Result<Answer, MembershipError> {
        let Self { parties, seq } = self;
        match Message::decode(bytes, HANDSHAKE_LEN)? {
            Message::Proof { certificate, revocations } => {
                let mut theirs = seq;
                if let Some(list) = &revocations {
                    known.merge(list, now)?;
                    // It is in `known` now, or was refused and is no use to be sent back.
                    theirs = known.seq();
                }
                let peer =
                    Certificate::judge(&certificate, &parties.network, parties.dialer, known, now)?;
                let message = Message::Accepted { revocations: newer_than(known, theirs) };
                Ok(Answer::Accepted { peer, message: message.encode() })
            }
            Message::Redeem(redemption) => {
                let asked = Redemption::verify(&redemption, parties.network.id())?;
                if asked.node != parties.dialer {
                    return Err(MembershipError::ForgedRedemption);
                }
                Ok(Answer::Redeem(Redeeming { parties, seq, asked, bytes: redemption.into_vec() }))
            }
            _ => Err(out_of_turn().into()),
        }
    }
}

impl Redeeming {
    /// What an admin is asked.
    pub fn asked(&self) -> &Redemption {
        &self.asked
    }

    /// The same as it is carried to an admin elsewhere.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Message 4 with the certificate that an admin has made for the dialer. It is checked like
    /// anybody's: who carried it here may have changed it.
    pub fn granted(
        self,
        certificate: Vec<u8>,
        known: &RevocationList,
        now: u64,
    ) -> Result<(Member, Vec<u8>), MembershipError> {
        let Parties { network, dialer, .. } = self.parties;
        let peer = Certificate::judge(&certificate, &network, dialer, known, now)?;
        let revocations = newer_than(known, self.seq);
        let message = Message::Granted { certificate: certificate.into(), revocations };
        Ok((peer, message.encode()))
    }
}

/// Message 4 for a dialer that is not let in. `None` is silence: it has shown a forgery, or nothing.
pub fn refusal(error: &MembershipError) -> Option<Vec<u8>> {
    error.told().map(|reason| Message::Refused(reason).encode())
}
