//! A node that answers by heart and remembers what it was asked.

mod answers;
pub(crate) mod networks;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hive_api::{
    AddEvent, AddRequest, Diagnosis, Discovered, EmbedRequest, Embeddings, ErrorKind, Events,
    FetchEvent, FetchRequest, Finish, GcReport, Hive, HiveError, Identity, Listing, LoadedModel,
    ModelDetails, ModelSummary, Offer, PeerSummary, Prompt, PullEvent, PullRequest, QuantizeEvent,
    QuantizeRequest, ReadRequest, Reading, Result, RunEvent, RunRequest, SearchRequest, Status,
    ToolCall, VerifyEvent, Visibility,
};
use tokio::sync::Notify;

pub(crate) use answers::*;

/// A node that is asked for this model does nothing until it is dropped, and says so.
pub(crate) const ENDLESS: &str = "endless";
/// A node that is asked for this model fails in the middle.
pub(crate) const BROKEN: &str = "broken";
/// No model has this name.
pub(crate) const MISSING: &str = "missing";
/// This model has no place for anybody.
pub(crate) const BUSY: &str = "busy";
/// This model says its seed, its prompt's length, and how it is sampled.
pub(crate) const MIRROR: &str = "mirror";
/// This model calls two tools.
pub(crate) const CALLER: &str = "caller";
/// This model says a word and then nothing until it is dropped.
pub(crate) const SLOW: &str = "slow";

#[derive(Debug, Default)]
pub(crate) struct Fake {
    /// What was asked, in the words of `Debug`.
    pub(crate) asked: Mutex<Vec<String>>,
    /// What was to be run, whole: `Debug` hides prompts.
    pub(crate) runs: Mutex<Vec<RunRequest>>,
    /// Told when an endless stream is dropped.
    pub(crate) dropped: Arc<Notify>,
    /// How often the status was asked for; a fetch goes on by as many bytes.
    looks: AtomicU64,
}

/// Tells of its end.
struct Tell(Arc<Notify>);

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

    /// What was to be run last.
    pub(crate) fn last_run(&self) -> RunRequest {
        self.runs.lock().unwrap().last().cloned().expect("something ran")
    }

    /// Some events, and then nothing until the stream is dropped.
    fn endless<T: Send + 'static>(&self, first: Vec<T>) -> Events<T> {
        let tell = Tell(Arc::clone(&self.dropped));
        let waiting = stream::once(async move {
            let _tell = tell;
            futures::future::pending().await
        });
        told(first).chain(waiting).boxed()
    }
}

fn told<T: Send + 'static>(events: Vec<T>) -> Events<T> {
    stream::iter(events).map(Ok).boxed()
}

fn text(text: &str, tokens: Vec<hive_api::TokenLogprob>) -> RunEvent {
    RunEvent::Text { text: text.into(), tokens }
}

fn call(id: &str, arguments: &str) -> RunEvent {
    let (id, arguments) = (id.into(), arguments.into());
    RunEvent::ToolCall(ToolCall { id, name: "weather".into(), arguments })
}

