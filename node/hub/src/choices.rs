//! Which models a repository's files are.
//!
//! Pure. A model is a GGUF file with all its parts, or the safetensors of one name with what stands
//! beside them. Weights that are programs (pickles) are no model here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::limits::{COMPANION_LEN, FILES_PER_MODEL, MEMBERS};
use crate::repo::RepoFile;

/// A model of a repository: positions in its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// What to write to have this one.
    pub(crate) file: String,
    pub(crate) label: String,
    pub(crate) files: Vec<RepoFile>,
}

impl Found {
    pub(crate) fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Quantisations by how often they are the right one to begin with.
const KNOWN: [&str; 14] = [
    "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "Q4_K_S", "Q4_0", "Q5_K_S", "Q5_0", "Q3_K_M", "IQ4_XS",
    "BF16", "F16", "Q3_K_L", "Q2_K",
];

/// The models among files, best known first.
pub(crate) fn choices(files: &[RepoFile]) -> Vec<Found> {
    let mut found = gguf(files);
    found.sort_by_cached_key(|one| {
        let rank = KNOWN.iter().position(|known| *known == one.label).unwrap_or(KNOWN.len());
        (rank, one.size(), one.file.clone())
    });
    let mut sets = safetensors(files);
    // What a program loads when it is told nothing has the plain name.
    sets.sort_by_cached_key(|one| {
        (Reverse(one.file.starts_with("model")), one.file.matches('/').count(), one.file.clone())
    });
    found.extend(sets);
    found.retain(|one| one.files.len() <= FILES_PER_MODEL);
    found
}

fn gguf(files: &[RepoFile]) -> Vec<Found> {
    let mut split: BTreeMap<(String, u32), Vec<(u32, RepoFile)>> = BTreeMap::new();
    let mut found = Vec::new();
    for file in files {
        let path = file.path.as_str();
        let Some(stem) = strip_suffix(path, ".gguf") else { continue };
        if !is_model(base_name(path)) {
            continue;
        }
        match part(stem) {
            Some((stem, at, of)) => {
                split.entry((stem.to_owned(), of)).or_default().push((at, file.clone()));
            }
            None => found.push(Found {
                file: path.to_owned(),
                label: label(base_name(stem)),
                files: vec![file.clone()],
            }),
        }
    }
    for ((stem, of), mut parts) in split {
        parts.sort_by_key(|(at, _)| *at);
        let whole = parts.iter().map(|(at, _)| *at).eq(1..=of);
        if let Some((_, first)) = parts.first()
            && whole
        {
            found.push(Found {
                file: first.path.to_string(),
                label: label(base_name(&stem)),
                files: parts.into_iter().map(|(_, file)| file).collect(),
            });
        }
    }
    found
}

/// Projectors and calibration data have the same ending and cannot be run alone.
fn is_model(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.starts_with("mmproj") && !name.contains("imatrix")
}

/// Weights of one name: one file, or parts of one.
#[derive(Default)]
struct Set<'a> {
    single: Option<&'a RepoFile>,
    parts: Vec<(u32, u32, &'a RepoFile)>,
}

impl Set<'_> {
    /// The files, if they are all there.
    fn weights(&self) -> Option<Vec<RepoFile>> {
        if let Some(single) = self.single {
            return Some(vec![single.clone()]);
        }
        let mut parts = self.parts.clone();
        parts.sort_by_key(|(at, ..)| *at);
        let of = parts.first().map_or(0, |(_, of, _)| *of);
        let whole = parts.iter().map(|(at, ..)| *at).eq(1..=of);
        whole.then(|| parts.into_iter().map(|(.., file)| file.clone()).collect())
    }
}

fn safetensors(files: &[RepoFile]) -> Vec<Found> {
    let mut sets: BTreeMap<String, Set<'_>> = BTreeMap::new();
    for file in files {
        let Some(stem) = strip_suffix(file.path.as_str(), ".safetensors") else { continue };
        match part(stem) {
            Some((stem, at, of)) => {
                sets.entry(stem.to_owned()).or_default().parts.push((at, of, file));
            }
            None => sets.entry(stem.to_owned()).or_default().single = Some(file),
        }
    }
    let others: Vec<&RepoFile> = files
        .iter()
        .filter(|file| strip_suffix(file.path.as_str(), ".safetensors").is_none())
        .collect();
    let mut found = Vec::new();
    let mut n_members = 0;
    for (stem, set) in &sets {
        // The same weights once more, as their author's own tools name them.
        let twin = stem.strip_suffix("consolidated").map(|dir| format!("{dir}model"));
        if twin.is_some_and(|twin| sets.contains_key(&twin)) {
            continue;
        }
        let Some(mut members) = set.weights() else { continue };
        let mut file = members.first().map(|first| first.path.to_string()).unwrap_or_default();
        let (index, dir) = (format!("{stem}.safetensors.index.json"), dir_of(stem));
        for &other in &others {
            if members.len() > FILES_PER_MODEL {
                break;
            }
            let path = other.path.as_str();
            let is_index = path == index && set.single.is_none();
            if is_index {
                path.clone_into(&mut file);
            }
            if is_index || belongs(path, dir) && other.size <= COMPANION_LEN {
                members.push(other.clone());
            }
        }
        n_members += members.len();
        if n_members > MEMBERS {
            break;
        }
        members.sort_by(|a, b| a.path.cmp(&b.path));
        found.push(Found { file, label: "safetensors".into(), files: members });
    }
    found
}

