//! Removal: by name, and of everything without a pin.

use std::time::Duration;

use hive_protocol::BlockId;

use crate::disk::DiskError;
use crate::index::IndexError;
use crate::index::rows::{self, ModelRow};
use crate::model::{State, now};
use crate::store::{OpenError, Store};

/// A fetch that nobody went on with for this long is given up by `gc`, pinned or not.
const ABANDONED: Duration = Duration::from_hours(30 * 24);

/// Why a model could not be named, changed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The store has no such model.
    #[error("no model `{text}` here")]
    NotFound {
        /// What was asked for.
        text: String,
    },
    /// Several models fit.
    #[error("`{text}` fits {} models: {}", candidates.len(), candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// What fits.
        candidates: Vec<BlockId>,
    },
    /// It is being fetched or added right now.
    #[error("{id} is being written")]
    InUse {
        /// The model.
        id: BlockId,
    },
    /// A file cannot be removed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl ModelError {
    pub(crate) fn not_found(id: &BlockId) -> Self {
        Self::NotFound { text: id.to_string() }
    }
}

/// What can be removed, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcReport {
    /// Models without a pin and fetches that were given up.
    pub models: Vec<BlockId>,
    /// Bytes that this frees.
    pub bytes: u64,
    /// Whether they were removed, or would be.
    pub removed: bool,
}

impl Store {
    /// Removes a model and returns the bytes that this freed: a reflink, a hard link and a
    /// reference free none, and their originals stay.
    pub fn remove(&self, id: &BlockId) -> Result<u64, ModelError> {
        let _claim = self.claim(*id).ok_or(ModelError::InUse { id: *id })?;
        let model = self.inner.index.read(|txn| rows::model(txn, id))?;
        let model =
            model.filter(|model| !model.removing).ok_or_else(|| ModelError::not_found(id))?;
        let freed = self.freed_by(id)?;
        self.remove_claimed(&model)?;
        Ok(freed)
    }

    /// Removes a model that the caller has claimed.
    pub(crate) fn remove_claimed(&self, model: &ModelRow) -> Result<(), ModelError> {
        let id = model.id;
        // From here on it is gone, even if the rest is done after a crash.
        self.inner.index.write(move |txn| {
            txn.execute("UPDATE models SET removing = 1 WHERE id = ?1", [&id.0.0]).map(drop)
        })?;
        self.forget(&id);
        match self.finish_removal(&id, &model.dir) {
            Ok(()) => Ok(()),
            Err(OpenError::Disk(error)) => Err(error.into()),
            Err(OpenError::Index(error)) => Err(error.into()),
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn finish_removal(&self, id: &BlockId, dir: &str) -> Result<(), OpenError> {
        let layout = &self.inner.layout;
        self.inner.disk.remove_dirs(&layout.partial(id))?;
        self.inner.disk.remove_dirs(&layout.model(dir))?;
        let id = *id;
        self.inner.index.write(move |txn| rows::delete_model(txn, &id))?;
        Ok(())
    }

    fn freed_by(&self, id: &BlockId) -> Result<u64, IndexError> {
        let files = self.inner.index.read(|txn| rows::files(txn, id))?;
        Ok(files.iter().filter(|file| file.storage.takes_room()).map(|file| file.size).sum())
    }

    /// Removes every model without a pin, and fetches that nobody went on with for 30 days; or
    /// only says which. What is being fetched right now stays.
    pub fn gc(&self, dry_run: bool) -> Result<GcReport, ModelError> {
        let mut report = GcReport { models: Vec::new(), bytes: 0, removed: !dry_run };
        let models = self.inner.index.read(rows::models)?;
        for model in models {
            let abandoned = model.state == State::Partial
                && model.last_used.saturating_add(ABANDONED.as_secs()) < now();
            if model.removing || model.pinned && !abandoned {
                continue;
            }
            let Some(_claim) = self.claim(model.id) else { continue };
            report.bytes += self.freed_by(&model.id)?;
            report.models.push(model.id);
            if !dry_run {
                self.remove_claimed(&model)?;
            }
        }
        Ok(report)
    }
}
