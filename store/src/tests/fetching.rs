//! Fetching: order, resume, dedupe, room.

use super::*;
use crate::{BeginError, FinishError, NoRoom, State, WriteError};

const MIB: usize = 1 << 20;

#[test]
fn a_fetched_file_is_read_only_under_its_name_and_served_while_it_comes() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::file("weights.gguf", noise("a", 70 * MIB + 5));
    let partial = store.begin(&original.fetching).unwrap();
    assert!(store.offer(&original.id()).unwrap().is_some_and(|offer| offer.have().count() == 0));
    assert!(store.provided().unwrap().is_empty());
    original.put_proofs(&partial);
    partial.write(3, original.group(&partial, 3)).unwrap();

    let offer = store.offer(&original.id()).unwrap().unwrap();
    let version = offer.version();
    assert_eq!(offer.have().iter().collect::<Vec<_>>(), [3]);
    let chunk = offer.geometry().chunks()[0];
    let mut buf = b"before".to_vec();
    assert_eq!(offer.read_group(&chunk.id, chunk.size, 3, &mut buf).unwrap(), MIB);
    assert_eq!(&buf[6..], original.group(&partial, 3));
    assert!(offer.read_group(&chunk.id, chunk.size, 4, &mut buf).is_err());
    assert!(offer.read_group(&chunk.id, chunk.size - 1, 3, &mut buf).is_err());
    assert_eq!(store.provided().unwrap(), [original.id()]);
    assert!(matches!(partial.finish(), Err(FinishError::Missing { n_groups: 70 })));

    assert_eq!(original.fetch_rest(&partial), 70);
    assert!(offer.version() > version);
    let path = partial.finish().unwrap();
    assert!(path.starts_with(store.home().join("models")) && path.ends_with("weights.gguf"));
    original.assert_is_at(&path);
    assert!(std::fs::metadata(&path).unwrap().permissions().readonly());
    let model = store.get(&original.id()).unwrap().unwrap();
    assert_eq!((model.state, model.present, model.path), (State::Whole, model.size, path));
    // The same offer goes on after the rename.
    buf.clear();
    offer.read_group(&chunk.id, chunk.size, 4, &mut buf).unwrap();
    assert!(matches!(store.begin(&original.fetching), Err(BeginError::InProgress { .. })));
    drop(partial);
    assert!(matches!(store.begin(&original.fetching), Err(BeginError::Whole { .. })));
}

#[test]
fn wrong_bytes_are_named_and_change_nothing() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::file("m", noise("a", 2 * MIB));
    let partial = store.begin(&original.fetching).unwrap();
    let good = original.group(&partial, 1).to_vec();
    assert!(matches!(partial.write(1, &good), Err(WriteError::NoProof { group: 1 })));
    original.put_proofs(&partial);
    let mut bad = good.clone();
    bad[77] ^= 1;
    assert!(matches!(partial.write(1, &bad), Err(WriteError::Mismatch { group: 1 })));
    assert!(matches!(partial.write(0, &good), Err(WriteError::Mismatch { group: 0 })));
    assert!(matches!(partial.write(1, &good[1..]), Err(WriteError::Mismatch { group: 1 })));
    assert!(matches!(
        partial.write(2, &good),
        Err(WriteError::OutOfRange { group: 2, n_groups: 2 })
    ));
    assert_eq!(partial.have_count(), 0);
}

#[test]
fn a_fetch_goes_on_from_its_last_checkpoint() {
    let bench = Bench::new();
    let original = Original::tree(
        "t",
        &[("a/x.bin", noise("x", 3 * MIB)), ("b", noise("b", 10)), ("c", Vec::new())],
    );
    let store = bench.open();
    let partial = store.begin(&original.fetching).unwrap();
    original.put_proofs(&partial);
    partial.write(0, original.group(&partial, 0)).unwrap();
    partial.write(3, original.group(&partial, 3)).unwrap();
    partial.checkpoint().unwrap();
    partial.write(1, original.group(&partial, 1)).unwrap();
    drop((partial, store));

    let store = bench.open();
    let partial = store.begin(&original.fetching).unwrap();
    assert_eq!(partial.have().iter().collect::<Vec<_>>(), [0, 3]);
    // The proofs came with the checkpoint.
    assert!(partial.proof(0).is_some());
    assert_eq!(original.fetch_rest(&partial), 2);
    original.assert_is_at(&partial.finish().unwrap());
}

#[test]
fn a_chunk_that_stands_twice_is_fetched_once_and_written_twice() {
    let bench = Bench::new();
    let store = bench.open();
    let same = noise("same", 2 * MIB + 1);
    let original =
        Original::tree("t", &[("a", same.clone()), ("b", same.clone()), ("c", noise("c", 5))]);
    let partial = store.begin(&original.fetching).unwrap();
    assert_eq!(original.fetch_rest(&partial), 4);
    original.assert_is_at(&partial.finish().unwrap());
}

