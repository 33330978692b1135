//! Gets files from a hub or an address into a directory of their own.
//!
//! ```text
//! <dir>/source               what it is, for people and `hive gc`
//! <dir>/parts/<digest>-<n>   the n-th file on its way, and <digest>-<n>.etag
//! <dir>/files/<path>         a file that has its digest
//! ```
//!
//! Invariant: what is under `files/` had the promised digest when it was put there. Dropping a
//! download stops it and leaves all of this for the next one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use hive_api::{ErrorKind, HiveError};
use hive_protocol::TreePath;
use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE,
};
use url::Url;

use crate::digest::Promise;
use crate::limits;
use crate::retry::{AskError, Patience, Refusal, Tell};
use crate::sink::Sink;
use crate::web::{Answer, Web, host};

/// Bytes that are gathered before they are written.
const BUFFER_LEN: usize = 1 << 20;

/// A file to get.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its number in the plan: two files of the same bytes are on their way at once.
    pub(crate) number: usize,
    pub(crate) path: TreePath,
    pub(crate) url: Url,
    pub(crate) size: u64,
    pub(crate) promise: Promise,
}

/// Where a download keeps its things, and what is known of where they come from.
pub(crate) struct Download<'a> {
    pub(crate) web: &'a Web,
    pub(crate) dir: &'a Path,
    /// The commit that every file has to be of, if the source has such.
    pub(crate) commit: Option<&'a str>,
    /// Bytes here, for whoever shows them.
    pub(crate) bytes: &'a Arc<AtomicU64>,
    pub(crate) backoff: std::time::Duration,
    /// What a server's no means.
    pub(crate) refused: &'a (dyn Fn(Refusal) -> HiveError + Sync),
}

/// Where a finished file is.
pub(crate) fn place(dir: &Path, path: &TreePath) -> PathBuf {
    path.components().fold(dir.join("files"), |dir, component| dir.join(component))
}

impl Wanted {
    /// The name of its part: never that of another file's or of other bytes.
    fn part(&self) -> String {
        format!("{}-{}", self.promise, self.number)
    }
}

/// Bytes of a file that are here, finished or not.
pub(crate) fn present(dir: &Path, wanted: &Wanted) -> u64 {
    let len = |path: PathBuf| std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
    let finished = len(place(dir, &wanted.path));
    if finished == wanted.size && finished > 0 {
        return finished;
    }
    let part = len(dir.join("parts").join(wanted.part()));
    if part > wanted.size { 0 } else { part }
}

