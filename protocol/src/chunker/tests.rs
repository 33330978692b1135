use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// Tensors by their lengths, after a header.
fn offsets(header: u64, tensors: &[u64]) -> (Vec<u64>, u64) {
    let mut at = header;
    let begin = |len: &u64| {
        at += len;
        at - len
    };
    (tensors.iter().map(begin).collect(), at)
}

fn tensor_len() -> impl Strategy<Value = u64> {
    prop_oneof![
        1..MIB,
        MIB..5 * MIB,
        50 * MIB..70 * MIB,
        100 * MIB..900 * MIB,
        Just(64 * MIB),
        Just(4 * MIB)
    ]
}

proptest! {
    #[test]
    fn cuts_make_up_the_file_and_none_is_too_long(header in 1u64..200 * MIB, tensors in prop::collection::vec(tensor_len(), 1..60)) {
        let (offsets, file_len) = offsets(header, &tensors);
        let lens = cuts(&offsets, file_len);
        prop_assert_eq!(lens.iter().sum::<u64>(), file_len);
        prop_assert!(lens.iter().all(|&len| 0 < len && len <= CHUNK_LEN));
        // The weights begin a chunk, and so does every tensor that is cut.
        let mut begins = vec![0];
        for len in &lens {
            begins.push(begins.last().expect("it has the first") + len);
        }
        prop_assert!(begins.contains(&header));
        for (begin, len) in offsets.iter().zip(&tensors) {
            prop_assert!(*len <= CHUNK_LEN || begins.contains(begin));
        }
    }

    /// Two files with the same tensors after different headers share all chunks but the headers'.
    #[test]
    fn the_same_tensors_are_the_same_chunks_after_any_header(
        one in 1u64..100 * MIB, other in 1u64..100 * MIB, tensors in prop::collection::vec(tensor_len(), 1..60),
    ) {
        let weights = |header: u64| {
            let (offsets, file_len) = offsets(header, &tensors);
            cuts(&offsets, file_len).split_off(header.div_ceil(CHUNK_LEN) as usize)
        };
        prop_assert_eq!(weights(one), weights(other));
    }

    /// A change of one tensor's length moves no border before it, and after a chunk that closed
    /// behind it all are as before.
    #[test]
    fn a_longer_tensor_changes_nothing_before_it(tensors in prop::collection::vec(4 * MIB..60 * MIB, 2..30), at in any::<prop::sample::Index>()) {
        let at = at.index(tensors.len());
        let lens = |tensors: &[u64]| {
            let (offsets, file_len) = offsets(100, tensors);
            cuts(&offsets, file_len)
        };
        let before = lens(&tensors);
        let mut longer = tensors.clone();
        longer[at] += 100;
        let after = lens(&longer);
        // Each of these tensors is a chunk of its own.
        prop_assert_eq!(before.len(), after.len());
        for (index, (before, after)) in before.iter().zip(&after).enumerate() {
            prop_assert_eq!(before == after, index != at + 1);
        }
    }
}

#[test]
fn a_file_of_under_eight_bytes_is_one_chunk_and_an_empty_one_none() {
    assert_eq!(sniff(b"", 0), Sniff::Cuts(vec![]));
    assert_eq!(sniff(b"GGU", 3), Sniff::Cuts(vec![3]));
    assert_eq!(sniff(b"GGU", 100), Sniff::NeedMore(8));
}
