//! `GET /v1/models` and `/v1/models/{id}`: the models that are here, as OpenAI lists its own.
//!
//! A model's id here is its name; its CID finds it too, and is its id where two models share a name.

use std::collections::{BTreeMap, HashSet};
use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use futures::{StreamExt as _, stream};
use hive_api::{ErrorKind, Hive, HiveError, ModelDetails, ModelSummary};
use schemars::JsonSchema;
use serde::Serialize;

use super::error::ApiError;
use crate::control::Control;

/// Models that are looked at together; each is a file whose header is read.
const LOOKS: usize = 4;

/// A list of models.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ModelList {
    /// `list`.
    object: &'static str,
    /// Models that are here whole.
    data: Vec<Model>,
}

/// A model, with more than OpenAI tells of one.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Model {
    /// What requests call it.
    id: String,
    /// `model`.
    object: &'static str,
    /// When its file was written, in seconds since 1970; 0 if that cannot be told.
    created: u64,
    /// `hive`.
    owned_by: &'static str,
    /// Its id in the swarm, a function of its bytes.
    cid: String,
    /// Bytes in all its files.
    size: u64,
    /// SHA-256 of its files, by path, where known.
    sha256: BTreeMap<String, String>,
    /// Peers that have it, as far as the catalog knows; this node is not one of them.
    holders: Vec<String>,
    /// `gguf`, `safetensors`, …
    format: Option<String>,
    /// `llama`, `gemma3`, …
    architecture: Option<String>,
    /// `Q4_K_M`, …
    quantization: Option<String>,
    /// Number of weights.
    parameters: Option<u64>,
    /// Tokens that it can see.
    context_length: Option<u64>,
    /// The licence that the card or the file names.
    license: Option<String>,
    /// Whether it is loaded.
    loaded: bool,
}

impl Model {
    async fn new(id: String, details: ModelDetails, loaded: &HashSet<String>) -> Self {
        let digests = details.files.into_iter().filter_map(|file| Some((file.path, file.sha256?)));
        Self {
            id,
            object: "model",
            created: written(&details.summary).await,
            owned_by: "hive",
            loaded: loaded.contains(&details.summary.cid),
            size: details.summary.size,
            sha256: digests.collect(),
            holders: details.holders.into_iter().map(|holder| holder.peer).collect(),
            format: details.format,
            architecture: details.architecture,
            quantization: details.quantization,
            parameters: details.parameters,
            context_length: details.context_length,
            license: details.license,
            cid: details.summary.cid,
        }
    }
}

/// When a model's file was written.
async fn written(model: &ModelSummary) -> u64 {
    let modified = tokio::fs::metadata(&model.path).await.and_then(|metadata| metadata.modified());
    let since = modified.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

/// The ids of the models that are loaded.
async fn loaded(hive: &dyn Hive) -> Result<HashSet<String>, HiveError> {
    Ok(hive.loaded().await?.into_iter().filter_map(|model| model.cid).collect())
}

pub(crate) async fn list(State(control): State<Control>) -> Result<Json<ModelList>, ApiError> {
    let hive = &control.hive;
    let (models, loaded) = (hive.list().await?, loaded(&**hive).await?);
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for model in &models {
        *by_name.entry(&model.name).or_default() += 1;
    }
    let whole = models.iter().filter(|model| model.present == model.size);
    let looked = whole.map(|model| {
        let is_clear = by_name.get(model.name.as_str()) == Some(&1);
        let id = if is_clear { model.name.clone() } else { model.cid.clone() };
        let loaded = &loaded;
        async move {
            // One that was removed meanwhile is not here.
            let details = hive.show(&model.cid).await.ok()?;
            Some(Model::new(id, details, loaded).await)
        }
    });
    // Boxed: the compiler cannot see that a borrowing future of each model is `Send`.
    let looked: Vec<_> = looked.map(futures::FutureExt::boxed).collect();
    let data: Vec<Option<Model>> = stream::iter(looked).buffered(LOOKS).collect().await;
    Ok(Json(ModelList { object: "list", data: data.into_iter().flatten().collect() }))
}

pub(crate) async fn retrieve(
    State(control): State<Control>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Model>, ApiError> {
    let Path(id) = id?;
    let details = control.hive.show(&id).await.map_err(ApiError::of_model)?;
    if details.summary.path.as_os_str().is_empty() {
        // Others offer it: a name to fetch, and nothing to ask.
        let absent = HiveError::new(ErrorKind::NotFound, format!("`{id}` is not on this node"));
        return Err(ApiError::of_model(absent.hint(format!("`hive fetch {id}` gets it"))));
    }
    let loaded = loaded(&*control.hive).await?;
    Ok(Json(Model::new(id, details, &loaded).await))
}
