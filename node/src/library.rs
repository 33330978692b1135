//! The models that are here: what `ls`, `show`, `share`, `rm`, `pin`, `gc` and `verify` do.

use std::ops::ControlFlow;

use hive_api::{
    ErrorKind, Events, GcReport, HiveError, ModelDetails, ModelFile, ModelSummary, Result, Status,
    Storage, VerifyEvent, Visibility,
};
use hive_protocol::{BlockId, Digest};
use hive_store::{self as store, Store};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::describe::{self, Description};
use crate::errors;
use crate::local::{Local, blocking};

/// Events of a running `verify` that may wait for their reader.
const EVENTS: usize = 64;

/// Where the licence that the user named is kept.
pub(crate) fn license_key(id: &BlockId) -> String {
    format!("license/{id}")
}

/// Finds the model that a text names: an id, a name, or the beginning or end of an id.
pub(crate) fn resolve(store: &Store, text: &str) -> Result<BlockId> {
    store.resolve(text).map_err(|error| match error {
        store::ModelError::NotFound { .. } => {
            HiveError::new(ErrorKind::NotFound, format!("no model `{text}` here")).hint(
                "`hive ls` lists the models that are here, `hive search` those of the network",
            )
        }
        error => model_error(text, &error),
    })
}

pub(crate) fn model_error(text: &str, error: &store::ModelError) -> HiveError {
    match error {
        store::ModelError::Ambiguous { .. } => {
            HiveError::caused(ErrorKind::Usage, format!("`{text}` is not clear"), error)
                .hint("give the whole id; `hive ls` shows it")
        }
        store::ModelError::InUse { .. } => {
            HiveError::caused(ErrorKind::Refused, format!("`{text}` is being fetched"), error)
                .hint(format!("stop it first: `hive cancel {text}`"))
        }
        error => errors::store(format!("cannot use `{text}`"), error),
    }
}

fn index(error: &store::IndexError) -> HiveError {
    errors::store("cannot read the index", error)
}

pub(crate) fn visibility(visibility: Visibility) -> store::Visibility {
    match visibility {
        Visibility::Public => store::Visibility::Public,
        Visibility::Unlisted => store::Visibility::Unlisted,
        Visibility::Local => store::Visibility::Local,
    }
}

pub(crate) fn storage(storage: store::Storage) -> Storage {
    match storage {
        store::Storage::Reflink => Storage::Reflink,
        store::Storage::Hardlink => Storage::Hardlink,
        store::Storage::Reference => Storage::Reference,
        store::Storage::Copy => Storage::Copy,
        store::Storage::Fetched => Storage::Fetched,
        store::Storage::Present => Storage::Present,
    }
}

pub(crate) fn summary(model: store::Model) -> ModelSummary {
    ModelSummary {
        cid: model.id.to_string(),
        name: model.name.to_string(),
        size: model.size,
        present: model.present,
        visibility: match model.visibility {
            store::Visibility::Public => Visibility::Public,
            store::Visibility::Unlisted => Visibility::Unlisted,
            store::Visibility::Local => Visibility::Local,
        },
        pinned: model.pinned,
        storage: storage(model.storage),
        path: model.path,
        damaged: model.damaged,
    }
}

/// What the header of a whole model's first described file says.
pub(crate) fn describe(store: &Store, id: &BlockId) -> Description {
    let files = store.files(id).unwrap_or_default();
    // The largest file is the weights; a tree's small files describe nothing.
    let Some(largest) = files.iter().max_by_key(|file| file.size) else {
        return Description::default();
    };
    let described = std::fs::File::open(&largest.on_disk)
        .and_then(|mut file| describe::describe(&mut file, largest.size));
    described.unwrap_or_else(|error| {
        tracing::debug!(%id, %error, "cannot read the header of a model");
        Description::default()
    })
}

impl Local {
    pub(crate) async fn list_models(&self) -> Result<Vec<ModelSummary>> {
        let store = self.store.clone();
        blocking(move || {
            let mut models: Vec<_> =
                store.list().map_err(|error| index(&error))?.into_iter().map(summary).collect();
            models.sort_by(|a, b| (&a.name, &a.cid).cmp(&(&b.name, &b.cid)));
            Ok(models)
        })
        .await
    }

    pub(crate) async fn show_model(&self, text: String) -> Result<ModelDetails> {
        let store = self.store.clone();
        blocking(move || {
            let id = resolve(&store, &text)?;
            let model = store.get(&id).map_err(|error| index(&error))?;
            let model = model.ok_or_else(|| {
                HiveError::new(ErrorKind::NotFound, format!("no model `{text}` here"))
            })?;
            let files = store.files(&id).map_err(|error| index(&error))?;
            let whole = model.state == store::State::Whole;
            let description = if whole { describe(&store, &id) } else { Description::default() };
            let said = store.meta(&license_key(&id)).map_err(|error| index(&error))?;
            let said = said.and_then(|bytes| String::from_utf8(bytes).ok());
            let files = files
                .into_iter()
                .map(|file| ModelFile {
                    path: file.path.to_string(),
                    cid: file.block.to_string(),
                    size: file.size,
                    sha256: file.sha256.map(|digest| Digest(digest).hex()),
                })
                .collect();
            Ok(ModelDetails {
                summary: summary(model),
                files,
                chunks: store.n_chunks(&id).map_err(|error| index(&error))?,
                format: description.format,
                architecture: description.architecture,
                quantization: description.quantization,
                parameters: description.parameters,
                context_length: description.context_length,
                license: said.or(description.license),
            })
        })
        .await
    }

