//! Statements that do not count, each with its reason.

use ed25519_dalek::{Signer, SigningKey};
use expect_test::expect_file;
use hive_protocol::NodeKey;
use hive_protocol::card::Card;
use hive_protocol::catalog::{Capability, Head};
use hive_protocol::codec;
use hive_protocol::signed::{self, Delegation, Statement};
use serde_json::json;

use crate::cbor::{Cbor, int, map};
use crate::samples::{self, NOW, key, public};

/// An envelope made by hand.
fn envelope(publisher: &[u8], payload: &[u8], sig: &[u8], by: Option<&[u8]>) -> Vec<u8> {
    let bytes = |bytes: &[u8]| Cbor::Bytes(bytes.to_vec());
    let by = by.map(|by| ("by", bytes(by)));
    let fields = [("v", int(1))].into_iter().chain(by);
    let rest = [("sig", bytes(sig)), ("payload", bytes(payload)), ("publisher", bytes(publisher))];
    map(fields.chain(rest)).encode()
}

fn message(domain: &str, network: &str, payload: &[u8]) -> Vec<u8> {
    let part = |text: &str| [vec![text.len() as u8], text.as_bytes().to_vec()].concat();
    [part(domain), part(network), payload.to_vec()].concat()
}

/// A statement signed under any domain and network, for any publisher.
fn forged(
    statement: &impl Statement,
    domain: &str,
    network: &str,
    key: &SigningKey,
    publisher: NodeKey,
) -> Vec<u8> {
    let payload = codec::encode(statement);
    let sig = key.sign(&message(domain, network, &payload)).to_bytes();
    envelope(&publisher.0, &payload, &sig, None)
}

/// The reason, as one line.
fn reason<T: Statement + std::fmt::Debug>(
    name: &str,
    bytes: &[u8],
    network: &str,
    now: u64,
) -> String {
    match signed::verify::<T>(bytes, network, now) {
        Err(signed::SignedError::Decode(error)) => format!("malformed: {error}"),
        Err(error) => error.to_string(),
        Ok(verified) => panic!("{name} was taken: {verified:?}"),
    }
}

