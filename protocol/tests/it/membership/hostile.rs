//! What nobody may get in with, each with its reason.

use ed25519_dalek::Signer;
use hive_protocol::NodeKey;
use hive_protocol::limits::{HANDSHAKE_LEN, HELLO_LEN, MEMBERSHIP_TTL_SECS};
use hive_protocol::membership::handshake::Message;
use hive_protocol::membership::{
    Certificate, CodeError, InviteCode, InviteSecret, Redemption, RevocationList,
};
use hive_protocol::signed::{self, Delegation, Statement};
use ipld_core::ipld::Ipld;
use serde_json::{Value, json};

use super::{certificate, code, knowing, network, revocations, secret, serial};
use crate::cbor::{Cbor, int, map};
use crate::samples::{NOW, key, public};

/// One case: what it is, the bytes, and the error that they end in.
struct Case {
    name: &'static str,
    kind: &'static str,
    bytes: Vec<u8>,
    error: String,
}

fn case<E: std::fmt::Display>(
    kind: &'static str,
    name: &'static str,
    bytes: Vec<u8>,
    result: Result<impl std::fmt::Debug, E>,
) -> Case {
    match result {
        Err(error) => Case { name, kind, bytes, error: error.to_string() },
        Ok(taken) => panic!("{kind}: {name} was taken: {taken:?}"),
    }
}

fn certificates() -> Vec<Case> {
    let id = network().id().to_string();
    let known = knowing(&revocations(2, &[40, 41]));
    let judge_at = |name: &'static str, bytes: Vec<u8>, now: u64| {
        let result = Certificate::judge(&bytes, &network(), public(1), &known, now);
        case("certificate", name, bytes, result)
    };
    let judge = |name: &'static str, bytes: Vec<u8>| judge_at(name, bytes, NOW);
    let good = certificate(1);
    assert!(Certificate::judge(&good.sign(&secret()), &network(), public(1), &known, NOW).is_ok());
    let with = |change: &dyn Fn(&mut Certificate)| {
        let mut certificate = good.clone();
        change(&mut certificate);
        certificate.sign(&secret())
    };
    let delegation = signed::sign(&Delegation::new(public(1), NOW, NOW + 1000), "", &secret());
    let by = signed::sign_for(&good, &id, &key(1), signed::public_key(&secret()), delegation);
    let mut flipped = good.sign(&secret());
    let at = flipped.windows(3).position(|bytes| bytes == b"sig").unwrap() + 20;
    flipped[at] ^= 1;
    // A map by hand: `v`, `node`, `role` and so on, with whatever the test wants in place of one.
    let by_hand = |field: &str, value: Cbor| {
        let fields = [
            ("v", int(1)),
            ("node", Cbor::Bytes(public(1).0.to_vec())),
            ("role", Cbor::Text("member".to_owned())),
            ("issued", int(NOW)),
            ("serial", Cbor::Bytes(vec![1; 16])),
            ("expires", int(NOW + 100)),
        ];
        let mut value = Some(value);
        let fields = fields.map(|(name, good)| {
            (name, if name == field { value.take().unwrap_or(int(0)) } else { good })
        });
        let rest = value.map(|value| (field.to_owned(), value));
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut fields: Vec<_> = fields.chain(rest).collect();
        fields.sort_by_key(|(name, _)| (name.len(), name.clone()));
        let payload =
            map(fields.iter().map(|(name, value)| (name.as_str(), value.clone()))).encode();
        enveloped(Certificate::DOMAIN, &id, &payload)
    };
    let bytes = |len: usize| Cbor::Bytes(vec![1; len]);
    vec![
        judge("signed by another network's key", good.sign(&key(8))),
        judge("signed by the node itself", good.sign(&key(1))),
        judge("signed for another network", signed::sign(&good, &key_id(8), &secret())),
        judge("signed for every network", signed::sign(&good, "", &secret())),
        judge("signed under a delegation of the network's key", by),
        judge("a flipped bit in the signature", flipped),
        judge("a revocation list in its place", revocations(1, &[]).sign(&secret())),
        judge("of another node", certificate(2).sign(&secret())),
        judge_at("of another node, and expired", certificate(2).sign(&secret()), NOW * 2),
        judge_at("expired", good.sign(&secret()), good.expires),
        judge_at("issued 301 s ahead of this clock", good.sign(&secret()), good.issued - 301),
        judge("revoked", with(&|c| c.serial = serial(40))),
        judge_at("revoked, and expired", with(&|c| c.serial = serial(41)), NOW * 2),
        judge("over ten years", with(&|c| c.expires = c.issued + MEMBERSHIP_TTL_SECS + 1)),
        judge("over before it begins", with(&|c| c.expires = c.issued)),
        judge("version 2", with(&|c| c.v = 2)),
        judge(
            "something critical that is not known",
            with(&|c| {
                c.ext.insert("quota".to_owned(), Ipld::Integer(1));
                c.critical = vec!["quota".to_owned()];
            }),
        ),
        judge(
            "65 extras",
            with(&|c| {
                c.ext = (0..65).map(|n| (n.to_string(), Ipld::Bool(true))).collect();
            }),
        ),
        judge(
            "too long",
            with(&|c| {
                c.ext.insert("x".to_owned(), Ipld::Bytes(vec![0; 2048]));
            }),
        ),
        judge("a role that is not known", by_hand("role", Cbor::Text("owner".to_owned()))),
        judge("a serial of 15 bytes", by_hand("serial", bytes(15))),
        judge("a serial of 17 bytes", by_hand("serial", bytes(17))),
        judge("a node's key of 33 bytes", by_hand("node", bytes(33))),
        judge("a field that is not known", by_hand("admin", int(1))),
        judge("null for no extras", by_hand("ext", Cbor::Raw(vec![0xf6]))),
        judge("an empty map for no extras", by_hand("ext", Cbor::Raw(vec![0xa0]))),
        judge("nothing", Vec::new()),
        judge("a byte after its end", [good.sign(&secret()), vec![0]].concat()),
        judge("cut in the middle", good.sign(&secret())[..100].to_vec()),
    ]
}

