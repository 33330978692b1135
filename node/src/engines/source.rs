//! What a request names, found: a model of the store, or files on this disk.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use hive_api::{ErrorKind, HiveError, Result};
use hive_protocol::{BlockId, Name, TreePath};
use hive_store::{self as store, Store};
use hive_worker::{Input, limits};

use crate::fetch::Arrival;
use crate::{errors, library};

/// A model that can be loaded.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Its id, when it is in the store.
    pub(crate) id: Option<BlockId>,
    /// Its name here, or what the request called it.
    pub(crate) name: String,
    /// Names its bytes, as far as that can be known without reading them.
    pub(crate) bytes: String,
    /// Where it is, for files that are not in the store.
    pub(crate) path: PathBuf,
    files: Files,
}

#[derive(Debug, Clone)]
enum Files {
    /// Of a tree of the store.
    Tree(Vec<TreePath>),
    /// The one file that an id of the store names.
    Single,
    /// On this disk: names as a tree would have them, and places.
    Disk(Vec<(String, PathBuf)>),
    /// The one file of a model of the store that is being fetched.
    Arriving(Arrival),
}

/// Finds what to load: a file or directory by its path, or a whole model of the store. Blocks.
pub(crate) fn find(store: &Store, model: &str) -> Result<Source> {
    let path = Path::new(model);
    let is_path = model.contains(std::path::MAIN_SEPARATOR) || path.exists();
    if is_path && store.resolve(model).is_err() {
        return find_on_disk(path);
    }
    let id = library::resolve(store, model)?;
    let index = |error: &store::IndexError| errors::store("cannot read the index", error);
    let files = store.files(&id).map_err(|error| index(&error))?;
    let paths: Vec<_> = files.into_iter().map(|file| file.path).collect();
    let named = store.get(&id).map_err(|error| index(&error))?;
    let files = if paths.is_empty() {
        Files::Single
    } else {
        Files::Tree(choose(model, paths, TreePath::as_str)?)
    };
    let source = Source {
        id: Some(id),
        name: named.map_or_else(|| model.to_owned(), |model| model.name.to_string()),
        bytes: id.to_string(),
        path: PathBuf::new(),
        files,
    };
    // Also what is loaded is refused once the store knows that it is damaged, and is counted as
    // used.
    source.open_first(store)?;
    Ok(source)
}

/// Whether there is nothing to fetch of a model: it is all here, a file of this disk, or a path and
/// no name. Blocks.
pub(crate) fn is_here(store: &Store, model: &str) -> Result<bool> {
    let Ok(id) = store.resolve(model) else {
        // Names have slashes too: what could be one is a path only if something is there.
        return Ok(model.parse::<Name>().is_err() || Path::new(model).exists());
    };
    let found = store.get(&id).map_err(|error| errors::store("cannot read the index", &error))?;
    Ok(found.is_some_and(|model| model.state == store::State::Whole))
}

/// What to load of a model that is being fetched: its one GGUF file. None if it can only be loaded
/// when it is whole. Blocks.
pub(crate) fn find_arriving(
    store: &Store,
    id: BlockId,
    arrival: impl FnOnce(store::Arriving) -> Arrival,
) -> Result<Option<Source>> {
    let index = |error: &store::IndexError| errors::store("cannot read the index", error);
    let named = store.get(&id).map_err(|error| index(&error))?;
    let name = named.map_or_else(|| id.to_string(), |model| model.name.to_string());
    let files = store.files(&id).map_err(|error| index(&error))?;
    let paths = files.into_iter().map(|file| file.path).collect();
    let chosen = choose(&name, paths, TreePath::as_str)?;
    let [path] = chosen.as_slice() else { return Ok(None) };
    let file = store
        .arriving(&id, Some(path))
        .map_err(|error| errors::store(format!("cannot open `{name}`"), &error))?;
    let files = Files::Arriving(arrival(file));
    Ok(Some(Source { id: Some(id), name, bytes: id.to_string(), path: PathBuf::new(), files }))
}

