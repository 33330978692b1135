//! Adding, naming, sharing, removing.

use hive_protocol::NodeKey;

use super::fetching::flip;
use super::*;
use crate::{AddError, BeginError, ModelError, OpenError, ReadError, State, Storage, VerifyReport};

const MIB: usize = 1 << 20;

/// Whether the file system of the temporary directory can share blocks.
pub(super) fn has_reflinks(bench: &Bench) -> bool {
    let (from, to) = (bench.file("reflink-from", b"x"), bench.dir.path().join("reflink-to"));
    reflink_copy::reflink(from, to).is_ok()
}

pub(super) fn verify(store: &Store, id: &BlockId) -> VerifyReport {
    store.verify(id, &mut go_on).unwrap()
}

#[test]
fn adding_shares_the_bytes_and_knows_their_hashes() {
    let bench = Bench::new();
    let store = bench.open();
    let bytes = noise("m", 3 * MIB + 100);
    let file = bench.file("My model.gguf", &bytes);
    let mut seen = Vec::new();
    let options = AddOptions::default();
    let mut progress = |now: Progress| {
        seen.push(now.bytes);
        ControlFlow::Continue(())
    };
    let added = store.add(&file, &options, &mut progress).unwrap();
    assert_eq!(seen.last(), Some(&(bytes.len() as u64)));
    assert!(seen.is_sorted());
    assert_eq!(added.id, Original::file("m", bytes.clone()).id());
    assert_eq!(added.name.as_str(), "My-model.gguf");
    assert_eq!(std::fs::read(&added.path).unwrap(), bytes);
    assert!(added.path.ends_with("My model.gguf"));
    let shared = if has_reflinks(&bench) { Storage::Reflink } else { Storage::Hardlink };
    assert_eq!(added.storage, shared);
    let files = store.files(&added.id).unwrap();
    let sha256: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&bytes).into();
    assert_eq!(files[0].sha256, Some(sha256));
    // Nothing is shared unless somebody says so.
    assert!(store.offer(&added.id).unwrap().is_none());
    assert!(store.block_for_peer(&added.id).unwrap().is_none());
    assert!(verify(&store, &added.id).damaged.is_empty());
    assert_eq!(store.usage().unwrap().used, 0);

    let again = store
        .add(&file, &AddOptions { visibility: Some(Visibility::Public), ..options }, &mut go_on)
        .unwrap();
    assert_eq!((again.storage, again.id, &again.path), (Storage::Present, added.id, &added.path));
    assert!(store.offer(&added.id).unwrap().is_some());
    assert_eq!(store.provided().unwrap(), [added.id]);
    assert_eq!(std::fs::read_dir(bench.home().join("models/.partial")).unwrap().count(), 0);
}

#[test]
fn a_directory_becomes_a_tree_that_a_peer_can_fetch() {
    let bench = Bench::new();
    let files = [
        ("config.json", noise("c", 50)),
        ("sub/big.bin", noise("b", 2 * MIB)),
        ("empty", Vec::new()),
    ];
    for (path, bytes) in &files {
        bench.file(&format!("repo/{path}"), bytes);
    }
    bench.file("repo/.git/HEAD", b"ref");
    #[cfg(unix)]
    std::os::unix::fs::symlink("sub/big.bin", bench.dir.path().join("repo/link.bin")).unwrap();
    let store = bench.open();
    let added = add(&store, &bench.dir.path().join("repo"));
    assert_eq!(added.skipped.len(), 1);
    let mut expected = files.to_vec();
    #[cfg(unix)]
    expected.push(("link.bin", files[1].1.clone()));
    let original = Original::tree("repo", &expected);
    assert_eq!(added.id, original.id());
    original.assert_is_at(&added.path);
    assert_eq!(added.n_chunks, 2);

    // The file inside is an id of its own, and so is its block.
    let inside = store
        .files(&added.id)
        .unwrap()
        .into_iter()
        .find(|file| file.path.as_str() == "sub/big.bin")
        .unwrap();
    let offer = store.offer(&inside.block).unwrap().unwrap();
    assert!(offer.have().is_full());
    let chunk = offer.geometry().chunks()[0];
    let mut group = Vec::new();
    offer.read_group(&chunk.id, chunk.size, 1, &mut group).unwrap();
    assert_eq!(group, files[1].1[MIB..]);
    assert!(store.block_for_peer(&inside.block).unwrap().is_some());
    assert_eq!(store.group_hashes(&chunk.id).unwrap().unwrap().len(), 2);
    assert_eq!(store.have_chunks(&[chunk.id, ChunkId::of(b"?")]).unwrap(), [true, false]);
    store.set_visibility(&added.id, Visibility::Local).unwrap();
    assert!(matches!(
        offer.read_group(&chunk.id, chunk.size, 1, &mut group),
        Err(ReadError::NotHeld)
    ));
    assert!(store.offer(&inside.block).unwrap().is_none());
    assert!(store.block_for_peer(&inside.block).unwrap().is_none());
    assert!(store.group_hashes(&chunk.id).unwrap().is_none());
    assert_eq!(store.have_chunks(&[chunk.id]).unwrap(), [false]);
    let path: TreePath = "config.json".parse().unwrap();
    let opened = store.open_verified(&added.id, Some(&path)).unwrap();
    assert_eq!(opened.size, 50);
}

