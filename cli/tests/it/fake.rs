//! A node that answers by heart, behind a real local API in a user's home: the binary takes it for
//! the node that runs there.

mod networks;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use hive_api::{
    AddEvent, AddRequest, Diagnosis, Discovered, EmbedRequest, Embeddings, ErrorKind, Events,
    FetchEvent, FetchRequest, Finish, GcReport, Generated, Hive, HiveError, Identity, Listing,
    LoadedModel, Message, ModelDetails, ModelInfo, ModelSummary, Offer, PeerSummary, Prompt,
    PullEvent, PullRequest, QuantizeEvent, QuantizeRequest, ReadRequest, Reading, Result, RunEvent,
    RunRequest, SearchRequest, Status, Storage, TemplateSource, VerifyEvent, Visibility,
};

use crate::User;

/// A base model; every other one has a template of its own.
pub(crate) const BASE: &str = "base";
/// A model that others offer and the store does not have.
pub(crate) const OFFERED: &str = "offered";
/// A message that is answered with one word and then with silence.
pub(crate) const ENDLESS: &str = "go on for ever";
/// A message that the context does not hold.
pub(crate) const TOO_LONG: &str = "a long story";

#[derive(Debug, Default)]
pub(crate) struct Fake {
    asked: Mutex<Vec<RunRequest>>,
    pub(crate) searched: Mutex<Vec<SearchRequest>>,
    pub(crate) embedded: Mutex<Vec<EmbedRequest>>,
    /// Who follows the fetch of [`OFFERED`], and who holds the only place of the model.
    followers: Arc<()>,
    place: Arc<()>,
}

/// The fake and the server that it is behind, until it is dropped.
pub(crate) struct Served {
    pub(crate) fake: Arc<Fake>,
    _server: hive_http::Server,
    _runtime: tokio::runtime::Runtime,
}

impl User {
    /// Serves a fake node on this home.
    pub(crate) fn fake(&self) -> Served {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let fake = Arc::new(Fake::default());
        std::fs::create_dir_all(self.home()).unwrap();
        let options = hive_http::Options::new(self.home(), ([127, 0, 0, 1], 0).into());
        let server = hive_http::Server::start(options, fake.clone());
        let server = runtime.block_on(server).unwrap();
        Served { fake, _server: server, _runtime: runtime }
    }
}

fn no<T>() -> Result<T> {
    Err(HiveError::new(ErrorKind::Failed, "the fake does not do that"))
}

fn info(model: &str) -> ModelInfo {
    let template = if model == BASE { TemplateSource::Architecture } else { TemplateSource::File };
    ModelInfo {
        architecture: "llama".into(),
        name: None,
        kind: hive_api::ModelKind::Generate,
        template: Some(template),
        parameters: 1_000,
        context_length: 100,
        width: 8,
        vocab_size: 64,
        weight_bytes: 4_000,
        bytes_per_token: 16,
    }
}

/// How many there are of something besides the one that the fake keeps.
fn held(thing: &Arc<()>) -> usize {
    Arc::strong_count(thing) - 1
}

impl Fake {
    /// Runs a model that is being fetched, which ends with the answer to a turn of a chat. The node
    /// has one place, and a fetch goes on for as long as somebody follows it.
    fn run_arriving(&self, request: &RunRequest) -> Result<Events<RunEvent>> {
        if held(&self.place) > 0 {
            return Err(HiveError::new(ErrorKind::Busy, "one request at a time"));
        }
        let is_first = self.asked.lock().unwrap().iter().all(|asked| asked.model != OFFERED);
        if held(&self.followers) == 0 && !is_first {
            return Err(HiveError::new(ErrorKind::Failed, "the fetch has ended"));
        }
        let (cid, path) = ("bafyr4iabc".to_owned(), "/models/x".into());
        let manifest =
            FetchEvent::Manifest { cid: cid.clone(), name: OFFERED.into(), size: 9, present: 0 };
        let done = FetchEvent::Done { cid, path, bytes: 9, seconds: 1.0, peers: Vec::new() };
        let fetching = |progress| Ok(RunEvent::Fetching { progress });
        let loaded = RunEvent::Loaded { cid: None, seconds: 0.0, info: info(OFFERED) };
        let mut events = vec![fetching(manifest), Ok(loaded)];
        let is_turn = matches!(request.prompt, Prompt::Chat(_));
        if is_turn {
            let text = answer(&request.prompt);
            let said = RunEvent::Text { text, tokens: Vec::new() };
            events.extend([fetching(done), Ok(said), Ok(RunEvent::Done(generated()))]);
        }
        let holds = (Arc::clone(&self.followers), Arc::clone(&self.place));
        let rest = if is_turn { stream::empty().boxed() } else { stream::pending().boxed() };
        let events = stream::iter(events).chain(rest);
        Ok(events.inspect(move |_| drop(holds.clone())).boxed())
    }

    /// What was said in the chats, one list of messages for each answer.
    pub(crate) fn chats(&self) -> Vec<Vec<Message>> {
        let asked = self.asked.lock().unwrap();
        let chat = |request: &RunRequest| match &request.prompt {
            Prompt::Chat(chat) => Some(chat.messages.clone()),
            _ => None,
        };
        asked.iter().filter_map(chat).collect()
    }

    pub(crate) fn last(&self) -> RunRequest {
        self.asked.lock().unwrap().last().cloned().unwrap()
    }
}

fn generated() -> Generated {
    Generated {
        finish: Finish::Stop,
        prompt_tokens: 80,
        cached_tokens: 60,
        generated_tokens: 10,
        prompt_seconds: 0.1,
        generate_seconds: 0.1,
    }
}

