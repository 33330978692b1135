use ed25519_dalek::SigningKey;
use hive_protocol::membership::{InviteSecret, NetworkId};

use super::*;

const NETWORK: NetworkId = NetworkId([9; 32]);
const NOW: u64 = 1_000;

fn node(n: u8) -> NodeKey {
    NodeKey(SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes())
}

fn secret(n: u8) -> InviteSecret {
    InviteSecret([n; 16])
}

fn redemption(invite: u8, by: u8) -> Redemption {
    Redemption::verify(&secret(invite).redeem(NETWORK, node(by)), NETWORK).unwrap()
}

fn terms(uses: u32) -> Terms {
    Terms { role: Role::Member, created: NOW, expires: NOW + 100, member_secs: 500, uses }
}

fn book(uses: u32) -> Book {
    let mut book = Book::default();
    book.add(secret(1).invite(), terms(uses), NOW).unwrap();
    book
}

/// Lets a node in as the desk does; the serial is its number.
fn admit(book: &mut Book, invite: u8, by: u8, now: u64) -> Result<Judged, Refusal> {
    let judged = book.judge(&redemption(invite, by), |_| false, now)?;
    if let Judged::New { at, role, member_secs } = judged {
        let certificate =
            Certificate::new(node(by), role, Serial([by; 16]), now, now + member_secs);
        book.admit(at, &certificate, vec![by]);
    }
    Ok(judged)
}

#[test]
fn a_node_that_asks_again_gets_the_same_and_no_use_is_counted() {
    let mut book = book(2);
    assert!(matches!(admit(&mut book, 1, 7, NOW), Ok(Judged::New { at: 0, .. })));
    for later in [NOW, NOW + 99, NOW + 499] {
        // Also when the invite has expired meanwhile: its answer may have been lost.
        assert_eq!(admit(&mut book, 1, 7, later), Ok(Judged::Again(vec![7])));
    }
    assert_eq!(book.summaries(NOW, |_| false)[0].uses_left, 1);
    assert!(matches!(admit(&mut book, 1, 8, NOW), Ok(Judged::New { .. })));
    assert_eq!(admit(&mut book, 1, 9, NOW), Err(Refusal::InviteUsedUp));
    assert_eq!(admit(&mut book, 1, 7, NOW), Ok(Judged::Again(vec![7])), "used up for others only");
}

#[test]
fn what_is_not_good_is_refused_with_its_reason() {
    let mut book = book(1);
    assert_eq!(admit(&mut book, 2, 7, NOW), Err(Refusal::UnknownInvite));
    assert_eq!(admit(&mut book, 1, 7, NOW + 100), Err(Refusal::InviteExpired));
    admit(&mut book, 1, 7, NOW).unwrap();
    let revoked = book.judge(&redemption(1, 7), |serial| serial.0 == [7; 16], NOW);
    assert_eq!(revoked, Err(Refusal::Revoked));
    // Its certificate is over: the same one would be of no use.
    assert_eq!(admit(&mut book, 1, 7, NOW + 500), Err(Refusal::InviteExpired));
    let mut book = self::book(1);
    book.withdraw(0);
    assert_eq!(admit(&mut book, 1, 7, NOW), Err(Refusal::UnknownInvite));
}

#[test]
fn who_is_put_out_cannot_send_another_with_the_code_it_knows() {
    let mut book = book(3);
    book.add(secret(2).invite(), terms(1), NOW).unwrap();
    admit(&mut book, 1, 7, NOW).unwrap();
    admit(&mut book, 1, 8, NOW).unwrap();
    let withdrawn = book.withdraw_of(&[Serial([7; 16])], NOW);
    assert_eq!(withdrawn, [secret(1).invite().hex()]);
    assert_eq!(admit(&mut book, 1, 9, NOW), Err(Refusal::UnknownInvite));
    // Who came in beside it stays, and so does the other invite.
    assert_eq!(admit(&mut book, 1, 8, NOW), Ok(Judged::Again(vec![8])));
    assert!(matches!(admit(&mut book, 2, 9, NOW), Ok(Judged::New { at: 1, .. })));
    assert!(book.withdraw_of(&[Serial([9; 16])], NOW).is_empty(), "it was used up already");
}

#[test]
fn an_invite_that_ended_unused_is_forgotten_and_one_that_was_used_is_not() {
    let mut book = book(1);
    book.add(secret(2).invite(), terms(1), NOW).unwrap();
    admit(&mut book, 2, 7, NOW).unwrap();
    book.add(secret(3).invite(), Terms { expires: NOW + 900, ..terms(1) }, NOW + 200).unwrap();
    let left: Vec<_> = book.summaries(NOW + 200, |_| false).into_iter().map(|i| i.invite).collect();
    assert_eq!(left, [secret(3).invite().hex(), secret(2).invite().hex()]);
    let issued: Vec<_> = book.issued().map(|came| came.node).collect();
    assert_eq!(issued, [node(7)]);
}

#[test]
fn there_is_an_end_to_invites_and_to_nodes_that_come_in() {
    let mut book = Book::default();
    for n in 0..INVITES {
        let key = NodeKey(std::array::from_fn(|at| (n >> (8 * at.min(7))) as u8));
        assert!(book.add(key, terms(1), NOW).is_some());
    }
    assert!(book.add(secret(1).invite(), terms(1), NOW).is_none());
    let mut book = self::book(u32::MAX);
    let certificate = Certificate::new(node(1), Role::Member, Serial([1; 16]), NOW, NOW + 1);
    for _ in 0..REDEEMED {
        book.admit(0, &certificate, Vec::new());
    }
    assert_eq!(admit(&mut book, 1, 7, NOW), Err(Refusal::InviteUsedUp));
}

#[test]
fn an_invite_is_named_by_enough_of_its_key() {
    let mut book = book(1);
    book.add(secret(2).invite(), terms(1), NOW).unwrap();
    let key = secret(2).invite().hex();
    assert_eq!(book.find(&key), Ok(1));
    assert_eq!(book.find(&key[..INVITE_PREFIX].to_ascii_uppercase()), Ok(1));
    assert_eq!(book.find(&key[..INVITE_PREFIX - 1]), Err(0));
    assert_eq!(book.find("zzzzzz"), Err(0));
}

#[test]
fn the_file_is_what_it_was_and_holds_no_secret() {
    let mut book = book(2);
    admit(&mut book, 1, 7, NOW).unwrap();
    let text = serde_json::to_string(&book).unwrap();
    let (key, node, serial) = (secret(1).invite().hex(), node(7).hex(), "07".repeat(16));
    let expected = format!(
        r#"{{"v":1,"invites":[{{"key":"{key}","role":"member","created":1000,"expires":1100,"member_secs":500,"uses":2,"withdrawn":false,"redeemed":[{{"node":"{node}","serial":"{serial}","at":1000,"expires":1500,"certificate":"07"}}]}}]}}"#
    );
    assert_eq!(text, expected);
    assert!(!text.contains(&hex::encode(secret(1).0)));
    let read: Book = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    for wrong in [
        text.replace(&serial, "07"),
        text.replace("member\"", "king\""),
        text.replace("\"uses\"", "\"more\""),
    ] {
        assert!(serde_json::from_str::<Book>(&wrong).is_err(), "{wrong}");
    }
}
