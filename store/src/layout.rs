//! Where things stand below the home directory, and how names become directories.

use std::path::{Path, PathBuf};

use hive_protocol::{BlockId, Name, TreePath};

use crate::disk::{Disk, DiskError};

/// Bytes of a name that go into a directory's name at most.
const NAME_IN_DIR_LEN: usize = 100;

/// The home directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    home: PathBuf,
}

impl Layout {
    /// Makes the directories that are missing.
    pub(crate) fn create(home: &Path, disk: &Disk) -> Result<Self, DiskError> {
        let mut made = disk.create_dirs(home)?;
        let home = home.canonicalize().map_err(crate::disk::failed("find", home))?;
        let layout = Self { home };
        made.extend(disk.create_dirs(&layout.partials())?);
        made.extend(disk.create_dirs(&layout.home.join("cache"))?);
        for above in made.iter().filter_map(|dir| dir.parent()) {
            disk.sync_dir(if above.as_os_str().is_empty() { Path::new(".") } else { above })?;
        }
        Ok(layout)
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.home.join("lock")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.home.join("index.sqlite")
    }

    /// Where finished models are.
    pub(crate) fn models(&self) -> PathBuf {
        self.home.join("models")
    }

    /// Where models are that are being written.
    pub(crate) fn partials(&self) -> PathBuf {
        self.models().join(".partial")
    }

    /// The directory of a model that is being written.
    pub(crate) fn partial(&self, id: &BlockId) -> PathBuf {
        self.partials().join(id.to_string())
    }

    /// Where files are downloaded to that peers do not have; on the file system of the models.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.models().join(".downloads")
    }

    /// The directory of a finished model.
    pub(crate) fn model(&self, dir: &str) -> PathBuf {
        self.models().join(dir)
    }
}

/// The directory name of a model: readable, and fit for every file system. A name that ends in the
/// short id already, as one made up for want of a better does, does not get it twice.
pub(crate) fn dir_name(name: &Name, id: &BlockId) -> String {
    let (plain, short) = (plain(name.as_str()), id.short());
    if plain.ends_with(&format!("-{short}")) { plain } else { format!("{plain}-{short}") }
}

/// A directory name that no other id can have.
pub(crate) fn long_dir_name(name: &Name, id: &BlockId) -> String {
    format!("{}-{id}", plain(name.as_str()))
}

fn plain(name: &str) -> String {
    let fits =
        |char: char| if char.is_ascii_alphanumeric() || "._-".contains(char) { char } else { '-' };
    name.chars().map(fits).take(NAME_IN_DIR_LEN).collect()
}

/// A file name for a single-file model of which only the name is known: the name's last part.
pub fn file_name_for(name: &Name) -> TreePath {
    let last = name.as_str().rsplit('/').find(|part| !part.is_empty()).unwrap_or("model");
    let path = plain(last);
    // What is left to refuse is a device name or dots; `file-` in front takes that away.
    path.parse()
        .or_else(|_| format!("file-{}", path.trim_end_matches('.')).parse())
        .or_else(|_| "model".parse())
        .expect("`model` is a path")
}

/// A name for what a user adds without one: its file name, with what names do not have replaced.
pub(crate) fn name_for(file_name: &str) -> Name {
    let fits =
        |char: char| if char.is_ascii_alphanumeric() || "._@-".contains(char) { char } else { '-' };
    let text: String = file_name.chars().map(fits).take(hive_protocol::limits::NAME_LEN).collect();
    let text = text.trim_start_matches(|char: char| !char.is_ascii_alphanumeric());
    text.parse().or_else(|_| "model".parse()).expect("`model` is a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_makes_a_directory_and_a_file_name() {
        for (name, file) in [
            ("gemma3:270m", "gemma3-270m"),
            ("Qwen/Qwen3-0.6B@main", "Qwen3-0.6B-main"),
            ("a/", "a"),
            ("con", "file-con"),
            ("x..", "file-x"),
            ("n/..", "file-"),
        ] {
            let name: Name = name.parse().unwrap();
            assert_eq!(file_name_for(&name).as_str(), file);
            let dir = dir_name(&name, &BlockId::of(b""));
            assert!(
                dir.parse::<TreePath>().is_ok_and(|path| path.components().count() == 1),
                "{dir}"
            );
        }
    }

    #[test]
    fn any_file_name_makes_a_name() {
        for (file, name) in
            [("Modell groß.gguf", "Modell-gro-.gguf"), (".hidden", "hidden"), ("…", "model")]
        {
            assert_eq!(name_for(file).as_str(), name);
        }
    }
}
