//! The way from a source to verified files, over a hub that can misbehave.

#![expect(clippy::unwrap_used, reason = "a test")]

mod address;
mod caches;
mod faults;
mod hub;
mod safety;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use hive_api::{HiveError, PullEvent, PullRequest, Secret};
use hive_hub::testing::TestHub;
use hive_hub::{Hub, Lookup, Options, Places, Plan, Tell};
use tempfile::TempDir;

const REPO: &str = "bees/tiny";

/// A hub with a repository, and a user who pulls from it.
struct Scene {
    hub: TestHub,
    dir: TempDir,
    options: Options,
    request: PullRequest,
    events: Arc<Mutex<Vec<PullEvent>>>,
}

impl Scene {
    /// The hub has one GGUF file of so many bytes.
    fn new(n_bytes: usize) -> Self {
        let hub = TestHub::start().unwrap();
        hub.put(REPO, "tiny-Q8_0.gguf", &sample(n_bytes));
        hub.license(REPO, "apache-2.0");
        let options = Options {
            stall: Duration::from_millis(500),
            backoff: Duration::from_millis(1),
            proxies: false,
            places: Places::default(),
            ..Options::default()
        };
        let request = PullRequest {
            source: format!("hf:{REPO}"),
            endpoint: Some(hub.url()),
            ..PullRequest::default()
        };
        let dir = tempfile::tempdir().unwrap();
        Self { hub, dir, options, request, events: Arc::default() }
    }

    fn token(&mut self, token: &str) {
        self.request.token = Some(Secret::new(token));
    }

    fn tell(&self) -> Tell {
        let events = Arc::clone(&self.events);
        Arc::new(move |event| events.lock().unwrap().push(event))
    }

    fn retries(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let reason = |event: &PullEvent| match event {
            PullEvent::Retry { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        events.iter().filter_map(reason).collect()
    }

    async fn plan(&self) -> Result<Plan, HiveError> {
        Hub::new(self.options.clone()).plan(&self.request, &self.tell()).await
    }

    /// Plans and downloads; the files' bytes by their path in the model.
    async fn pull(&self) -> Result<Vec<(String, Vec<u8>)>, HiveError> {
        let plan = self.plan().await?;
        let dir = self.download_dir(&plan);
        let bytes = Arc::new(AtomicU64::new(0));
        plan.download(&dir, &bytes, &self.tell()).await?;
        assert_eq!(bytes.load(Ordering::Relaxed), plan.to_download(), "progress ends at the end");
        let read =
            |file: hive_hub::ReadyFile| (file.path.to_string(), std::fs::read(&file.at).unwrap());
        Ok(plan.ready(&dir).into_iter().map(read).collect())
    }

    fn download_dir(&self, plan: &Plan) -> PathBuf {
        self.dir.path().join("downloads").join(plan.key())
    }

    /// Every file that the download left.
    fn left(&self) -> Vec<PathBuf> {
        files(&self.dir.path().join("downloads"))
    }
}

/// Bytes that differ from place to place.
fn sample(n_bytes: usize) -> Vec<u8> {
    (0..n_bytes).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn files(dir: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}

/// A name server with a script: answers in turn, the last one for ever.
struct Script(Mutex<Vec<IpAddr>>);

impl Script {
    fn new<const N: usize>(answers: [&str; N]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(answers.map(|answer| answer.parse().unwrap()).to_vec())))
    }
}

impl Lookup for Script {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
        Box::pin(async move { Ok(vec![answer]) })
    }
}

/// A name server that never answers.
struct Silent;

impl Lookup for Silent {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::pending())
    }
}

/// An internet whose only public address is the loopback interface's.
fn only_loopback_is_public(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::LOCALHOST)
}
