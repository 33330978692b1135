//! The directories of LM Studio: `<publisher>/<model>/<file>.gguf`, plain files that `hive add`
//! takes by their path.

use std::path::Path;

use hive_api::Discovered;
use hive_protocol::TreePath;

use super::{entries, regular};
use crate::choices;
use crate::limits;
use crate::repo::RepoFile;

/// Every model in a directory.
pub(crate) fn discover(dir: &Path, found: &mut Vec<Discovered>) {
    let Ok(dir) = dir.canonicalize() else { return };
    for (_, publisher) in entries(&dir) {
        for (_, model) in entries(&publisher) {
            let files: Vec<RepoFile> = entries(&model)
                .into_iter()
                .take(limits::FILES)
                .filter_map(|(name, path)| {
                    let (_, size) = regular(&path, &dir)?;
                    Some(RepoFile { path: name.parse::<TreePath>().ok()?, size, promise: None })
                })
                .collect();
            for choice in choices::choices(&files) {
                // A model of one file is that file; of several, their directory.
                let path =
                    if choice.files.len() == 1 { model.join(&choice.file) } else { model.clone() };
                let source = path.display().to_string();
                found.push(Discovered { source, path, size: choice.size() });
            }
        }
    }
}
