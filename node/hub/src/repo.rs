//! A repository of a hub at one commit: its files, their digests, its licence.
//!
//! The revision is resolved once; everything after that names the commit.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use hive_api::{ErrorKind, HiveError};
use hive_protocol::TreePath;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;
use url::Url;

use crate::digest::Promise;
use crate::limits;
use crate::options::Options;
use crate::retry::{self, Patience, Refusal, Tell};
use crate::source::{self, Repo};
use crate::web::Web;

/// The hub that is asked when nobody names another.
pub const PUBLIC_HUB: &str = "https://huggingface.co";

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepoFile {
    pub(crate) path: TreePath,
    pub(crate) size: u64,
    /// A cache without links does not tell it.
    pub(crate) promise: Option<Promise>,
}

/// A repository at a commit.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) commit: String,
    pub(crate) license: Option<String>,
    pub(crate) files: Vec<RepoFile>,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(rename = "cardData", default)]
    card: Option<CardData>,
    #[serde(default)]
    tags: Vec<String>,
}

/// Any of this is whatever the author wrote, so a wrong type is no error.
#[derive(Deserialize)]
struct CardData {
    #[serde(default)]
    license: serde_json::Value,
    #[serde(default)]
    license_name: serde_json::Value,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    oid: String,
    #[serde(default)]
    size: u64,
    path: String,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// The address of a hub.
pub(crate) fn endpoint(text: Option<&str>) -> Result<Url, HiveError> {
    let text = text.filter(|text| !text.is_empty()).unwrap_or(PUBLIC_HUB);
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    });
    url.ok_or_else(|| {
        HiveError::new(ErrorKind::Usage, "`HF_ENDPOINT` is not the address of a hub")
            .hint("write it as `https://hub.example`, without a name or a password")
    })
}

/// An address below a hub's own: a mirror may live in a directory.
pub(crate) fn below<'a>(endpoint: &Url, parts: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = endpoint.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    url
}

/// Where a file of a repository is.
pub(crate) fn file_url(endpoint: &Url, repo: &str, commit: &str, path: &TreePath) -> Url {
    let parts = repo.split('/').chain(["resolve", commit]).chain(path.components());
    below(endpoint, parts)
}

/// Asks a hub what a repository has.
pub(crate) async fn snapshot(
    web: &Web,
    endpoint: &Url,
    repo: &Repo,
    attempts: u32,
    options: &Options,
    tell: &Tell,
) -> Result<Snapshot, HiveError> {
    let patience = || Patience::new(attempts, options.backoff, tell);
    let told = |refusal: Refusal| refused(&refusal, endpoint, &repo.id, web.has_token());
    let revision = repo.revision.as_deref().unwrap_or("main");
    let api = ["api", "models"].into_iter().chain(repo.id.split('/'));
    // A slash in a revision belongs to its name, and is encoded as one segment.
    let info_url = below(endpoint, api.clone().chain(["revision", revision]));
    let asked = || web.json::<Info>(info_url.clone()).boxed();
    let (info, _) = retry::ask(patience(), asked, told).await?;
    if !source::is_commit(&info.sha) {
        let told = format!("the hub says no commit for `{revision}` of `{}`", repo.id);
        return Err(HiveError::new(ErrorKind::Failed, told));
    }
    let mut page = below(endpoint, api.chain(["tree", &info.sha]));
    page.query_pairs_mut().append_pair("recursive", "true");
    let mut files = BTreeMap::new();
    for n_page in 0.. {
        if n_page == limits::PAGES {
            return Err(too_large(repo));
        }
        let asked = || web.json::<Vec<Entry>>(page.clone()).boxed();
        let (entries, headers) = retry::ask(patience(), asked, told).await?;
        for file in entries.into_iter().filter_map(file) {
            files.insert(file.path.clone(), file);
        }
        if files.len() > limits::FILES {
            return Err(too_large(repo));
        }
        match next_page(&headers, &page) {
            Some(next) if next.origin() == endpoint.origin() => page = next,
            Some(_) => {
                let told = "the hub continues its list at another host";
                return Err(HiveError::new(ErrorKind::Refused, told));
            }
            None => break,
        }
    }
    let files = files.into_values().collect();
    Ok(Snapshot { license: license(&info), commit: info.sha, files })
}

/// A file that hive can name and check; anything else in a repository is left alone.
fn file(entry: Entry) -> Option<RepoFile> {
    if entry.kind != "file" {
        return None;
    }
    let path = match entry.path.parse() {
        Ok(path) => path,
        Err(error) => {
            tracing::debug!(%error, "left out a file whose name cannot be a path everywhere");
            return None;
        }
    };
    let (size, promise) = match &entry.lfs {
        Some(lfs) => (lfs.size, Promise::sha256(&lfs.oid)?),
        None => (entry.size, Promise::git_blob(&entry.oid)?),
    };
    (size <= hive_protocol::limits::MODEL_LEN).then_some(RepoFile {
        path,
        size,
        promise: Some(promise),
    })
}

/// The address of the next page: `Link: <…>; rel="next"`.
fn next_page(headers: &HeaderMap, page: &Url) -> Option<Url> {
    let links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    let next = links.flat_map(|links| links.split(',')).find(|link| {
        link.split(';').skip(1).any(|word| matches!(word.trim(), "rel=\"next\"" | "rel=next"))
    })?;
    let target = next.split_once('<')?.1.split_once('>')?.0;
    page.join(target).ok()
}