#[test]
fn no_signature_counts_for_more_than_was_signed() {
    let card = samples::small_card();
    let head = samples::head(1);
    let good = signed::sign(&card, "", &key(1));
    let good_head = signed::sign(&head, "public", &key(1));
    assert!(signed::verify::<Card>(&good, "", NOW).is_ok());
    assert!(signed::verify::<Head>(&good_head, "public", NOW).is_ok());
    let payload = codec::encode(&card);
    let sig = key(1).sign(&message(Card::DOMAIN, "", &payload)).to_bytes();
    assert_eq!(
        envelope(&public(1).0, &payload, &sig, None),
        good,
        "the envelope by hand is the envelope"
    );

    let mut refused = Vec::new();
    let mut refuse = |name: &str, bytes: Vec<u8>, network: &str, now: u64, is_head: bool| {
        let error = if is_head {
            reason::<Head>(name, &bytes, network, now)
        } else {
            reason::<Card>(name, &bytes, network, now)
        };
        let domain = if is_head { Head::DOMAIN } else { Card::DOMAIN };
        let hex = (bytes.len() <= 1024).then(|| hex::encode(&bytes));
        refused.push(json!({ "name": name, "domain": domain, "network": network, "now": now, "error": error, "signed": hex }));
    };

    // Keys and signatures.
    let mut one = [0; 32];
    one[0] = 1;
    let small_order = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    let small_order: [u8; 32] = hex::decode(small_order).unwrap().try_into().unwrap();
    // With the neutral point as key and as R, and S = 0, plain verification accepts every message.
    let neutral = [one.to_vec(), vec![0; 32]].concat();
    refuse("the neutral point as a key", envelope(&one, &payload, &neutral, None), "", NOW, false);
    refuse(
        "a key of small order",
        envelope(&small_order, &payload, &neutral, None),
        "",
        NOW,
        false,
    );
    refuse("a key of zeros", envelope(&[0; 32], &payload, &neutral, None), "", NOW, false);
    refuse("a key that is no point", envelope(&[2; 32], &payload, &sig, None), "", NOW, false);
    refuse("another key", envelope(&public(2).0, &payload, &sig, None), "", NOW, false);
    let mut high_s = sig;
    // S + L, the same scalar spelled otherwise.
    let order =
        hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0u16;
    for (byte, add) in high_s[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    refuse(
        "S of the signature plus the group's order",
        envelope(&public(1).0, &payload, &high_s, None),
        "",
        NOW,
        false,
    );
    refuse(
        "a signature of zeros",
        envelope(&public(1).0, &payload, &[0; 64], None),
        "",
        NOW,
        false,
    );
    refuse(
        "a signature of 63 bytes",
        envelope(&public(1).0, &payload, &sig[..63], None),
        "",
        NOW,
        false,
    );
    refuse("a key of 31 bytes", envelope(&public(1).0[..31], &payload, &sig, None), "", NOW, false);

    // Moved to where it was not meant.
    let wrong_domain = forged(&card, Head::DOMAIN, "", &key(1), public(1));
    refuse("a card signed as a head", wrong_domain, "", NOW, false);
    refuse("a head replayed as a card", signed::sign(&head, "", &key(1)), "", NOW, false);
    refuse("another network", good_head.clone(), "private", NOW, true);
    refuse("a network's head where every network is meant", good_head.clone(), "", NOW, true);
    let moved = forged(&head, "hive/head/1p", "ublic", &key(1), public(1));
    refuse("a byte moved from the network to the domain", moved, "public", NOW, true);

    // Time.
    refuse("expired", good.clone(), "", card.expires, false);
    refuse("issued 301 s ahead", good.clone(), "", card.issued - 301, false);
    let mut timeless = card.clone();
    timeless.expires = timeless.issued;
    refuse("valid for no time", signed::sign(&timeless, "", &key(1)), "", NOW, false);
    timeless.expires = u64::MAX;
    refuse("valid for ever", signed::sign(&timeless, "", &key(1)), "", NOW, false);
    timeless.expires = timeless.issued - 1;
    refuse("expires before it was issued", signed::sign(&timeless, "", &key(1)), "", NOW, false);
    let mut long_head = head.clone();
    long_head.expires = long_head.issued + 24 * 3600 + 1;
    refuse(
        "a head that lives for over a day",
        signed::sign(&long_head, "public", &key(1)),
        "public",
        NOW,
        true,
    );

    // Who speaks for whom.
    let mut other = card.clone();
    other.publisher = public(2);
    refuse(
        "a card that names another publisher",
        signed::sign(&other, "", &key(1)),
        "",
        NOW,
        false,
    );
    refuse(
        "a head that names another node",
        signed::sign(&samples::head(2), "public", &key(1)),
        "public",
        NOW,
        true,
    );
    let of_two = other;
    let by = |delegation: &Delegation, signer: u8| signed::sign(delegation, "", &key(signer));
    let allowed = Delegation::new(public(1), NOW, NOW + 1000);
    let for_two = |by: Vec<u8>| signed::sign_for(&of_two, "", &key(1), public(2), by);
    assert!(signed::verify::<Card>(&for_two(by(&allowed, 2)), "", NOW).is_ok());
    refuse("a delegation by somebody else", for_two(by(&allowed, 3)), "", NOW, false);
    refuse("a delegation by the node itself", for_two(by(&allowed, 1)), "", NOW, false);
    refuse(
        "a delegation to another node",
        for_two(by(&Delegation::new(public(3), NOW, NOW + 1000), 2)),
        "",
        NOW,
        false,
    );
    refuse("an expired delegation", for_two(by(&allowed, 2)), "", NOW + 1000, false);
    refuse(
        "a delegation for too long",
        for_two(by(&Delegation::new(public(1), NOW, NOW + 401 * 86_400), 2)),
        "",
        NOW,
        false,
    );
    let chain = signed::sign_for(
        &allowed,
        "",
        &key(3),
        public(2),
        by(&Delegation::new(public(3), NOW, NOW + 1000), 2),
    );
    refuse("a delegation of a delegation", for_two(chain), "", NOW, false);
    refuse(
        "a delegation for one network",
        for_two(signed::sign(&allowed, "public", &key(2))),
        "",
        NOW,
        false,
    );
    refuse(
        "a card in place of a delegation",
        for_two(signed::sign(&samples::small_card(), "", &key(2))),
        "",
        NOW,
        false,
    );
    refuse("nothing in place of a delegation", for_two(Vec::new()), "", NOW, false);
    let node_for_two = signed::sign_for(&head, "public", &key(2), public(2), by(&allowed, 2));
    refuse("the publisher's own key where a node is named", node_for_two, "public", NOW, true);

    // Spelling.
    let null = |name: &str, field: &str| {
        let mut fields = vec![
            ("v", int(1)),
            ("sig", Cbor::Bytes(sig.to_vec())),
            ("payload", Cbor::Bytes(payload.clone())),
            ("publisher", Cbor::Bytes(public(1).0.to_vec())),
        ];
        fields.insert(1, (field, Cbor::Raw(vec![0xf6])));
        (name.to_owned(), map(fields).encode())
    };
    let (name, bytes) = null("null for no delegation", "by");
    refuse(&name, bytes, "", NOW, false);
    let (name, bytes) = null("an unknown key", "aa");
    refuse(&name, bytes, "", NOW, false);
    refuse("a byte after the envelope", [good.clone(), vec![0]].concat(), "", NOW, false);
    refuse("nothing", Vec::new(), "", NOW, false);
    let signed_junk = |payload: &[u8]| {
        let sig = key(1).sign(&message(Card::DOMAIN, "", payload)).to_bytes();
        envelope(&public(1).0, payload, &sig, None)
    };
    refuse("a good signature over nothing", signed_junk(b""), "", NOW, false);
    refuse("a good signature over a loose spelling", signed_junk(&[0xbf, 0xff]), "", NOW, false);
    let mut needs = card.clone();
    needs.critical = vec!["royalties".to_owned()];
    refuse(
        "a critical extension that nobody knows",
        signed::sign(&needs, "", &key(1)),
        "",
        NOW,
        false,
    );
    let mut next = card.clone();
    next.v = 2;
    refuse("a card of version 2", signed::sign(&next, "", &key(1)), "", NOW, false);

    let text = crate::pretty(&refused);
    expect_file!["../vectors/signed_refused.json"].assert_eq(&text);
}

#[test]
fn no_flipped_bit_is_taken() {
    let good = signed::sign(&samples::small_card(), "", &key(1));
    for at in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        assert!(signed::verify::<Card>(&bytes, "", NOW).is_err(), "bit {at}");
    }
}