#[test]
fn what_cannot_be_added_is_named() {
    let bench = Bench::new();
    let store = bench.open();
    let add = |path: &Path| store.add(path, &AddOptions::default(), &mut go_on);
    bench.file("bad/aux.txt", b"device");
    assert!(
        matches!(add(&bench.dir.path().join("bad")), Err(AddError::Path { path, .. }) if path.ends_with("aux.txt"))
    );
    std::fs::create_dir(bench.dir.path().join("none")).unwrap();
    assert!(matches!(add(&bench.dir.path().join("none")), Err(AddError::Empty { .. })));
    assert!(
        matches!(add(&bench.dir.path().join("gone")), Err(AddError::Disk(error)) if error.path.ends_with("gone"))
    );
    let big = bench.file("big", &noise("big", 3 * MIB));
    let stopped = store.add(&big, &AddOptions::default(), &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(AddError::Stopped)));
    assert!(store.list().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(bench.home().join("models/.partial")).unwrap().count(), 0);
}

#[test]
fn models_are_found_by_name_id_and_parts_of_ids() {
    let bench = Bench::new();
    let store = bench.open();
    let added = add(&store, &bench.file("m.bin", b"m"));
    let text = added.id.to_string();
    for good in ["m.bin", &text, &text[..20], &added.id.short(), &text[text.len() - 6..]] {
        assert_eq!(store.resolve(good).unwrap(), added.id, "{good}");
    }
    let other = add(&store, &bench.file("n.bin", b"n"));
    store.rename(&other.id, &"m.bin".parse().unwrap()).unwrap();
    assert!(
        matches!(store.resolve("m.bin"), Err(ModelError::Ambiguous { candidates, .. }) if candidates.len() == 2)
    );
    // Every id begins alike.
    assert!(matches!(store.resolve(&text[..7]), Err(ModelError::Ambiguous { .. })));
    for bad in ["x", "m", &BlockId::of(b"").to_string(), ""] {
        assert!(matches!(store.resolve(bad), Err(ModelError::NotFound { .. })), "{bad}");
    }
}

#[test]
fn gc_takes_what_has_no_pin_and_leaves_originals() {
    let bench = Bench::new();
    let store = bench.open();
    let file = bench.file("m.bin", &noise("m", MIB));
    let added = add(&store, &file);
    let fetched = Original::file("f", noise("f", 2 * MIB));
    let path = fetched.fetch(&store);
    assert!(store.gc(false).unwrap().models.is_empty());
    store.set_pinned(&added.id, false).unwrap();
    store.set_pinned(&fetched.id(), false).unwrap();
    let plan = store.gc(true).unwrap();
    assert_eq!((plan.models.len(), plan.bytes, plan.removed), (2, 2 * MIB as u64, false));
    assert!(path.exists());
    let done = store.gc(false).unwrap();
    assert_eq!((done.models, done.bytes, done.removed), (plan.models, plan.bytes, true));
    assert!(!path.exists() && !added.path.exists());
    assert_eq!(std::fs::read(file).unwrap(), noise("m", MIB));
    assert!(store.list().unwrap().is_empty());
    assert!(store.block(&fetched.id()).unwrap().is_none());
    assert!(matches!(store.remove(&added.id), Err(ModelError::NotFound { .. })));
}

#[test]
fn a_fetch_under_way_is_not_removed() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::file("m", noise("m", 10));
    let partial = store.begin(&Fetching { pinned: false, ..original.fetching.clone() }).unwrap();
    assert!(matches!(store.remove(&original.id()), Err(ModelError::InUse { .. })));
    assert!(store.gc(false).unwrap().models.is_empty());
    drop(partial);
    assert_eq!(store.gc(false).unwrap().models, [original.id()]);
}

#[test]
fn adding_what_is_half_fetched_completes_it() {
    let bench = Bench::new();
    let store = bench.open();
    let bytes = noise("m", 2 * MIB);
    let original = Original::file("m.bin", bytes.clone());
    let partial = store.begin(&original.fetching).unwrap();
    let file = bench.file("m.bin", &bytes);
    assert!(matches!(
        store.add(&file, &AddOptions::default(), &mut go_on),
        Err(AddError::InUse { .. })
    ));
    drop(partial);
    let added = add(&store, &file);
    assert_eq!(added.id, original.id());
    assert_eq!(store.get(&added.id).unwrap().unwrap().state, State::Whole);
    assert!(matches!(store.begin(&original.fetching), Err(BeginError::Whole { .. })));
}