fn find_on_disk(path: &Path) -> Result<Source> {
    let shown = path.display();
    let failed = |error: &std::io::Error| {
        HiveError::caused(ErrorKind::Usage, format!("cannot open `{shown}`"), error)
    };
    let metadata = path.metadata().map_err(|error| failed(&error))?;
    let files = if metadata.is_dir() {
        let mut files = Vec::new();
        walk(path, String::new(), &mut files).map_err(|error| failed(&error))?;
        files.sort();
        choose(&shown.to_string(), files, |(name, _)| name)?
    } else if !metadata.is_file() {
        // To open a pipe that nobody writes to waits for ever.
        let message = format!("`{shown}` is neither a file nor a directory");
        return Err(HiveError::new(ErrorKind::Usage, message).hint("give a model's file"));
    } else {
        let name = path.file_name().map_or_else(String::new, |name| name.display().to_string());
        vec![(name, path.to_owned())]
    };
    let bytes = bytes_of(path, &metadata, &files);
    let name = shown.to_string();
    Ok(Source { id: None, name, bytes, path: path.to_owned(), files: Files::Disk(files) })
}

/// What names the bytes of files on this disk: where they are, how long, how old.
fn bytes_of(path: &Path, metadata: &std::fs::Metadata, files: &[(String, PathBuf)]) -> String {
    let stamp = |metadata: &std::fs::Metadata| {
        let modified = metadata.modified().ok();
        let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (metadata.len(), since.map_or(0, |since| since.as_nanos()))
    };
    let (len, time) = if metadata.is_dir() {
        let stamps = files.iter().filter_map(|(_, at)| at.metadata().ok()).map(|of| stamp(&of));
        stamps.fold((0, 0), |(len, time), (more, other)| (len + more, time.max(other)))
    } else {
        stamp(metadata)
    };
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    format!("{}:{len}:{time}", path.display())
}

/// [`bytes_of`] a path, if there is a model.
pub(super) fn bytes_of_path(path: &Path) -> Option<String> {
    find_on_disk(path).ok().map(|source| source.bytes)
}

/// The regular files below a directory, as far as a model may have.
fn walk(dir: &Path, prefix: String, files: &mut Vec<(String, PathBuf)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // One too many is enough to say that there are too many.
        if name.starts_with('.') || files.len() > limits::PARTS {
            continue;
        }
        let (path, name) = (entry.path(), format!("{prefix}{name}"));
        // A link counts as the file that it leads to, and directories are not followed in circles.
        if entry.file_type()?.is_dir() {
            walk(&path, format!("{name}/"), files)?;
        } else if path.is_file() {
            files.push((name, path));
        }
    }
    Ok(())
}

/// Which files of a tree make the model: the one GGUF file, or all of them where there is none.
fn choose<T>(model: &str, files: Vec<T>, name: impl Fn(&T) -> &str) -> Result<Vec<T>> {
    if files.len() == 1 {
        return Ok(files);
    }
    let ends = |file: &T, end: &str| name(file).to_lowercase().ends_with(end);
    let (weights, others): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| ends(file, ".gguf"));
    match weights.as_slice() {
        [_] => Ok(weights),
        [first, second, ..] => {
            let (first, second) = (name(first), name(second));
            let message = format!("`{model}` has several GGUF files: {first}, {second}, …");
            Err(HiveError::new(ErrorKind::Usage, message)
                .hint("give the id of the file; `hive show` lists them"))
        }
        [] if !others.iter().any(|file| ends(file, ".safetensors")) => {
            let message = format!("`{model}` has no GGUF or safetensors file to run");
            Err(HiveError::new(ErrorKind::Failed, message)
                .hint("hive runs GGUF files and directories of safetensors; others can be added, fetched and shared"))
        }
        [] if others.len() > limits::PARTS => {
            let message = format!("`{model}` has more than {} files", limits::PARTS);
            Err(HiveError::new(ErrorKind::Failed, message)
                .hint("add the directory that has the weights and nothing else"))
        }
        [] => Ok(others),
    }
}

impl Source {
    /// Whether it is being fetched.
    pub(crate) fn is_arriving(&self) -> bool {
        matches!(self.files, Files::Arriving(_))
    }

