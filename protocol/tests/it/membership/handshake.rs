//! Both machines against each other: who gets in, who does not, and what each side learns.

use hive_protocol::limits::HANDSHAKE_LEN;
use hive_protocol::membership::handshake::{
    Admitted, Answer, Dialer, Listener, Message, Proving, Waiting, refusal,
};
use hive_protocol::membership::{
    Certificate, InviteSecret, Member, MembershipError, NetworkKey, Redemption, Refusal,
    RevocationList, Role,
};

use super::{certificate, code, knowing, network, revocations, secret, serial};
use crate::samples::{NOW, key, public};

fn nothing() -> RevocationList {
    RevocationList::new(network())
}

/// What each side brings: the dialer has the key 1, the listener 2.
struct Sides {
    dialer: Vec<u8>,
    dialer_knows: RevocationList,
    listener: Vec<u8>,
    listener_knows: RevocationList,
}

fn members() -> Sides {
    Sides {
        dialer: certificate(1).sign(&secret()),
        dialer_knows: nothing(),
        listener: certificate(2).sign(&secret()),
        listener_knows: nothing(),
    }
}

type Outcome<T> = Result<T, MembershipError>;

impl Sides {
    fn begin(&self) -> (Dialer, Waiting, Vec<u8>) {
        let dialer = Dialer::new(network(), public(1), public(2));
        let listener = Listener::new(network(), public(2), public(1));
        let greeted = listener.on_hello(&dialer.hello()).unwrap();
        let (waiting, welcome) = greeted.welcome(self.listener.clone(), &self.listener_knows);
        (dialer, waiting, welcome)
    }

    /// Runs to the end: what the listener makes of the dialer, and the dialer of the listener.
    fn run(&mut self) -> (Outcome<Member>, Outcome<Admitted>) {
        let (dialer, waiting, welcome) = self.begin();
        let welcomed = match dialer.on_welcome(&welcome, &mut self.dialer_knows, NOW) {
            Ok(welcomed) => welcomed,
            Err(error) => return (Err(MembershipError::NotAMember), Err(error)),
        };
        let (proving, proof) = welcomed.prove(self.dialer.clone(), &self.dialer_knows);
        self.finish(waiting, proving, &proof)
    }

    fn finish(
        &mut self,
        waiting: Waiting,
        proving: Proving,
        proof: &[u8],
    ) -> (Outcome<Member>, Outcome<Admitted>) {
        let answer = waiting.on_proof(proof, &mut self.listener_knows, NOW);
        let (made, message) = match answer {
            Ok(Answer::Accepted { peer, message }) => (Ok(peer), Some(message)),
            Ok(Answer::Redeem(_)) => panic!("nobody has an invite"),
            Err(error) => {
                let message = refusal(&error);
                (Err(error), message)
            }
        };
        // Silence ends the connection.
        let heard = match message {
            Some(message) => proving.on_verdict(&message, &mut self.dialer_knows, NOW),
            None => Err(MembershipError::Stranger),
        };
        (made, heard)
    }
}

#[test]
fn two_members_know_each_other() {
    let mut relay = certificate(2);
    relay.role = Role::Relay;
    let (dialer, listener) = Sides { listener: relay.sign(&secret()), ..members() }.run();
    let peer = Member {
        node: public(1),
        role: Role::Member,
        serial: serial(1),
        expires: certificate(1).expires,
    };
    assert_eq!(dialer, Ok(peer));
    let admitted = listener.unwrap();
    assert_eq!(
        (admitted.peer.role, admitted.peer.node, admitted.granted),
        (Role::Relay, public(2), None)
    );
}

