//! Questions about models, and what people may change of them.

use hive_protocol::{Bitfield, BlockId, Geometry, Name};

use crate::index::IndexError;
use crate::index::rows::{self, ModelRow};
use crate::live::{on_disk, root};
use crate::model::{Kind, Model, ModelFile, State, Storage, Visibility};
use crate::remove::ModelError;
use crate::store::{Store, guard};

/// Characters of an id that name a model at least, so that a short name is not taken for one.
const PREFIX_LEN: usize = 6;

impl Store {
    /// The models in the store, by name.
    pub fn list(&self) -> Result<Vec<Model>, IndexError> {
        let models = self.inner.index.read(rows::models)?;
        models.iter().filter(|model| !model.removing).map(|model| self.describe(model)).collect()
    }

    /// A model in the store.
    pub fn get(&self, id: &BlockId) -> Result<Option<Model>, IndexError> {
        let model = self.inner.index.read(|txn| rows::model(txn, id))?;
        model.filter(|model| !model.removing).map(|model| self.describe(&model)).transpose()
    }

    fn describe(&self, model: &ModelRow) -> Result<Model, IndexError> {
        let files = self.inner.index.read(|txn| rows::files(txn, &model.id))?;
        let base = self.base(model);
        let path = match (model.kind, files.first()) {
            (Kind::File, Some(file)) => on_disk(&base, file),
            _ => root(&base, &files),
        };
        Ok(Model {
            id: model.id,
            name: model.name.clone(),
            kind: model.kind,
            size: model.size,
            present: self.present(model)?,
            visibility: model.visibility,
            pinned: model.pinned,
            state: model.state,
            damaged: model.reason.clone(),
            storage: files.iter().map(|file| file.storage).max().unwrap_or(Storage::Fetched),
            path,
            added_at: model.added_at,
            last_used: model.last_used,
        })
    }

    /// Verified bytes of a model's distinct chunks.
    fn present(&self, model: &ModelRow) -> Result<u64, IndexError> {
        let count = |geometry: &Geometry, bits: &Bitfield| {
            bits.iter().map(|group| geometry.group_len(group)).sum::<u64>()
        };
        if let Some(live) = self.peek(&model.id) {
            let written = live.lock().written.clone();
            return Ok(count(&live.geometry, &written));
        }
        let (chunks, bitmap) = self
            .inner
            .index
            .read(|txn| Ok((rows::chunks(txn, &model.id)?, rows::bits(txn, &model.id)?)))?;
        let geometry = Geometry::new(chunks.iter().map(|row| (row.chunk, row.size)));
        if model.state == State::Whole {
            return Ok(geometry.size());
        }
        let bits = bitmap.and_then(|bitmap| Bitfield::from_bytes(&bitmap, geometry.n_groups()));
        Ok(bits.map_or(0, |bits| count(&geometry, &bits)))
    }

    /// The files of a model; none if it is not here.
    pub fn files(&self, id: &BlockId) -> Result<Vec<ModelFile>, IndexError> {
        let (model, files) =
            self.inner.index.read(|txn| Ok((rows::model(txn, id)?, rows::files(txn, id)?)))?;
        let Some(model) = model else { return Ok(Vec::new()) };
        let base = self.base(&model);
        let file = |file: rows::FileRow| ModelFile {
            on_disk: on_disk(&base, &file),
            path: file.path,
            block: file.block,
            size: file.size,
            sha256: file.sha256,
            storage: file.storage,
        };
        Ok(files.into_iter().map(file).collect())
    }

    /// Distinct chunks of a model; 0 if it is not here.
    pub fn n_chunks(&self, id: &BlockId) -> Result<u64, IndexError> {
        let count: i64 = self.inner.index.read(|txn| {
            txn.query_row(
                "SELECT count(DISTINCT chunk) FROM chunks WHERE model = ?1",
                [&id.0.0],
                |row| row.get(0),
            )
        })?;
        Ok(count as u64)
    }

    /// Finds a model by its id, its exact name, or six characters or more that its id begins or
    /// ends with.
    pub fn resolve(&self, text: &str) -> Result<BlockId, ModelError> {
        let models = self.inner.index.read(rows::models)?;
        let here: Vec<_> = models.into_iter().filter(|model| !model.removing).collect();
        if let Ok(id) = text.parse::<BlockId>() {
            let known = here.iter().any(|model| model.id == id);
            return if known { Ok(id) } else { Err(ModelError::not_found(&id)) };
        }
        let mut fits: Vec<BlockId> =
            here.iter().filter(|model| model.name.as_str() == text).map(|model| model.id).collect();
        if fits.is_empty() && text.len() >= PREFIX_LEN {
            let by_id = here.iter().map(|model| model.id).filter(|id| {
                let id = id.to_string();
                id.starts_with(text) || id.ends_with(text)
            });
            fits = by_id.collect();
        }
        match fits.as_slice() {
            [id] => Ok(*id),
            [] => Err(ModelError::NotFound { text: text.to_owned() }),
            _ => Err(ModelError::Ambiguous { text: text.to_owned(), candidates: fits }),
        }
    }

    /// Changes who may have a model. Holds for the very next request of a peer.
    pub fn set_visibility(&self, id: &BlockId, visibility: Visibility) -> Result<(), ModelError> {
        // Less first in memory, more first on disk: at no moment is more given than was said.
        // One at a time, so that memory and index end with the same answer.
        let _one = guard(&self.inner.sharing);
        // In memory before the index is written: whoever reads the old row meanwhile finds this one.
        let live = self.live(id)?.ok_or_else(|| ModelError::not_found(id))?;
        {
            let mut now = live.lock();
            now.visibility = now.visibility.max(visibility);
        }
        self.change(id, "visibility", visibility.number())?;
        live.lock().visibility = visibility;
        Ok(())
    }

    /// Pins a model, so that `gc` leaves it, or unpins it.
    pub fn set_pinned(&self, id: &BlockId, pinned: bool) -> Result<(), ModelError> {
        self.change(id, "pinned", pinned)
    }

    /// Calls a model something else. Its directory keeps its name.
    pub fn rename(&self, id: &BlockId, name: &Name) -> Result<(), ModelError> {
        self.change(id, "name", name.as_str().to_owned())
    }

    fn change(
        &self,
        id: &BlockId,
        column: &'static str,
        value: impl rusqlite::ToSql + Send + 'static,
    ) -> Result<(), ModelError> {
        let key = id.0.0;
        let n_changed = self.inner.index.write(move |txn| {
            let sql = format!("UPDATE models SET {column} = ?2 WHERE id = ?1 AND removing = 0");
            txn.execute(&sql, rusqlite::params![key, value])
        })?;
        if n_changed == 0 { Err(ModelError::not_found(id)) } else { Ok(()) }
    }
}