/// The id of another network, as text.
fn key_id(byte: u8) -> String {
    hive_protocol::membership::NetworkKey::of(&key(byte)).id().to_string()
}

/// An envelope around any payload, signed as it should be.
fn enveloped(domain: &str, network: &str, payload: &[u8]) -> Vec<u8> {
    let part = |text: &str| [vec![text.len() as u8], text.as_bytes().to_vec()].concat();
    let sig = secret().sign(&[part(domain), part(network), payload.to_vec()].concat());
    let bytes = |bytes: &[u8]| Cbor::Bytes(bytes.to_vec());
    map([
        ("v", int(1)),
        ("sig", bytes(&sig.to_bytes())),
        ("payload", bytes(payload)),
        ("publisher", bytes(&signed::public_key(&secret()).0)),
    ])
    .encode()
}

fn lists() -> Vec<Case> {
    let merge = |name: &'static str, bytes: Vec<u8>| {
        let mut known = RevocationList::new(network());
        let result = known.merge(&bytes, NOW);
        assert_eq!(known.seq(), 0, "{name}");
        case("revocations", name, bytes, result)
    };
    let good = revocations(1, &[1, 2]);
    let with = |serials: &[u8], seq: u64| {
        let list = hive_protocol::membership::Revocations {
            serials: serials.iter().map(|&byte| serial(byte)).collect(),
            seq,
            ..good.clone()
        };
        list.sign(&secret())
    };
    vec![
        merge("signed by another key", good.sign(&key(8))),
        merge("signed for another network", signed::sign(&good, &key_id(8), &secret())),
        merge("a certificate in its place", certificate(1).sign(&secret())),
        merge("out of order", with(&[2, 1], 1)),
        merge("a serial twice", with(&[1, 1], 1)),
        merge("number 0", with(&[1], 0)),
        merge("nothing", Vec::new()),
    ]
}