/// What the fake says to a request: the number of messages and the last of them.
fn answer(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Chat(chat) => {
            let last = chat.messages.last().map_or("", |message| &message.content);
            format!("[{}] you said {}", chat.messages.len(), last.to_uppercase())
        }
        _ => " and so on".into(),
    }
}

#[async_trait]
impl Hive for Fake {
    async fn run(&self, request: RunRequest) -> Result<Events<RunEvent>> {
        if request.fetch {
            let run = self.run_arriving(&request);
            self.asked.lock().unwrap().push(request);
            return run;
        }
        self.asked.lock().unwrap().push(request.clone());
        let text = answer(&request.prompt);
        let loaded = RunEvent::Loaded { cid: None, seconds: 0.0, info: info(&request.model) };
        if text.ends_with(&TOO_LONG.to_uppercase()) {
            let message = "the prompt has 101 tokens, the model's context holds 100";
            return Err(HiveError::new(ErrorKind::Usage, message));
        }
        let said = RunEvent::Text { text: text.clone(), tokens: Vec::new() };
        let begun = stream::iter([Ok(loaded), Ok(said)]);
        if text.ends_with(&ENDLESS.to_uppercase()) {
            return Ok(begun.chain(stream::pending()).boxed());
        }
        let done = RunEvent::Done(generated());
        Ok(begun.chain(stream::iter([Ok(done)])).boxed())
    }

    async fn show(&self, model: &str) -> Result<ModelDetails> {
        Ok(ModelDetails {
            summary: ModelSummary {
                cid: "bafyr4iabc".into(),
                name: model.into(),
                size: 1,
                present: u64::from(model != OFFERED),
                visibility: Visibility::Local,
                pinned: true,
                storage: Storage::Copy,
                path: if model == OFFERED { "" } else { "/models/x" }.into(),
                damaged: None,
            },
            files: Vec::new(),
            chunks: 1,
            format: None,
            architecture: None,
            quantization: None,
            parameters: None,
            context_length: None,
            license: None,
            fit: None,
            fetch_seconds: None,
            holders: Vec::new(),
        })
    }

    async fn embed(&self, request: EmbedRequest) -> Result<Embeddings> {
        let vectors = request.input.iter().map(|_| vec![0.6, 0.8]).collect();
        self.embedded.lock().unwrap().push(request);
        Ok(Embeddings { cid: None, vectors, tokens: 3 })
    }

    async fn loaded(&self) -> Result<Vec<LoadedModel>> {
        Ok(vec![LoadedModel {
            cid: None,
            name: "bee".into(),
            info: info("bee"),
            device: hive_api::Device::Cpu,
            pid: Some(7),
            memory: 4_000,
            active: 0,
            queued: 0,
            expires: Some(60.0),
            sandbox: Vec::new(),
        }])
    }

    async fn peers(&self) -> Result<Vec<PeerSummary>> {
        Ok(vec![PeerSummary {
            peer: "12D3KooWabcdefgh".into(),
            name: Some("kitchen".into()),
            agent: Some("hive/900.0.0".into()),
            connected: true,
            addresses: Vec::new(),
            transports: Vec::new(),
            path: None,
            links: Vec::new(),
            goodput: None,
            why: None,
            rtt_ms: None,
            banned_secs: None,
            capability: None,
        }])
    }

    async fn search(&self, request: SearchRequest) -> Result<Vec<Offer>> {
        self.searched.lock().unwrap().push(request);
        Ok(Vec::new())
    }

    async fn add(&self, _: AddRequest) -> Result<Events<AddEvent>> {
        no()
    }
    async fn fetch(&self, _: FetchRequest) -> Result<Events<FetchEvent>> {
        let follower = Arc::clone(&self.followers);
        let searching = FetchEvent::Searching { cid: "bafyr4iabc".into() };
        let events = stream::iter([Ok(searching)]).chain(stream::pending());
        Ok(events.inspect(move |_| drop(follower.clone())).boxed())
    }
    async fn look(&self, _: PullRequest) -> Result<Listing> {
        no()
    }
    async fn pull(&self, _: PullRequest) -> Result<Events<PullEvent>> {
        no()
    }
    async fn discover(&self) -> Result<Vec<Discovered>> {
        no()
    }
    async fn quantize(&self, _: QuantizeRequest) -> Result<Events<QuantizeEvent>> {
        no()
    }
    async fn follow(&self, _: &str) -> Result<Events<FetchEvent>> {
        no()
    }
    async fn unload(&self, _: &str) -> Result<()> {
        no()
    }
    async fn read(&self, _: ReadRequest) -> Result<Reading> {
        no()
    }
    async fn metrics(&self) -> Result<String> {
        no()
    }
    async fn doctor(&self) -> Result<Diagnosis> {
        no()
    }
    async fn list(&self) -> Result<Vec<ModelSummary>> {
        no()
    }
    async fn block(&self, _: &str) -> Result<Vec<u8>> {
        no()
    }
    async fn share(&self, _: &str, _: Visibility) -> Result<ModelSummary> {
        no()
    }
    async fn remove(&self, _: &str) -> Result<u64> {
        no()
    }
    async fn pin(&self, _: &str, _: bool) -> Result<ModelSummary> {
        no()
    }
    async fn cancel(&self, _: &str) -> Result<()> {
        no()
    }
    async fn gc(&self, _: bool) -> Result<GcReport> {
        no()
    }
    async fn verify(&self, _: Option<&str>, _: bool) -> Result<Events<VerifyEvent>> {
        no()
    }
    async fn connect(&self, _: &str) -> Result<()> {
        no()
    }
    async fn identity(&self) -> Result<Identity> {
        no()
    }
    async fn status(&self) -> Result<Status> {
        no()
    }
    async fn shutdown(&self) -> Result<()> {
        no()
    }
}
