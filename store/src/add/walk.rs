//! Which files a path stands for.

use std::fs;
use std::path::{Path, PathBuf};

use hive_protocol::limits::FILES_PER_TREE;
use hive_protocol::path::PathError;
use hive_protocol::{Name, TreePath};

use super::{AddError, AddFile};
use crate::disk::failed;
use crate::layout::{file_name_for, name_for};
use crate::model::Kind;

/// Names that are never part of a model: version control, caches, what desktops drop.
const SKIPPED: &[&str] = &[".git", ".cache", ".DS_Store", "Thumbs.db", "desktop.ini"];

/// What a path stands for.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    /// A name made of the path's.
    pub(crate) name: Name,
    /// In the order of their paths, as in the tree.
    pub(crate) files: Vec<FoundFile>,
    pub(crate) skipped: Vec<PathBuf>,
}

/// A regular file.
#[derive(Debug)]
pub(crate) struct FoundFile {
    /// Its path in the tree.
    pub(crate) path: TreePath,
    /// Where it is, links resolved.
    pub(crate) from: PathBuf,
    pub(crate) len: u64,
    /// Whether it is the store's to take, and not somebody's to share.
    pub(crate) take: bool,
    /// The SHA-256 that it must have.
    pub(crate) sha256: Option<[u8; 32]>,
}

impl FoundFile {
    fn theirs(path: TreePath, from: PathBuf, len: u64) -> Self {
        Self { path, from, len, take: false, sha256: None }
    }
}

/// Looks at files that were chosen one by one.
pub(crate) fn listed(name: &Name, files: &[AddFile], is_file: bool) -> Result<Found, AddError> {
    let kind = if is_file && files.len() == 1 { Kind::File } else { Kind::Tree };
    let mut found = Found { kind, name: name.clone(), files: Vec::new(), skipped: Vec::new() };
    for file in files {
        let from = file.from.canonicalize().map_err(failed("find", &file.from))?;
        let metadata = fs::metadata(&from).map_err(failed("look at", &from))?;
        if !metadata.is_file() {
            return Err(AddError::NotAFile { path: file.from.clone() });
        }
        let (take, sha256) = (file.take, file.sha256);
        let len = metadata.len();
        found.files.push(FoundFile { path: file.path.clone(), from, len, take, sha256 });
    }
    if found.files.is_empty() {
        return Err(AddError::Empty { path: PathBuf::from(name.as_str()) });
    }
    found.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Looks at a path.
pub(crate) fn walk(path: &Path) -> Result<Found, AddError> {
    let real = path.canonicalize().map_err(failed("find", path))?;
    // The name that was given says more than what a link points to (a hash, in many caches).
    let named =
        path.file_name().or(real.file_name()).map(|name| name.to_string_lossy().into_owned());
    let named = named.unwrap_or_default();
    let name = name_for(&named);
    let metadata = fs::metadata(&real).map_err(failed("look at", &real))?;
    if metadata.is_file() {
        let path = named.parse().unwrap_or_else(|_| file_name_for(&name));
        let files = vec![FoundFile::theirs(path, real, metadata.len())];
        return Ok(Found { kind: Kind::File, name, files, skipped: Vec::new() });
    }
    if !metadata.is_dir() {
        return Err(AddError::NotAFile { path: path.to_owned() });
    }
    let mut found = Found { kind: Kind::Tree, name, files: Vec::new(), skipped: Vec::new() };
    walk_dir(&real, "", &mut found)?;
    if found.files.is_empty() {
        return Err(AddError::Empty { path: path.to_owned() });
    }
    found.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk_dir(dir: &Path, prefix: &str, found: &mut Found) -> Result<(), AddError> {
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        let not_a_file = || AddError::NotAFile { path: path.clone() };
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(not_a_file)?;
        if SKIPPED.contains(&name) {
            found.skipped.push(path);
            continue;
        }
        let inside = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let of_link = fs::symlink_metadata(&path).map_err(failed("look at", &path))?;
        if of_link.is_dir() {
            // Checked before going in, so that a deep or odd directory ends here.
            checked(&inside, &path)?;
            walk_dir(&path, &inside, found)?;
            continue;
        }
        let metadata = fs::metadata(&path).map_err(failed("look at", &path))?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        if found.files.len() == FILES_PER_TREE {
            let source = hive_protocol::codec::DecodeError::Rule {
                rule: format!("a tree has at most {FILES_PER_TREE} files"),
            };
            return Err(AddError::Manifest { path: dir.to_owned(), source });
        }
        let from = path.canonicalize().map_err(failed("find", &path))?;
        found.files.push(FoundFile::theirs(checked(&inside, &path)?, from, metadata.len()));
    }
    Ok(())
}

fn checked(inside: &str, path: &Path) -> Result<TreePath, AddError> {
    inside.parse().map_err(|source: PathError| AddError::Path { path: path.to_owned(), source })
}