/// Whether a file is one of those that weights in `dir` are loaded with: configuration, tokenizer,
/// templates, licence.
fn belongs(path: &str, dir: &str) -> bool {
    let inside = if dir.is_empty() {
        Some(path)
    } else {
        path.strip_prefix(dir).and_then(|rest| rest.strip_prefix('/'))
    };
    let Some(inside) = inside else { return false };
    let name = base_name(inside);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    if let Some((below, _)) = inside.rsplit_once('/') {
        // The layers of sentence-transformers, and further templates of a chat.
        let layers = ["Pooling", "Dense", "Normalize", "LayerNorm"];
        let layer = below.split_once('_').is_some_and(|(number, what)| {
            number.bytes().all(|byte| byte.is_ascii_digit()) && layers.contains(&what)
        });
        let template = below == "additional_chat_templates" && ending == "jinja";
        return layer && name == "config.json" || template;
    }
    if name.starts_with('.') || name.ends_with(".index.json") {
        return false;
    }
    let legal = ["LICENSE", "LICENCE", "NOTICE", "USE_POLICY"];
    let upper = name.to_ascii_uppercase();
    matches!(ending, "json" | "txt" | "model" | "jinja")
        || legal.iter().any(|legal| upper.starts_with(legal))
}

fn strip_suffix<'a>(path: &'a str, suffix: &str) -> Option<&'a str> {
    let at = path.len().checked_sub(suffix.len())?;
    (at > 0 && path.is_char_boundary(at) && path[at..].eq_ignore_ascii_case(suffix))
        .then(|| &path[..at])
}

/// `name-00002-of-00005` is part 2 of 5 of `name`.
fn part(stem: &str) -> Option<(&str, u32, u32)> {
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (name, at) = rest.rsplit_once('-')?;
    let number = |text: &str| (text.len() == 5).then(|| text.parse::<u32>().ok()).flatten();
    let (at, of) = (number(at)?, number(of)?);
    (1..=of).contains(&at).then_some((name, at, of))
}

/// The quantisation in a file's name: the last word that looks like one.
pub(crate) fn label(stem: &str) -> String {
    let upper = stem.to_ascii_uppercase();
    let words = upper.split(['-', '.', ' ']).rev();
    let is_quantization = |word: &&str| {
        let rest = word
            .strip_prefix("IQ")
            .or_else(|| word.strip_prefix("TQ"))
            .or_else(|| word.strip_prefix('Q'));
        let packed = rest.is_some_and(|rest| {
            let mut chars = rest.chars();
            chars.next().is_some_and(|char| char.is_ascii_digit())
                && chars.next().is_some_and(|char| char == '_')
        });
        packed || matches!(*word, "F16" | "BF16" | "F32" | "FP16" | "FP32" | "MXFP4")
    };
    words.clone().find(is_quantization).map_or_else(|| "GGUF".to_owned(), str::to_owned)
}

pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Picks by the word that the user wrote: a path, a file's name, a quantisation.
pub(crate) fn pick<'a>(choices: &'a [Found], word: &str) -> Vec<&'a Found> {
    let tests: [&dyn Fn(&Found) -> bool; 3] = [
        &|one| {
            one.file == word
                || one
                    .files
                    .iter()
                    .any(|file| is_weights(file.path.as_str()) && file.path.as_str() == word)
        },
        &|one| base_name(&one.file).eq_ignore_ascii_case(word),
        &|one| one.label.eq_ignore_ascii_case(word),
    ];
    tests
        .iter()
        .map(|test| choices.iter().filter(|one| test(one)).collect::<Vec<_>>())
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn is_weights(path: &str) -> bool {
    strip_suffix(path, ".gguf").or_else(|| strip_suffix(path, ".safetensors")).is_some()
}

/// The first file with weights that hive does not take, where there are no others.
pub(crate) fn refused_weights(files: &[RepoFile]) -> Option<&str> {
    let endings = [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".onnx", ".h5", ".msgpack"];
    let weights = |path: &&str| endings.iter().any(|ending| strip_suffix(path, ending).is_some());
    files.iter().map(|file| file.path.as_str()).find(weights)
}

#[cfg(test)]
mod tests;