    /// Changes one model and tells the network if that changes what is offered.
    async fn change(
        &self,
        text: String,
        change: impl FnOnce(&Store, &BlockId) -> std::result::Result<(), store::ModelError>
        + Send
        + 'static,
    ) -> Result<ModelSummary> {
        let store = self.store.clone();
        let summary = blocking(move || {
            let id = resolve(&store, &text)?;
            change(&store, &id).map_err(|error| model_error(&text, &error))?;
            let model = store.get(&id).map_err(|error| index(&error))?;
            model
                .map(summary)
                .ok_or_else(|| HiveError::new(ErrorKind::NotFound, format!("`{text}` is gone")))
        })
        .await?;
        self.offers_changed();
        Ok(summary)
    }

    pub(crate) async fn share_model(&self, text: String, to: Visibility) -> Result<ModelSummary> {
        self.change(text, move |store, id| store.set_visibility(id, visibility(to))).await
    }

    pub(crate) async fn pin_model(&self, text: String, pinned: bool) -> Result<ModelSummary> {
        self.change(text, move |store, id| store.set_pinned(id, pinned)).await
    }

    pub(crate) async fn remove_model(&self, text: String) -> Result<u64> {
        let store = self.store.clone();
        let freed = blocking(move || {
            let id = resolve(&store, &text)?;
            store.remove(&id).map_err(|error| model_error(&text, &error))
        })
        .await?;
        self.offers_changed();
        Ok(freed)
    }

    pub(crate) async fn collect_garbage(&self, dry_run: bool) -> Result<GcReport> {
        let store = self.store.clone();
        let report = blocking(move || {
            store
                .gc(dry_run)
                .map_err(|error| errors::store("cannot remove what has no pin", &error))
        })
        .await?;
        if report.removed {
            self.offers_changed();
        }
        let models = report.models.iter().map(ToString::to_string).collect();
        Ok(GcReport { models, bytes: report.bytes, removed: report.removed })
    }

    pub(crate) async fn verify_models(
        &self,
        text: Option<String>,
        repair: bool,
    ) -> Result<Events<VerifyEvent>> {
        let store = self.store.clone();
        let models = blocking(move || match text {
            Some(text) => {
                let id = resolve(&store, &text)?;
                Ok(store.get(&id).map_err(|error| index(&error))?.into_iter().collect())
            }
            None => store.list().map_err(|error| index(&error)),
        })
        .await?;
        let (events, stream) = mpsc::channel(EVENTS);
        let local = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = local.verify_each(models, repair, &events).await {
                // The reader may have left, which is its right.
                let _ = events.send(Err(error)).await;
            }
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }

    async fn verify_each(
        &self,
        models: Vec<store::Model>,
        repair: bool,
        events: &mpsc::Sender<Result<VerifyEvent>>,
    ) -> Result<()> {
        let total = models.iter().map(|model| model.present).sum();
        let (mut hashed, mut damaged, mut repaired) = (0, 0, 0);
        let n_models = models.len() as u64;
        for model in models {
            let (store, to) = (self.store.clone(), events.clone());
            let report = blocking(move || {
                let mut progress = |progress: store::Progress| {
                    // Progress that nobody has read yet is out of date anyway.
                    let event = VerifyEvent::Progress { bytes: hashed + progress.bytes, total };
                    match to.try_send(Ok(event)) {
                        Err(mpsc::error::TrySendError::Closed(_)) => ControlFlow::Break(()),
                        _ => ControlFlow::Continue(()),
                    }
                };
                store.verify(&model.id, &mut progress).map_err(|error| {
                    errors::store(format!("cannot verify `{}`", model.name), &error)
                })
            })
            .await?;
            hashed += report.bytes;
            damaged += report.damaged.len() as u64;
            let cid = model.id.to_string();
            for damage in &report.damaged {
                let event = VerifyEvent::Damaged {
                    cid: cid.clone(),
                    path: damage.path.to_string(),
                    offset: damage.offset,
                    len: damage.len,
                    reason: damage.reason.clone(),
                };
                if events.send(Ok(event)).await.is_err() {
                    return Ok(());
                }
            }
            if !report.damaged.is_empty() {
                self.offers_changed();
                if repair {
                    let bytes = self.repair(model.id).await?;
                    repaired += report.damaged.len() as u64;
                    let event = VerifyEvent::Repaired { cid, bytes };
                    if events.send(Ok(event)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        let done = VerifyEvent::Done { models: n_models, bytes: hashed, damaged, repaired };
        let _ = events.send(Ok(done)).await;
        Ok(())
    }

    pub(crate) async fn node_status(&self) -> Result<Status> {
        let store = self.store.clone();
        let (models, usage) = blocking(move || {
            let models = store.list().map_err(|error| index(&error))?.len() as u64;
            let usage =
                store.usage().map_err(|error| errors::store("cannot measure the disk", &error))?;
            Ok((models, usage))
        })
        .await?;
        let connected = match &self.swarm {
            Some(swarm) => swarm.network_state().await.connected,
            None => 0,
        };
        Ok(Status {
            peer: self.peer.to_string(),
            addresses: self.addresses().await,
            connected: connected as u64,
            models,
            fetches: self.fetches.summaries(),
            network: self.config.network.clone(),
            home: self.config.home.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: self.started.elapsed().as_secs_f64(),
            uploaded: self.uploaded.load(std::sync::atomic::Ordering::Relaxed),
            disk_used: usage.used,
            disk_free: usage.free,
        })
    }
}
