//! What one pull will do: which files, from where, under which name.
//!
//! A plan is made before a byte is downloaded, so that its size can be held against the disk, and
//! says the same each time for the same source, so that a download goes on where it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hive_api::HiveError;
use hive_protocol::TreePath;
use hive_protocol::limits::NAME_LEN;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::digest::Promise;
use crate::download::{self, Download, Wanted};
use crate::options::Options;
use crate::repo;
use crate::retry::{Refusal, Tell};
use crate::web::{self, Web};

/// Characters of the name in a download's directory, for people.
const READABLE: usize = 48;

/// A file of a plan.
#[derive(Debug, Clone)]
pub struct PlannedFile {
    /// Its path in the model.
    pub path: TreePath,
    /// Its bytes.
    pub size: u64,
    /// The digest that it must have. A cache without links does not tell it.
    pub promise: Option<Promise>,
    /// Where it is on this disk, in another program's cache.
    pub at: Option<PathBuf>,
    pub(crate) url: Option<Url>,
}

/// A file that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyFile {
    /// Its path in the model.
    pub path: TreePath,
    /// Where it is.
    pub at: PathBuf,
    /// Whether it was downloaded for this pull, and is nobody's yet.
    pub downloaded: bool,
    /// The digest that it must have.
    pub sha256: Option<[u8; 32]>,
}

/// What a pull will do.
#[derive(Debug)]
pub struct Plan {
    /// The source with its revision resolved, for the card.
    pub source: String,
    /// What to call the model if nobody says.
    pub name: String,
    /// The licence that the source names.
    pub license: Option<String>,
    /// What a person may want to know.
    pub notes: Vec<String>,
    /// The files.
    pub files: Vec<PlannedFile>,
    /// Whether the model is the one file, and not a directory with it.
    pub is_file: bool,
    pub(crate) from: From,
}

/// Whom to ask for the files.
#[derive(Debug)]
pub(crate) enum From {
    Disk,
    Hub { web: Web, endpoint: Url, repo: String, commit: String, options: Options },
    Address { web: Web, options: Options },
}

impl Plan {
    /// Bytes in all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Bytes that are downloaded, or were.
    pub fn to_download(&self) -> u64 {
        self.files.iter().filter(|file| file.at.is_none()).map(|file| file.size).sum()
    }

    /// Bytes of the download that a directory has from earlier.
    pub fn downloaded(&self, dir: &Path) -> u64 {
        self.wanted().iter().map(|wanted| download::present(dir, wanted)).sum()
    }

    /// A directory name that this source has for itself. Another commit or another file is another
    /// source.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.source);
        for file in &self.files {
            hash.update([0]);
            hash.update(file.path.as_str());
            hash.update([0]);
            hash.update(file.promise.map(|promise| promise.to_string()).unwrap_or_default());
        }
        let fits =
            |char: char| if char.is_ascii_alphanumeric() || char == '.' { char } else { '-' };
        let readable: String = self.name.chars().map(fits).take(READABLE).collect();
        format!(
            "{}-{}",
            readable.trim_start_matches(['.', '-']),
            &hex::encode(hash.finalize())[..16]
        )
    }

    /// Downloads what is missing into a directory, which nobody else may use meanwhile. Cancel
    /// safe: what is there stays, and the next call goes on with it.
    pub async fn download(
        &self,
        dir: &Path,
        bytes: &Arc<AtomicU64>,
        tell: &Tell,
    ) -> Result<(), HiveError> {
        let wanted = self.wanted();
        if wanted.is_empty() {
            return Ok(());
        }
        let (to, source) = (dir.to_owned(), self.source.clone());
        download::disk(dir, move || {
            std::fs::create_dir_all(&to)?;
            std::fs::write(to.join("source"), source)
        })
        .await?;
        let of_address = |refusal: Refusal| address_refused(&refusal);
        match &self.from {
            From::Disk => Ok(()),
            From::Hub { web, endpoint, repo, commit, options } => {
                let refused =
                    |refusal: Refusal| repo::refused(&refusal, endpoint, repo, web.has_token());
                let download = Download {
                    web,
                    dir,
                    commit: Some(commit),
                    bytes,
                    backoff: options.backoff,
                    refused: &refused,
                };
                download.all(&wanted, tell).await
            }
            From::Address { web, options } => {
                let download = Download {
                    web,
                    dir,
                    commit: None,
                    bytes,
                    backoff: options.backoff,
                    refused: &of_address,
                };
                download.all(&wanted, tell).await
            }
        }
    }

    /// Where every file is, once [`download`](Self::download) has ended well.
    pub fn ready(&self, dir: &Path) -> Vec<ReadyFile> {
        let file = |file: &PlannedFile| ReadyFile {
            path: file.path.clone(),
            at: file.at.clone().unwrap_or_else(|| download::place(dir, &file.path)),
            downloaded: file.at.is_none(),
            sha256: file.promise.and_then(|promise| promise.as_sha256()),
        };
        self.files.iter().map(file).collect()
    }

    fn wanted(&self) -> Vec<Wanted> {
        let wanted = |(number, file): (usize, &PlannedFile)| {
            let (Some(url), Some(promise), None) = (&file.url, file.promise, &file.at) else {
                return None;
            };
            let (path, url) = (file.path.clone(), url.clone());
            Some(Wanted { number, path, url, size: file.size, promise })
        };
        self.files.iter().enumerate().filter_map(wanted).collect()
    }
}

