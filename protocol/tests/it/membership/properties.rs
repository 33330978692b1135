//! What holds for all bytes and all codes.

use hive_protocol::limits::{HANDSHAKE_LEN, INVITE_NAME_LEN};
use hive_protocol::membership::handshake::{Dialer, Listener, Message};
use hive_protocol::membership::{
    Certificate, InviteCode, InviteSecret, NetworkId, Redemption, Refusal, RevocationList,
};
use proptest::prelude::*;

use super::{certificate, code, network, revocations, secret};
use crate::samples::{NOW, key, public};

/// Gives bytes to everything that reads them. What is read is written back as it was.
fn read_all(bytes: &[u8]) {
    let known = RevocationList::new(network());
    let _ = Certificate::judge(bytes, &network(), public(1), &known, NOW);
    let _ = known.clone().merge(bytes, NOW);
    let _ = Redemption::verify(bytes, network().id());
    if let Ok(message) = Message::decode(bytes, HANDSHAKE_LEN) {
        assert_eq!(message.encode(), bytes);
    }
    let _ = Listener::new(network(), public(2), public(1)).on_hello(bytes);
    let _ = Dialer::new(network(), public(1), public(2)).on_welcome(bytes, &mut known.clone(), NOW);
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(id) = text.parse::<NetworkId>() {
            assert_eq!(id.to_string(), text);
        }
        if let Ok(code) = InviteCode::decode(text) {
            assert_eq!(InviteCode::decode(&code.encode().unwrap()), Ok(code));
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let dialer = Dialer::new(network(), public(1), public(2));
    let greeted = Listener::new(network(), public(2), public(1)).on_hello(&dialer.hello()).unwrap();
    let (_, welcome) =
        greeted.welcome(certificate(2).sign(&secret()), &RevocationList::new(network()));
    vec![
        dialer.hello(),
        welcome,
        certificate(1).sign(&secret()),
        revocations(1, &[1, 2]).sign(&secret()),
        code().secret.redeem(network().id(), public(1)),
        Message::Refused(Refusal::Revoked).encode(),
        code().encode().unwrap().into_bytes(),
        network().id().to_string().into_bytes(),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_anything_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn no_change_to_good_bytes_makes_anything_panic_or_pass(
        seed in 0usize..8,
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut bytes = seeds().swap_remove(seed);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        read_all(&bytes);
        // Every byte of a certificate, list and redemption is signed or signs.
        let known = RevocationList::new(network());
        match seed {
            2 => prop_assert!(
                Certificate::judge(&bytes, &network(), public(1), &known, NOW).is_err()
            ),
            3 => prop_assert!(known.clone().merge(&bytes, NOW).is_err()),
            4 => prop_assert!(Redemption::verify(&bytes, network().id()).is_err()),
            _ => {}
        }
    }

    #[test]
    fn a_code_reads_back(
        secret in any::<[u8; 16]>(),
        network_secret in any::<u8>(),
        expires in any::<u64>(),
        name in "[a-zA-Zäöü 0-9]{0,32}",
        addresses in prop::collection::vec("/[!-~]{0,255}", 0..=8),
    ) {
        prop_assume!(name.len() <= INVITE_NAME_LEN);
        let network = hive_protocol::membership::NetworkKey::of(&key(network_secret));
        let code = InviteCode { network, secret: InviteSecret(secret), expires, addresses, name };
        let text = code.encode().unwrap();
        prop_assert_eq!(InviteCode::decode(&text), Ok(code.clone()));
        prop_assert_eq!(InviteCode::decode(&text.to_ascii_uppercase()), Ok(code));
    }

    #[test]
    fn one_mistyped_character_is_found(at in any::<prop::sample::Index>(), char in "[a-z2-7]") {
        let text = code().encode().unwrap();
        let at = 5 + at.index(text.len() - 5);
        let wrong = format!("{}{char}{}", &text[..at], &text[at + 1..]);
        prop_assert_eq!(InviteCode::decode(&wrong).is_ok(), wrong == text);
    }
}
