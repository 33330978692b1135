//! What is not what it should be any more: found, named, set aside, taken back.

use super::fetching::flip;
use super::holding::{has_reflinks, verify};
use super::*;
use crate::{OpenModelError, ReadError, State, Storage};

const MIB: usize = 1 << 20;

#[test]
fn what_was_found_damaged_before_is_named_again_where_it_is() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::file("m", noise("m", 3 * MIB + 100));
    let path = original.fetch(&store);
    for offset in [1, 2] {
        flip(&path, (offset * MIB) as u64 + 7);
    }
    for _ in 0..2 {
        let lost = verify(&store, &original.id()).damaged;
        assert_eq!(lost.len(), 1, "they lie together: {lost:?}");
        assert_eq!((lost[0].offset, lost[0].len), (MIB as u64, 2 * MIB as u64));
        assert!(lost[0].reason.contains("not the bytes that were stored"), "{lost:?}");
    }
}

#[test]
fn what_is_right_again_counts_again() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::file("m", noise("m", 3 * MIB + 100));
    let path = original.fetch(&store);
    for offset in [0, 2] {
        flip(&path, (offset * MIB) as u64 + 7);
    }
    assert_eq!(verify(&store, &original.id()).damaged.len(), 2);
    flip(&path, 7);
    let half = verify(&store, &original.id());
    assert_eq!((half.damaged.len(), half.damaged[0].offset), (1, 2 * MIB as u64));
    assert!(!half.is_back);
    let have = |store: &Store| store.offer(&original.id()).unwrap().unwrap().have();
    assert_eq!(have(&store).missing().collect::<Vec<_>>(), [2]);
    drop(store);
    // That one of them is right again is known also later.
    let store = bench.open();
    assert_eq!(have(&store).missing().collect::<Vec<_>>(), [2]);
    flip(&path, 2 * MIB as u64 + 7);
    let all = verify(&store, &original.id());
    assert!(all.damaged.is_empty() && all.is_back);
    drop(store);
    let store = bench.open();
    assert_eq!(store.get(&original.id()).unwrap().unwrap().state, State::Whole);
    assert!(!verify(&store, &original.id()).is_back);
    store.open_verified(&original.id(), None).unwrap();
}

/// As `cp` and most tools put a file right: another one takes its place.
#[test]
fn a_file_that_was_replaced_by_a_good_one_is_served_again() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::file("m", noise("m", 2 * MIB));
    let path = original.fetch(&store);
    flip(&path, 5);
    assert_eq!(verify(&store, &original.id()).damaged.len(), 1);
    let offer = store.offer(&original.id()).unwrap().unwrap();
    let chunk = offer.geometry().chunks()[0];
    let mut buf = Vec::new();
    offer.read_group(&chunk.id, chunk.size, 1, &mut buf).unwrap();
    let good = bench.file("good", &original.files[0].1);
    std::fs::rename(good, &path).unwrap();
    assert!(verify(&store, &original.id()).is_back);
    offer.read_group(&chunk.id, chunk.size, 0, &mut buf).unwrap();
    assert_eq!(store.get(&original.id()).unwrap().unwrap().state, State::Whole);
}

#[test]
fn while_it_is_fetched_nothing_of_a_model_is_taken_back() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::file("m", noise("m", 2 * MIB));
    let path = original.fetch(&store);
    flip(&path, 5);
    verify(&store, &original.id());
    flip(&path, 5);
    let claim = store.claim(original.id()).unwrap();
    let report = verify(&store, &original.id());
    assert!(!report.is_back);
    assert_eq!(report.damaged.len(), 1, "it is still damaged: {report:?}");
    drop(claim);
    assert!(verify(&store, &original.id()).is_back);
}

#[test]
fn a_damaged_file_does_not_hide_a_whole_tree_that_has_it() {
    let bench = Bench::new();
    let store = bench.open();
    let bytes = noise("m", 2 * MIB);
    let file = Original::file("m", bytes.clone());
    let path = file.fetch(&store);
    Original::tree("t", &[("x", bytes)]).fetch(&store);
    flip(&path, 5);
    assert_eq!(verify(&store, &file.id()).damaged.len(), 1);
    assert!(store.offer(&file.id()).unwrap().unwrap().have().is_full());
}

