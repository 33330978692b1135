//! What the stand-in answers, well or badly.

use std::fmt::Write as _;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::json;

use super::{Asked, Fault, Now, TestRepo, git_blob, sha256, wait_for_end, write_body};

/// An answer before it is sent.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    fn json(value: &serde_json::Value) -> Self {
        Self { body: value.to_string().into_bytes(), ..Self::new(200) }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sends it, with a fault if there is one.
    pub(super) fn send(mut self, stream: &mut TcpStream, fault: Option<Fault>) -> io::Result<()> {
        match &fault {
            Some(Fault::Status(status, after)) => {
                self = Self::new(*status);
                if let Some(after) = after {
                    self = self.with("Retry-After", after.to_string());
                }
            }
            Some(Fault::Redirect(to)) => self = Self::new(302).with("Location", to.clone()),
            Some(Fault::Body(body)) => self.body.clone_from(body),
            Some(Fault::OtherBytes) => self.body.iter_mut().for_each(|byte| *byte = !*byte),
            Some(Fault::Header(name, value)) => self = self.with(name, value.clone()),
            _ => {}
        }
        let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if fault == Some(Fault::Endless) {
            head += "Transfer-Encoding: chunked\r\n\r\n";
            write_body(stream, head.as_bytes())?;
            let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
            // Until the client has had enough.
            while write_body(stream, &chunk).is_ok() {}
            return Ok(());
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", self.body.len());
        write_body(stream, head.as_bytes())?;
        let cut = |n: usize| n.min(self.body.len());
        match fault {
            Some(Fault::Truncate(n) | Fault::Reset(n)) => write_body(stream, &self.body[..cut(n)]),
            Some(Fault::Stall(n)) => {
                write_body(stream, &self.body[..cut(n)])?;
                wait_for_end(stream);
                Ok(())
            }
            _ => write_body(stream, &self.body),
        }
    }
}

impl Now {
    pub(super) fn answer(&self, asked: &Asked) -> Answer {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let path = path.replace("%2F", "/").replace("%20", " ");
        if let Some(name) = path.strip_prefix("/files/") {
            return match self.files.get(name) {
                Some(bytes) => ranged(bytes, &sha256(bytes), asked),
                None => Answer::new(404),
            };
        }
        if let Some(digest) = path.strip_prefix("/blob/") {
            let mut all = self.repos.values().flat_map(|repo| repo.files.values());
            return match all.find(|bytes| sha256(bytes) == digest) {
                Some(bytes) => ranged(bytes, digest, asked),
                None => Answer::new(404),
            };
        }
        let api = path.strip_prefix("/api/models/");
        let rest = api.or_else(|| path.strip_prefix('/')).unwrap_or_default();
        let mut parts = rest.splitn(4, '/');
        let owner_and_name = parts.next().zip(parts.next());
        let Some((id, verb)) =
            owner_and_name.map(|(owner, name)| format!("{owner}/{name}")).zip(parts.next())
        else {
            return Answer::new(404);
        };
        let rest = parts.next().unwrap_or_default();
        let Some(repo) = self.repos.get(&id) else {
            return Answer::new(401).with("X-Error-Code", "RepoNotFound");
        };
        if let Some(token) = &repo.token
            && asked.headers.get("authorization") != Some(&format!("Bearer {token}"))
        {
            return Answer::new(401).with("X-Error-Code", "GatedRepo");
        }
        match (api.is_some(), verb) {
            (true, "revision") if repo.has(rest) => Answer::json(&json!({
                "sha": repo.commit,
                "cardData": { "license": repo.license },
            })),
            (true, "tree") if repo.has(rest) => self.tree(repo, &path, query),
            (true, _) => Answer::new(404).with("X-Error-Code", "RevisionNotFound"),
            (false, "resolve") => self.resolve(repo, rest, asked),
            _ => Answer::new(404),
        }
    }

    fn tree(&self, repo: &TestRepo, path: &str, query: &str) -> Answer {
        let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor="));
        let from: usize = cursor.and_then(|from| from.parse().ok()).unwrap_or(0);
        let page = self.page.unwrap_or(usize::MAX);
        let entries: Vec<_> = repo.files.iter().skip(from).take(page).map(entry).collect();
        let next = from.saturating_add(page);
        let answer = Answer::json(&json!(entries));
        if next < repo.files.len() {
            answer.with("Link", format!("<{path}?recursive=true&cursor={next}>; rel=\"next\""))
        } else {
            answer
        }
    }

    fn resolve(&self, repo: &TestRepo, rest: &str, asked: &Asked) -> Answer {
        let found = rest.split_once('/').and_then(|(revision, path)| {
            let bytes = repo.files.get(path).filter(|_| repo.has(revision))?;
            Some((path, bytes))
        });
        let Some((path, bytes)) = found else {
            return Answer::new(404).with("X-Error-Code", "EntryNotFound");
        };
        let digest = if is_large(path) { sha256(bytes) } else { git_blob(bytes) };
        let answer = match &self.cdn {
            Some(cdn) if is_large(path) => {
                Answer::new(302).with("Location", format!("{cdn}/blob/{digest}"))
            }
            _ => ranged(bytes, &digest, asked),
        };
        let answer = answer.with("X-Repo-Commit", repo.commit.clone());
        if is_large(path) {
            answer
                .with("X-Linked-Etag", format!("\"{digest}\""))
                .with("X-Linked-Size", bytes.len().to_string())
        } else {
            answer
        }
    }
}

impl TestRepo {
    fn has(&self, revision: &str) -> bool {
        revision == "main" || revision == self.commit
    }
}

fn is_large(path: &str) -> bool {
    path.rsplit('.').next().is_some_and(|ending| matches!(ending, "gguf" | "safetensors"))
}

fn entry((path, bytes): (&String, &Arc<[u8]>)) -> serde_json::Value {
    let size = bytes.len();
    if is_large(path) {
        // A pointer has an id of its own, which is not the file's.
        let lfs = json!({ "oid": sha256(bytes), "size": size, "pointerSize": 134 });
        json!({ "type": "file", "oid": "0".repeat(40), "size": size, "path": path, "lfs": lfs })
    } else {
        json!({ "type": "file", "oid": git_blob(bytes), "size": size, "path": path })
    }
}

/// A file, or the end of it that is asked for.
fn ranged(bytes: &Arc<[u8]>, digest: &str, asked: &Asked) -> Answer {
    let etag = format!("\"{digest}\"");
    let current = asked.headers.get("if-range").is_none_or(|of| *of == etag);
    let range = asked.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
    let range = range.filter(|_| current).and_then(|range| range.split_once('-'));
    let answer = match range.and_then(|(from, to)| Some((from.parse::<usize>().ok()?, to))) {
        Some((from, _)) if from >= bytes.len() => Answer::new(416),
        Some((from, to)) => {
            let end =
                to.parse().map_or(bytes.len(), |to: usize| to.saturating_add(1).min(bytes.len()));
            let part = bytes[from..end].to_vec();
            let said = format!("bytes {from}-{}/{}", end - 1, bytes.len());
            Answer { body: part, ..Answer::new(206) }.with("Content-Range", said)
        }
        None => Answer { body: bytes.to_vec(), ..Answer::new(200) },
    };
    answer.with("ETag", etag)
}
