//! The models of Ollama.
//!
//! ```text
//! manifests/<host>/<namespace>/<name>/<tag>     JSON: layers by media type and digest
//! blobs/sha256-<64 digits>
//! ```
//!
//! Only the weights become a model here, and the licence its card's. The template and the
//! parameters are Ollama's own way to say what the header of the weights says as well.

use std::path::{Path, PathBuf};

use hive_api::{Discovered, ErrorKind, HiveError};
use serde::Deserialize;

use super::{entries, read_small, regular};
use crate::digest::Promise;
use crate::limits;
use crate::repo::clean;
use crate::source::OllamaName;

const LAYER: &str = "application/vnd.ollama.image.";

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    size: u64,
}

/// A model of Ollama on this disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OllamaModel {
    pub(crate) weights: PathBuf,
    pub(crate) size: u64,
    pub(crate) promise: Promise,
    pub(crate) license: Option<String>,
    /// Layers that stay behind.
    pub(crate) left: Vec<String>,
}

/// Finds a model in one of several directories.
pub(crate) fn find(dirs: &[PathBuf], name: &OllamaName) -> Result<OllamaModel, HiveError> {
    let mut manifests = Vec::new();
    for dir in dirs {
        let hosts = dir.join("manifests");
        for (host, path) in entries(&hosts) {
            let path = path.join(&name.namespace).join(&name.name).join(&name.tag);
            let asked = name.host.as_ref().is_none_or(|asked| *asked == host);
            if asked && path.is_file() {
                manifests.push((host, dir, path));
            }
        }
    }
    match manifests.as_slice() {
        [] => {
            let told = format!("Ollama has no `{name}` on this disk");
            Err(HiveError::new(ErrorKind::NotFound, told)
                .hint("`ollama list` shows what it has, and so does `hive add --found`; `OLLAMA_MODELS` names another directory"))
        }
        [(_, dir, path)] => read(dir, path, name),
        [(host, ..), ..] => {
            let told = format!("Ollama has `{name}` from several registries");
            let namespace = &name.namespace;
            Err(HiveError::new(ErrorKind::Usage, told)
                .hint(format!("name one: `ollama:{host}/{namespace}/{}:{}`", name.name, name.tag)))
        }
    }
}

fn read(dir: &Path, path: &Path, name: &OllamaName) -> Result<OllamaModel, HiveError> {
    let broken = |why: &str| {
        let told = format!("`{name}` cannot be added: {why}");
        HiveError::new(ErrorKind::Failed, told)
            .hint(format!("`ollama pull {}` mends it", name.name))
    };
    let dir = dir.canonicalize().map_err(|_| broken("its directory is gone"))?;
    let (real, _) = regular(path, &dir).ok_or_else(|| broken("its manifest is elsewhere"))?;
    let text = read_small(&real, limits::MANIFEST_LEN)
        .ok_or_else(|| broken("its manifest cannot be read"))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|_| broken("its manifest is none of Ollama's"))?;
    let weights: Vec<_> = of_kind(&manifest, "model").collect();
    let [layer] = weights.as_slice() else {
        let why = if weights.is_empty() { "it has no GGUF file" } else { "it has several" };
        return Err(broken(why));
    };
    let (weights, promise) =
        blob(&dir, layer).ok_or_else(|| broken("its weights are not there"))?;
    let license = of_kind(&manifest, "license").find_map(|layer| license(&dir, layer));
    let left = manifest.layers.iter().filter_map(|layer| layer.media_type.strip_prefix(LAYER));
    let left = left.filter(|kind| !matches!(*kind, "model" | "license")).filter_map(clean).take(16);
    let left: Vec<String> = left.collect();
    Ok(OllamaModel { weights, size: layer.size, promise, license, left })
}

fn of_kind<'a>(manifest: &'a Manifest, kind: &'a str) -> impl Iterator<Item = &'a Layer> {
    manifest.layers.iter().filter(move |layer| layer.media_type.strip_prefix(LAYER) == Some(kind))
}

/// The file of a layer: exactly `sha256:` and 64 digits, in `blobs`, of the length that is said.
fn blob(dir: &Path, layer: &Layer) -> Option<(PathBuf, Promise)> {
    let promise = Promise::sha256(layer.digest.strip_prefix("sha256:")?)?;
    let blobs = dir.join("blobs");
    // Written from the digest's bytes: no text of the manifest becomes part of a path.
    let path = regular(&blobs.join(format!("sha256-{promise}")), &blobs);
    let (path, _) = path.filter(|(_, size)| *size == layer.size)?;
    Some((path, promise))
}

/// What a licence calls itself: its first line.
fn license(dir: &Path, layer: &Layer) -> Option<String> {
    let (path, _) = blob(dir, layer)?;
    let text = String::from_utf8(read_small(&path, limits::MANIFEST_LEN)?).ok()?;
    text.lines().find_map(clean)
}

/// Every model in a directory.
pub(crate) fn discover(dir: &Path, found: &mut Vec<Discovered>) {
    let mut left = limits::ENTRIES;
    for (host, path) in entries(&dir.join("manifests")) {
        for (namespace, path) in entries(&path) {
            for (model, path) in entries(&path) {
                for (tag, path) in entries(&path) {
                    if left == 0 {
                        return;
                    }
                    left -= 1;
                    let Ok(name) =
                        format!("{host}/{namespace}/{model}:{tag}").parse::<OllamaName>()
                    else {
                        continue;
                    };
                    let Ok(model) = read(dir, &path, &name) else { continue };
                    let name = OllamaName { host: None, ..name };
                    found.push(Discovered {
                        source: name.to_string(),
                        path: model.weights,
                        size: model.size,
                    });
                }
            }
        }
    }
}