#[test]
fn bytes_past_the_end_that_are_gone_leave_no_damage() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::file("m", noise("m", MIB));
    let path = original.fetch(&store);
    let set_len = |len: u64| {
        Disk::default().set_read_only(&path, false).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
    };
    set_len(MIB as u64 + 5);
    for _ in 0..2 {
        let damaged = verify(&store, &original.id()).damaged;
        assert_eq!((damaged[0].offset, damaged[0].len), (MIB as u64, 5));
    }
    set_len(MIB as u64);
    assert!(verify(&store, &original.id()).is_back);
    store.open_verified(&original.id(), None).unwrap();
}

/// The owner of a linked file edits it: nobody is served or runs what it holds now.
#[test]
fn an_edited_original_is_noticed_before_it_is_served_or_run() {
    for link in [false, true] {
        let bench = Bench::new();
        if !link && has_reflinks(&bench) {
            continue;
        }
        let store = bench.open();
        let bytes = noise("m", 2 * MIB);
        let file = bench.file("m.bin", &bytes);
        let options =
            AddOptions { visibility: Some(Visibility::Public), link, ..AddOptions::default() };
        let added = store.add(&file, &options, &mut go_on).unwrap();
        assert_eq!(added.storage, if link { Storage::Reference } else { Storage::Hardlink });
        let offer = store.offer(&added.id).unwrap().unwrap();
        let chunk = offer.geometry().chunks()[0];
        let mut buf = Vec::new();
        offer.read_group(&chunk.id, chunk.size, 1, &mut buf).unwrap();
        store.open_verified(&added.id, None).unwrap();

        // Same length, and perhaps the same modification time.
        let mut edited = bytes.clone();
        edited[MIB + 5] ^= 1;
        std::fs::write(&file, &edited).unwrap();
        buf.clear();
        if link {
            let read = offer.read_group(&chunk.id, chunk.size, 1, &mut buf);
            assert!(matches!(read, Err(ReadError::Damaged { .. })));
            assert!(buf.is_empty());
            assert!(matches!(
                store.open_verified(&added.id, None),
                Err(OpenModelError::Damaged { .. })
            ));
        } else {
            assert!(matches!(
                store.open_verified(&added.id, None),
                Err(OpenModelError::Changed { .. })
            ));
        }
        // Reading found one wrong megabyte; opening it that the file as a whole is another one.
        let left: &[BlockId] = if link { &[added.id] } else { &[] };
        assert_eq!(store.provided().unwrap(), left);
        assert_eq!(offer.have().contains(0), link);
        let other = offer.read_group(&chunk.id, chunk.size, 0, &mut buf);
        assert_eq!(other.is_ok(), link, "{other:?}");
        assert_eq!(store.get(&added.id).unwrap().unwrap().state, State::Damaged);

        // Fetching it again takes the good half from the file and leaves the owner's edit alone.
        let original = Original::file("m.bin", bytes);
        let partial = store.begin(&original.fetching).unwrap();
        assert_eq!(partial.have().iter().collect::<Vec<_>>(), [0]);
        assert_eq!(original.fetch_rest(&partial), 1);
        let path = partial.finish().unwrap();
        original.assert_is_at(&path);
        assert_eq!(std::fs::read(&file).unwrap(), edited);
        store.open_verified(&added.id, None).unwrap();
    }
}

/// A touched but equal original is hashed once and then known again.
#[test]
fn a_touched_link_is_hashed_again_and_stays_good() {
    let bench = Bench::new();
    let store = bench.open();
    let bytes = noise("m", MIB);
    let file = bench.file("m.bin", &bytes);
    let options = AddOptions { link: true, ..AddOptions::default() };
    let added = store.add(&file, &options, &mut go_on).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
    store.open_verified(&added.id, None).unwrap();
    let live = store.live(&added.id).unwrap().unwrap();
    let print = live.lock().files[0].fingerprint.unwrap();
    assert!(print.holds(&std::fs::metadata(&file).unwrap()));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(store.open_verified(&added.id, None), Err(OpenModelError::Damaged { .. })));
    // It comes back: a disk that was not plugged in.
    std::fs::write(&file, &bytes).unwrap();
    store.open_verified(&added.id, None).unwrap();
}

