//! Messages of the protocols below hive's own, written by hand: what they say need not be true, nor
//! make sense.
//!
//! Protocol buffers as the specifications of identify, Kademlia and gossipsub have them. The
//! messages of gossip and of the DHT come with their length before them, ready to be written.

use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;

use super::wire::{Attacker, IDENTIFY, PING};
use crate::liar::script::framed;

/// A message that is being written.
#[derive(Debug, Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn uint(mut self, field: u32, n: u64) -> Self {
        self.varint(u64::from(field << 3));
        self.varint(n);
        self
    }

    fn bytes(mut self, field: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.varint(u64::from(field << 3 | 2));
        self.varint(bytes.as_ref().len() as u64);
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    fn each(self, field: u32, all: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        all.into_iter().fold(self, |message, bytes| message.bytes(field, bytes))
    }
}

/// A field of a message that somebody else wrote.
pub(super) enum Field<'a> {
    Uint(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message up to the first that cannot be read.
pub(super) fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut n = 0;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            n |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }
    let mut all = Vec::new();
    while let Some(key) = varint(&mut bytes) {
        let field = match key & 7 {
            0 => varint(&mut bytes).map(Field::Uint),
            2 => varint(&mut bytes).and_then(|len| {
                let (field, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
                bytes = rest;
                Some(Field::Bytes(field))
            }),
            _ => None,
        };
        let Some(field) = field else { break };
        all.push((key >> 3, field));
    }
    all
}

/// Who somebody is, and where it says to be. Without its length: it is said when asked.
pub fn identify(
    network: &str,
    keypair: &Keypair,
    addresses: &[Vec<u8>],
    padding: &[String],
) -> Vec<u8> {
    let hive = ["kad", "model", "chunk"].map(|name| format!("/hive/{network}/{name}/1"));
    let stock = [IDENTIFY, PING, "/meshsub/1.1.0"].map(str::to_owned);
    Message::default()
        .bytes(1, keypair.public().encode_protobuf())
        .each(2, addresses)
        .each(3, hive.into_iter().chain(stock).chain(padding.iter().cloned()))
        .bytes(5, format!("hive/{network}/1"))
        .bytes(6, "attacker/1")
        .0
}

/// One of many addresses where nobody is, in `10.0.0.0/8`.
fn private_address(n: u32) -> Vec<u8> {
    let [a, b, c, _] = n.to_le_bytes();
    let address = Multiaddr::empty().with(Protocol::Ip4([10, c, b, a].into()));
    address.with(Protocol::Tcp(4483)).to_vec()
}

impl Attacker {
    /// What it says of itself with that many addresses, in `10.0.0.0/8`, and protocols of that
    /// length besides its own.
    #[must_use]
    pub fn boasting(self, addresses: u32, padding: usize) -> Self {
        let addresses: Vec<Vec<u8>> = (0..addresses).map(private_address).collect();
        let padding: Vec<String> = (padding > 0).then(|| "/".repeat(padding)).into_iter().collect();
        let identify = identify(self.network(), self.keypair(), &addresses, &padding);
        self.saying(identify)
    }

    /// What it says of itself with one address, which is not its own.
    #[must_use]
    pub fn claiming(self, host: std::net::Ipv4Addr, port: u16) -> Self {
        let address = Multiaddr::empty().with(Protocol::Ip4(host)).with(Protocol::Tcp(port));
        let identify = identify(self.network(), self.keypair(), &[address.to_vec()], &[]);
        self.saying(identify)
    }

    /// What it says of itself with a public key of so many bytes.
    #[must_use]
    pub fn with_key_of(self, len: usize) -> Self {
        let key = Message::default().uint(1, 0).bytes(2, vec![0x30; len]).0;
        let identify = Message::default()
            .bytes(1, key)
            .bytes(5, format!("hive/{}/1", self.network()))
            .bytes(6, "attacker/1")
            .0;
        self.saying(identify)
    }