#[test]
fn chunks_of_other_models_are_copied_and_hashed_on_the_way() {
    let bench = Bench::new();
    let store = bench.open();
    let (shared, own) = (noise("shared", 3 * MIB), noise("own", MIB));
    let other = Original::tree("other", &[("x", shared.clone()), ("y", noise("y", 4 * MIB))]);
    let place = other.fetch(&store);
    let original =
        Original::tree("t", &[("a", shared.clone()), ("b", own), ("c", noise("y", 4 * MIB))]);
    // A bit of `y` flips after it was stored.
    flip(&place.join("y"), MIB as u64 + 9);

    let partial = store.begin(&original.fetching).unwrap();
    let have: Vec<u32> = partial.have().iter().collect();
    assert_eq!(have, [0, 1, 2, 4, 6, 7], "all but `b` and the bad megabyte of `c`");
    original.fetch_rest(&partial);
    original.assert_is_at(&partial.finish().unwrap());
    let other = store.get(&other.id()).unwrap().unwrap();
    assert_eq!(other.state, State::Damaged);
    assert!(other.damaged.is_some_and(|reason| reason.contains('y')));
}

/// Changes one bit behind the store's back.
pub(crate) fn flip(path: &Path, offset: u64) {
    let mode = std::fs::metadata(path).unwrap().permissions();
    let read_only = mode.readonly();
    let disk = Disk::default();
    if read_only {
        disk.set_read_only(path, false).unwrap();
    }
    let mut bytes = std::fs::read(path).unwrap();
    bytes[offset as usize] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
    if read_only {
        disk.set_read_only(path, true).unwrap();
    }
}

#[test]
fn groups_may_come_from_many_threads() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::file("m", noise("m", 40 * MIB + 1));
    let partial = store.begin(&original.fetching).unwrap();
    original.put_proofs(&partial);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (partial, original) = (partial.clone(), &original);
            scope.spawn(move || {
                // Each group from two threads.
                for group in (0..41).filter(|group| group % 2 == part % 2) {
                    partial.write(group, original.group(&partial, group)).unwrap();
                    if group % 7 == 0 {
                        partial.checkpoint().unwrap();
                    }
                }
            });
        }
    });
    original.assert_is_at(&partial.finish().unwrap());
}

#[test]
fn room_is_refused_before_a_byte_is_written() {
    let bench = Bench::new();
    let quota = |quota, reserve| Store::open(&bench.home(), Options { quota, reserve }).unwrap();
    let original = Original::file("m", noise("m", 3 * MIB));
    let partials = bench.home().join("models/.partial");

    let store = quota(Some(3 * MIB as u64 - 1), Some(0));
    let Err(BeginError::NoRoom(NoRoom::Quota { needed, used: 0, .. })) =
        store.begin(&original.fetching)
    else {
        panic!("over quota");
    };
    assert_eq!(needed, 3 * MIB as u64);
    drop(store);
    let store = quota(None, Some(u64::MAX));
    assert!(matches!(
        store.begin(&original.fetching),
        Err(BeginError::NoRoom(NoRoom::Disk { .. }))
    ));
    assert_eq!(std::fs::read_dir(&partials).unwrap().count(), 0);
    assert!(store.list().unwrap().is_empty());
    drop(store);

    // The disk is full: said with numbers, and nothing is left behind.
    let faults = std::sync::Arc::new(crate::disk::faults::Faults::none());
    faults.set_space(4 * MIB as u64, 100 * MIB as u64);
    let on = Disk { faults: Some(faults) };
    let store = Store::open_on(&bench.home(), Options { quota: None, reserve: None }, on).unwrap();
    // A tenth of the disk stays free by default, when that is less than 5 GiB.
    let Err(BeginError::NoRoom(error)) = store.begin(&original.fetching) else { panic!("full") };
    let (needed, free, reserve) = (3 * MIB as u64, 4 * MIB as u64, 10 * MIB as u64);
    assert_eq!(error, NoRoom::Disk { needed, free, reserve });
    drop(store);

    // What was begun is not in its own way.
    let store = quota(Some(3 * MIB as u64), Some(0));
    drop(store.begin(&original.fetching).unwrap());
    let partial = store.begin(&original.fetching).unwrap();
    assert_eq!(store.usage().unwrap().free, 0);
    assert!(store.begin(&Original::file("n", vec![1]).fetching).is_err());
    original.fetch_rest(&partial);
    partial.finish().unwrap();
}

#[test]
fn files_that_are_not_the_manifests_are_refused() {
    let bench = Bench::new();
    let store = bench.open();
    let mut fetching = Original::file("m", noise("m", 10)).fetching;
    fetching.files = Original::file("n", noise("n", 10)).fetching.files;
    assert!(matches!(store.begin(&fetching), Err(BeginError::Manifest { .. })));
}
