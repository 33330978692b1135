//! From a source to a plan: asks the hub, looks into caches, picks one model.

use std::path::PathBuf;

use futures::FutureExt as _;
use hive_api::{Choice, Discovered, ErrorKind, HiveError, Listing, PullRequest, Result};
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, HeaderMap, HeaderValue, RANGE};
use url::Url;

use crate::caches::hugging_face::Cached;
use crate::caches::ollama;
use crate::choices;
use crate::digest::Promise;
use crate::download::{content_range, number};
use crate::limits;
use crate::options::Options;
use crate::plan::{self, From, Plan, PlannedFile};
use crate::repo;
use crate::retry::{self, Patience, Tell};
use crate::source::{OllamaName, Repo, Source};
use crate::web::Web;

mod seen;

use seen::Seen;

/// Attempts to reach a hub when a cache has an answer too.
const ATTEMPTS_WITH_CACHE: u32 = 2;

/// The way to hubs, addresses and other programs' caches. Holds nothing but how to ask.
#[derive(Debug, Clone, Default)]
pub struct Hub {
    options: Options,
}

impl Hub {
    /// A way to ask.
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// What a source offers. `tell` hears of pauses.
    pub async fn look(&self, request: &PullRequest, tell: &Tell) -> Result<Listing> {
        match parse(&request.source)? {
            Source::Hub(repo) => {
                let seen = self.see(repo, request, tell).await?;
                // Small files of a cache are hashed.
                blocking(move || seen.listing()).await
            }
            Source::Ollama(_) | Source::Address(_) => {
                let plan = self.plan(request, tell).await?;
                let choice = Choice {
                    file: plan.files.first().map(|file| file.path.to_string()).unwrap_or_default(),
                    label: choices::label(&plan.name),
                    size: plan.size(),
                    files: plan.files.iter().map(|file| file.path.to_string()).collect(),
                    cached: plan.files.first().and_then(|file| file.at.clone()),
                    fits: None,
                };
                Ok(Listing { source: plan.source, license: plan.license, choices: vec![choice] })
            }
        }
    }

    /// Decides what a pull will do, without downloading any of it.
    pub async fn plan(&self, request: &PullRequest, tell: &Tell) -> Result<Plan> {
        if request.sha256.is_some() && !matches!(parse(&request.source)?, Source::Address(_)) {
            return Err(HiveError::new(ErrorKind::Usage, "`--sha256` is for an address")
                .hint("hubs and caches say the digests of their files themselves"));
        }
        match parse(&request.source)? {
            Source::Hub(repo) => {
                let seen = self.see(repo, request, tell).await?;
                let options = self.options.clone();
                // Small files of a cache are hashed.
                blocking(move || seen.into_plan(options)).await?
            }
            Source::Ollama(name) => {
                let dirs = match &request.cache {
                    Some(dir) => vec![dir.clone()],
                    None => self.options.places.ollama.clone(),
                };
                blocking(move || ollama_plan(&dirs, &name)).await?
            }
            Source::Address(url) => self.address_plan(url, request, tell).await,
        }
    }

    /// Models that other programs keep on this disk.
    pub async fn discover(&self) -> Result<Vec<Discovered>> {
        let places = self.options.places.clone();
        blocking(move || places.discover()).await
    }

