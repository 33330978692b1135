//! What stopped downloads left: kept for a week, so that the same command goes on with it.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hive_api::{GcReport, Result};

use crate::local::{Local, blocking};

/// How long nobody has to have gone on with a download for `gc` to take it.
const ABANDONED: Duration = Duration::from_hours(7 * 24);
/// Bytes of the file that says what a download is.
const SOURCE_LEN: u64 = 4 << 10;

/// A download that is not going on.
#[derive(Debug)]
struct Leftover {
    dir: PathBuf,
    source: String,
    bytes: u64,
    /// When something was last written there.
    touched: SystemTime,
}

/// Removes a download. What cannot be removed is a leftover, which `gc` will find.
pub(super) fn remove(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), %error, "cannot remove a finished download");
        }
        _ => {}
    }
}

impl Local {
    /// Adds to what `gc` found the downloads that nobody went on with for a week.
    pub(crate) async fn collect_downloads(&self, report: GcReport) -> Result<GcReport> {
        let now = SystemTime::now();
        let old = move |leftover: &Leftover| {
            now.duration_since(leftover.touched).is_ok_and(|age| age > ABANDONED)
        };
        let removed = report.removed;
        let (sources, bytes) = self.leftovers(removed, old).await?;
        Ok(GcReport { downloads: sources, bytes: report.bytes + bytes, ..report })
    }

    /// Removes what a stopped download of a source left; `None` if there is nothing.
    pub(crate) async fn remove_download(&self, source: &str) -> Result<Option<u64>> {
        let wanted = source.to_owned();
        // `hf:owner/repo` stands for every commit of it.
        let of_source = move |leftover: &Leftover| {
            leftover.source == wanted || leftover.source.starts_with(&format!("{wanted}@"))
        };
        let (sources, bytes) = self.leftovers(true, of_source).await?;
        Ok((!sources.is_empty()).then_some(bytes))
    }

    async fn leftovers(
        &self,
        remove_them: bool,
        wanted: impl Fn(&Leftover) -> bool + Send + 'static,
    ) -> Result<(Vec<String>, u64)> {
        let local = self.clone();
        blocking(move || {
            let (mut sources, mut bytes) = (Vec::new(), 0);
            for leftover in list(&local.store.downloads(), |key| local.pulls.is_running(key)) {
                if !wanted(&leftover) {
                    continue;
                }
                bytes += leftover.bytes;
                if remove_them {
                    remove(&leftover.dir);
                }
                sources.push(leftover.source);
            }
            Ok((sources, bytes))
        })
        .await
    }
}

fn list(downloads: &Path, is_running: impl Fn(&str) -> bool) -> Vec<Leftover> {
    let entries = fs::read_dir(downloads).into_iter().flatten().filter_map(std::result::Result::ok);
    entries
        .filter(|entry| !is_running(&entry.file_name().to_string_lossy()))
        .map(|entry| {
            let dir = entry.path();
            let mut leftover = Leftover {
                source: source(&dir),
                dir: dir.clone(),
                bytes: 0,
                touched: SystemTime::UNIX_EPOCH,
            };
            measure(&dir, &mut leftover);
            leftover
        })
        .collect()
}

/// What a download is, as far as it got to say so.
fn source(dir: &Path) -> String {
    let mut text = String::new();
    let read = fs::File::open(dir.join("source"))
        .and_then(|file| file.take(SOURCE_LEN).read_to_string(&mut text));
    match read {
        Ok(_) if !text.is_empty() => text,
        _ => dir.display().to_string(),
    }
}

fn measure(dir: &Path, leftover: &mut Leftover) {
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(std::result::Result::ok) {
        let Ok(metadata) = entry.metadata() else { continue };
        if let Ok(modified) = metadata.modified() {
            leftover.touched = leftover.touched.max(modified);
        }
        if metadata.is_dir() {
            measure(&entry.path(), leftover);
        } else {
            leftover.bytes += metadata.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_measured_and_running_downloads_are_none() {
        let dir = tempfile::tempdir().unwrap();
        for key in ["one", "two"] {
            fs::create_dir_all(dir.path().join(key).join("parts")).unwrap();
            fs::write(dir.path().join(key).join("parts/x"), [0; 100]).unwrap();
        }
        fs::write(dir.path().join("one/source"), "hf:a/b@c").unwrap();
        let all = list(dir.path(), |key| key == "two");
        let [one] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((one.source.as_str(), one.bytes), ("hf:a/b@c", 108));
        assert!(one.touched > SystemTime::UNIX_EPOCH);
        assert!(list(&dir.path().join("none"), |_| false).is_empty());
    }
}
