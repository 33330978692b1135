//! What opening a home puts right after a crash. `docs/disk.md` has the table.
//!
//! A model's directory has one of two names, and a rename and its row cannot change at once; so
//! either name is accepted and the rest of the step is done again.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use hive_protocol::BlockId;

use crate::disk::{DiskError, failed};
use crate::index::rows::{self, ModelRow};
use crate::live::Live;
use crate::model::{State, Storage};
use crate::partial::{FinishError, finish};
use crate::store::{OpenError, Store};

/// Brings index and disk together.
pub(crate) fn recover(store: &Store) -> Result<(), OpenError> {
    let models = store.inner.index.read(rows::models)?;
    let mut known = HashSet::new();
    for model in &models {
        if model.removing {
            store.finish_removal(&model.id, &model.dir)?;
            continue;
        }
        known.insert(model.id.to_string());
        match model.state {
            State::Partial => recover_partial(store, model)?,
            State::Whole => recover_whole(store, model)?,
            State::Damaged => {}
        }
    }
    if store.inner.index.is_new() {
        tell_of_lost_index(store)?;
    }
    // Begun and never known to the index: no byte of it is counted on.
    remove_unknown(store, &known)?;
    Ok(())
}

/// Models are put into their place only after the index knows them. So an empty index beside models
/// is one that was lost; they stay where they are, and who runs this node should know.
fn tell_of_lost_index(store: &Store) -> Result<(), DiskError> {
    let models = store.inner.layout.models();
    let mut n_unknown = 0;
    for entry in fs::read_dir(&models).map_err(failed("list", &models))? {
        let entry = entry.map_err(failed("list", &models))?;
        n_unknown += u32::from(!entry.file_name().as_encoded_bytes().starts_with(b"."));
    }
    if n_unknown > 0 {
        tracing::warn!(
            models = %models.display(),
            n_unknown,
            "the index is empty and does not know what stands in `models`: restore it from a \
             backup, or `hive add` the files there"
        );
    }
    Ok(())
}

fn remove_unknown(store: &Store, known: &HashSet<String>) -> Result<(), DiskError> {
    let partials = store.inner.layout.partials();
    let mut unknown = BTreeSet::new();
    for entry in fs::read_dir(&partials).map_err(failed("list", &partials))? {
        let entry = entry.map_err(failed("list", &partials))?;
        if entry.file_name().to_str().is_none_or(|name| !known.contains(name)) {
            unknown.insert(entry.path());
        }
    }
    store.inner.stale.remove(unknown);
    Ok(())
}

fn rename(store: &Store, from: &Path, to: &Path) -> Result<(), DiskError> {
    store.inner.disk.rename(from, to)?;
    store.inner.disk.sync_dir(&store.inner.layout.partials())?;
    store.inner.disk.sync_dir(&store.inner.layout.models())
}

fn load(store: &Store, id: &BlockId) -> Result<Option<std::sync::Arc<Live>>, OpenError> {
    Ok(store.live(id)?)
}

fn recover_partial(store: &Store, model: &ModelRow) -> Result<(), OpenError> {
    let (partial, place) =
        (store.inner.layout.partial(&model.id), store.inner.layout.model(&model.dir));
    let Some(live) = load(store, &model.id)? else { return Ok(()) };
    let all_bits = live.lock().durable.is_full();
    if !partial.exists() && place.exists() {
        if all_bits {
            // Renamed, and the index was not told.
            live.lock().base = place;
        } else {
            // To be fetched again in parts, and the rename did not happen.
            rename(store, &place, &partial)?;
        }
    } else if !partial.exists() && !live.is_elsewhere() {
        store.quarantine(&live, &all(&live), "its files are gone")?;
        return Ok(());
    }
    if all_bits {
        match finish(store, &live) {
            Ok(_) | Err(FinishError::Missing { .. }) => {}
            Err(FinishError::Disk(error))
                if error.source.kind() == std::io::ErrorKind::NotFound =>
            {
                store.quarantine(&live, &all(&live), "its files are gone")?;
            }
            Err(FinishError::Disk(error)) => return Err(error.into()),
            Err(FinishError::Index(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

fn all(live: &Live) -> Vec<u32> {
    (0..live.geometry.n_groups()).collect()
}

fn recover_whole(store: &Store, model: &ModelRow) -> Result<(), OpenError> {
    let files = store.inner.index.read(|txn| rows::files(txn, &model.id))?;
    let place = store.inner.layout.model(&model.dir);
    let partial = store.inner.layout.partial(&model.id);
    if !place.exists() && partial.exists() {
        rename(store, &partial, &place)?;
    }
    // A reference may be on a disk that is not plugged in now; it is looked at when it is used.
    let lost: Vec<u32> = (0..files.len() as u32)
        .filter(|&at| {
            let file = &files[at as usize];
            let len =
                fs::metadata(crate::live::on_disk(&place, file)).map(|metadata| metadata.len());
            file.storage != Storage::Reference && len.ok() != Some(file.size)
        })
        .collect();
    if let Some(&first) = lost.first()
        && let Some(live) = load(store, &model.id)?
    {
        let reason = format!("{} is gone or has another length", files[first as usize].path);
        store.lose_files(&live, &lost, &reason)?;
    }
    Ok(())
}