fn mirrored(request: &RunRequest) -> Vec<RunEvent> {
    let prompt = match &request.prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Tokens(tokens) => format!("{tokens:?}"),
        Prompt::Chat(chat) => chat.messages.last().map(|m| m.content.clone()).unwrap_or_default(),
    };
    let wants = request.logprobs.is_some();
    let said = |bytes: &str| if wants { vec![token(bytes.as_bytes())] } else { vec![] };
    vec![
        loaded_event(),
        text("ä ", said("ä ")),
        text(&format!("{} {prompt}", request.sampling.seed), said("x")),
        RunEvent::Done(generated(Finish::Stop)),
    ]
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
            ENDLESS => Ok(self.endless(vec![fetched().remove(0)])),
            BROKEN => {
                Ok(told(fetched()[..2].to_vec()).chain(stream::iter([Err(failure())])).boxed())
            }
            _ => Ok(told(fetched())),
        }
    }

    async fn look(&self, request: PullRequest) -> Result<Listing> {
        self.note(format!("look {request:?}"));
        Ok(listing())
    }

    async fn pull(&self, request: PullRequest) -> Result<Events<PullEvent>> {
        self.note(format!("pull {request:?}"));
        Ok(told(pulled()))
    }

    async fn discover(&self) -> Result<Vec<Discovered>> {
        self.note("discover".into());
        Ok(discovered())
    }

    async fn quantize(&self, request: QuantizeRequest) -> Result<Events<QuantizeEvent>> {
        self.note(format!("{request:?}"));
        Ok(told(quantized()))
    }

    async fn follow(&self, model: &str) -> Result<Events<FetchEvent>> {
        self.note(format!("follow {model}"));
        match model {
            ENDLESS => Ok(self.endless(vec![fetched().remove(0)])),
            BROKEN => Ok(told(vec![]).chain(stream::iter([Err(failure())])).boxed()),
            _ => Ok(told(fetched())),
        }
    }

    async fn run(&self, request: RunRequest) -> Result<Events<RunEvent>> {
        self.note(format!("{request:?}"));
        self.runs.lock().unwrap().push(request.clone());
        match request.model.as_str() {
            MIRROR => Ok(told(mirrored(&request))),
            SLOW => Ok(self.endless(vec![loaded_event(), text("wait", vec![])])),
            ENDLESS => Ok(self.endless(vec![RunEvent::Queued { position: 3 }])),
            MISSING => Err(HiveError::new(ErrorKind::NotFound, "no model `missing` here")),
            BUSY => Err(HiveError::new(ErrorKind::Busy, "all places are taken")),
            BROKEN => {
                let first = vec![loaded_event(), text("half", vec![])];
                Ok(told(first).chain(stream::iter([Err(failure())])).boxed())
            }
            CALLER => Ok(told(vec![
                loaded_event(),
                call("call_1", "{\"city\":\"Bern\"}"),
                call("call_2", "{}"),
                RunEvent::Done(generated(Finish::ToolCalls)),
            ])),
            _ => Ok(told(ran())),
        }
    }

    async fn embed(&self, request: EmbedRequest) -> Result<Embeddings> {
        self.note(format!("{request:?}"));
        match request.model.as_str() {
            MISSING => Err(HiveError::new(ErrorKind::NotFound, "no model `missing` here")),
            _ => Ok(embeddings(request.input.len())),
        }
    }

    async fn loaded(&self) -> Result<Vec<LoadedModel>> {
        self.note("loaded".into());
        Ok(loaded())
    }

    async fn unload(&self, model: &str) -> Result<()> {
        self.note(format!("unload {model}"));
        Ok(())
    }

    async fn read(&self, request: ReadRequest) -> Result<Reading> {
        self.note(format!("{request:?}"));
        if request.model == MISSING {
            return Err(HiveError::new(ErrorKind::NotFound, "no model `missing` here"));
        }
        let all = file_bytes();
        let start = request.start as usize;
        let len = request.len.unwrap_or(u64::MAX).min((all.len() - start) as u64);
        let pieces: Vec<_> =
            all[start..start + len as usize].chunks(9_999).map(Bytes::copy_from_slice).collect();
        let bytes = match request.model.as_str() {
            // It breaks off where a reader cannot know it from the end of a piece.
            BROKEN => told(pieces[..pieces.len().min(7)].to_vec())
                .chain(stream::iter([Err(failure())]))
                .boxed(),
            SLOW => self.endless(pieces[..pieces.len().min(2)].to_vec()),
            _ => told(pieces),
        };
        Ok(Reading { file: file(), start: request.start, len, bytes })
    }

    async fn list(&self) -> Result<Vec<ModelSummary>> {
        self.note("list".into());
        Ok(models())
    }

    async fn show(&self, model: &str) -> Result<ModelDetails> {
        self.note(format!("show {model}"));
        match model {
            BROKEN => Err(failure()),
            MISSING => Err(HiveError::new(ErrorKind::NotFound, "no model `missing` here")),
            ENDLESS => {
                let _tell = Tell(Arc::clone(&self.dropped));
                futures::future::pending().await
            }
            _ => {
                let summary = models().into_iter().find(|summary| summary.cid == model);
                Ok(ModelDetails { summary: summary.unwrap_or_else(answers::summary), ..details() })
            }
        }
    }

    async fn block(&self, cid: &str) -> Result<Vec<u8>> {
        self.note(format!("block {cid}"));
        Ok((0..=255).collect())
    }

    async fn search(&self, request: SearchRequest) -> Result<Vec<Offer>> {
        self.note(format!("{request:?}"));
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
        Ok(GcReport {
            models: vec!["c".into()],
            bytes: 5,
            removed: !dry_run,
            downloads: vec!["hf:a/b".into()],
        })
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
        self.note("peers".into());
        Ok(peers())
    }

    async fn identity(&self) -> Result<Identity> {
        self.note("identity".into());
        Ok(identity())
    }

    async fn metrics(&self) -> Result<String> {
        self.note("metrics".into());
        Ok(FIGURES.into())
    }

    async fn status(&self) -> Result<Status> {
        self.note("status".into());
        let mut status = status();
        // Every second look sees what the one before it saw.
        status.fetches[0].bytes = self.looks.fetch_add(1, Ordering::SeqCst) / 2;
        Ok(status)
    }

    async fn doctor(&self) -> Result<Diagnosis> {
        self.note("doctor".into());
        Ok(diagnosis())
    }

    async fn shutdown(&self) -> Result<()> {
        self.note("shutdown".to_owned());
        Ok(())
    }
}
