//! Each limit of membership holds at its value and not one further.

use hive_protocol::limits::*;
use hive_protocol::membership::handshake::{Dialer, Message};
use hive_protocol::membership::{
    Certificate, InviteCode, Merge, RevocationList, Revocations, Serial,
};
use hive_protocol::message::{Request, Response};
use ipld_core::ipld::Ipld;

use super::{certificate, code, network, revocations, secret};
use crate::samples::{NOW, public};

#[test]
fn membership_ttl() {
    let lives = |secs: u64| {
        let certificate = Certificate { expires: NOW + secs, issued: NOW, ..certificate(1) };
        let list = Revocations { expires: NOW + secs, issued: NOW, ..revocations(1, &[]) };
        let known = RevocationList::new(network());
        let bytes = certificate.sign(&secret());
        let taken = Certificate::judge(&bytes, &network(), public(1), &known, NOW).is_ok();
        assert_eq!(taken, known.clone().merge(&list.sign(&secret()), NOW).is_ok());
        taken
    };
    assert!(lives(MEMBERSHIP_TTL_SECS) && !lives(MEMBERSHIP_TTL_SECS + 1));
}

#[test]
fn certificate_len() {
    let known = RevocationList::new(network());
    let takes = |extra: usize| {
        let mut certificate = certificate(1);
        certificate.ext.insert("x".to_owned(), Ipld::Bytes(vec![0; extra]));
        let bytes = certificate.sign(&secret());
        let taken = Certificate::judge(&bytes, &network(), public(1), &known, NOW).is_ok();
        let message = Message::Proof { certificate: bytes.clone().into(), revocations: None };
        assert_eq!(taken, Message::decode(&message.encode(), HANDSHAKE_LEN).is_ok());
        let answer = Response::Redeemed { certificate: bytes.clone().into() };
        assert_eq!(taken, Response::decode(&answer.encode()).is_ok());
        (bytes.len(), taken)
    };
    let (len, _) = takes(300);
    let fits = 300 + CERTIFICATE_LEN - len;
    assert_eq!(takes(fits), (CERTIFICATE_LEN, true));
    assert_eq!(takes(fits + 1), (CERTIFICATE_LEN + 1, false));
}

/// The largest list fits its envelope, and a message of the handshake.
#[test]
fn revoked_serials() {
    let list = |n: usize| {
        let serials = (0..n).map(|n| Serial((n as u128).to_be_bytes())).collect();
        Revocations { serials, ..revocations(1, &[]) }.sign(&secret())
    };
    let merge = |n: usize| RevocationList::new(network()).merge(&list(n), NOW);
    assert_eq!(merge(REVOKED_SERIALS), Ok(Merge::Newer));
    assert!(merge(REVOKED_SERIALS + 1).is_err());
    assert!(list(REVOKED_SERIALS).len() <= REVOCATIONS_LEN);
    let mut known = RevocationList::new(network());
    known.merge(&list(REVOKED_SERIALS), NOW).unwrap();
    assert!(known.next([Serial([0xff; 16])], NOW, NOW + 1).is_err());
    assert!(known.next([Serial([0; 16])], NOW, NOW + 1).is_ok());
    let message = |list: usize| {
        let certificate = vec![0; CERTIFICATE_LEN].into();
        let message = Message::Proof { certificate, revocations: Some(vec![0; list].into()) };
        Message::decode(&message.encode(), HANDSHAKE_LEN).is_ok()
    };
    assert!(message(REVOCATIONS_LEN) && !message(REVOCATIONS_LEN + 1));
}

#[test]
fn redemption_len() {
    let len = code().secret.redeem(network().id(), public(1)).len();
    assert!(len <= REDEMPTION_LEN, "{len}");
    let takes = |len: usize| {
        let request = Request::Redeem(vec![0; len].into());
        let message = Message::Redeem(vec![0; len].into());
        let taken = Request::decode(&request.encode()).is_ok();
        assert_eq!(taken, Message::decode(&message.encode(), HANDSHAKE_LEN).is_ok());
        taken
    };
    assert!(takes(REDEMPTION_LEN) && !takes(REDEMPTION_LEN + 1));
}

#[test]
fn hello_len() {
    let hello = Dialer::new(network(), public(1), public(2)).hello();
    assert!(hello.len() <= HELLO_LEN, "{}", hello.len());
    assert!(Message::decode(&hello, hello.len()).is_ok());
    assert!(Message::decode(&hello, hello.len() - 1).is_err());
}

#[test]
fn invite_codes() {
    let takes = |change: &dyn Fn(&mut InviteCode)| {
        let mut code = code();
        change(&mut code);
        let text = code.encode().ok()?;
        assert_eq!(InviteCode::decode(&text), Ok(code));
        Some(text.len())
    };
    let address = |len: usize| format!("/{}", "x".repeat(len - 1));
    assert!(takes(&|code| code.name = "x".repeat(INVITE_NAME_LEN)).is_some());
    assert!(takes(&|code| code.name = "x".repeat(INVITE_NAME_LEN + 1)).is_none());
    assert!(takes(&|code| code.addresses = vec![address(INVITE_ADDRESS_LEN + 1)]).is_none());
    assert!(takes(&|code| code.addresses = vec![address(9); INVITE_ADDRESSES + 1]).is_none());
    let longest = takes(&|code| {
        code.addresses = vec![address(INVITE_ADDRESS_LEN); INVITE_ADDRESSES];
        code.name = "x".repeat(INVITE_NAME_LEN);
        code.expires = u64::MAX;
    });
    assert!(longest.unwrap() < INVITE_TEXT_LEN / 2, "{longest:?}");
}
