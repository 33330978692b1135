//! Private networks: certificates, revocations, redemptions, codes and the handshake.
//!
//! As with other statements the payload is the input, and is signed here with the network's key.

use ed25519_dalek::SigningKey;
use hive_protocol::codec;
use hive_protocol::limits::{CERTIFICATE_LEN, HANDSHAKE_LEN, REVOCATIONS_LEN, REVOKED_SERIALS};
use hive_protocol::membership::handshake::{Answer, Dialer, Listener, Message};
use hive_protocol::membership::{
    Certificate, InviteCode, InviteSecret, MembershipError, NetworkKey, Redemption, RevocationList,
    Revocations, Role, Serial,
};
use hive_protocol::signed::Statement as _;

use crate::statements::key;
use crate::{Memory, Target, Verdict};

const MEMORY: Memory = Memory { fixed: 512 << 10, per_byte: 2_048 };

/// 2026-01-01, as in the seeds.
const NOW: u64 = 1_767_225_600;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "certificate",
        promise: "certificates and redemptions: one spelling; a member is the node that is named and no other, until it is revoked",
        memory: MEMORY,
        run: |bytes| Verdict::of_any(bytes, &[certificate, redemption]),
    },
    Target {
        name: "revocations",
        promise: "of lists in any order: the number never falls, and what was revoked stays revoked",
        memory: MEMORY,
        run: revocations,
    },
    Target {
        name: "invite-code",
        promise: "what is read is written and read again as the same; a character more or less is noticed",
        memory: Memory { fixed: 512 << 10, per_byte: 2_048 },
        run: invite_code,
    },
    Target {
        name: "handshake",
        promise: "messages have one spelling; whoever knows nothing of the network is let in at no step",
        memory: MEMORY,
        run: handshake,
    },
];

/// The network of the seeds.
fn network() -> SigningKey {
    key(9)
}

fn certificate(payload: &[u8]) -> Verdict {
    let Ok(certificate) = codec::decode::<Certificate>(payload, CERTIFICATE_LEN) else {
        return Verdict::Refused;
    };
    assert_eq!(codec::encode(&certificate), payload);
    let network = network();
    let public = NetworkKey::of(&network);
    let signed = certificate.sign(&network);
    let now = certificate.validity().issued;
    let mut revoked = RevocationList::new(public);
    let judge =
        |revoked: &RevocationList, node| Certificate::judge(&signed, &public, node, revoked, now);
    let stranger = hive_protocol::NodeKey([0x55; 32]);
    assert!(certificate.node == stranger || judge(&revoked, stranger).is_err());
    match judge(&revoked, certificate.node) {
        Ok(member) => {
            assert_eq!((member.node, member.role), (certificate.node, certificate.role));
            let list =
                revoked.next([certificate.serial], NOW, NOW + 1).map(|list| list.sign(&network));
            let merged = list.map(|list| revoked.merge(&list, NOW));
            assert!(matches!(merged, Ok(Ok(_))), "{merged:?}");
            let judged = judge(&revoked, certificate.node);
            assert!(matches!(judged, Err(MembershipError::Revoked { .. })), "{judged:?}");
        }
        Err(MembershipError::Malformed(_)) => {}
        Err(error) => panic!("signed by the network, in time and refused: {error}"),
    }
    Verdict::Accepted
}

/// The input: payloads, each behind its length in two bytes.
fn revocations(input: &[u8]) -> Verdict {
    let network = network();
    let mut list = RevocationList::new(NetworkKey::of(&network));
    let mut revoked: Vec<Serial> = Vec::new();
    let mut rest = input;
    let mut n_merged = 0;
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(tail.len());
        let (payload, tail) = tail.split_at(len);
        rest = tail;
        let Ok(next) = codec::decode::<Revocations>(payload, REVOCATIONS_LEN) else { continue };
        assert_eq!(codec::encode(&next), payload);
        assert!(next.serials.len() <= REVOKED_SERIALS);
        let seq = list.seq();
        n_merged += u32::from(list.merge(&next.sign(&network), NOW).is_ok());
        // By somebody else's key, never.
        assert!(list.merge(&next.sign(&key(8)), NOW).is_err());
        assert!(list.seq() >= seq, "the number of the list fell");
        assert!(revoked.iter().all(|serial| list.revokes(serial)), "a revocation was taken back");
        revoked.extend(list.list().into_iter().flat_map(|list| &list.serials));
        revoked.sort_unstable();
        revoked.dedup();
    }
    Verdict::of(n_merged > 0)
}

fn redemption(bytes: &[u8]) -> Verdict {
    let id = NetworkKey::of(&network()).id();
    let Ok(redemption) = Redemption::verify(bytes, id) else { return Verdict::Refused };
    assert_eq!(codec::encode(&redemption), bytes);
    let other = NetworkKey::of(&key(8)).id();
    assert!(Redemption::verify(bytes, other).is_err(), "it counts in another network");
    Verdict::Accepted
}

fn invite_code(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused };
    let Ok(code) = InviteCode::decode_at(text, NOW) else { return Verdict::Refused };
    let again = match code.encode() {
        Ok(again) => again,
        Err(error) => panic!("read, and cannot be written: {error}"),
    };
    assert_eq!(InviteCode::decode_at(&again, NOW).as_ref(), Ok(&code));
    let shorter = again.get(..again.len() - 1).unwrap_or_default();
    assert!(InviteCode::decode_at(shorter, NOW).is_err());
    assert!(InviteCode::decode_at(&format!("{again}a"), NOW).is_err());
    Verdict::Accepted
}

/// The input is given to every step of a handshake at which a stranger's bytes may come.
fn handshake(bytes: &[u8]) -> Verdict {
    let network = network();
    let public = NetworkKey::of(&network);
    let [dialer, listener] = [1, 2].map(|byte| hive_protocol::signed::public_key(&key(byte)));
    let mut known = RevocationList::new(public);
    let certificate = Certificate::new(listener, Role::Admin, Serial([2; 16]), NOW, NOW + 1_000);
    let certificate = certificate.sign(&network);
    let hello = Dialer::new(public, dialer, listener).hello();
    let greeted = |bytes: &[u8]| Listener::new(public, listener, dialer).on_hello(bytes);

    // The first message that is right is the one that these two make.
    assert_eq!(greeted(bytes).is_ok(), bytes == hello);
    let welcomed = Dialer::new(public, dialer, listener).on_welcome(bytes, &mut known, NOW);
    assert!(!welcomed.is_ok_and(|welcomed| welcomed.peer().node != listener));
    let Ok(greeted) = greeted(&hello) else { panic!("two that belong together") };
    let (waiting, welcome) = greeted.welcome(certificate, &known);
    if let Ok(Answer::Accepted { peer, .. }) = waiting.on_proof(bytes, &mut known, NOW) {
        assert_eq!(peer.node, dialer);
    }
    let mut unknown = RevocationList::new(public);
    let welcomed = Dialer::new(public, dialer, listener).on_welcome(&welcome, &mut unknown, NOW);
    let Ok(welcomed) = welcomed else { panic!("two that belong together") };
    let (proving, _) = welcomed.redeem(&InviteSecret([7; 16]));
    let admitted = proving.on_verdict(bytes, &mut unknown, NOW);
    assert!(!admitted.is_ok_and(|admitted| admitted.granted.is_none()), "in for nothing");

    let Ok(message) = Message::decode(bytes, HANDSHAKE_LEN) else { return Verdict::Refused };
    assert_eq!(message.encode(), bytes);
    Verdict::Accepted
}