#[test]
fn verify_names_each_flipped_bit_and_only_its_megabyte_is_fetched_again() {
    let bench = Bench::new();
    let store = bench.open();
    let original =
        Original::tree("t", &[("a", noise("a", 3 * MIB)), ("b", noise("b", 2 * MIB + 7))]);
    let path = original.fetch(&store);
    assert!(verify(&store, &original.id()).damaged.is_empty());
    let sha256 = <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(&original.files[1].1));
    assert_eq!(store.files(&original.id()).unwrap()[1].sha256, Some(sha256));
    flip(&path.join("a"), MIB as u64 + 3);
    flip(&path.join("b"), 2 * MIB as u64 + 1);
    let report = verify(&store, &original.id());
    let found: Vec<_> = report.damaged.iter().map(|d| (d.path.as_str(), d.offset, d.len)).collect();
    assert_eq!(found, [("a", MIB as u64, MIB as u64), ("b", 2 * MIB as u64, 7)]);
    assert_eq!(report.bytes, 5 * MIB as u64 + 7);
    let left = store.offer(&original.id()).unwrap().unwrap().have();
    assert_eq!(left.missing().collect::<Vec<_>>(), [1, 5]);
    assert!(store.open_verified(&original.id(), Some(&"a".parse().unwrap())).is_err());
    drop(store);

    let store = bench.open();
    assert_eq!(store.get(&original.id()).unwrap().unwrap().state, State::Damaged);
    let partial = store.begin(&original.fetching).unwrap();
    assert_eq!(partial.have().missing().collect::<Vec<_>>(), [1, 5]);
    assert!(!path.exists(), "what is not whole has no final name");
    assert!(store.offer(&original.id()).unwrap().is_some(), "the good part is served meanwhile");
    original.fetch_rest(&partial);
    assert_eq!(partial.finish().unwrap(), path);
    assert!(verify(&store, &original.id()).damaged.is_empty());
    original.assert_is_at(&path);
}

#[test]
fn a_flipped_bit_is_never_served() {
    let bench = Bench::new();
    let original = Original::file("m", noise("m", 2 * MIB));
    let path = original.fetch(&bench.open());
    flip(&path, 5);
    // A new process trusts nothing that it did not hash.
    let store = bench.open();
    let offer = store.offer(&original.id()).unwrap().unwrap();
    let chunk = offer.geometry().chunks()[0];
    let mut buf = Vec::new();
    assert_eq!(offer.read_group(&chunk.id, chunk.size, 1, &mut buf).unwrap(), MIB);
    assert!(matches!(
        offer.read_group(&chunk.id, chunk.size, 0, &mut buf),
        Err(ReadError::Damaged { .. })
    ));
    assert_eq!(buf.len(), MIB);
    // What is right of it is there for others; the rest is not said to be.
    let left = store.offer(&original.id()).unwrap().unwrap();
    assert_eq!(left.have().iter().collect::<Vec<_>>(), [1]);
    flip(&path, MIB as u64 + 5);
    let again = left.read_group(&chunk.id, chunk.size, 1, &mut buf);
    assert!(matches!(again, Err(ReadError::Damaged { .. })), "hashed once more: {again:?}");
}

#[test]
fn a_file_that_is_gone_or_short_is_noticed_at_the_start() {
    let bench = Bench::new();
    let original = Original::tree("t", &[("a", noise("a", 2 * MIB)), ("b", noise("b", 2 * MIB))]);
    let path = original.fetch(&bench.open());
    let a = path.join("a");
    Disk::default().set_read_only(&a, false).unwrap();
    std::fs::File::options().write(true).open(&a).unwrap().set_len(MIB as u64 + 1).unwrap();
    let store = bench.open();
    assert_eq!(store.get(&original.id()).unwrap().unwrap().state, State::Damaged);
    let partial = store.begin(&original.fetching).unwrap();
    assert!(original.fetch_rest(&partial) <= 2);
    original.assert_is_at(&partial.finish().unwrap());
    drop((partial, store));
    Disk::default().remove_dirs(&path).unwrap();
    let store = bench.open();
    original.assert_is_at(&original.fetch(&store));
}
