//! A node that answers by heart and remembers what it was asked.

use std::sync::Mutex;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use hive_api::{
    AddEvent, AddRequest, Added, CapabilitySummary, ErrorKind, Events, FetchEvent, FetchPeer,
    FetchRequest, FetchSummary, Finish, GcReport, Generated, Hive, HiveError, Identity,
    ModelDetails, ModelFile, ModelSummary, Offer, PeerSummary, Result, RunEvent, RunRequest,
    Status, Storage, VerifyEvent, Visibility,
};
use tokio::sync::Notify;

/// A node that is asked for this model does nothing until it is dropped, and says so.
pub(crate) const ENDLESS: &str = "endless";
/// A node that is asked for this model fails in the middle.
pub(crate) const BROKEN: &str = "broken";

#[derive(Debug, Default)]
pub(crate) struct Fake {
    /// What was asked, in the words of `Debug`.
    pub(crate) asked: Mutex<Vec<String>>,
    /// Told when an endless stream is dropped.
    pub(crate) dropped: std::sync::Arc<Notify>,
}

/// Tells of its end.
struct Tell(std::sync::Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Fake {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    pub(crate) fn last_asked(&self) -> String {
        self.asked.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

pub(crate) fn failure() -> HiveError {
    HiveError {
        kind: ErrorKind::Verification,
        messages: vec!["group 3 of `gemma` is wrong".into(), "digest differs: ä \"quoted\"".into()],
        hint: Some("`hive verify --repair`".into()),
    }
}

pub(crate) fn summary() -> ModelSummary {
    ModelSummary {
        cid: "bafyr4iabc".into(),
        name: "gemma3:270m".into(),
        size: u64::MAX,
        present: 1 << 40,
        visibility: Visibility::Unlisted,
        pinned: true,
        storage: Storage::Hardlink,
        path: "/home/ä b/models/gemma".into(),
        damaged: Some("one group".into()),
    }
}

pub(crate) fn details() -> ModelDetails {
    ModelDetails {
        summary: summary(),
        files: vec![ModelFile {
            path: "a/b.gguf".into(),
            cid: "bafyr4ifile".into(),
            size: 7,
            sha256: None,
        }],
        chunks: 12,
        format: Some("gguf".into()),
        architecture: None,
        quantization: Some("Q4_K_M".into()),
        parameters: Some(270_000_000),
        context_length: Some(32_768),
        license: Some("gemma".into()),
    }
}

pub(crate) fn added() -> Vec<AddEvent> {
    vec![
        AddEvent::Progress { bytes: 1, total: 2 },
        AddEvent::Done(Added {
            cid: "bafyr4iabc".into(),
            name: "x".into(),
            size: 2,
            chunks: 1,
            storage: Storage::Reflink,
        }),
    ]
}

pub(crate) fn fetched() -> Vec<FetchEvent> {
    let peers =
        || vec![FetchPeer { peer: "12D3KooWx".into(), bytes: 5, struck: true, rate: 0.1 + 0.2 }];
    vec![
        FetchEvent::Searching { cid: "c".into() },
        FetchEvent::Manifest { cid: "c".into(), name: "n".into(), size: 9, present: 4 },
        FetchEvent::Peer { peer: "12D3KooWx".into() },
        FetchEvent::Struck { peer: "12D3KooWx".into(), reason: "wrong\nbytes".into() },
        FetchEvent::Progress { bytes: 5, size: 9, rate: 1.5e8, eta: None, peers: peers() },
        FetchEvent::Done {
            cid: "c".into(),
            path: "/p".into(),
            bytes: 9,
            seconds: 0.5,
            peers: peers(),
        },
    ]
}

pub(crate) fn ran() -> Vec<RunEvent> {
    vec![
        RunEvent::Loaded { cid: None, seconds: 0.25 },
        RunEvent::Text { text: "Hällo\n\"wörld\" \u{1F41D}".into() },
        RunEvent::Done(Generated {
            finish: Finish::Length,
            prompt_tokens: 3,
            generated_tokens: 4,
            prompt_seconds: 0.125,
            generate_seconds: 1.0 / 3.0,
        }),
    ]
}

pub(crate) fn verified() -> Vec<VerifyEvent> {
    vec![
        VerifyEvent::Progress { bytes: 1, total: 3 },
        VerifyEvent::Damaged {
            cid: "c".into(),
            path: "p".into(),
            offset: 1 << 20,
            len: 9,
            reason: "differs".into(),
        },
        VerifyEvent::Repaired { cid: "c".into(), bytes: 9 },
        VerifyEvent::Done { models: 1, bytes: 3, damaged: 1, repaired: 1 },
    ]
}

pub(crate) fn offers() -> Vec<Offer> {
    vec![Offer {
        cid: "c".into(),
        name: "n".into(),
        kind: "model".into(),
        size: 1,
        description: "gguf llama Q4_0".into(),
        license: None,
        publisher: "12D3KooWp".into(),
        peers: vec!["12D3KooWx".into()],
        here: false,
    }]
}

pub(crate) fn peers() -> Vec<PeerSummary> {
    vec![PeerSummary {
        peer: "12D3KooWx".into(),
        name: Some("attic".into()),
        agent: None,
        connected: true,
        addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
        transports: vec!["tcp".into()],
        rtt_ms: Some(0.7),
        banned_secs: Some(3600),
        capability: Some(CapabilitySummary {
            runs: vec!["llama".into()],
            models: 2,
            memory: 1 << 34,
            memory_free: 1 << 33,
            cores: 8,
            load: 250,
        }),
    }]
}

pub(crate) fn identity() -> Identity {
    Identity { peer: "12D3KooWme".into(), addresses: vec!["/ip4/1.2.3.4/tcp/4483/p2p/me".into()] }
}

pub(crate) fn status() -> Status {
    Status {
        peer: "12D3KooWme".into(),
        addresses: vec![],
        connected: 3,
        models: 4,
        fetches: vec![FetchSummary {
            cid: "c".into(),
            name: "n".into(),
            bytes: 1,
            size: 2,
            rate: 3.5,
            peers: 4,
        }],
        network: "main".into(),
        home: "/h".into(),
        version: "0.1.0".into(),
        uptime: 1.25,
        uploaded: 6,
        disk_used: 7,
        disk_free: 8,
    }
}

fn told<T: Send + 'static>(events: Vec<T>) -> Events<T> {
    stream::iter(events).map(Ok).boxed()
}

#[async_trait]
impl Hive for Fake {
    async fn add(&self, request: AddRequest) -> Result<Events<AddEvent>> {
        self.note(format!("{request:?}"));
        Ok(told(added()))
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Events<FetchEvent>> {
        self.note(format!("{request:?}"));
        match request.model.as_str() {
            ENDLESS => {
                let tell = Tell(std::sync::Arc::clone(&self.dropped));
                let first = stream::iter([Ok(fetched().remove(0))]);
                let waiting = stream::once(async move {
                    let _tell = tell;
                    futures::future::pending().await
                });
                Ok(first.chain(waiting).boxed())
            }
            BROKEN => {
                Ok(told(fetched()[..2].to_vec()).chain(stream::iter([Err(failure())])).boxed())
            }
            _ => Ok(told(fetched())),
        }
    }

    async fn run(&self, request: RunRequest) -> Result<Events<RunEvent>> {
        self.note(format!("{request:?}"));
        Ok(told(ran()))
    }

    async fn list(&self) -> Result<Vec<ModelSummary>> {
        Ok(vec![summary(), summary()])
    }

    async fn show(&self, model: &str) -> Result<ModelDetails> {
        self.note(format!("show {model}"));
        match model {
            BROKEN => Err(failure()),
            ENDLESS => {
                let _tell = Tell(std::sync::Arc::clone(&self.dropped));
                futures::future::pending().await
            }
            _ => Ok(details()),
        }
    }

    async fn block(&self, cid: &str) -> Result<Vec<u8>> {
        self.note(format!("block {cid}"));
        Ok((0..=255).collect())
    }

    async fn search(&self, text: &str) -> Result<Vec<Offer>> {
        self.note(format!("search {text}"));
        Ok(offers())
    }

    async fn share(&self, model: &str, visibility: Visibility) -> Result<ModelSummary> {
        self.note(format!("share {model} {visibility:?}"));
        Ok(summary())
    }

    async fn remove(&self, model: &str) -> Result<u64> {
        self.note(format!("remove {model}"));
        Ok(u64::MAX)
    }

    async fn pin(&self, model: &str, pinned: bool) -> Result<ModelSummary> {
        self.note(format!("pin {model} {pinned}"));
        Ok(summary())
    }

    async fn cancel(&self, model: &str) -> Result<()> {
        self.note(format!("cancel {model}"));
        Ok(())
    }

    async fn gc(&self, dry_run: bool) -> Result<GcReport> {
        self.note(format!("gc {dry_run}"));
        Ok(GcReport { models: vec!["c".into()], bytes: 5, removed: !dry_run })
    }

    async fn verify(&self, model: Option<&str>, repair: bool) -> Result<Events<VerifyEvent>> {
        self.note(format!("verify {model:?} {repair}"));
        Ok(told(verified()))
    }

    async fn connect(&self, address: &str) -> Result<()> {
        self.note(format!("connect {address}"));
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<PeerSummary>> {
        Ok(peers())
    }

    async fn identity(&self) -> Result<Identity> {
        Ok(identity())
    }

    async fn status(&self) -> Result<Status> {
        Ok(status())
    }

    async fn shutdown(&self) -> Result<()> {
        self.note("shutdown".to_owned());
        Ok(())
    }
}