impl Download<'_> {
    /// Gets all files, a few at a time.
    pub(crate) async fn all(&self, wanted: &[Wanted], tell: &Tell) -> Result<(), HiveError> {
        let each: Vec<_> = wanted.iter().map(|wanted| self.one(wanted, tell).boxed()).collect();
        futures::stream::iter(each).buffer_unordered(limits::PARALLEL).try_collect::<()>().await
    }

    async fn one(&self, wanted: &Wanted, tell: &Tell) -> Result<(), HiveError> {
        let place = place(self.dir, &wanted.path);
        let is_there =
            std::fs::metadata(&place).is_ok_and(|metadata| metadata.len() == wanted.size);
        if is_there {
            self.bytes.fetch_add(wanted.size, Ordering::Relaxed);
            return Ok(());
        }
        let part = self.dir.join("parts").join(wanted.part());
        let (promise, size) = (wanted.promise, wanted.size);
        let mut sink = disk(self.dir, move || Sink::open(part, promise, size)).await?;
        self.bytes.fetch_add(sink.len(), Ordering::Relaxed);
        let mut patience = Patience::new(limits::FAILURES, self.backoff, tell);
        // A server that makes us start over can send the same byte for ever.
        let mut furthest = sink.len();
        loop {
            while sink.len() < sink.size() {
                let (back, result) = self.attempt(sink, wanted).await;
                sink = back?;
                if sink.len() > furthest {
                    furthest = sink.len();
                    patience.restore();
                }
                match result {
                    Ok(()) => {}
                    Err(AskError::Transient { reason, after }) => {
                        patience.pause(format!("`{}`: {reason}", wanted.path), after).await?;
                    }
                    Err(AskError::Refused(refusal)) => return Err((self.refused)(refusal)),
                    Err(AskError::Final(error)) => {
                        if error.kind == ErrorKind::Verification {
                            self.bytes.fetch_sub(sink.len(), Ordering::Relaxed);
                            disk(&place, move || sink.discard()).await?;
                        }
                        return Err(error);
                    }
                }
            }
            let (inherited, len) = (sink.inherited, sink.len());
            let to = place.clone();
            let (back, finished) = disk(&place, move || {
                let finished = sink.finish(&to)?;
                Ok((sink, finished))
            })
            .await?;
            sink = back;
            if finished {
                return Ok(());
            }
            self.bytes.fetch_sub(len, Ordering::Relaxed);
            if !inherited {
                disk(&place, move || sink.discard()).await?;
                return Err(wrong_digest(wanted));
            }
            let reason =
                format!("`{}`: what an earlier download left is not part of it", wanted.path);
            patience.pause(reason, Some(std::time::Duration::ZERO)).await?;
        }
    }

    /// One request. The sink comes back unless the disk failed.
    async fn attempt(
        &self,
        sink: Sink,
        wanted: &Wanted,
    ) -> (Result<Sink, HiveError>, Result<(), AskError>) {
        let mut sink = Some(sink);
        let result = self.request(&mut sink, wanted).await;
        match (sink, result) {
            (Some(sink), result) => (Ok(sink), result),
            (None, Err(AskError::Final(error))) => (Err(error), Ok(())),
            (None, _) => (Err(disk_gone(self.dir)), Ok(())),
        }
    }

    async fn request(&self, sink: &mut Option<Sink>, wanted: &Wanted) -> Result<(), AskError> {
        let Some(now) = sink.as_ref() else { return Err(disk_gone(self.dir).into()) };
        let (from, etag) = (now.len(), now.etag());
        let mut answer = self.web.get(wanted.url.clone(), &range(from, etag.as_deref())).await?;
        self.check_origin(&answer, wanted)?;
        match placed(&answer, from, etag.as_deref(), wanted)? {
            Placed::Continues => {}
            Placed::FromStart { etag } => {
                self.on_disk(sink, move |sink| {
                    if sink.len() > 0 {
                        sink.restart()?;
                    }
                    sink.set_etag(etag.as_deref())
                })
                .await?;
                self.bytes.fetch_sub(from, Ordering::Relaxed);
            }
            Placed::Elsewhere { reason } => {
                self.on_disk(sink, Sink::restart).await?;
                self.bytes.fetch_sub(from, Ordering::Relaxed);
                return Err(AskError::transient(reason));
            }
        }
        self.body(sink, &mut answer, wanted).await
    }

    /// Writes a body to the end of the file or of the connection.
    async fn body(
        &self,
        sink: &mut Option<Sink>,
        answer: &mut Answer,
        wanted: &Wanted,
    ) -> Result<(), AskError> {
        let mut left = wanted.size - sink.as_ref().map_or(0, Sink::len);
        let mut buffer = Vec::with_capacity(BUFFER_LEN);
        let ended = loop {
            match self.web.chunk(&mut answer.response).await {
                Ok(Some(chunk)) if chunk.len() as u64 > left => {
                    break Err(too_much(answer, wanted));
                }
                Ok(Some(chunk)) => {
                    left -= chunk.len() as u64;
                    buffer.extend_from_slice(&chunk);
                    if buffer.len() >= BUFFER_LEN {
                        self.flush(sink, &mut buffer).await?;
                    }
                }
                Ok(None) if left > 0 => {
                    let reason = format!("the answer ended {left} bytes early");
                    break Err(AskError::transient(reason));
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.flush(sink, &mut buffer).await?;
        ended
    }

    async fn flush(&self, sink: &mut Option<Sink>, buffer: &mut Vec<u8>) -> Result<(), AskError> {
        if buffer.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::replace(buffer, Vec::with_capacity(BUFFER_LEN));
        let n = bytes.len() as u64;
        self.on_disk(sink, move |sink| sink.write(&bytes)).await?;
        self.bytes.fetch_add(n, Ordering::Relaxed);
        Ok(())
    }

    async fn on_disk(
        &self,
        sink: &mut Option<Sink>,
        work: impl FnOnce(&mut Sink) -> io::Result<()> + Send + 'static,
    ) -> Result<(), HiveError> {
        let Some(mut taken) = sink.take() else { return Err(disk_gone(self.dir)) };
        *sink = Some(
            disk(self.dir, move || {
                work(&mut taken)?;
                Ok(taken)
            })
            .await?,
        );
        Ok(())
    }

    /// What the origin itself says of the file, against what its listing said.
    fn check_origin(&self, answer: &Answer, wanted: &Wanted) -> Result<(), HiveError> {
        let Some(commit) = self.commit else { return Ok(()) };
        let said = |name: &str| answer.of_origin.get(name).and_then(|value| value.to_str().ok());
        let contradicts = |what: &str| {
            let told = format!("the hub contradicts itself about the {what} of `{}`", wanted.path);
            HiveError::new(ErrorKind::Verification, told).hint("run the same command again")
        };
        if said("x-repo-commit").is_some_and(|of| of != commit) {
            return Err(contradicts("commit"));
        }
        if said("x-linked-size").is_some_and(|size| size.parse() != Ok(wanted.size)) {
            return Err(contradicts("size"));
        }
        let linked = said("x-linked-etag").and_then(|etag| Promise::sha256(unquoted(etag)));
        if let (Some(linked), Promise::Sha256(_)) = (linked, wanted.promise)
            && linked != wanted.promise
        {
            return Err(contradicts("digest"));
        }
        Ok(())
    }
}

/// Runs what blocks.
pub(crate) async fn disk<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, HiveError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let told = format!("cannot write below `{}`", path.display());
            let full =
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let kind = if full { ErrorKind::NoSpace } else { ErrorKind::Failed };
            Err(HiveError::caused(kind, told, &error))
        }
        Err(error) => {
            Err(HiveError::caused(ErrorKind::Failed, "a task of this node failed", &error))
        }
    }
}

