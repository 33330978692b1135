use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use proptest::prelude::*;

use super::*;

fn ipld() -> impl Strategy<Value = Ipld> {
    let float = any::<f64>().prop_filter("DAG-CBOR has no others", |x| x.is_finite());
    let link = any::<[u8; 32]>().prop_map(|digest| crate::ChunkId(crate::Digest(digest)).cid());
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        any::<i64>().prop_map(|n| Ipld::Integer(n.into())),
        any::<u64>().prop_map(|n| Ipld::Integer(n.into())),
        (0u32..64).prop_map(|bits| Ipld::Integer(1 << bits)),
        float.prop_map(Ipld::Float),
        ".{0,30}".prop_map(Ipld::String),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Ipld::Bytes),
        link.prop_map(|cid: Cid| Ipld::Link(cid)),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Ipld::List),
            prop::collection::btree_map("[a-z]{0,30}", inner, 0..8).prop_map(Ipld::Map),
        ]
    })
}

/// Where each value within good bytes may be cut off.
fn prefixes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..bytes.len()).map(|len| &bytes[..len])
}

proptest! {
    #[test]
    fn what_we_write_is_canonical(value in ipld()) {
        prop_assert_eq!(check(&encode(&value)), Ok(()));
    }

    #[test]
    fn a_beginning_is_truncated_and_a_rest_is_trailing(value in ipld()) {
        let bytes = encode(&value);
        for prefix in prefixes(&bytes) {
            prop_assert_eq!(check(prefix), Err(DecodeError::Truncated));
        }
        let longer = [&bytes[..], &[0, 0]].concat();
        prop_assert_eq!(check(&longer), Err(DecodeError::Trailing { n_bytes: 2 }));
    }

    /// The walker and serde's decoder agree: what both take encodes to the same bytes.
    #[test]
    fn what_passes_and_reads_is_written_as_it_was(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if check(&bytes).is_ok()
            && let Ok(value) = serde_ipld_dagcbor::from_slice::<Ipld>(&bytes)
        {
            prop_assert_eq!(encode(&value), bytes);
        }
    }
}

#[test]
fn keys_are_sorted_by_length_and_then_bytes() {
    let map = BTreeMap::from([("b", 1), ("aa", 2), ("a", 3)]);
    assert_eq!(hex::encode(encode(&map)), "a3616103616201626161 02".replace(' ', ""));
}

#[test]
fn a_complaint_quotes_little_and_nothing_that_moves_the_cursor() {
    let error = DecodeError::shape(&format!("unknown field `\u{1b}[2J{}`", "x".repeat(1 << 20)));
    let text = error.to_string();
    assert!(text.len() < 300 && !text.contains('\u{1b}'), "{text}");
}

/// What the fuzz target `cbor` holds, and did not: the walker took what [`decode`] then refused.
#[test]
fn a_link_is_one_cid_and_nothing_behind_it() {
    let link = encode(&Ipld::Link(crate::ChunkId::of(b"chunk").cid()));
    assert_eq!(check(&link), Ok(()));
    let [tag, kind, bytes, len, ref cid @ ..] = link[..] else { panic!("a short link") };
    assert_eq!((tag, kind, bytes, usize::from(len)), (0xd8, 42, 0x58, cid.len()));
    let spelled = |cid: &[u8]| [&[tag, kind], &encode(&Ipld::Bytes(cid.to_vec()))[..]].concat();
    let longer = [cid, &[0]].concat();
    let what = "bytes after the CID of a link";
    assert_eq!(check(&spelled(&longer)), Err(DecodeError::NotCanonical { what, at: 2 }));
    // Its version in two bytes where one does, and a digest that ends early.
    for cid in [[&[0, 0x81, 0], &cid[2..]].concat(), cid[..cid.len() - 1].to_vec(), vec![0]] {
        let refused = check(&spelled(&cid));
        assert!(matches!(refused, Err(DecodeError::Shape { .. })), "{refused:?}");
    }
}

/// Found by the fuzz target `cbor`: the walker took it, and [`decode`] refused it, since it is written
/// as the zero that has no sign.
#[test]
fn zero_has_one_spelling() {
    let float = |value: f64| [&[0xfb], &value.to_be_bytes()[..]].concat();
    assert_eq!(check(&float(0.0)), Ok(()));
    let what = "a zero with a sign";
    assert_eq!(check(&float(-0.0)), Err(DecodeError::NotCanonical { what, at: 0 }));
    assert_eq!(encode(&Ipld::Float(-0.0)), float(0.0));
}
