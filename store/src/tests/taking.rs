//! Files that were downloaded for the store, and files that were promised to be others.

use sha2::Digest as _;

use super::*;
use crate::{AddError, AddFile, State, Storage};

fn file(path: &str, from: PathBuf, bytes: &[u8]) -> AddFile {
    let sha256 = Some(sha2::Sha256::digest(bytes).into());
    AddFile { path: path.parse().unwrap(), from, take: true, sha256 }
}

/// They become the store's own, and losing the old name loses nothing.
#[test]
fn taken_files_are_the_stores_own() {
    let bench = Bench::new();
    let store = bench.open();
    let downloads = store.downloads();
    std::fs::create_dir_all(&downloads).unwrap();
    let parts = ["a", "b/c"].map(|path| {
        let from = downloads.join(path.replace('/', "-"));
        std::fs::write(&from, path).unwrap();
        file(path, from, path.as_bytes())
    });
    let name = "taken".parse().unwrap();
    let added = store.add_files(&name, &parts, false, &AddOptions::default(), &mut go_on).unwrap();
    assert_eq!((added.storage, added.size), (Storage::Fetched, 4));
    assert_eq!(store.usage().unwrap().used, 4, "they count against the quota");
    std::fs::remove_dir_all(&downloads).unwrap();
    assert_eq!(std::fs::read(added.path.join("b/c")).unwrap(), b"b/c");
    assert!(store.verify(&added.id, &mut go_on).unwrap().damaged.is_empty());
    assert_eq!(store.get(&added.id).unwrap().unwrap().state, State::Whole);
}

#[test]
fn a_file_with_another_digest_is_not_added_and_stays_where_it_was() {
    let bench = Bench::new();
    let store = bench.open();
    let from = bench.file("download", b"what came");
    let wanted = [file("x.gguf", from.clone(), b"what was promised")];
    let name = "x".parse().unwrap();
    let error =
        store.add_files(&name, &wanted, true, &AddOptions::default(), &mut go_on).unwrap_err();
    assert!(matches!(error, AddError::Digest { .. }), "{error}");
    assert!(store.list().unwrap().is_empty());
    assert_eq!(std::fs::read(from).unwrap(), b"what came");
}

/// Half of the way is hashed, then the user stops; the next time all of it is still there.
#[test]
fn stopping_while_files_are_taken_keeps_them() {
    let bench = Bench::new();
    let store = bench.open();
    let bytes = noise("m", 3 << 20);
    let from = bench.file("download", &bytes);
    let wanted = [file("x.gguf", from.clone(), &bytes)];
    let name = "x".parse().unwrap();
    let mut stop = |_: Progress| ControlFlow::Break(());
    let error =
        store.add_files(&name, &wanted, true, &AddOptions::default(), &mut stop).unwrap_err();
    assert!(matches!(error, AddError::Stopped), "{error}");
    assert_eq!(std::fs::read(&from).unwrap(), bytes);
    store.add_files(&name, &wanted, true, &AddOptions::default(), &mut go_on).unwrap();
}
