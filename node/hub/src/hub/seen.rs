//! A repository as far as it is known, and the one model of it that is wanted.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hive_api::{Choice, ErrorKind, HiveError, Listing, Result};
use hive_protocol::TreePath;
use url::Url;

use super::without_ending;
use crate::caches::hugging_face::Cached;
use crate::choices::{self, Found, base_name};
use crate::options::Options;
use crate::plan::{self, From, Plan, PlannedFile};
use crate::repo::{self, RepoFile};
use crate::source::Repo;
use crate::web::Web;

/// Models that an error lists.
const LISTED: usize = 40;

/// A repository as far as it is known.
pub(super) struct Seen {
    pub(super) repo: Repo,
    pub(super) commit: String,
    pub(super) license: Option<String>,
    pub(super) choices: Vec<Found>,
    pub(super) files: Vec<RepoFile>,
    pub(super) cached: Option<Cached>,
    /// The hub, if it answered.
    pub(super) web: Option<(Web, Url)>,
    pub(super) notes: Vec<String>,
}

impl Seen {
    pub(super) fn offline(repo: Repo, cached: Cached, why: &str) -> Self {
        let note = format!("{why}; taking what the cache of Hugging Face has");
        Self {
            choices: choices::choices(&cached.files),
            commit: cached.commit.clone(),
            license: None,
            files: cached.files.clone(),
            cached: Some(cached),
            web: None,
            notes: vec![note],
            repo,
        }
    }

    fn source(&self) -> String {
        format!("hf:{}@{}", self.repo.id, self.commit)
    }

    pub(super) fn listing(&self) -> Listing {
        let choice = |found: &Found| Choice {
            file: found.file.clone(),
            label: found.label.clone(),
            size: found.size(),
            files: found.files.iter().map(|file| file.path.to_string()).collect(),
            cached: self.cached_place(found),
            fits: None,
        };
        let choices = match self.repo.file.as_deref() {
            Some(word) => self.picked(word).into_iter().map(choice).collect(),
            None => self.choices.iter().map(choice).collect(),
        };
        Listing { source: self.source(), license: self.license.clone(), choices }
    }

    /// The models that a word means.
    fn picked(&self, word: &str) -> Vec<&Found> {
        choices::pick(&self.choices, word)
    }

    /// Where the first file of a choice is, if the cache has all of it.
    fn cached_place(&self, found: &Found) -> Option<PathBuf> {
        let cached = self.cached.as_ref()?;
        let places: Option<Vec<_>> =
            found.files.iter().map(|file| cached.place(file, &self.commit)).collect();
        places?.into_iter().next()
    }

    fn choice(&self) -> Result<&Found> {
        let all: Vec<&Found> = match self.repo.file.as_deref() {
            Some(word) => self.picked(word),
            None => self.choices.iter().collect(),
        };
        let list = |found: &[&Found]| {
            found.iter().take(LISTED).map(|one| one.file.clone()).collect::<Vec<_>>()
        };
        let id = &self.repo.id;
        match all.as_slice() {
            [one] => Ok(one),
            [] if self.choices.is_empty() => {
                let why = match choices::refused_weights(&self.files) {
                    Some(path) => {
                        format!("its weights are in formats that hive does not take (`{path}`)")
                    }
                    None => "it has neither GGUF nor safetensors files".to_owned(),
                };
                let mut error =
                    HiveError::new(ErrorKind::NotFound, format!("`{id}` has no model to add"));
                error.messages.push(why);
                Err(error.hint("look for a repository of the same model with GGUF or safetensors"))
            }
            [] => {
                let word = self.repo.file.as_deref().unwrap_or_default();
                let mut error =
                    HiveError::new(ErrorKind::NotFound, format!("`{id}` has no `{word}`"));
                error.messages.push(format!(
                    "it has {}",
                    list(&self.choices.iter().collect::<Vec<_>>()).join(", ")
                ));
                Err(error)
            }
            [first, ..] => {
                let mut error =
                    HiveError::new(ErrorKind::Usage, format!("`{id}` has several models"));
                error.messages.push(format!("choose one of {}", list(&all).join(", ")));
                let revision = self.repo.revision.as_deref();
                let at = revision.map(|revision| format!("@{revision}")).unwrap_or_default();
                Err(error.hint(format!("`hive add hf:{id}{at}:{}`", first.file)))
            }
        }
    }

    pub(super) fn into_plan(self, options: Options) -> Result<Plan> {
        let found = self.choice()?.clone();
        let is_file = found.files.len() == 1;
        let dir = common_dir(&found.files);
        let mut files = Vec::with_capacity(found.files.len());
        for file in &found.files {
            let inside = if is_file {
                base_name(file.path.as_str())
            } else {
                &file.path.as_str()[dir.len()..]
            };
            let path: TreePath =
                inside.parse().map_err(|error: hive_protocol::path::PathError| {
                    HiveError::caused(
                        ErrorKind::Failed,
                        format!("cannot name `{}`", file.path),
                        &error,
                    )
                })?;
            let at = self.cached.as_ref().and_then(|cached| cached.place(file, &self.commit));
            let url = self.web.as_ref().map(|(_, endpoint)| {
                repo::file_url(endpoint, &self.repo.id, &self.commit, &file.path)
            });
            if at.is_none() && url.is_none() {
                let told = format!("`{}` in the cache is not what its name says", file.path);
                return Err(HiveError::new(ErrorKind::Verification, told));
            }
            files.push(PlannedFile { path, size: file.size, promise: file.promise, at, url });
        }
        let mut notes = self.notes.clone();
        let cached: u64 = files.iter().filter(|file| file.at.is_some()).map(|file| file.size).sum();
        if cached > 0 && self.web.is_some() {
            notes.push("in the cache of Hugging Face already; taken in place".to_owned());
        }
        let source = self.source();
        let name = name_of(&self.repo.id, &found);
        let from = match self.web {
            None => From::Disk,
            Some((web, endpoint)) => {
                From::Hub { web, endpoint, repo: self.repo.id, commit: self.commit, options }
            }
        };
        Ok(Plan { source, name, license: self.license, notes, files, is_file, from })
    }
}

/// A GGUF is called what its file is called, safetensors what their repository is.
fn name_of(id: &str, found: &Found) -> String {
    let repo = base_name(id);
    match found.files.as_slice() {
        [only] if found.label != "safetensors" => {
            plan::name_for(without_ending(base_name(only.path.as_str())))
        }
        _ if found.label == "safetensors" => plan::name_for(repo),
        _ => plan::name_for(&format!("{repo}:{}", found.label)),
    }
}

/// The directory that all files are in, with its slash.
fn common_dir(files: &[RepoFile]) -> String {
    let dirs: BTreeSet<&str> = files
        .iter()
        .map(|file| file.path.as_str().rsplit_once('/').map_or("", |(dir, _)| dir))
        .collect();
    // Sorted, so the first is the shortest where one contains the others.
    match dirs.first() {
        Some(&first) if !first.is_empty() => {
            let dir = format!("{first}/");
            if files.iter().all(|file| file.path.as_str().starts_with(&dir)) {
                dir
            } else {
                String::new()
            }
        }
        _ => String::new(),
    }
}
