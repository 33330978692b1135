//! Every effect that a workload has on the disk fails once, in each way that it can.

use std::sync::Arc;

use super::*;
use crate::disk::Effect;
use crate::disk::faults::{Fault, Faults};
use crate::index::rows;
use crate::{Added, OpenError, State};

const MIB: usize = 1 << 20;

/// A tree with a chunk that stands twice, an empty file and directories.
fn original() -> Original {
    let same = noise("same", MIB + 10);
    Original::tree(
        "t",
        &[
            ("a/x", same.clone()),
            ("a/y", noise("y", 2 * MIB)),
            ("b", same),
            ("c", Vec::new()),
            ("d", noise("d", 9)),
        ],
    )
}

/// Fetches, with a checkpoint after every second group. Stops at the first error.
fn fetch(store: &Store, original: &Original) -> Option<PathBuf> {
    let partial = match store.begin(&original.fetching) {
        Err(crate::BeginError::Whole { .. }) => return Some(store.get(&original.id()).ok()??.path),
        other => other.ok()?,
    };
    original.put_proofs(&partial);
    let missing: Vec<u32> = partial.have().missing().collect();
    for (n_done, group) in missing.into_iter().enumerate() {
        partial.write(group, original.group(&partial, group)).ok()?;
        if n_done % 2 == 1 {
            partial.checkpoint().ok()?;
        }
    }
    partial.finish().ok()
}

/// Every group that the index calls durable is on the disk and right.
#[track_caller]
fn assert_index_is_true(store: &Store, original: &Original, context: &str) {
    let id = original.id();
    let Some(live) = store.live(&id).unwrap() else { return };
    let bits = store.inner.index.read(|txn| rows::bits(txn, &id)).unwrap().unwrap();
    assert_eq!(live.lock().durable.to_bytes(), bits);
    let report = store.verify(&id, &mut go_on).unwrap();
    assert!(report.damaged.is_empty(), "{context}: {:?}", report.damaged);
    let model = store.get(&id).unwrap().unwrap();
    if model.state == State::Whole {
        original.assert_is_at(&model.path);
    }
    assert_ne!(model.state, State::Damaged, "{context}");
}

fn faulty(faults: &Arc<Faults>) -> Disk {
    Disk { faults: Some(Arc::clone(faults)) }
}

/// The store dies at each effect in turn; with `cut_power`, all that was not synced is lost too.
fn die_everywhere(cut_power: bool) {
    let original = original();
    let counted = {
        let (bench, faults) = (Bench::new(), Arc::new(Faults::none()));
        let store = bench.open_on(faulty(&faults)).unwrap();
        fetch(&store, &original).unwrap();
        for effect in [
            Effect::Write,
            Effect::Sync,
            Effect::SyncDir,
            Effect::Rename,
            Effect::Commit,
            Effect::Mode,
        ] {
            assert!(faults.n_of(effect) > 0, "{effect:?}");
        }
        faults.n_effects()
    };
    let (mut n_injected, mut n_lost, mut n_kept) = (0, 0, 0);
    for at in 0..counted {
        let bench = Bench::new();
        let faults = Arc::new(Faults::new(at, Fault::Death));
        if let Ok(store) = bench.open_on(faulty(&faults)) {
            assert!(fetch(&store, &original).is_none(), "it died at {at}");
        }
        n_injected += faults.n_injected();
        if cut_power {
            n_lost += faults.cut_power();
        }
        let context = format!("died at effect {at} of {counted}");
        let store = bench.open();
        assert_index_is_true(&store, &original, &context);
        let durable =
            store.live(&original.id()).unwrap().map_or(0, |live| live.lock().durable.count());
        if let Ok(partial) = store.begin(&original.fetching) {
            // Nothing that was synced is fetched again.
            assert_eq!(partial.have_count(), durable, "{context}");
            n_kept += durable;
        }
        let path = fetch(&store, &original).unwrap_or_else(|| panic!("{context}"));
        original.assert_is_at(&path);
        drop(store);
        assert_index_is_true(&bench.open(), &original, &context);
        assert_eq!(std::fs::read_dir(bench.home().join("models/.partial")).unwrap().count(), 0);
    }
    assert_eq!(n_injected, counted);
    assert!(n_kept > 0, "no crash came after a checkpoint");
    assert!(!cut_power || n_lost > 0, "no crash lost anything");
}

#[test]
fn a_process_may_die_at_any_effect_of_a_fetch() {
    die_everywhere(false);
}

#[test]
fn power_may_fail_at_any_effect_of_a_fetch() {
    die_everywhere(true);
}

