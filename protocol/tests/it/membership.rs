//! Membership of private networks: what everything looks like, and what is refused.

mod handshake;
mod hostile;
mod limits;
mod properties;

use ed25519_dalek::SigningKey;
use expect_test::expect_file;
use hive_protocol::codec;
use hive_protocol::membership::handshake::{Dialer, Listener, Message};
use hive_protocol::membership::{
    Certificate, InviteCode, InviteSecret, Merge, NetworkId, NetworkKey, Redemption, Refusal,
    RevocationList, Revocations, Role, Serial,
};
use hive_protocol::message::{Request, Response};
use ipld_core::ipld::Ipld;
use serde_json::{Value, json};

use crate::samples::{NOW, key, public};

/// The network of all these tests.
fn secret() -> SigningKey {
    key(9)
}

fn network() -> NetworkKey {
    NetworkKey::of(&secret())
}

fn serial(byte: u8) -> Serial {
    Serial([byte; 16])
}

/// A year's membership of the node whose secret key is this byte, with the serial of this byte.
fn certificate(node: u8) -> Certificate {
    let year = 365 * 86_400;
    Certificate::new(public(node), Role::Member, serial(node), NOW - 60, NOW - 60 + year)
}

fn revocations(seq: u64, bytes: &[u8]) -> Revocations {
    let serials = bytes.iter().map(|&byte| serial(byte)).collect();
    Revocations { v: 1, seq, serials, issued: NOW, expires: NOW + 86_400 }
}

/// What a node knows of revocations that was given this list.
fn knowing(list: &Revocations) -> RevocationList {
    let mut known = RevocationList::new(network());
    assert_eq!(known.merge(&list.sign(&secret()), NOW), Ok(Merge::Newer));
    known
}

fn code() -> InviteCode {
    let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    InviteCode {
        network: network(),
        secret: InviteSecret([7; 16]),
        expires: NOW + 86_400,
        addresses: vec![
            format!("/ip4/192.0.2.1/udp/4483/quic-v1/p2p/{peer}"),
            format!("/dns4/relay.example/tcp/443/tls/ws/p2p/{peer}"),
        ],
        name: "Küche & Büro".to_owned(),
    }
}

#[test]
fn what_membership_looks_like_is_what_it_was() {
    let mut extras = certificate(2);
    extras.role = Role::Relay;
    extras.ext.insert("zone".to_owned(), Ipld::String("attic".to_owned()));
    let list = revocations(3, &[1, 5, 200]);
    let known = knowing(&list);
    let id = network().id();

    let dialer = Dialer::new(network(), public(1), public(2));
    let hello = dialer.hello();
    let listener = Listener::new(network(), public(2), public(1));
    let greeted = listener.on_hello(&hello).unwrap();
    let (_, welcome) = greeted.welcome(certificate(2).sign(&secret()), &known);

    let redemption = code().secret.redeem(id, public(1));
    let messages = [
        ("1 hello", hello),
        ("2 welcome", welcome),
        (
            "3 proof",
            Message::Proof {
                certificate: certificate(1).sign(&secret()).into(),
                revocations: None,
            }
            .encode(),
        ),
        ("3 redeem", Message::Redeem(redemption.clone().into()).encode()),
        ("4 accepted", Message::Accepted { revocations: None }.encode()),
        (
            "4 granted",
            Message::Granted {
                certificate: certificate(1).sign(&secret()).into(),
                revocations: Some(list.sign(&secret()).into()),
            }
            .encode(),
        ),
    ];
    let refused = Refusal::ALL.map(|reason| ("4 refused", Message::Refused(reason).encode()));
    let messages: Vec<Value> = messages
        .into_iter()
        .chain(refused)
        .map(|(name, bytes)| {
            let message = Message::decode(&bytes, hive_protocol::limits::HANDSHAKE_LEN).unwrap();
            assert_eq!(message.encode(), bytes, "{name}");
            json!({ "name": name, "hex": hex::encode(bytes) })
        })
        .collect();

    let requests = [
        ("request: redeem", Request::Redeem(redemption.clone().into()).encode()),
        (
            "response: redeemed",
            Response::Redeemed { certificate: certificate(1).sign(&secret()).into() }.encode(),
        ),
        (
            "response: redeem_refused",
            Response::RedeemRefused { reason: Refusal::InviteUsedUp }.encode(),
        ),
    ]
    .map(|(name, bytes)| json!({ "name": name, "hex": hex::encode(bytes) }));

    let signed = [
        ("a member's certificate", codec::encode(&certificate(1)), certificate(1).sign(&secret())),
        ("a relay's, with extras", codec::encode(&extras), extras.sign(&secret())),
        ("a revocation list", codec::encode(&list), list.sign(&secret())),
    ]
    .map(|(name, payload, signed)| {
        json!({ "name": name, "payload": hex::encode(payload), "signed": hex::encode(signed) })
    });

    let asked = Redemption::verify(&redemption, id).unwrap();
    assert_eq!((asked.node, asked.invite), (public(1), code().secret.invite()));
    let text = code().encode().unwrap();
    assert_eq!(InviteCode::decode(&text), Ok(code()));
    assert_eq!(InviteCode::decode_at(&text.to_ascii_uppercase(), NOW), Ok(code()));

    let vectors = json!({
        "network": {
            "secret_key": hex::encode(secret().to_bytes()),
            "public_key": hex::encode(network().to_bytes()),
            "id": id.to_string(),
        },
        "nodes": { "dialer": public(1).hex(), "listener": public(2).hex(), "now": NOW },
        "signed": signed,
        "invite": {
            "secret": hex::encode(code().secret.0),
            "public_key": code().secret.invite().hex(),
            "redemption": hex::encode(&redemption),
            "code": text,
        },
        "handshake": messages,
        "model_messages": requests,
        "refused": hostile::all(),
    });
    expect_file!["../vectors/membership.json"].assert_eq(&crate::pretty(&vectors));
}

