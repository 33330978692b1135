//! Puts the files of a whole model where the user wants them, beside the store's own.
//!
//! Never replaces a file, and never shares one with the store that somebody could write into: what
//! comes out is a copy, on file systems that can do so one that shares its blocks until it is
//! written.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use hive_protocol::BlockId;

use crate::disk::failed;
use crate::layout;
use crate::run::OpenModelError;
use crate::store::Store;

/// Bytes compared at once.
const COMPARED: usize = 1 << 20;

impl Store {
    /// Puts a model's file, or a tree's directory, into `dir` and says where it is: by reflink, else
    /// by copy. A file that is there already with the same bytes stays.
    ///
    /// # Errors
    ///
    /// The model is not whole or not what it was, another file has the name, or the disk fails.
    pub fn export(&self, id: &BlockId, dir: &Path) -> Result<PathBuf, OpenModelError> {
        let not_found = || OpenModelError::NotFound { what: id.to_string() };
        let model = self.get(id)?.ok_or_else(not_found)?;
        let files = self.files(id)?;
        let is_tree = model.kind == crate::model::Kind::Tree;
        let top = if is_tree {
            dir.join(layout::file_name_for(&model.name).as_str())
        } else {
            dir.to_owned()
        };
        let mut placed = top.clone();
        for file in &files {
            let verified = self.open_verified(id, Some(&file.path))?;
            let to =
                file.path.components().fold(top.clone(), |path, component| path.join(component));
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(failed("create", parent))?;
            }
            place(&verified.path, &to, verified.size)?;
            if !is_tree {
                placed = to;
            }
        }
        Ok(placed)
    }
}

fn place(from: &Path, to: &Path, len: u64) -> Result<(), OpenModelError> {
    match fs::metadata(to) {
        Ok(there) if there.is_file() && there.len() == len && same(from, to)? => return Ok(()),
        Ok(_) => {
            let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(failed("write", to)(exists).into());
        }
        Err(_) => {}
    }
    if reflink_copy::reflink(from, to).is_ok() {
        return Ok(());
    }
    // Whole under another name first: a copy that was cut short is not taken for the file.
    let draft = to.with_extension("hive-part");
    fs::copy(from, &draft).map_err(failed("write", &draft))?;
    fs::rename(&draft, to).map_err(failed("rename", to))?;
    Ok(())
}

/// Whether two files hold the same bytes.
fn same(one: &Path, other: &Path) -> Result<bool, OpenModelError> {
    let open = |path: &Path| fs::File::open(path).map_err(failed("read", path));
    let (mut one_file, mut other_file) = (open(one)?, open(other)?);
    let (mut ours, mut theirs) = (vec![0; COMPARED], vec![0; COMPARED]);
    loop {
        let n = one_file.read(&mut ours).map_err(failed("read", one))?;
        if n == 0 {
            return Ok(true);
        }
        if other_file.read_exact(&mut theirs[..n]).is_err() || ours[..n] != theirs[..n] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::{AddOptions, Options};

    #[test]
    fn an_export_is_the_model_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("home"), Options::default()).unwrap();
        let file = dir.path().join("model.bin");
        fs::write(&file, b"the bytes of a model").unwrap();
        let added =
            store.add(&file, &AddOptions::default(), &mut |_| ControlFlow::Continue(())).unwrap();
        let out = dir.path().join("out");
        let path = store.export(&added.id, &out).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"the bytes of a model");
        // Again, and beside another file of the same length.
        assert_eq!(store.export(&added.id, &out).unwrap(), path);
        fs::write(&path, b"not the model's bytes").unwrap();
        fs::write(&path, b"THE bytes of a model").unwrap();
        assert!(store.export(&added.id, &out).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"THE bytes of a model");
        assert_eq!(fs::read(&file).unwrap(), b"the bytes of a model");
    }
}