/// One effect fails and the disk is fine again: one error comes out, and the next try succeeds in
/// the same process.
#[test]
fn any_effect_of_a_fetch_may_fail_once() {
    let original = original();
    let counted = {
        let (bench, faults) = (Bench::new(), Arc::new(Faults::none()));
        fetch(&bench.open_on(faulty(&faults)).unwrap(), &original).unwrap();
        faults.n_effects()
    };
    // EIO, ENOSPC, half a write.
    for fault in [Fault::Error(5), Fault::Error(28), Fault::Short] {
        let mut n_injected = 0;
        for at in 0..counted {
            let bench = Bench::new();
            let faults = Arc::new(Faults::new(at, fault));
            let context = format!("{fault:?} at effect {at} of {counted}");
            let store = match bench.open_on(faulty(&faults)) {
                Ok(store) => store,
                Err(OpenError::Disk(_)) => bench.open_on(faulty(&faults)).expect(&context),
                Err(error) => panic!("{context}: {error}"),
            };
            let path =
                fetch(&store, &original).or_else(|| fetch(&store, &original)).expect(&context);
            original.assert_is_at(&path);
            assert_index_is_true(&store, &original, &context);
            n_injected += faults.n_injected();
        }
        assert_eq!(n_injected, counted);
    }
}

/// What a failed sync may have lost has to come again from outside.
#[test]
fn a_failed_sync_takes_its_groups_back() {
    let (bench, original) = (Bench::new(), Original::file("m", noise("m", 3 * MIB)));
    let syncs = |faults: &Faults| faults.n_of(Effect::Sync);
    let until_sync = {
        let (bench, faults) = (Bench::new(), Arc::new(Faults::none()));
        let store = bench.open_on(faulty(&faults)).unwrap();
        let partial = store.begin(&original.fetching).unwrap();
        original.put_proofs(&partial);
        partial.write(0, original.group(&partial, 0)).unwrap();
        assert_eq!(syncs(&faults), 0);
        faults.n_effects()
    };
    let faults = Arc::new(Faults::new(until_sync, Fault::Error(5)));
    let store = bench.open_on(faulty(&faults)).unwrap();
    let partial = store.begin(&original.fetching).unwrap();
    original.put_proofs(&partial);
    partial.write(0, original.group(&partial, 0)).unwrap();
    let error = partial.checkpoint().unwrap_err();
    assert!(
        matches!(&error, crate::CheckpointError::Disk(error) if error.action == "sync"),
        "{error}"
    );
    assert_eq!(faults.n_injected(), 1);
    assert_eq!(partial.have_count(), 0);
    assert_eq!(original.fetch_rest(&partial), 3);
    original.assert_is_at(&partial.finish().unwrap());
}

fn add_all(store: &Store, bench: &Bench) -> Option<Added> {
    let options = AddOptions { visibility: Some(Visibility::Public), ..AddOptions::default() };
    store.add(&bench.dir.path().join("repo"), &options, &mut go_on).ok()
}

#[test]
fn power_may_fail_at_any_effect_of_an_add() {
    let original = original();
    let prepare = || {
        let bench = Bench::new();
        for (path, bytes) in &original.files {
            bench.file(&format!("repo/{path}"), bytes);
        }
        bench
    };
    let counted = {
        let (bench, faults) = (prepare(), Arc::new(Faults::none()));
        add_all(&bench.open_on(faulty(&faults)).unwrap(), &bench).unwrap();
        faults.n_effects()
    };
    for fault in [Fault::Death, Fault::Error(5), Fault::Short] {
        let mut n_injected = 0;
        for at in 0..counted {
            let bench = prepare();
            let faults = Arc::new(Faults::new(at, fault));
            let context = format!("{fault:?} at effect {at} of {counted}");
            if let Ok(store) = bench.open_on(faulty(&faults)) {
                // A link that fails is no error: the next way of keeping the file is taken.
                let _ = add_all(&store, &bench);
            }
            n_injected += faults.n_injected();
            if fault == Fault::Death {
                faults.cut_power();
            }
            let store = bench.open();
            assert_index_is_true(&store, &original, &context);
            let added = add_all(&store, &bench).expect(&context);
            assert_eq!(added.id, original.id());
            original.assert_is_at(&added.path);
            original.assert_is_at(&bench.dir.path().join("repo"));
            assert_eq!(
                std::fs::read_dir(bench.home().join("models/.partial")).unwrap().count(),
                0,
                "{context}"
            );
        }
        assert_eq!(n_injected, counted);
    }
}