#[test]
fn a_stranger_gets_no_answer_and_cannot_use_anothers_tag() {
    let listener = || Listener::new(network(), public(2), public(1));
    let stranger = |hello: &[u8]| {
        let error = listener().on_hello(hello).unwrap_err();
        assert_eq!(refusal(&error), None, "strangers are told nothing");
        error
    };
    // Who knows the id only, tags with that.
    let other = NetworkKey::of(&key(8));
    assert_eq!(
        stranger(&Dialer::new(other, public(1), public(2)).hello()),
        MembershipError::Stranger
    );
    // A tag made for another listener, of another dialer, or by the listener itself.
    for (me, peer) in [(1, 3), (3, 2), (2, 1)] {
        let hello = Dialer::new(network(), public(me), public(peer)).hello();
        assert_eq!(stranger(&hello), MembershipError::Stranger, "{me} to {peer}");
    }
    // The listener's own tag, given back as if it were a dialer's.
    let (_, _, welcome) = members().begin();
    let Ok(Message::Welcome { tag, .. }) = Message::decode(&welcome, HANDSHAKE_LEN) else {
        panic!()
    };
    assert_eq!(stranger(&Message::Hello { tag }.encode()), MembershipError::Stranger);
    assert!(matches!(stranger(&welcome), MembershipError::Malformed(_)));
    assert!(matches!(stranger(b"\x13/multistream/1.0.0\n"), MembershipError::Malformed(_)));
}

#[test]
fn a_dialer_shows_nothing_to_a_listener_that_is_no_member() {
    let dialer = || Dialer::new(network(), public(1), public(2));
    let on_welcome = |bytes: &[u8]| dialer().on_welcome(bytes, &mut nothing(), NOW).unwrap_err();
    // The dialer's tag, given back as if it were the listener's.
    let Ok(Message::Hello { tag }) = Message::decode(&dialer().hello(), HANDSHAKE_LEN) else {
        panic!()
    };
    let echo = Message::Welcome {
        tag,
        certificate: certificate(2).sign(&secret()).into(),
        revocations: None,
    };
    assert_eq!(on_welcome(&echo.encode()), MembershipError::Stranger);
    // The right tag, and each wrong certificate.
    let welcome = |listener: Vec<u8>| Sides { listener, ..members() }.begin().2;
    assert!(matches!(
        on_welcome(&welcome(certificate(2).sign(&key(8)))),
        MembershipError::Forged { .. }
    ));
    assert!(matches!(
        on_welcome(&welcome(certificate(3).sign(&secret()))),
        MembershipError::OtherNode { .. }
    ));
    let old = Certificate { issued: NOW - 20, expires: NOW - 10, ..certificate(2) };
    assert!(matches!(on_welcome(&welcome(old.sign(&secret()))), MembershipError::Expired { .. }));
    assert!(matches!(
        on_welcome(&Message::Accepted { revocations: None }.encode()),
        MembershipError::Malformed(_)
    ));
}

#[test]
fn each_fault_of_a_dialer_has_its_reason_and_a_forgery_gets_none() {
    let run = |dialer: Vec<u8>| Sides { dialer, ..members() }.run();
    let old = Certificate { issued: NOW - 20, expires: NOW - 10, ..certificate(1) };
    let (made, heard) = run(old.sign(&secret()));
    assert!(matches!(made, Err(MembershipError::Expired { .. })));
    assert_eq!(heard, Err(MembershipError::RefusedByPeer(Refusal::Expired)));
    let early = Certificate { issued: NOW + 1_000, expires: NOW + 2_000, ..certificate(1) };
    let (made, heard) = run(early.sign(&secret()));
    assert!(matches!(made, Err(MembershipError::NotYetValid { .. })));
    assert_eq!(heard, Err(MembershipError::RefusedByPeer(Refusal::NotYetValid)));
    for silent in
        [certificate(1).sign(&key(8)), certificate(3).sign(&secret()), vec![0], Vec::new()]
    {
        let (made, heard) = run(silent);
        assert_eq!(refusal(&made.unwrap_err()), None);
        assert_eq!(heard, Err(MembershipError::Stranger), "this test's word for silence");
    }
}