fn license(info: &Info) -> Option<String> {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Array(many) => {
            let many: Vec<_> = many.iter().filter_map(|one| one.as_str()).collect();
            (!many.is_empty()).then(|| many.join(", "))
        }
        _ => None,
    };
    let said = info.card.as_ref().and_then(|card| {
        // `other` stands for a name that is given beside it.
        let named = text(&card.license_name);
        text(&card.license).map(|said| if said == "other" { named.unwrap_or(said) } else { said })
    });
    let tagged = || info.tags.iter().find_map(|tag| tag.strip_prefix("license:"));
    said.or_else(|| tagged().map(str::to_owned)).and_then(|text| clean(&text))
}

/// A line of text without what a terminal would obey.
pub(crate) fn clean(text: &str) -> Option<String> {
    let text: String =
        text.chars().filter(|char| !char.is_control()).take(limits::TOLD_LEN).collect();
    let text = text.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn too_large(repo: &Repo) -> HiveError {
    let told = format!("`{}` has more files than a model", repo.id);
    HiveError::new(ErrorKind::Refused, told)
}

/// What a hub's no means, and what to do about it.
pub(crate) fn refused(refusal: &Refusal, endpoint: &Url, repo: &str, token: bool) -> HiveError {
    let page = below(endpoint, repo.split('/'));
    let set_token = "set `HF_TOKEN` to a token that may read it, or log in with `hf auth login`";
    let mut error = match (refusal.status, refusal.code.as_deref()) {
        (_, Some("GatedRepo")) => {
            let first = format!("accept its licence at {page}");
            let hint = if token { first } else { format!("{first}, then {set_token}") };
            HiveError::new(ErrorKind::Refused, format!("`{repo}` is gated")).hint(hint)
        }
        (_, Some("RevisionNotFound")) => {
            HiveError::new(ErrorKind::NotFound, format!("`{repo}` has no such revision"))
                .hint(format!("{page} lists its branches and tags"))
        }
        (_, Some("EntryNotFound")) => {
            HiveError::new(ErrorKind::NotFound, format!("`{repo}` has no such file"))
        }
        (404, _) | (401, Some("RepoNotFound")) => {
            let error = HiveError::new(ErrorKind::NotFound, format!("no repository `{repo}`"));
            let hint = format!("is the name right? if it is private, {set_token}");
            error.hint(hint)
        }
        (401 | 403, _) if token => {
            HiveError::new(ErrorKind::Refused, format!("the token may not read `{repo}`")).hint(
                format!("accept its licence at {page}, or use a token with the right to read it"),
            )
        }
        (401 | 403, _) => {
            HiveError::new(ErrorKind::Refused, format!("`{repo}` is not for everybody"))
                .hint(format!("accept its licence at {page}, then {set_token}"))
        }
        _ => HiveError::new(ErrorKind::Failed, format!("the hub does not give `{repo}`")),
    };
    error.messages.push(format!("{} answers {}", refusal.host, refusal.status));
    error.messages.extend(refusal.message.clone());
    error
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn a_mirror_may_live_in_a_directory_and_a_path_is_encoded() {
        let endpoint = Url::parse("https://mirror.test/hub/").unwrap();
        let path = "a dir/x#1.gguf".parse().unwrap();
        let url = file_url(&endpoint, "o/r", "c0ffee", &path);
        assert_eq!(url.as_str(), "https://mirror.test/hub/o/r/resolve/c0ffee/a%20dir/x%231.gguf");
        assert_eq!(
            below(&endpoint, ["refs/pr/1"]).as_str(),
            "https://mirror.test/hub/refs%2Fpr%2F1"
        );
    }

    #[test]
    fn the_next_page_is_the_one_that_says_so() {
        let page = Url::parse("https://hub.test/api/x").unwrap();
        let next = |link: &str| {
            let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_str(link).unwrap())]);
            next_page(&headers, &page).map(String::from)
        };
        let here = "<https://hub.test/api/x?cursor=2>; rel=\"next\"";
        assert_eq!(next(here).as_deref(), Some("https://hub.test/api/x?cursor=2"));
        assert_eq!(
            next("</api/x?c=3>; rel=\"prev\", </api/x?c=4>; rel=\"next\"").as_deref(),
            Some("https://hub.test/api/x?c=4")
        );
        for none in ["", "garbage", "<>", "<x>; rel=\"last\"", "x>; rel=\"next\""] {
            assert_eq!(next(none), None, "{none}");
        }
    }

    #[test]
    fn a_licence_is_whatever_the_author_wrote_made_harmless() {
        for (card, expected) in [
            (r#"{"sha":"x","cardData":{"license":"apache-2.0"}}"#, Some("apache-2.0")),
            (r#"{"sha":"x","cardData":{"license":["mit","gpl-3.0"]}}"#, Some("mit, gpl-3.0")),
            (r#"{"sha":"x","cardData":{"license":"other","license_name":"gemma"}}"#, Some("gemma")),
            (r#"{"sha":"x","cardData":{"license":{"a":1}},"tags":["license:mit"]}"#, Some("mit")),
            (r#"{"sha":"x","cardData":{"license":"\u001b[2Jmit\n"}}"#, Some("[2Jmit")),
            (r#"{"sha":"x","cardData":null}"#, None),
        ] {
            let info: Info = serde_json::from_str(card).unwrap();
            assert_eq!(license(&info).as_deref(), expected, "{card}");
        }
    }
}