#[test]
fn a_second_opener_learns_who_the_first_is() {
    let bench = Bench::new();
    let first = bench.open();
    let Err(OpenError::Locked { home, pid }) = bench.open_on(Disk::default()) else {
        panic!("locked")
    };
    assert_eq!((home.as_path(), pid), (first.home(), Some(std::process::id())));
    drop(first);
    bench.open();
}

#[test]
fn an_index_of_a_newer_hive_is_refused_and_left_alone() {
    let bench = Bench::new();
    drop(bench.open());
    let index = rusqlite::Connection::open(bench.home().join("index.sqlite")).unwrap();
    index.pragma_update(None, "user_version", 1000).unwrap();
    drop(index);
    let Err(OpenError::NewerSchema { found: 1000, known, .. }) = bench.open_on(Disk::default())
    else {
        panic!("newer");
    };
    assert!(known >= 1);
}

#[test]
fn small_state_survives_and_replay_never_goes_back() {
    let bench = Bench::new();
    let store = bench.open();
    let key = hive_protocol::NodeKey([7; 32]);
    assert_eq!(store.replay(&key, "n").unwrap(), None);
    assert!(store.advance(&key, "n", 5).unwrap());
    assert!(!store.advance(&key, "n", 5).unwrap());
    assert!(!store.advance(&key, "n", 4).unwrap());
    store.put_peer(b"p", b"1").unwrap();
    store.put_peer(b"p", b"2").unwrap();
    store.set_meta("k", b"v").unwrap();
    let card = store.put_block(b"card", true).unwrap();
    let manifest = store.put_block(b"hidden", false).unwrap();
    drop(store);
    let store = bench.open();
    assert_eq!(store.replay(&key, "n").unwrap(), Some(5));
    assert_eq!(store.peers().unwrap()[0].blob, b"2");
    assert_eq!(store.meta("k").unwrap().unwrap(), b"v");
    assert_eq!(store.block_for_peer(&card).unwrap().unwrap(), b"card");
    assert!(store.block_for_peer(&manifest).unwrap().is_none());
    assert!(store.block(&manifest).unwrap().is_some());
    store.forget_peer(b"p").unwrap();
    assert!(store.peers().unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn directories_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let store = bench.open();
    let path = Original::file("m", vec![1]).fetch(&store);
    for dir in [bench.home(), bench.home().join("models"), path.parent().unwrap().to_owned()] {
        assert_eq!(
            std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
            0o700,
            "{}",
            dir.display()
        );
    }
}

/// What an old catalog list named may be private by now.
#[test]
fn a_new_catalog_list_takes_the_place_of_the_old_one() {
    let bench = Bench::new();
    let store = bench.open();
    let (old, new) = (store.put_list(b"old").unwrap(), store.put_list(b"new").unwrap());
    assert_eq!(store.block_for_peer(&old).unwrap(), None);
    assert_eq!(store.block(&old).unwrap(), None);
    assert_eq!(store.block_for_peer(&new).unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(store.put_list(b"new").unwrap(), new);
    assert!(store.block_for_peer(&new).unwrap().is_some());
}

#[test]
fn many_statements_are_taken_at_once_and_older_ones_are_not() {
    let bench = Bench::new();
    let store = bench.open();
    let (one, two) = (NodeKey([1; 32]), NodeKey([2; 32]));
    let entry = |key: NodeKey, version| (key, "card/x".to_owned(), version);
    assert_eq!(store.advance_all(vec![entry(one, 5), entry(two, 1)]).unwrap(), [true, true]);
    let again = vec![entry(one, 5), entry(one, 4), entry(two, 2), entry(two, u64::MAX)];
    assert_eq!(store.advance_all(again).unwrap(), [true, false, true, false]);
}

/// Who repairs a private model does not share it.
#[test]
fn a_repair_leaves_name_visibility_and_pin_as_they_were() {
    let bench = Bench::new();
    let store = bench.open();
    let original = Original::tree("t", &[("a", noise("a", 3 * MIB))]);
    let path = original.fetch(&store);
    store.set_visibility(&original.id(), Visibility::Local).unwrap();
    store.set_pinned(&original.id(), false).unwrap();
    store.rename(&original.id(), &"mine".parse().unwrap()).unwrap();
    flip(&path.join("a"), 3);
    assert_eq!(verify(&store, &original.id()).damaged.len(), 1);
    let partial = store.begin(&original.fetching).unwrap();
    assert!(store.offer(&original.id()).unwrap().is_none());
    original.fetch_rest(&partial);
    partial.finish().unwrap();
    let model = store.get(&original.id()).unwrap().unwrap();
    let (name, visibility) = (model.name.as_str(), model.visibility);
    assert_eq!((name, visibility, model.pinned), ("mine", Visibility::Local, false));
}