    async fn see(&self, repo: Repo, request: &PullRequest, tell: &Tell) -> Result<Seen> {
        let endpoint = repo::endpoint(request.endpoint.as_deref())?;
        let caches = match &request.cache {
            Some(dir) => vec![dir.clone()],
            None => self.options.places.hugging_face.clone(),
        };
        let wanted = repo.clone();
        let cached =
            blocking(move || caches.iter().find_map(|dir| Cached::find(dir, &wanted))).await?;
        let offered = cached.as_ref().map(|cached| choices::choices(&cached.files));
        let has_choice = offered.is_some_and(|found| match repo.file.as_deref() {
            Some(word) => !choices::pick(&found, word).is_empty(),
            None => !found.is_empty(),
        });
        if request.offline {
            if has_choice && let Some(cached) = cached {
                return Ok(Seen::offline(repo, cached, "the hub is not asked (`HF_HUB_OFFLINE`)"));
            }
            let told = format!("`{}` is not in the cache, and the hub may not be asked", repo.id);
            return Err(HiveError::new(ErrorKind::NotFound, told)
                .hint("unset `HF_HUB_OFFLINE`, or give `HF_HUB_CACHE`"));
        }
        let attempts = if has_choice { ATTEMPTS_WITH_CACHE } else { limits::FAILURES };
        let asked = async {
            let web = Web::open(&endpoint, request.token.clone(), &self.options).await?;
            let snapshot =
                repo::snapshot(&web, &endpoint, &repo, attempts, &self.options, tell).await?;
            Ok::<_, HiveError>((web, snapshot))
        };
        match (asked.await, cached) {
            (Ok((web, snapshot)), cached) => Ok(Seen {
                choices: choices::choices(&snapshot.files),
                commit: snapshot.commit,
                license: snapshot.license,
                files: snapshot.files,
                // Another commit's files may still be the same ones, and their digests say so.
                cached,
                web: Some((web, endpoint)),
                notes: Vec::new(),
                repo,
            }),
            (Err(error), Some(cached)) if has_choice && error.kind == ErrorKind::Unreachable => {
                Ok(Seen::offline(repo, cached, &format!("the hub cannot be asked ({error})")))
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn address_plan(&self, url: Url, request: &PullRequest, tell: &Tell) -> Result<Plan> {
        let Some(sha256) = &request.sha256 else {
            let told = "an address needs the digest of what it shall give";
            return Err(HiveError::new(ErrorKind::Usage, told).hint(
                "add `--sha256 HEX`: the page that links the file often shows it, and `sha256sum FILE` prints that of a copy you trust; a file of a model hub needs none as `hf:owner/repo:file`",
            ));
        };
        let promise = Promise::sha256(sha256.trim()).ok_or_else(|| {
            HiveError::new(ErrorKind::Usage, "`--sha256` takes 64 hexadecimal digits")
        })?;
        let web = Web::open(&url, None, &self.options).await?;
        let patience = Patience::new(limits::FAILURES, self.options.backoff, tell);
        let first = first_byte();
        let asked = || web.get(url.clone(), &first).boxed();
        let refused = |refusal| plan::address_refused(&refusal);
        let answer = retry::ask(patience, asked, refused).await?;
        let headers = answer.response.headers();
        let size = match answer.response.status().as_u16() {
            206 => content_range(headers).and_then(|(_, total)| total),
            200 => number(headers, CONTENT_LENGTH.as_str()),
            _ => None,
        };
        let size = size.filter(|&size| (1..=hive_protocol::limits::MODEL_LEN).contains(&size));
        let size = size.ok_or_else(|| {
            let told = format!("`{}` does not say how long its file is", plan::shown(&url));
            HiveError::new(ErrorKind::Refused, told)
                .hint("download it with another tool, then `hive add FILE`")
        })?;
        let disposition = headers.get(CONTENT_DISPOSITION).and_then(|value| value.to_str().ok());
        let path = plan::file_name(&url, disposition);
        let name = plan::name_for(without_ending(path.as_str()));
        let file =
            PlannedFile { path, size, promise: Some(promise), at: None, url: Some(url.clone()) };
        Ok(Plan {
            source: plan::shown(&url),
            name,
            license: None,
            notes: Vec::new(),
            files: vec![file],
            is_file: true,
            from: From::Address { web, options: self.options.clone() },
        })
    }
}

fn ollama_plan(dirs: &[PathBuf], name: &OllamaName) -> Result<Plan> {
    let model = ollama::find(dirs, name)?;
    let mut notes = vec!["Ollama has it on this disk; taken in place".to_owned()];
    if !model.left.is_empty() {
        notes.push(format!("left with Ollama: {}", model.left.join(", ")));
    }
    let called = if name.tag == "latest" {
        name.name.clone()
    } else {
        format!("{}:{}", name.name, name.tag)
    };
    let file_name = format!("{}-{}.gguf", name.name, name.tag);
    let path = file_name.parse().map_err(|error: hive_protocol::path::PathError| {
        HiveError::caused(ErrorKind::Failed, format!("cannot name `{file_name}`"), &error)
    })?;
    let file = PlannedFile {
        path,
        size: model.size,
        promise: Some(model.promise),
        at: Some(model.weights),
        url: None,
    };
    Ok(Plan {
        source: name.to_string(),
        name: plan::name_for(&called),
        license: model.license,
        notes,
        files: vec![file],
        is_file: true,
        from: From::Disk,
    })
}

fn parse(text: &str) -> Result<Source> {
    text.parse().map_err(|error: crate::source::SourceError| {
        let text: String = text.chars().take(limits::TOLD_LEN).collect();
        HiveError::caused(ErrorKind::Usage, format!("`{text}` names no model"), &error)
            .hint("for example `hf:owner/repo`, `hf:owner/repo:Q4_K_M`, `ollama:llama3.2`")
    })
}

pub(crate) fn without_ending(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, ending))
            if !stem.is_empty()
                && matches!(ending.to_ascii_lowercase().as_str(), "gguf" | "safetensors") =>
        {
            stem
        }
        _ => name,
    }
}

fn first_byte() -> HeaderMap {
    HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-0"))])
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| HiveError::caused(ErrorKind::Failed, "a task of this node failed", &error))
}