/// What the server of an address means by its no.
pub(crate) fn address_refused(refusal: &Refusal) -> HiveError {
    let kind = match refusal.status {
        404 | 410 => hive_api::ErrorKind::NotFound,
        401 | 403 => hive_api::ErrorKind::Refused,
        _ => hive_api::ErrorKind::Failed,
    };
    HiveError::new(kind, format!("{} answers {}", refusal.host, refusal.status))
        .hint("no token is ever sent to an address; does it open without one?")
}

/// A name made of what a source calls a model.
pub(crate) fn name_for(text: &str) -> String {
    let fits = |char: char| {
        if char.is_ascii_alphanumeric() || "._:@-".contains(char) { char } else { '-' }
    };
    let name: String = text.chars().map(fits).take(NAME_LEN).collect();
    let name = name.trim_start_matches(|char: char| !char.is_ascii_alphanumeric());
    if name.is_empty() { "model".to_owned() } else { name.to_owned() }
}

/// What an address calls its file: by its header, else by its path; checked like any other path.
pub(crate) fn file_name(url: &Url, disposition: Option<&str>) -> TreePath {
    let of_header = disposition.and_then(|text| {
        let value =
            text.split(';').skip(1).find_map(|part| part.trim().strip_prefix("filename="))?;
        Some(value.trim().trim_matches('"').to_owned())
    });
    let of_path = url.path_segments().and_then(|mut parts| parts.next_back()).map(decoded);
    let one = |name: String| {
        let path = name.parse::<TreePath>().ok()?;
        (path.components().count() == 1).then_some(path)
    };
    of_header
        .and_then(one)
        .or_else(|| of_path.and_then(one))
        .unwrap_or_else(|| "model".parse().expect("`model` is a path"))
}

/// A path's part without its percent signs.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        let byte = match tail {
            [high, low, ..] if *first == b'%' => {
                let mut byte = [0];
                hex::decode_to_slice([*high, *low], &mut byte).ok().map(|()| byte[0])
            }
            _ => None,
        };
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An address as the card's source: without its query, which may be a secret.
pub(crate) fn shown(url: &Url) -> String {
    web::shown(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_name_of_its_header_or_its_path_and_never_a_hostile_one() {
        for (url, header, name) in [
            ("https://a.test/x/tiny.gguf?sig=1", None, "tiny.gguf"),
            ("https://a.test/x%20y.gguf", None, "x y.gguf"),
            ("https://a.test/", None, "model"),
            ("https://a.test/%2e%2e%2fetc", None, "model"),
            ("https://a.test/a%00b", None, "model"),
            ("https://a.test/d", Some("attachment; filename=\"real.gguf\""), "real.gguf"),
            ("https://a.test/d", Some("attachment; filename=\"../../x\""), "d"),
            ("https://a.test/d", Some("attachment; filename=/etc/passwd"), "d"),
            ("https://a.test/d", Some("attachment; filename=\"NUL\""), "d"),
            ("https://a.test/50%", None, "50%"),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(file_name(&url, header).as_str(), name, "{url} {header:?}");
        }
        let long = format!("https://a.test/{}", "x".repeat(300));
        assert_eq!(file_name(&Url::parse(&long).unwrap(), None).as_str(), "model");
    }

    #[test]
    fn any_text_makes_a_name() {
        for (text, name) in [
            ("Qwen3-0.6B", "Qwen3-0.6B"),
            ("../x y", "x-y"),
            ("…", "model"),
            ("llama3.2:1b", "llama3.2:1b"),
        ] {
            assert_eq!(name_for(text), name);
            assert!(name_for(text).parse::<hive_protocol::Name>().is_ok());
        }
    }
}
