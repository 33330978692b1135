//! Signed statements: heads, capabilities, cards, delegations, and the envelope around them.
//!
//! Bytes that nobody signed end at the signature, so a fuzzer would never see what is behind it.
//! Here the payload is the input, and is signed by a key of the target's own.

use std::fmt::Debug;

use ed25519_dalek::SigningKey;
use hive_protocol::card::Card;
use hive_protocol::catalog::{Capability, Head};
use hive_protocol::codec;
use hive_protocol::limits::BLOCK_LEN;
use hive_protocol::signed::{self, Delegation, Signed, SignedError, Statement};

use crate::{Memory, Target, Verdict};

const MEMORY: Memory = Memory { fixed: 256 << 10, per_byte: 1_024 };

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "statement",
        promise: "heads, capabilities and cards: one spelling; what is signed verifies as itself, in its network, unchanged, and as no other kind",
        memory: MEMORY,
        run: |bytes| {
            Verdict::of_any(bytes, &[statement::<Head>, statement::<Capability>, statement::<Card>])
        },
    },
    Target {
        name: "envelope",
        promise: "envelopes and delegations in them: one spelling; nothing verifies whose signature is not right",
        memory: MEMORY,
        run: envelope,
    },
];

/// The key whose public half the seeds of the corpus name.
pub(crate) fn key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

fn statement<T: Statement + PartialEq + Debug>(payload: &[u8]) -> Verdict {
    let Ok(statement) = codec::decode::<T>(payload, T::MAX_LEN) else { return Verdict::Refused };
    assert_eq!(codec::encode(&statement), payload);
    let key = key(1);
    let now = statement.validity().issued;
    let sealed = signed::sign(&statement, "public", &key);
    match signed::verify::<T>(&sealed, "public", now) {
        Ok(verified) => {
            assert_eq!(verified.statement, statement);
            assert_eq!(verified.publisher, signed::public_key(&key));
            let elsewhere = signed::verify::<T>(&sealed, "private", now);
            assert_eq!(elsewhere, Err(SignedError::Signature), "it counts in another network");
            assert!(signed::verify::<Delegation>(&sealed, "public", now).is_err());
            assert!(signed::verify::<T>(&sealed, "public", statement.validity().expires).is_err());
        }
        Err(SignedError::Publisher | SignedError::Validity) => {}
        Err(error) => assert!(sealed.len() > T::MAX_LEN, "{error}"),
    }
    // A bit of it, anywhere.
    let at = payload.iter().fold(0_usize, |sum, &byte| sum.wrapping_mul(31) + usize::from(byte));
    let mut changed = sealed;
    let len = changed.len();
    if let Some(byte) = changed.get_mut(at % len) {
        *byte ^= 1 << (at % 8);
    }
    assert!(signed::verify::<T>(&changed, "public", now).is_err(), "changed, and verified");
    Verdict::Accepted
}

fn envelope(bytes: &[u8]) -> Verdict {
    // When the seeds were made: 2026-01-01.
    let now = 1_767_225_601;
    let verified = signed::verify::<Head>(bytes, "public", now).is_ok()
        | signed::verify::<Capability>(bytes, "public", now).is_ok()
        | signed::verify::<Card>(bytes, "", now).is_ok()
        | signed::verify::<Delegation>(bytes, "", now).is_ok();
    let Ok(signed) = codec::decode::<Signed>(bytes, BLOCK_LEN) else {
        assert!(!verified);
        return Verdict::Refused;
    };
    assert_eq!(codec::encode(&signed), bytes);
    Verdict::Accepted
}