/// A store with a model of which a bit has flipped and that knows so; and the file that it is in.
fn damaged(original: &Original) -> (Bench, PathBuf) {
    let bench = Bench::new();
    let store = bench.open();
    let file = original.fetch(&store).join("a/y");
    super::fetching::flip(&file, 3);
    assert_eq!(store.verify(&original.id(), &mut go_on).unwrap().damaged.len(), 1);
    (bench, file)
}

/// Repair renames a damaged model back and forth; no crash on that way loses the good groups.
#[test]
fn power_may_fail_at_any_effect_of_a_repair() {
    let original = original();
    let prepare = || damaged(&original).0;
    let counted = {
        let (bench, faults) = (prepare(), Arc::new(Faults::none()));
        fetch(&bench.open_on(faulty(&faults)).unwrap(), &original).unwrap();
        faults.n_effects()
    };
    for at in 0..counted {
        let bench = prepare();
        let faults = Arc::new(Faults::new(at, Fault::Death));
        if let Ok(store) = bench.open_on(faulty(&faults)) {
            assert!(fetch(&store, &original).is_none(), "it died at {at}");
        }
        assert_eq!(faults.n_injected(), 1);
        faults.cut_power();
        let store = bench.open();
        if let Ok(partial) = store.begin(&original.fetching) {
            assert_eq!(partial.have().missing().count(), 1, "died at effect {at} of {counted}");
        }
        original.assert_is_at(&fetch(&store, &original).unwrap());
    }
}

#[test]
fn power_may_fail_at_any_effect_of_taking_back_what_is_right_again() {
    let original = original();
    let prepare = || {
        let (bench, file) = damaged(&original);
        super::fetching::flip(&file, 3);
        bench
    };
    let counted = {
        let (bench, faults) = (prepare(), Arc::new(Faults::none()));
        let store = bench.open_on(faulty(&faults)).unwrap();
        assert!(store.verify(&original.id(), &mut go_on).unwrap().is_back);
        faults.n_effects()
    };
    for at in 0..counted {
        let bench = prepare();
        let faults = Arc::new(Faults::new(at, Fault::Death));
        if let Ok(store) = bench.open_on(faulty(&faults)) {
            let told = store.verify(&original.id(), &mut go_on);
            assert!(told.is_err(), "it died at {at}: {told:?}");
        }
        assert_eq!(faults.n_injected(), 1);
        faults.cut_power();
        let store = bench.open();
        assert_index_is_true(&store, &original, &format!("died at effect {at} of {counted}"));
        original.assert_is_at(&store.get(&original.id()).unwrap().unwrap().path);
    }
}

/// Once the connections that only read were closed last: they cannot bring the log into the index,
/// and whoever then copied or damaged `index.sqlite` alone had next to nothing in it.
#[test]
fn a_store_that_is_closed_leaves_its_index_in_one_file() {
    let bench = Bench::new();
    let (index, log) = (bench.home().join("index.sqlite"), bench.home().join("index.sqlite-wal"));
    let store = bench.open();
    let file = bench.file("m", &noise("m", 9));
    let added = store.add(&file, &AddOptions::default(), &mut go_on).unwrap();
    assert!(log.exists());
    drop(store);
    assert!(!log.exists());

    let copy = Bench::new();
    drop(copy.open());
    std::fs::copy(&index, copy.home().join("index.sqlite")).unwrap();
    let known = copy.open().get(&added.id).unwrap();
    assert_eq!(known.map(|model| model.id), Some(added.id));
}

/// Among them files: a single one in `.partial` once kept a store from opening.
#[test]
fn what_crashes_left_unfinished_is_gone_after_a_start_and_what_is_known_stays() {
    let (bench, original) = (Bench::new(), original());
    let store = bench.open();
    let partial = store.begin(&original.fetching).unwrap();
    original.put_proofs(&partial);
    partial.write(0, original.group(&partial, 0)).unwrap();
    partial.checkpoint().unwrap();
    drop((partial, store));
    let partials = bench.home().join("models/.partial");
    for n in 0..100 {
        std::fs::create_dir_all(partials.join(format!("add-{n}-0/a/b"))).unwrap();
        std::fs::write(partials.join(format!("bafyr4i{n}")), "stale").unwrap();
    }
    let store = bench.open();
    store.inner.stale.wait(std::time::Duration::MAX);
    let left: Vec<_> =
        std::fs::read_dir(&partials).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [original.id().to_string().as_str()]);
    let path = fetch(&store, &original).unwrap();
    original.assert_is_at(&path);
}