fn redemptions() -> Vec<Case> {
    let id = network().id();
    let verify = |name: &'static str, bytes: Vec<u8>| {
        let result = Redemption::verify(&bytes, id);
        case("redemption", name, bytes, result)
    };
    let secret = InviteSecret([7; 16]);
    let good = secret.redeem(id, public(1));
    let by_hand = |sig: &[u8], node: NodeKey, invite: NodeKey| {
        let bytes = |bytes: &[u8]| Cbor::Bytes(bytes.to_vec());
        map([
            ("v", int(1)),
            ("sig", bytes(sig)),
            ("node", bytes(&node.0)),
            ("invite", bytes(&invite.0)),
        ])
        .encode()
    };
    let Ok(Ipld::Map(fields)) = serde_ipld_dagcbor::from_slice::<Ipld>(&good) else {
        panic!("a redemption is a map")
    };
    let Some(Ipld::Bytes(sig)) = fields.get("sig") else { panic!("a signature is bytes") };
    assert_eq!(by_hand(sig, public(1), secret.invite()), good, "by hand is as by the code");
    let mut one = [0; 32];
    one[0] = 1;
    let neutral = [one.to_vec(), vec![0; 32]].concat();
    vec![
        verify("carried off to another node", by_hand(sig, public(2), secret.invite())),
        verify("another invite's key", by_hand(sig, public(1), public(3))),
        verify("of another network", secret.redeem(super::NetworkKey::of(&key(8)).id(), public(1))),
        verify("an invite's key of small order", by_hand(&neutral, public(1), NodeKey(one))),
        verify("an invite's key that is no point", by_hand(sig, public(1), NodeKey([2; 32]))),
        verify("a signature of 63 bytes", by_hand(&sig[..63], public(1), secret.invite())),
        verify("a certificate in its place", certificate(1).sign(&super::secret())),
        verify("a byte after its end", [good, vec![0]].concat()),
    ]
}

fn messages() -> Vec<Case> {
    let decode = |name: &'static str, bytes: Vec<u8>, max: usize| {
        let result = Message::decode(&bytes, max);
        case("message", name, bytes, result)
    };
    let wrap = |msg: Cbor| map([("v", int(1)), ("msg", msg)]).encode();
    let tag = |len: usize| map([("tag", Cbor::Bytes(vec![1; len]))]);
    let null = || Cbor::Raw(vec![0xf6]);
    vec![
        decode("a hello with a tag of 31 bytes", wrap(map([("hello", tag(31))])), HELLO_LEN),
        decode("a hello over its limit", wrap(map([("hello", tag(40))])), HELLO_LEN),
        decode(
            "a hello with more in it",
            wrap(map([(
                "hello",
                map([("tag", Cbor::Bytes(vec![1; 32])), ("name", Cbor::Text("me".to_owned()))]),
            )])),
            HANDSHAKE_LEN,
        ),
        decode(
            "null for no revocations",
            wrap(map([("accepted", map([("revocations", null())]))])),
            HANDSHAKE_LEN,
        ),
        decode(
            "a reason that is not known",
            wrap(map([("refused", Cbor::Text("tuesday".to_owned()))])),
            HANDSHAKE_LEN,
        ),
        decode(
            "two variants at once",
            wrap(map([("hello", tag(32)), ("redeem", Cbor::Bytes(vec![]))])),
            HANDSHAKE_LEN,
        ),
        decode(
            "version 2",
            map([("v", int(2)), ("msg", map([("hello", tag(32))]))]).encode(),
            HANDSHAKE_LEN,
        ),
        decode(
            "a redemption over its limit",
            wrap(map([("redeem", Cbor::Bytes(vec![0; 193]))])),
            HANDSHAKE_LEN,
        ),
        decode(
            "a certificate over its limit",
            wrap(map([("proof", map([("certificate", Cbor::Bytes(vec![0; 2049]))]))])),
            HANDSHAKE_LEN,
        ),
        decode("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), HANDSHAKE_LEN),
        decode("nothing", Vec::new(), HELLO_LEN),
    ]
}