/// Whichever of the two knows of a revocation, it counts in this very handshake.
#[test]
fn revocations_count_before_anybody_is_judged() {
    let mut sides = Sides { listener_knows: knowing(&revocations(1, &[1])), ..members() };
    let (made, heard) = sides.run();
    assert_eq!(made, Err(MembershipError::Revoked { serial: serial(1) }));
    assert_eq!(heard, Err(MembershipError::RefusedByPeer(Refusal::Revoked)));
    assert!(sides.dialer_knows.revokes(&serial(1)), "the revoked one has learnt of it");

    let mut sides = Sides { dialer_knows: knowing(&revocations(1, &[2])), ..members() };
    assert_eq!(sides.run().1, Err(MembershipError::Revoked { serial: serial(2) }));

    // Brought by the one that it revokes, who has nobody to blame.
    let mut sides = Sides { dialer_knows: knowing(&revocations(1, &[1])), ..members() };
    assert_eq!(sides.run().0, Err(MembershipError::Revoked { serial: serial(1) }));
    assert!(sides.listener_knows.revokes(&serial(1)));
    let mut sides = Sides { listener_knows: knowing(&revocations(1, &[2])), ..members() };
    assert_eq!(sides.run().1, Err(MembershipError::Revoked { serial: serial(2) }));
    assert!(sides.dialer_knows.revokes(&serial(2)));
}

#[test]
fn both_know_the_newer_list_afterwards_and_only_that_travels() {
    for (dialer, listener) in [(1, 2), (2, 1), (2, 2)] {
        let list = |seq: u64| knowing(&revocations(seq, &[50, 51][..seq as usize]));
        let mut sides =
            Sides { dialer_knows: list(dialer), listener_knows: list(listener), ..members() };
        let (made, heard) = sides.run();
        assert!(made.is_ok() && heard.is_ok());
        assert_eq!((sides.dialer_knows.seq(), sides.listener_knows.seq()), (2, 2));
        let (dials, _, welcome) = sides.begin();
        let mut known = list(2);
        let (_, proof) = dials.on_welcome(&welcome, &mut known, NOW).unwrap().prove(vec![], &known);
        let proof = Message::decode(&proof, HANDSHAKE_LEN);
        assert!(matches!(proof, Ok(Message::Proof { revocations: None, .. })), "nothing new");
    }
}

#[test]
fn a_list_that_forgets_is_not_believed_and_lets_nobody_in() {
    let mut sides = Sides {
        dialer_knows: knowing(&revocations(9, &[50])),
        listener_knows: knowing(&revocations(3, &[1])),
        ..members()
    };
    // The dialer keeps its own, too: to it the listener's is older.
    assert_eq!(sides.run().0, Err(MembershipError::Revoked { serial: serial(1) }));
    assert_eq!(sides.listener_knows.seq(), 3);
    // A forged list ends it, whoever else is in order.
    let (dialer, waiting, welcome) = members().begin();
    let (_, proof) = dialer
        .on_welcome(&welcome, &mut nothing(), NOW)
        .unwrap()
        .prove(certificate(1).sign(&secret()), &nothing());
    let Ok(Message::Proof { certificate, .. }) = Message::decode(&proof, HANDSHAKE_LEN) else {
        panic!()
    };
    let forged = Message::Proof {
        certificate,
        revocations: Some(revocations(9, &[2]).sign(&key(8)).into()),
    };
    let error = waiting.on_proof(&forged.encode(), &mut nothing(), NOW).unwrap_err();
    assert_eq!(error, MembershipError::Forged { what: "revocation list" });
    assert_eq!(refusal(&error), None);
}