#[test]
fn a_networks_id_is_52_letters_and_reads_back_in_one_spelling_only() {
    let id = network().id();
    let text = id.to_string();
    assert_eq!(text.len(), 52);
    assert!(text.chars().all(|char| char.is_ascii_lowercase() || ('2'..='7').contains(&char)));
    assert_eq!(text.parse::<NetworkId>(), Ok(id));
    // 52 characters have 260 bits; the last four have to be zero.
    let last = text.chars().last().unwrap();
    for other in "abcdefghijklmnopqrstuvwxyz234567".chars().filter(|char| *char != last) {
        let wrong = format!("{}{other}", &text[..51]);
        assert_ne!(wrong.parse::<NetworkId>().ok(), Some(id));
    }
    for wrong in [&text[..51], &format!("{text}a"), &text.to_uppercase(), "", &"1".repeat(52)] {
        assert!(wrong.parse::<NetworkId>().is_err(), "{wrong}");
    }
    assert_ne!(NetworkKey::of(&key(8)).id(), id);
}

#[test]
fn nothing_secret_is_shown() {
    let shown = format!("{:?} {:?} {:?}", code(), code().secret, network());
    let bytes = network().to_bytes();
    for secret in [hex::encode(bytes), format!("{bytes:?}"), "7, 7".to_owned(), "0707".to_owned()] {
        assert!(!shown.contains(&secret), "{shown}");
    }
    assert!(shown.contains(&network().id().to_string()), "{shown}");
}

#[test]
fn a_list_only_grows_and_the_newest_wins() {
    let sign = |list: &Revocations| list.sign(&secret());
    let mut known = knowing(&revocations(3, &[1, 5]));
    assert!(known.revokes(&serial(5)) && !known.revokes(&serial(6)));
    assert_eq!(known.merge(&sign(&revocations(3, &[1, 5])), NOW), Ok(Merge::Same));
    assert_eq!(known.merge(&sign(&revocations(2, &[1])), NOW), Ok(Merge::Older));
    assert_eq!(known.merge(&sign(&revocations(2, &[1, 5, 6])), NOW), Ok(Merge::Older));
    // Two histories: what is known stays.
    assert_eq!(known.merge(&sign(&revocations(4, &[1])), NOW), Ok(Merge::Conflict));
    assert_eq!(known.merge(&sign(&revocations(3, &[1, 5, 6])), NOW), Ok(Merge::Conflict));
    assert_eq!((known.seq(), known.revokes(&serial(6))), (3, false));

    let next = known.next([serial(6), serial(0), serial(5)], NOW, NOW + 10).unwrap();
    assert_eq!(next.serials, [0, 1, 5, 6].map(serial));
    assert_eq!(known.merge(&sign(&next), NOW), Ok(Merge::Newer));
    assert_eq!(known.bytes(), Some(&*sign(&next)));
    let first = RevocationList::new(network()).next([], NOW, NOW + 10).unwrap();
    assert_eq!((first.seq, first.serials), (1, vec![]));
}

/// Time makes nobody a member again.
#[test]
fn a_list_is_honoured_whatever_its_dates() {
    let bytes = revocations(1, &[4]).sign(&secret());
    for moment in [0, NOW - 1_000, NOW, NOW + 86_400, u64::MAX] {
        let mut known = RevocationList::new(network());
        assert_eq!(known.merge(&bytes, moment), Ok(Merge::Newer), "at {moment}");
        assert!(known.revokes(&serial(4)));
    }
}