fn codes() -> Vec<Case> {
    let read = |name: &'static str, text: String| {
        let result = InviteCode::decode_at(&text, NOW);
        case("code", name, text.into_bytes(), result)
    };
    let good = code().encode().unwrap();
    let expired = InviteCode { expires: NOW, ..code() }.encode().unwrap();
    let at_40 = |char: &str| format!("{}{char}{}", &good[..40], &good[41..]);
    let mistyped = at_40(if &good[40..41] == "a" { "b" } else { "a" });
    vec![
        read("an address", "/ip4/192.0.2.1/tcp/4483".to_owned()),
        read("empty", String::new()),
        read("a word that begins alike", "hivemind".to_owned()),
        read("of version 2", good.replacen("hive1", "hive2", 1)),
        read("without its last character", good[..good.len() - 1].to_owned()),
        read("without its last line", good[..good.len() - 40].to_owned()),
        read("a character changed", mistyped),
        read("a character that base32 has not", at_40("1")),
        read("nothing after the version", "hive1".to_owned()),
        read("expired", expired),
        read("far too long", " ".repeat(8 << 10) + &good),
    ]
}

/// Every case, for the vectors.
pub(super) fn all() -> Vec<Value> {
    let cases = [certificates(), lists(), redemptions(), messages(), codes()];
    let cases: Vec<Case> = cases.into_iter().flatten().collect();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    cases
        .into_iter()
        .map(|case| {
            let Case { name, kind, bytes, error } = case;
            if kind == "code" {
                let text = String::from_utf8(bytes).unwrap();
                return json!({ "name": name, "kind": kind, "error": error, "text": text });
            }
            let hex = (bytes.len() <= 1024).then(|| hex::encode(&bytes));
            json!({ "name": name, "kind": kind, "error": error, "hex": hex })
        })
        .collect()
}

/// An invite that its own checks would refuse cannot be written down.
#[test]
fn a_code_that_nobody_could_read_is_not_made() {
    let refused = |change: &dyn Fn(&mut InviteCode)| {
        let mut code = code();
        change(&mut code);
        assert!(matches!(code.encode(), Err(CodeError::Malformed(_))), "{code:?}");
    };
    refused(&|code| code.name = "x".repeat(65));
    refused(&|code| code.name = "a\u{202e}b".to_owned());
    refused(&|code| code.name = "a\nb".to_owned());
    refused(&|code| code.addresses = vec!["/ip4/1.2.3.4/tcp/1".to_owned(); 9]);
    refused(&|code| code.addresses = vec![format!("/{}", "x".repeat(256))]);
    refused(&|code| code.addresses = vec!["relay.example:443".to_owned()]);
    refused(&|code| code.addresses = vec!["/dns4/\u{1b}[31m".to_owned()]);
    // Canonical bytes with a right checksum and a key that is none.
    assert!(hive_protocol::membership::NetworkKey::from_bytes([2; 32]).is_none());
    assert!(hive_protocol::membership::NetworkKey::from_bytes([0; 32]).is_none());
}

#[test]
fn a_pasted_code_may_be_broken_into_lines_and_in_any_case() {
    let text = code().encode().unwrap();
    let upper = text.to_ascii_uppercase();
    assert!(upper.chars().all(|char| char.is_ascii_uppercase() || char.is_ascii_digit()));
    let lines: Vec<&str> =
        text.as_bytes().chunks(60).map(|line| std::str::from_utf8(line).unwrap()).collect();
    for spelled in [upper, format!("  {}\r\n", lines.join(" \n"))] {
        assert_eq!(InviteCode::decode(&spelled), Ok(code()), "{spelled}");
    }
}
