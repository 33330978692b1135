//! A file that is read while it is fetched.

#![expect(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

use std::io::Read as _;

use super::*;

const MIB: usize = 1 << 20;

#[test]
fn an_arriving_file_says_which_of_its_bytes_are_here_and_stays_open_when_it_is_whole() {
    let bench = Bench::new();
    let store = bench.open();
    let bytes = noise("a", 3 * MIB + 5);
    let original = Original::file("weights.gguf", bytes.clone());
    let id = original.id();
    let partial = store.begin(&original.fetching).unwrap();
    original.put_proofs(&partial);
    partial.write(2, original.group(&partial, 2)).unwrap();

    assert!(store.open_verified(&id, None).is_err(), "it is not whole");
    let arriving = store.arriving(&id, None).unwrap();
    assert_eq!(arriving.size(), bytes.len() as u64);
    let have: Vec<u32> = arriving.have().iter().collect();
    assert_eq!(have, [2]);
    let mib = MIB as u64;
    assert_eq!(arriving.bytes(2), [2 * mib..3 * mib]);
    assert_eq!(arriving.bytes(3), [3 * mib..3 * mib + 5]);
    assert!(arriving.bytes(4).is_empty(), "there is no such group");
    assert_eq!(arriving.groups(&(mib - 1..mib + 1)), [0..2]);
    assert_eq!(arriving.groups(&(mib..2 * mib)), [1..2]);
    assert_eq!(arriving.groups(&(0..u64::MAX)), [0..4]);
    assert!(arriving.groups(&(7..7)).is_empty());
    assert!(arriving.groups(&(u64::MAX - 1..u64::MAX)).is_empty());

    let (mut open, _) = arriving.open().unwrap();
    original.fetch_rest(&partial);
    partial.finish().unwrap();
    assert_eq!(arriving.have().count(), 4);
    let mut read = Vec::new();
    open.read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    assert!(arriving.open().is_ok(), "it is found in its place too");
}

/// A chunk that a tree has twice stands at both places, each in its own file.
#[test]
fn a_chunk_that_two_files_share_stands_in_both() {
    let bench = Bench::new();
    let store = bench.open();
    let shared = noise("x", MIB + 7);
    let original = Original::tree("t", &[("a", shared.clone()), ("b", shared)]);
    let partial = store.begin(&original.fetching).unwrap();
    for name in ["a", "b"] {
        let path: TreePath = name.parse().unwrap();
        let arriving = store.arriving(&original.id(), Some(&path)).unwrap();
        assert_eq!(arriving.groups(&(0..1)), [0..1]);
        assert_eq!(arriving.bytes(1), [MIB as u64..MIB as u64 + 7]);
        assert_eq!(arriving.head(), 0..MIB as u64 + 7);
    }
    drop(partial);
}