fn disk_gone(dir: &Path) -> HiveError {
    HiveError::new(ErrorKind::Failed, format!("cannot write below `{}`", dir.display()))
}

fn wrong_digest(wanted: &Wanted) -> HiveError {
    let told = format!("`{}` is not the file that was promised", wanted.path);
    let mut error = HiveError::new(ErrorKind::Verification, told)
        .hint("nothing of it is kept; if it happens again, the source or the way to it is not to be trusted");
    error.messages.push(format!("its digest is not {}", wanted.promise));
    error
}

fn too_much(answer: &Answer, wanted: &Wanted) -> AskError {
    let told = format!(
        "{} sends more than the {} bytes of `{}`",
        host(&answer.url),
        wanted.size,
        wanted.path
    );
    HiveError::new(ErrorKind::Verification, told).into()
}

/// The headers that ask for what is missing.
fn range(from: u64, etag: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A packed body has other lengths and other offsets.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if from > 0 {
        headers.insert(RANGE, HeaderValue::from_str(&format!("bytes={from}-")).expect("is text"));
        if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(IF_RANGE, etag);
        }
    }
    headers
}

/// How an answer fits what is here.
#[derive(Debug, PartialEq, Eq)]
enum Placed {
    /// It goes on where the file ends.
    Continues,
    /// It is the file from its first byte on.
    FromStart { etag: Option<String> },
    /// It is neither.
    Elsewhere { reason: String },
}

fn placed(
    answer: &Answer,
    from: u64,
    etag: Option<&str>,
    wanted: &Wanted,
) -> Result<Placed, HiveError> {
    let headers = answer.response.headers();
    let of_answer = strong_etag(headers);
    match answer.response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let (start, total) = content_range(headers).unwrap_or_default();
            if total.is_some_and(|total| total != wanted.size) {
                return Err(other_size(wanted, total));
            }
            let changed = etag.is_some() && of_answer.is_some() && of_answer.as_deref() != etag;
            let reason = match () {
                () if start != Some(from) => "the server sends another part than was asked for",
                () if changed => "the file changed at the server",
                () => return Ok(Placed::Continues),
            };
            Ok(Placed::Elsewhere { reason: reason.to_owned() })
        }
        StatusCode::OK => {
            let said = number(headers, CONTENT_LENGTH.as_str());
            if said.is_some_and(|said| said != wanted.size) {
                return Err(other_size(wanted, said));
            }
            Ok(Placed::FromStart { etag: of_answer })
        }
        status => Ok(Placed::Elsewhere { reason: format!("the server answers {status}") }),
    }
}

fn other_size(wanted: &Wanted, said: Option<u64>) -> HiveError {
    let said = said.unwrap_or_default();
    let told =
        format!("`{}` shall have {} bytes, and the server has {said}", wanted.path, wanted.size);
    HiveError::new(ErrorKind::Verification, told).hint("it changed; run the same command again")
}

/// `bytes 5-9/10`: where it starts, and the length of the whole.
pub(crate) fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    Some((start, total.trim().parse().ok()))
}

pub(crate) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// A validator that vouches for every byte.
fn strong_etag(headers: &HeaderMap) -> Option<String> {
    let etag = headers.get(ETAG)?.to_str().ok()?;
    (etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2).then(|| etag.to_owned())
}

fn unquoted(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}
