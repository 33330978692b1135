//! The cache of Hugging Face's libraries.
//!
//! ```text
//! models--owner--repo/refs/<revision>                a commit
//! models--owner--repo/snapshots/<commit>/<path>      a link to a blob, or the file itself
//! models--owner--repo/blobs/<digest>
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hive_api::Discovered;
use hive_protocol::TreePath;

use super::{entries, read_small, regular};
use crate::choices;
use crate::digest::{Check, Promise, read_into};
use crate::limits;
use crate::repo::RepoFile;
use crate::source::{Repo, is_commit};

/// What the cache has of a repository at a commit. Seldom all of it.
#[derive(Debug)]
pub(crate) struct Cached {
    dir: PathBuf,
    pub(crate) commit: String,
    pub(crate) files: Vec<RepoFile>,
    places: BTreeMap<TreePath, PathBuf>,
}

impl Cached {
    /// Looks a repository up.
    pub(crate) fn find(cache: &Path, repo: &Repo) -> Option<Self> {
        let dir =
            cache.join(format!("models--{}", repo.id.replace('/', "--"))).canonicalize().ok()?;
        let revision = repo.revision.as_deref().unwrap_or("main");
        let commit = if is_commit(revision) {
            revision.to_owned()
        } else {
            // The parser let nothing through that could leave `refs`.
            let text = read_small(&dir.join("refs").join(revision), 256)?;
            String::from_utf8(text).ok()?.trim().to_owned()
        };
        if !is_commit(&commit) {
            return None;
        }
        Self::at(dir, commit)
    }

    fn at(dir: PathBuf, commit: String) -> Option<Self> {
        let snapshot = dir.join("snapshots").join(&commit);
        let mut cached = Self { dir, commit, files: Vec::new(), places: BTreeMap::new() };
        cached.walk(&snapshot, "", 0);
        (!cached.files.is_empty()).then_some(cached)
    }

    fn walk(&mut self, dir: &Path, prefix: &str, depth: usize) {
        if depth > limits::DEPTH {
            return;
        }
        for (name, path) in entries(dir) {
            if self.files.len() == limits::FILES {
                return;
            }
            let inside = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            // A directory is never behind a link here.
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                self.walk(&path, &inside, depth + 1);
                continue;
            }
            let Some((real, size)) = self.real(&path) else { continue };
            let Ok(path) = inside.parse::<TreePath>() else { continue };
            let promise = self.named(&real);
            self.files.push(RepoFile { path: path.clone(), size, promise });
            self.places.insert(path, real);
        }
    }

    /// What a path of a snapshot stands for: a blob, or itself where there are no links.
    fn real(&self, path: &Path) -> Option<(PathBuf, u64)> {
        regular(path, &self.dir.join("blobs"))
            .or_else(|| regular(path, &self.dir.join("snapshots").join(&self.commit)))
    }

    /// The digest in a blob's name; a file that no link leads to has none.
    fn named(&self, real: &Path) -> Option<Promise> {
        let name = real.strip_prefix(self.dir.join("blobs")).ok()?;
        Promise::parse(name.to_str()?)
    }

    /// Where a file of the repository at a commit is, if the cache has it whole. A small one is
    /// checked here, and a large one by its SHA-256 when it is added.
    pub(crate) fn place(&self, file: &RepoFile, commit: &str) -> Option<PathBuf> {
        let (path, size) = match self.places.get(&file.path) {
            Some(path) => self.real(path)?,
            None => return None,
        };
        if size != file.size {
            return None;
        }
        // Another commit's file often has the same length, and its blob another name.
        let differs = match self.named(&path) {
            Some(named) => file.promise != Some(named),
            None => commit != self.commit && !matches!(file.promise, Some(Promise::GitBlob(_))),
        };
        if differs {
            return None;
        }
        match file.promise {
            Some(promise @ Promise::GitBlob(_)) => {
                let mut check = Check::new(promise, size);
                let read =
                    fs::File::open(&path).and_then(|file| read_into(&mut check, file)).ok()?;
                (read == size && check.holds()).then_some(path)
            }
            _ => Some(path),
        }
    }
}

/// Every repository in a cache, at the commits that its branches name.
pub(crate) fn discover(cache: &Path, found: &mut Vec<Discovered>) {
    for (name, dir) in entries(cache) {
        let Some(id) = name.strip_prefix("models--") else { continue };
        let Ok(repo) = id.replacen("--", "/", 1).parse::<Repo>() else { continue };
        let Some(cached) = Cached::find(cache, &repo) else { continue };
        for choice in choices::choices(&cached.files) {
            found.push(Discovered {
                source: format!("hf:{}:{}", repo.id, choice.file),
                path: dir.join("snapshots").join(&cached.commit),
                size: choice.size(),
            });
        }
    }
}