    /// Opens the files; those of the store are what their ids say. Blocks.
    pub(crate) fn open(&self, store: &Store) -> Result<Vec<Input>> {
        match &self.files {
            Files::Single => Ok(vec![self.open_stored(store, None)?]),
            Files::Tree(paths) => {
                paths.iter().map(|path| self.open_stored(store, Some(path))).collect()
            }
            Files::Arriving(arrival) => {
                let failed = |error: store::OpenModelError| {
                    errors::store(format!("cannot open `{}`", self.name), &error)
                };
                let (file, at) = arrival.file().open().map_err(failed)?;
                let path =
                    at.file_name().map_or_else(String::new, |name| name.display().to_string());
                Ok(vec![Input { path, file, at, gate: Some(arrival.gate()) }])
            }
            Files::Disk(files) => files
                .iter()
                .map(|(name, at)| {
                    let file = File::open(at).map_err(|error| {
                        let message = format!("cannot open `{}`", at.display());
                        HiveError::caused(ErrorKind::Usage, message, &error)
                    })?;
                    Ok(Input { path: name.clone(), file, at: at.clone(), gate: None })
                })
                .collect(),
        }
    }

    fn open_first(&self, store: &Store) -> Result<Option<Input>> {
        match &self.files {
            Files::Single => self.open_stored(store, None).map(Some),
            Files::Tree(paths) => self.open_stored(store, paths.first()).map(Some),
            Files::Disk(_) | Files::Arriving(_) => Ok(None),
        }
    }

    fn open_stored(&self, store: &Store, path: Option<&TreePath>) -> Result<Input> {
        let Some(id) = &self.id else { return Err(errors::stopping()) };
        let model = &self.name;
        let open = store.open_verified(id, path).map_err(|error| match error {
            store::OpenModelError::Changed { .. } | store::OpenModelError::Damaged { .. } => {
                let message = format!("`{model}` is not what it was");
                HiveError::caused(ErrorKind::Verification, message, &error).hint(
                    "`hive verify` names what is damaged; `hive add` the file again if you changed it",
                )
            }
            store::OpenModelError::NotWhole { .. } => {
                HiveError::caused(ErrorKind::Failed, format!("`{model}` is not all here"), &error)
                    .hint(format!("`hive fetch {id}` gets the rest"))
            }
            error => errors::store(format!("cannot open `{model}`"), &error),
        })?;
        let name =
            || open.path.file_name().map_or_else(String::new, |name| name.display().to_string());
        let name = path.map_or_else(name, ToString::to_string);
        Ok(Input { path: name, file: open.file, at: open.path, gate: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str]) -> std::result::Result<Vec<String>, ErrorKind> {
        let files = files.iter().map(|name| (*name).to_owned()).collect();
        choose("m", files, String::as_str).map_err(|error| error.kind)
    }

    #[test]
    fn a_tree_is_its_one_gguf_file_or_all_files_beside_safetensors() {
        assert_eq!(chosen(&["README.md", "m.GGUF"]), Ok(vec!["m.GGUF".to_owned()]));
        let directory = ["config.json", "model.safetensors", "tokenizer.json"];
        assert_eq!(chosen(&directory).map(|files| files.len()), Ok(3));
        assert_eq!(chosen(&["a.gguf", "b.gguf"]), Err(ErrorKind::Usage));
        assert_eq!(chosen(&["README.md", "x.bin"]), Err(ErrorKind::Failed));
        assert_eq!(chosen(&["anything"]), Ok(vec!["anything".to_owned()]));
    }

    #[test]
    fn a_name_with_a_slash_is_fetched_and_a_path_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("home"), store::Options::default()).unwrap();
        assert!(!is_here(&store, "Qwen/Qwen3").unwrap());
        // Nobody calls a model that, so that it is not there is all there is to say.
        let file = dir.path().join("m.gguf");
        assert!(is_here(&store, file.to_str().unwrap()).unwrap());
        // The tests of a crate run in its directory.
        assert!(is_here(&store, "src/engines.rs").unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_opened() {
        let error = find_on_disk(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
    }

    #[test]
    fn a_file_that_was_written_anew_is_another_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, "one").unwrap();
        let before = bytes_of_path(&path);
        assert!(before.is_some() && before == bytes_of_path(&path));
        std::fs::write(&path, "other").unwrap();
        assert_ne!(before, bytes_of_path(&path));
    }
}