    /// A provider record of its own for a key, with so many addresses.
    pub fn add_provider(&self, key: &[u8], addresses: u32) -> Vec<u8> {
        // As long as addresses are that are kept at all.
        let address = |n| {
            let name = format!("{n:03}-{}.example.org", "x".repeat(100)).into();
            Multiaddr::empty().with(Protocol::Dns4(name)).with(Protocol::Tcp(4483)).to_vec()
        };
        let addresses = (0..addresses).map(address);
        let provider = Message::default().bytes(1, self.id().to_bytes()).each(2, addresses);
        framed(&Message::default().uint(1, 2).bytes(2, key).bytes(9, provider.0).0)
    }

    /// A gossip message whose signature fits, or does not.
    pub fn publish(&self, topic: &str, data: &[u8], seqno: u64, honest: bool) -> Vec<u8> {
        let message = Message::default()
            .bytes(1, self.id().to_bytes())
            .bytes(2, data)
            .bytes(3, seqno.to_be_bytes())
            .bytes(4, topic);
        let signature = if honest {
            let signed = [b"libp2p-pubsub:", &message.0[..]].concat();
            self.keypair().sign(&signed).expect("ed25519 signs anything")
        } else {
            // As costly to look at as any: a point of the curve, and a number of its order.
            [vec![0x58], vec![0x66; 31], seqno.to_le_bytes().to_vec(), vec![0; 24]].concat()
        };
        framed(&Message::default().bytes(2, message.bytes(5, signature).0).0)
    }
}

/// A question who provides a key.
pub fn get_providers(key: &[u8]) -> Vec<u8> {
    framed(&Message::default().uint(1, 3).bytes(2, key).0)
}

/// An answer of the DHT with providers.
pub(super) fn answer(key: &[u8], providers: &[Vec<u8>]) -> Vec<u8> {
    Message::default().uint(1, 3).bytes(2, key).each(9, providers.iter().rev().take(20)).0
}

/// The providers in an answer of the DHT, by their ids.
pub fn providers(answer: &[u8]) -> Vec<String> {
    let peers = fields(answer).into_iter().filter_map(|(number, field)| match field {
        Field::Bytes(peer) if number == 9 => Some(peer),
        _ => None,
    });
    let ids = peers.flat_map(fields).filter_map(|(number, field)| match field {
        Field::Bytes(id) if number == 1 => libp2p::PeerId::from_bytes(id).ok(),
        _ => None,
    });
    ids.map(|id| id.to_string()).collect()
}

/// A subscription to a topic.
pub fn subscribe(topic: &str) -> Vec<u8> {
    let subscription = Message::default().uint(1, 1).bytes(2, topic).0;
    framed(&Message::default().bytes(1, subscription).0)
}

fn control(control: Message) -> Vec<u8> {
    framed(&Message::default().bytes(3, control.0).0)
}

/// A wish to be in the meshes of topics.
pub fn graft<'a>(topics: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let grafts = topics.into_iter().map(|topic| Message::default().bytes(1, topic).0);
    control(Message::default().each(3, grafts))
}

/// A farewell from the mesh of a topic, for so many seconds.
pub fn prune(topic: &str, backoff: u64) -> Vec<u8> {
    let prune = Message::default().bytes(1, topic).uint(3, backoff);
    control(Message::default().bytes(4, prune.0))
}

/// What only a sender of nonsense says: ids that nobody has, of a topic.
pub fn ihave(topic: &str, ids: &[Vec<u8>]) -> Vec<u8> {
    control(Message::default().bytes(1, Message::default().bytes(1, topic).each(2, ids).0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_field_by_field() {
        let message = Message::default().uint(1, u64::MAX).bytes(3, "topic").0;
        let all = fields(&message);
        assert!(matches!(all[..], [(1, Field::Uint(u64::MAX)), (3, Field::Bytes(b"topic"))]));
        assert_eq!(fields(&message[..message.len() - 1]).len(), 1, "a cut field is none");
    }
}