/// The dialer with an invite, up to where the listener has to ask an admin.
fn invited(secret: &InviteSecret, node: u8) -> (Proving, Result<Answer, MembershipError>) {
    let (dialer, waiting, welcome) = members().begin();
    let welcomed = dialer.on_welcome(&welcome, &mut nothing(), NOW).unwrap();
    let (proving, message) = welcomed.redeem(secret);
    let message = if node == 1 {
        message
    } else {
        Message::Redeem(secret.redeem(network().id(), public(node)).into()).encode()
    };
    (proving, waiting.on_proof(&message, &mut nothing(), NOW))
}

#[test]
fn an_invite_is_redeemed_for_a_certificate() {
    let (proving, answer) = invited(&code().secret, 1);
    let Ok(Answer::Redeem(redeeming)) = answer else { panic!("{answer:?}") };
    let asked = Redemption::verify(redeeming.bytes(), network().id()).unwrap();
    assert_eq!(redeeming.asked(), &asked);
    assert_eq!((asked.node, asked.invite), (public(1), code().secret.invite()));
    let bytes = certificate(1).sign(&secret());
    let (peer, message) = redeeming.granted(bytes.clone(), &nothing(), NOW).unwrap();
    assert_eq!((peer.node, peer.serial), (public(1), serial(1)));
    let admitted = proving.on_verdict(&message, &mut nothing(), NOW).unwrap();
    assert_eq!(admitted.granted, Some(bytes));
}

#[test]
fn an_invite_cannot_be_redeemed_for_another_node_nor_by_whoever_carries_it() {
    let (_, answer) = invited(&code().secret, 3);
    assert_eq!(answer.unwrap_err(), MembershipError::ForgedRedemption);
    // An admin, or who carries its answer, that grants something else.
    for wrong in [certificate(2).sign(&secret()), certificate(1).sign(&key(8)), vec![1]] {
        let (proving, answer) = invited(&code().secret, 1);
        let Ok(Answer::Redeem(redeeming)) = answer else { panic!("{answer:?}") };
        assert!(redeeming.granted(wrong.clone(), &nothing(), NOW).is_err());
        let granted = Message::Granted { certificate: wrong.into(), revocations: None };
        assert!(proving.on_verdict(&granted.encode(), &mut nothing(), NOW).is_err());
    }
}

#[test]
fn an_invite_that_is_no_good_is_refused_with_its_reason() {
    for reason in Refusal::ALL {
        let (proving, _) = invited(&code().secret, 1);
        let message = Message::Refused(reason).encode();
        let heard = proving.on_verdict(&message, &mut nothing(), NOW);
        assert_eq!(heard, Err(MembershipError::RefusedByPeer(reason)));
    }
    let told = [
        MembershipError::UnknownInvite,
        MembershipError::InviteExpired,
        MembershipError::InviteUsedUp,
        MembershipError::NoAdmin,
    ];
    assert!(told.iter().all(|error| refusal(error).is_some()));
}

/// Messages that fit the form, at a place where they do not belong.
#[test]
fn no_message_is_taken_out_of_turn() {
    let bytes = certificate(1).sign(&secret());
    let granted =
        Message::Granted { certificate: bytes.clone().into(), revocations: None }.encode();
    let accepted = Message::Accepted { revocations: None }.encode();
    // A member that is granted something, and an invited one that is accepted without a certificate.
    let (dialer, _, welcome) = members().begin();
    let (proving, _) =
        dialer.on_welcome(&welcome, &mut nothing(), NOW).unwrap().prove(bytes, &nothing());
    assert!(matches!(
        proving.on_verdict(&granted, &mut nothing(), NOW),
        Err(MembershipError::Malformed(_))
    ));
    let (proving, _) = invited(&code().secret, 1);
    assert!(matches!(
        proving.on_verdict(&accepted, &mut nothing(), NOW),
        Err(MembershipError::Malformed(_))
    ));
    for wrong in [granted, accepted, welcome] {
        let (_, waiting, _) = members().begin();
        assert!(matches!(
            waiting.on_proof(&wrong, &mut nothing(), NOW),
            Err(MembershipError::Malformed(_))
        ));
    }
}