#[test]
fn a_signature_for_one_kind_is_none_for_another() {
    let statements = [
        signed::sign(&samples::small_card(), "", &key(1)),
        signed::sign(&samples::head(1), "", &key(1)),
        signed::sign(&samples::capability(1), "", &key(1)),
        signed::sign(&Delegation::new(public(3), NOW, NOW + 10), "", &key(1)),
    ];
    for (at, bytes) in statements.iter().enumerate() {
        let taken = [
            signed::verify::<Card>(bytes, "", NOW).is_ok(),
            signed::verify::<Head>(bytes, "", NOW).is_ok(),
            signed::verify::<Capability>(bytes, "", NOW).is_ok(),
            signed::verify::<Delegation>(bytes, "", NOW).is_ok(),
        ];
        let expected: [bool; 4] = std::array::from_fn(|kind| kind == at);
        assert_eq!(taken, expected);
    }
}

#[test]
fn a_clock_that_is_five_minutes_behind_still_reads() {
    let card = samples::small_card();
    let bytes = signed::sign(&card, "", &key(1));
    assert!(signed::verify::<Card>(&bytes, "", card.issued - 300).is_ok());
    assert!(signed::verify::<Card>(&bytes, "", card.expires - 1).is_ok());
    assert!(signed::verify::<Card>(&bytes, "", 0).is_err());
    assert!(signed::verify::<Card>(&bytes, "", u64::MAX).is_err());
}
