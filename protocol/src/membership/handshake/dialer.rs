//! The side that speaks first.

use super::{By, Message, Parties, newer_than, out_of_turn};
use crate::id::NodeKey;
use crate::limits::HANDSHAKE_LEN;
use crate::membership::{
    Certificate, InviteSecret, Member, MembershipError, Merge, NetworkKey, RevocationList,
};

/// A handshake that this node begins.
#[derive(Debug)]
pub struct Dialer(Parties);

/// The listener has proven to be a member.
#[derive(Debug)]
pub struct Welcomed {
    parties: Parties,
    peer: Member,
    /// Up to which number the listener needs no list.
    seq: u64,
}

/// This node has shown what it has, and waits for the listener's word.
#[derive(Debug)]
pub struct Proving {
    parties: Parties,
    peer: Member,
    redeems: bool,
}

/// Both sides are members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Who the listener is.
    pub peer: Member,
    /// The certificate that this node got for its invite, to be kept and shown from now on.
    pub granted: Option<Vec<u8>>,
}

impl Dialer {
    /// Begins a handshake of `me` with `peer`, both as the connection has proven them.
    pub fn new(network: NetworkKey, me: NodeKey, peer: NodeKey) -> Self {
        Self(Parties { network, dialer: me, listener: peer })
    }

    /// Message 1.
    pub fn hello(&self) -> Vec<u8> {
        Message::Hello { tag: self.0.tag(By::Dialer).into() }.encode()
    }

    /// Reads message 2. `known` learns what the listener knows, even if the listener is not let in.
    pub fn on_welcome(
        self,
        bytes: &[u8],
        known: &mut RevocationList,
        now: u64,
    ) -> Result<Welcomed, MembershipError> {
        let Self(parties) = self;
        let Message::Welcome { tag, certificate, revocations } =
            Message::decode(bytes, HANDSHAKE_LEN)?
        else {
            return Err(out_of_turn().into());
        };
        // The hash compares in constant time.
        if parties.tag(By::Listener) != tag {
            return Err(MembershipError::Stranger);
        }
        let seq = match revocations.map(|list| known.merge(&list, now)).transpose()? {
            Some(Merge::Same | Merge::Newer | Merge::Conflict) => known.seq(),
            Some(Merge::Older) | None => 0,
        };
        let peer =
            Certificate::judge(&certificate, &parties.network, parties.listener, known, now)?;
        Ok(Welcomed { parties, peer, seq })
    }
}

impl Welcomed {
    /// Who the listener is.
    pub fn peer(&self) -> Member {
        self.peer
    }

    /// Message 3 of a member.
    pub fn prove(self, certificate: Vec<u8>, known: &RevocationList) -> (Proving, Vec<u8>) {
        let revocations = newer_than(known, self.seq);
        let message = Message::Proof { certificate: certificate.into(), revocations };
        let Self { parties, peer, .. } = self;
        (Proving { parties, peer, redeems: false }, message.encode())
    }

    /// Message 3 of somebody who was invited.
    pub fn redeem(self, secret: &InviteSecret) -> (Proving, Vec<u8>) {
        let Self { parties, peer, .. } = self;
        let redemption = secret.redeem(parties.network.id(), parties.dialer);
        (Proving { parties, peer, redeems: true }, Message::Redeem(redemption.into()).encode())
    }
}

impl Proving {
    /// Reads message 4. A certificate that was granted is checked like anybody's.
    pub fn on_verdict(
        self,
        bytes: &[u8],
        known: &mut RevocationList,
        now: u64,
    ) -> Result<Admitted, MembershipError> {
        let Self { parties, peer, redeems } = self;
        match (Message::decode(bytes, HANDSHAKE_LEN)?, redeems) {
            (Message::Accepted { revocations }, false) => {
                learn(revocations.as_deref(), known, now)?;
                Ok(Admitted { peer, granted: None })
            }
            (Message::Granted { certificate, revocations }, true) => {
                learn(revocations.as_deref(), known, now)?;
                Certificate::judge(&certificate, &parties.network, parties.dialer, known, now)?;
                Ok(Admitted { peer, granted: Some(certificate.into_vec()) })
            }
            (Message::Refused(reason), _) => Err(MembershipError::RefusedByPeer(reason)),
            _ => Err(out_of_turn().into()),
        }
    }
}

fn learn(
    list: Option<&Vec<u8>>,
    known: &mut RevocationList,
    now: u64,
) -> Result<(), MembershipError> {
    list.map_or(Ok(()), |list| known.merge(list, now).map(drop))
}
