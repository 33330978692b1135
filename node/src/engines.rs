//! The models that are loaded: one worker for each, shared by all who ask.
//!
//! A model is loaded when it is first asked for; those who ask at the same time share one load. It
//! works at a few requests together; a bounded queue takes more, and what does not fit there is
//! refused with [`ErrorKind::Busy`]. It stays for as long as its last request wanted and goes sooner
//! when another needs the memory, the least recently used first. A model whose process crashed twice
//! is not tried again until somebody says so.
//!
//! Owns every worker: [`Engines::watch`] ends with the node, when all of them are gone.
//!
//! Invariants: a worker with a request is never evicted; every request has left the queue's count,
//! whatever became of it; loads go one after another, so that two cannot count the same free memory.

mod admission;
mod backend;
pub(crate) mod figures;
pub(crate) mod fit;
mod lease;
mod quarantine;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, Shared};
use hive_api::{
    Device, EngineOptions, ErrorKind, Failure, FailureKind, HiveError, LoadedModel, Result,
};
use hive_protocol::BlockId;
use hive_store::Store;
use hive_worker::{Limits, Program, Worker};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::errors;
use crate::local::blocking;
pub(crate) use backend::backend;
use figures::Figures;
pub(crate) use lease::{Entering, Lease};
pub(crate) use source::{Source, find, find_arriving, is_here};

/// The models that are loaded. Cheap to clone; all clones are one registry.
#[derive(Clone)]
pub(crate) struct Engines(Arc<Inner>);

struct Inner {
    program: Program,
    settings: Settings,
    store: Store,
    entries: Mutex<HashMap<Key, Entry>>,
    /// Held by the one load that goes on.
    loading: tokio::sync::Mutex<()>,
    /// When a model is to go may have changed.
    changed: Notify,
    figures: Mutex<Figures>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What the configuration says of engines.
#[derive(Debug, Clone, Copy)]
struct Settings {
    keep_alive: Option<Duration>,
    memory: Option<u64>,
    places: u32,
    queue: u32,
}

/// What is loaded: the model's bytes, as far as they are known, and where it computes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The id of a model of the store; or path, length and time of a file.
    pub(crate) bytes: String,
    pub(crate) device: Device,
}

struct Entry {
    /// Requests that have no place yet.
    waiting: Arc<AtomicU64>,
    state: State,
}

type Loading = Shared<BoxFuture<'static, Result<Arc<Model>>>>;

enum State {
    Loading(Loading),
    Ready(Arc<Model>),
}

/// A loaded model.
pub(crate) struct Model {
    key: Key,
    /// Its id, when it is in the store.
    pub(crate) cid: Option<String>,
    /// Its name here, or the file's.
    name: String,
    /// Where it is, for a file.
    path: Option<PathBuf>,
    pub(crate) worker: Worker,
    /// Bytes of memory that it was estimated to take.
    needed: u64,
    waiting: Arc<AtomicU64>,
    answers: AtomicU64,
    /// Whether it was measured since it was loaded.
    measured: AtomicBool,
    /// Its end has been taken note of.
    gone: CancellationToken,
    usage: Mutex<Usage>,
}

#[derive(Debug, Clone, Copy)]
struct Usage {
    active: u64,
    /// When the last request ended.
    since: Instant,
    /// How long it stays after that; for ever if `None`.
    keep: Option<Duration>,
}

impl Usage {
    /// When it is to go; never while it works, or if it is to stay for ever.
    fn expires(&self) -> Option<Instant> {
        if self.active > 0 { None } else { self.since.checked_add(self.keep?) }
    }
}

impl Model {
    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody asked this before.
    pub(crate) fn is_first_measure(&self) -> bool {
        !self.measured.swap(true, Ordering::Relaxed)
    }

    /// Whether no request has it or waits for it.
    fn is_idle(&self) -> bool {
        self.usage().active == 0 && self.waiting.load(Ordering::Relaxed) == 0
    }

    fn is_called(&self, text: &str, id: Option<&str>) -> bool {
        self.cid.is_some() && self.cid.as_deref() == id
            || self.path.as_deref().is_some_and(|path| path == std::path::Path::new(text))
    }
}

impl Engines {
    pub(crate) fn new(
        config: &Config,
        store: Store,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let program = match &config.worker {
            Some(path) => Program::Command { path: path.clone(), args: vec![crate::INFER.into()] },
            None => Program::InThisProcess(backend()),
        };
        let settings = Settings {
            keep_alive: config.keep_alive,
            memory: config.model_memory,
            places: config.places.max(1),
            queue: config.queue,
        };
        Self::with(program, settings, store, tasks, stop)
    }

