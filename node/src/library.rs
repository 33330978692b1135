//! The models that are here: what `ls`, `show`, `share`, `rm`, `pin`, `gc` and `verify` do.

use std::ops::ControlFlow;

use hive_api::{
    EngineOptions, ErrorKind, Events, GcReport, HiveError, ModelDetails, ModelFile, ModelSummary,
    PeerName, Result, Status, Storage, VerifyEvent, Visibility,
};
use hive_protocol::{BlockId, Digest};
use hive_store::{self as store, Store};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::catalog::{self, NameMatch};
use crate::describe::{self, Description};
use crate::local::{Local, blocking, send_last};
use crate::{errors, fit, reach};

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

    /// All that is known of a model: of one that is here what its files say, of another what the
    /// network does.
    pub(crate) async fn show_model(&self, text: String) -> Result<ModelDetails> {
        match self.show_here(text.clone()).await {
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.show_offered(&text).await?.ok_or(error)
            }
            shown => shown,
        }
    }

    async fn show_here(&self, text: String) -> Result<ModelDetails> {
        let local = self.clone();
        blocking(move || {
            let store = &local.store;
            let id = resolve(store, &text)?;
            let model = store.get(&id).map_err(|error| index(&error))?;
            let model = model.ok_or_else(|| {
                HiveError::new(ErrorKind::NotFound, format!("no model `{text}` here"))
            })?;
            let files = store.files(&id).map_err(|error| index(&error))?;
            let whole = model.state == store::State::Whole;
            let description = if whole { describe(store, &id) } else { Description::default() };
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
            let runs = matches!(description.format.as_deref(), Some("gguf" | "safetensors"));
            let options = EngineOptions {
                places: local.config.places,
                context: description.context_length.and_then(|tokens| tokens.try_into().ok()),
                ..EngineOptions::default()
            };
            let fit = local
                .room()
                .filter(|_| whole)
                .map(|room| fit::of_model(store, &model, &options, room));
            Ok(ModelDetails {
                fit: fit.filter(|_| runs),
                fetch_seconds: fit::fetch_seconds(store, model.size.saturating_sub(model.present)),
                holders: local.holders_of(id),
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

    /// What the network says of a model that is not here; `None` if nobody offers it.
    async fn show_offered(&self, text: &str) -> Result<Option<ModelDetails>> {
        let id = match text.parse::<BlockId>() {
            Ok(id) => id,
            Err(_) => match self.catalog.by_name(text) {
                NameMatch::One(id) => id,
                NameMatch::Several(ids) => {
                    let ids: Vec<_> = ids.iter().map(|(id, _)| id.to_string()).collect();
                    let message = format!("several models are called `{text}`");
                    return Err(HiveError::new(ErrorKind::Usage, message)
                        .hint(format!("give one of these ids: {}", ids.join(", "))));
                }
                NameMatch::Unknown => return Ok(None),
            },
        };
        let Some(card) = self.catalog.card_of(id) else { return Ok(None) };
        let local = self.clone();
        blocking(move || {
            let runs = catalog::runs(&card);
            Ok(Some(ModelDetails {
                fit: local
                    .room()
                    .filter(|_| runs)
                    .map(|room| fit::of_offer(&local.store, card.size, room)),
                fetch_seconds: fit::fetch_seconds(&local.store, card.size),
                holders: local.holders_of(id),
                summary: ModelSummary {
                    cid: id.to_string(),
                    name: card.name.to_string(),
                    size: card.size,
                    present: 0,
                    visibility: Visibility::Public,
                    pinned: false,
                    storage: Storage::Fetched,
                    path: std::path::PathBuf::new(),
                    damaged: None,
                },
                files: Vec::new(),
                chunks: 0,
                format: card.format,
                architecture: card.architecture,
                quantization: card.quantization,
                parameters: card.parameters,
                context_length: None,
                license: card.license,
            }))
        })
        .await
    }

    /// Memory for models, where the system tells.
    pub(crate) fn room(&self) -> Option<fit::Room> {
        let (total, free) = self.engines.room()?;
        Some(fit::Room { total, free })
    }

    fn holders_of(&self, id: BlockId) -> Vec<PeerName> {
        let mut holders: Vec<_> =
            self.catalog.holders(id).into_iter().map(|peer| self.shown(peer)).collect();
        holders.sort();
        holders
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
        Ok(GcReport { models, downloads: Vec::new(), bytes: report.bytes, removed: report.removed })
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
                send_last(&events, Err(error), &local.stop).await;
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
        let to_hash = |model: &store::Model| match model.state {
            store::State::Damaged => model.size,
            _ => model.present,
        };
        let total = models.iter().map(to_hash).sum();
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
            if report.damaged.is_empty() {
                // Its bytes are what they should be, so it was not they that crashed its process.
                self.engines.forgive(&model.id).await?;
                if report.is_back {
                    self.offers_changed();
                    let event = VerifyEvent::Repaired { cid, bytes: 0 };
                    if events.send(Ok(event)).await.is_err() {
                        return Ok(());
                    }
                }
            } else {
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
        send_last(events, Ok(done), &self.stop).await;
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
        let mut status = Status {
            name: self.config.node_name.clone(),
            peer: self.peer.to_string(),
            addresses: self.addresses().await,
            models,
            fetches: self.fetches.summaries(),
            network: self.config.network.clone(),
            membership: self.networks.own(),
            home: self.config.home.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime: self.started.elapsed().as_secs_f64(),
            uploaded: self.uploaded.load(std::sync::atomic::Ordering::Relaxed),
            disk_used: usage.used,
            disk_free: usage.free,
            lan_only: self.config.lan_only,
            ..Status::default()
        };
        if let Some(swarm) = &self.swarm {
            reach::describe(&mut status, swarm.network_state().await);
            status.relay = reach::serving(swarm.relay_state().await, &self.config);
        }
        Ok(status)
    }
}
