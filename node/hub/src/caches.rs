//! What other programs keep on this disk, and where.
//!
//! Reads their directories and never writes there. What they wrote is as untrusted as what a hub
//! sends: texts are bounded, and no path in them leaves the directory that they are in.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hive_api::Discovered;

use crate::limits;

pub(crate) mod hugging_face;
pub(crate) mod lm_studio;
pub(crate) mod ollama;

/// Where other programs keep their models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The hub cache of Hugging Face's libraries.
    pub hugging_face: Vec<PathBuf>,
    /// Directories of Ollama, of the user and of the system's service.
    pub ollama: Vec<PathBuf>,
    /// Directories of LM Studio.
    pub lm_studio: Vec<PathBuf>,
}

impl Places {
    /// Where they are for this user: as the programs' own variables say, else as they default to.
    pub fn of_user() -> Self {
        let var = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let hugging_face = var("HF_HUB_CACHE")
            .or_else(|| var("HF_HOME").map(|dir| dir.join("hub")))
            .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("huggingface/hub")))
            .or_else(|| in_home(".cache/huggingface/hub"));
        let ollama = var("OLLAMA_MODELS").map_or_else(
            || {
                let service = PathBuf::from("/usr/share/ollama/.ollama/models");
                in_home(".ollama/models").into_iter().chain([service]).collect()
            },
            |dir| vec![dir],
        );
        let lm_studio = [in_home(".lmstudio/models"), in_home(".cache/lm-studio/models")];
        Self {
            hugging_face: hugging_face.into_iter().collect(),
            ollama,
            lm_studio: lm_studio.into_iter().flatten().collect(),
        }
    }

    /// Every model that can be added in place. May block.
    pub(crate) fn discover(&self) -> Vec<Discovered> {
        let mut found = Vec::new();
        for dir in &self.hugging_face {
            hugging_face::discover(dir, &mut found);
        }
        for dir in &self.ollama {
            ollama::discover(dir, &mut found);
        }
        for dir in &self.lm_studio {
            lm_studio::discover(dir, &mut found);
        }
        found.sort_by(|a, b| (&a.source, &a.path).cmp(&(&b.source, &b.path)));
        found.dedup();
        found
    }
}

/// The entries of a directory by name, no more than a bound of them; none if it cannot be read.
pub(crate) fn entries(dir: &Path) -> Vec<(String, PathBuf)> {
    let Ok(listed) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<_> = listed
        .take(limits::ENTRIES)
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    found.sort();
    found
}

/// A regular file below a directory, links resolved: its real path and length.
pub(crate) fn regular(path: &Path, below: &Path) -> Option<(PathBuf, u64)> {
    let real = path.canonicalize().ok()?;
    let metadata = fs::metadata(&real).ok()?;
    (real.starts_with(below) && metadata.is_file()).then_some((real, metadata.len()))
}

/// A small text; none if it is longer than `most`.
pub(crate) fn read_small(path: &Path, most: u64) -> Option<Vec<u8>> {
    let file = fs::File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most).then_some(bytes)
}