    fn with(
        program: Program,
        settings: Settings,
        store: Store,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            program,
            settings,
            store,
            entries: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            figures: Mutex::default(),
            tasks,
            stop,
        }))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happened since the node started.
    pub(crate) fn figures(&self) -> Figures {
        let mut figures = self.with_figures(|figures| figures.clone());
        for entry in self.entries().values() {
            figures.queued += entry.waiting.load(Ordering::Relaxed);
            if let State::Ready(model) = &entry.state {
                figures.loaded += 1;
                figures.active += model.usage().active;
            }
        }
        figures
    }

    pub(crate) fn with_figures<T>(&self, change: impl FnOnce(&mut Figures) -> T) -> T {
        change(&mut self.0.figures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What runs models, for jobs that load none.
    pub(crate) fn program(&self) -> &Program {
        &self.0.program
    }

    /// How far a worker may go: as far as the machine, which is looked at now.
    pub(crate) fn limits(&self) -> Limits {
        let memory = admission::Room::look(self.0.settings.memory).total;
        Limits { memory, ..Limits::default() }
    }

    /// Starts to load a model. Whoever waits shares the outcome; nobody has to.
    /// After one that crashed it waits until the crash is counted.
    fn start_load(
        &self,
        key: Key,
        source: Source,
        waiting: Arc<AtomicU64>,
        after: Option<Arc<Model>>,
    ) -> Loading {
        let (engines, device) = (self.clone(), key.device);
        let task = self.0.tasks.spawn(async move {
            let load = async {
                if let Some(before) = after {
                    before.gone.cancelled().await;
                }
                engines.load(&key, &source, device, waiting).await
            };
            let loaded = tokio::select! {
                loaded = load => loaded,
                () = engines.0.stop.cancelled() => Err(errors::stopping()),
            };
            let mut entries = engines.entries();
            match &loaded {
                Ok(model) => {
                    if let Some(entry) = entries.get_mut(&key) {
                        entry.state = State::Ready(Arc::clone(model));
                    }
                    drop(entries);
                    let watched = engines.clone().watch_model(Arc::clone(model));
                    engines.0.tasks.spawn(watched);
                    engines.0.changed.notify_one();
                }
                Err(_) => drop(entries.remove(&key)),
            }
            loaded
        });
        let outcome =
            async move { task.await.unwrap_or_else(|error| Err(errors::panicked(&error))) };
        outcome.boxed().shared()
    }

    async fn load(
        &self,
        key: &Key,
        source: &Source,
        device: Device,
        waiting: Arc<AtomicU64>,
    ) -> Result<Arc<Model>> {
        let places = self.0.settings.places;
        let options = EngineOptions { device, places, ..EngineOptions::default() };
        let for_fit = options.clone();
        let (store, bytes, sought) = (self.0.store.clone(), key.bytes.clone(), source.clone());
        let (inputs, needed) = blocking(move || {
            quarantine::check(&store, &bytes, &sought)?;
            let mut inputs = sought.open(&store)?;
            let needed = fit::needed(&mut inputs, &for_fit);
            Ok((inputs, needed))
        })
        .await?;
        // Not before: a header may take its time to arrive.
        let _one = self.0.loading.lock().await;
        self.make_room(&source.name, needed).await?;
        let worker = Worker::load(&self.0.program, inputs, options, self.limits()).await;
        let worker = match worker {
            Ok(worker) => worker,
            Err(failure) => {
                if failure.kind == FailureKind::Crashed {
                    self.crashed(key.bytes.clone(), &failure.message).await;
                }
                return Err(load_error(&source.name, failure));
            }
        };
        self.with_figures(|figures| {
            figures.loads += 1;
            figures.load_seconds.observe(worker.load_seconds());
        });
        tracing::info!(
            model = source.name,
            pid = worker.pid(),
            seconds = worker.load_seconds(),
            sandbox = worker.sandbox().join("; "),
            "model loaded"
        );
        let usage = Usage { active: 0, since: Instant::now(), keep: self.0.settings.keep_alive };
        Ok(Arc::new(Model {
            key: key.clone(),
            cid: source.id.map(|id| id.to_string()),
            name: source.name.clone(),
            path: source.id.is_none().then(|| source.path.clone()),
            worker,
            needed,
            waiting,
            answers: AtomicU64::new(0),
            // What waits for bytes says nothing of the machine.
            measured: AtomicBool::new(source.is_arriving()),
            gone: CancellationToken::new(),
            usage: Mutex::new(usage),
        }))
    }

    /// Waits for the end of a model, and makes it end with the node.
    async fn watch_model(self, model: Arc<Model>) {
        let ending = tokio::select! {
            ending = model.worker.ended() => ending,
            () = self.0.stop.cancelled() => {
                model.worker.kill();
                model.worker.ended().await
            }
        };
        if ending.is_crash() {
            self.crashed(model.key.bytes.clone(), &ending.message).await;
        }
        self.take(&model);
        model.gone.cancel();
    }

    /// Takes a model out of the registry, if it is still the one that is there.
    fn take(&self, model: &Arc<Model>) -> bool {
        let mut entries = self.entries();
        let is_there = entries.get(&model.key).is_some_and(
            |entry| matches!(&entry.state, State::Ready(there) if Arc::ptr_eq(there, model)),
        );
        if is_there {
            entries.remove(&model.key);
        }
        is_there
    }

    async fn crashed(&self, bytes: String, message: &str) {
        self.with_figures(|figures| figures.crashes += 1);
        let (store, message) = (self.0.store.clone(), message.to_owned());
        let noted = blocking(move || quarantine::note(&store, &bytes, &message)).await;
        if let Err(error) = noted {
            tracing::error!(%error, "cannot take note of a crash");
        }
    }

    /// Lets models go whose time is over, until the node ends; then waits for nothing: each model
    /// is a task of its own.
    pub(crate) async fn watch(self) {
        loop {
            let (now, mut next, mut over) = (Instant::now(), None::<Instant>, Vec::new());
            for entry in self.entries().values() {
                let State::Ready(model) = &entry.state else { continue };
                // Whoever waits will have it, and say when it is to go.
                let usage = *model.usage();
                let expires = usage.expires().filter(|_| model.is_idle());
                match expires {
                    Some(at) if at <= now => over.push(Arc::clone(model)),
                    Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                    None => {}
                }
            }
            for model in over {
                if self.take_if_idle(&model) {
                    tracing::info!(model = model.name, "model unloaded: nobody asked for it");
                    model.worker.kill();
                }
            }
            let wait = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.0.stop.cancelled() => break,
                () = self.0.changed.notified() => {}
                () = wait => {}
            }
        }
    }

    /// Takes a model out unless a request came to it in the meantime: requests enter under the same
    /// lock.
    fn take_if_idle(&self, model: &Arc<Model>) -> bool {
        let mut entries = self.entries();
        let is_idle = entries.get(&model.key).is_some_and(|entry| {
            matches!(&entry.state, State::Ready(there) if Arc::ptr_eq(there, model))
                && model.is_idle()
        });
        if is_idle {
            entries.remove(&model.key);
        }
        is_idle
    }

    /// The models that are loaded, by name.
    pub(crate) fn loaded(&self) -> Vec<LoadedModel> {
        let now = Instant::now();
        let ready = |entry: &Entry| match &entry.state {
            State::Ready(model) => Some(Arc::clone(model)),
            State::Loading(_) => None,
        };
        let models: Vec<_> = self.entries().values().filter_map(ready).collect();
        let mut told: Vec<_> = (models.iter())
            .map(|model| {
                let usage = *model.usage();
                let seen = model.worker.memory();
                LoadedModel {
                    cid: model.cid.clone(),
                    name: model.name.clone(),
                    info: model.worker.info().clone(),
                    device: model.key.device,
                    pid: model.worker.pid(),
                    memory: if seen > 0 { seen } else { model.worker.info().weight_bytes },
                    active: usage.active,
                    queued: model.waiting.load(Ordering::Relaxed),
                    expires: usage
                        .expires()
                        .map(|at| at.saturating_duration_since(now).as_secs_f64()),
                    sandbox: model.worker.sandbox().to_vec(),
                }
            })
            .collect();
        told.sort_by(|a, b| (&a.name, &a.cid).cmp(&(&b.name, &b.cid)));
        told
    }

    /// Lets a model of the store be tried again that crashed.
    pub(crate) async fn forgive(&self, id: &BlockId) -> Result<()> {
        let (store, id) = (self.0.store.clone(), id.to_string());
        blocking(move || quarantine::forgive(&store, &id).map(drop)).await
    }

    /// Unloads a model and waits until it is gone; forgives its crashes, since whoever unloads a
    /// model that is none wants it to be tried again. Says whether there was anything to do.
    pub(crate) async fn unload(&self, text: &str, id: Option<&str>) -> Result<bool> {
        let called: Vec<_> = (self.entries().values())
            .filter_map(|entry| match &entry.state {
                State::Ready(model) if model.is_called(text, id) => Some(Arc::clone(model)),
                _ => None,
            })
            .collect();
        for model in &called {
            self.take(model);
            model.worker.kill();
            model.worker.ended().await;
        }
        let (store, text, id) = (self.0.store.clone(), text.to_owned(), id.map(str::to_owned));
        let forgiven = blocking(move || match id {
            Some(id) => quarantine::forgive(&store, &id),
            None => match source::bytes_of_path(std::path::Path::new(&text)) {
                Some(bytes) => quarantine::forgive(&store, &bytes),
                None => Ok(false),
            },
        })
        .await?;
        Ok(!called.is_empty() || forgiven)
    }
}

/// A model that cannot be loaded, told to a person.
fn load_error(name: &str, failure: Failure) -> HiveError {
    let kind = match failure.kind {
        FailureKind::Invalid | FailureKind::Unsupported => ErrorKind::Failed,
        FailureKind::Request => ErrorKind::Usage,
        FailureKind::Io | FailureKind::Compute | FailureKind::Crashed => ErrorKind::Failed,
    };
    let error = HiveError::caused(kind, format!("cannot load `{name}`"), &failure);
    match failure.kind {
        FailureKind::Crashed => {
            error.hint("the node goes on; `hive verify` checks the model's bytes")
        }
        _ => error,
    }
}
