//! A request's way to a place: let in or refused at once, through the load, through the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hive_api::{Device, ErrorKind, HiveError, Result};
use hive_worker::Place;
use tokio::time::Instant;

use super::quarantine::{self, WELL};
use super::{Engines, Entry, Key, Loading, Model, Source, State};
use crate::local::blocking;

/// How long a model can be asked to stay; beyond that it is for ever.
const LONGEST: f64 = 10.0 * 365.0 * 86400.0;

/// A request that was let in.
pub(crate) struct Entering {
    engines: Engines,
    waiting: Waiting,
    way: Way,
    keep: Option<Duration>,
}

enum Way {
    /// It is loaded.
    Ready(Use),
    /// It is being loaded.
    Loading(Loading),
}

/// Counts a request as waiting for as long as it lives.
struct Waiting {
    engines: Engines,
    count: Arc<AtomicU64>,
    /// Requests before this one.
    before: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.engines.0.changed.notify_one();
    }
}

/// Keeps a model from being let go.
struct Use {
    engines: Engines,
    model: Arc<Model>,
    keep: Option<Duration>,
}

impl Use {
    fn new(engines: &Engines, model: &Arc<Model>, keep: Option<Duration>) -> Self {
        model.usage().active += 1;
        Self { engines: engines.clone(), model: Arc::clone(model), keep }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        {
            let mut usage = self.model.usage();
            usage.active -= 1;
            usage.since = Instant::now();
            usage.keep = self.keep;
        }
        self.engines.0.changed.notify_one();
    }
}

/// A model with a place for one request.
pub(crate) struct Lease {
    used: Use,
    place: Option<Place>,
    /// Seconds that the load took, if this request waited for it.
    pub(crate) load_seconds: f64,
}

impl Engines {
    /// Lets a request in, or says that too many wait. The model is loaded from now on if it is not.
    pub(crate) fn enter(
        &self,
        source: &Source,
        device: Device,
        keep_alive: Option<f64>,
    ) -> Result<Entering> {
        let keep = match keep_alive {
            Some(seconds) if (0.0..=LONGEST).contains(&seconds) => {
                Some(Duration::from_secs_f64(seconds))
            }
            Some(seconds) if !seconds.is_nan() => None,
            _ => self.0.settings.keep_alive,
        };
        let key = Key { bytes: source.bytes.clone(), device };
        let settings = self.0.settings;
        let mut entries = self.entries();
        let ended = match entries.get(&key).map(|entry| &entry.state) {
            Some(State::Ready(model)) if model.worker.has_ended() => Some(Arc::clone(model)),
            _ => None,
        };
        if ended.is_some() {
            entries.remove(&key);
        }
        let entry = entries.entry(key.clone()).or_insert_with(|| {
            let waiting = Arc::<AtomicU64>::default();
            let loading = self.start_load(key, source.clone(), Arc::clone(&waiting), ended);
            Entry { waiting, state: State::Loading(loading) }
        });
        let before = entry.waiting.load(Ordering::Relaxed);
        let (bound, way) = match &entry.state {
            State::Ready(model) => {
                // Who was let in a moment ago waits too, until it takes the place that is free.
                let at_work = model.usage().active.saturating_sub(before);
                let free = (model.worker.n_places() as u64).saturating_sub(at_work);
                (u64::from(settings.queue) + free, Way::Ready(Use::new(self, model, keep)))
            }
            // Whoever waits for the load gets a place with it, or queues after it.
            State::Loading(loading) => (
                u64::from(settings.places) + u64::from(settings.queue),
                Way::Loading(loading.clone()),
            ),
        };
        if before >= bound {
            drop(entries);
            self.with_figures(|figures| figures.refused += 1);
            let message = format!("`{}` has too many requests: {before} wait", source.name);
            return Err(HiveError::new(ErrorKind::Busy, message).hint(
                "try again in a moment; `hive ps` shows what is at work, the settings `places` and \
                 `queue` bound it",
            ));
        }
        entry.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { engines: self.clone(), count: Arc::clone(&entry.waiting), before };
        Ok(Entering { engines: self.clone(), waiting, way, keep })
    }
}

impl Entering {
    /// Goes through load and queue. `queued` hears how many are before this request, if it has to
    /// wait for a place. Dropping the future leaves the queue.
    pub(crate) async fn wait(self, queued: impl AsyncFnOnce(u64)) -> Result<Lease> {
        let Self { engines, waiting, way, keep } = self;
        let (used, load_seconds) = match way {
            Way::Ready(used) => (used, 0.0),
            Way::Loading(loading) => {
                let model = loading.await?;
                // It may be gone again, which its worker says then.
                let seconds = model.worker.load_seconds();
                (Use::new(&engines, &model, keep), seconds)
            }
        };
        let worker = &used.model.worker;
        let place = if let Some(place) = worker.try_place() {
            place
        } else {
            queued(waiting.before).await;
            let place = worker.place().await;
            place.map_err(|failure| engine_error(&used.model.name, &failure))?
        };
        Ok(Lease { used, place: Some(place), load_seconds })
    }
}

impl Lease {
    pub(crate) fn model(&self) -> &Model {
        &self.used.model
    }

    /// The place, which is the worker's from now on.
    pub(crate) fn take_place(&mut self) -> Result<Place> {
        self.place.take().ok_or_else(crate::errors::stopping)
    }

    /// Takes note of an answer that came to its end. A model that answers and answers is sound,
    /// whatever it was before.
    pub(crate) async fn answered(&self) {
        let model = &self.used.model;
        if model.answers.fetch_add(1, Ordering::Relaxed) + 1 != WELL {
            return;
        }
        let (store, bytes) = (self.used.engines.0.store.clone(), model.key.bytes.clone());
        if let Err(error) = blocking(move || quarantine::forgive(&store, &bytes)).await {
            tracing::warn!(%error, "cannot forget the crashes of a model");
        }
    }

    pub(crate) fn error(&self, failure: &hive_api::Failure) -> HiveError {
        engine_error(&self.used.model.name, failure)
    }
}

/// A request that a model could not meet, told to a person.
fn engine_error(name: &str, failure: &hive_api::Failure) -> HiveError {
    use hive_api::FailureKind;
    let kind = match failure.kind {
        FailureKind::Request | FailureKind::Unsupported => ErrorKind::Usage,
        _ => ErrorKind::Failed,
    };
    let error = HiveError::caused(kind, format!("cannot run `{name}`"), failure);
    match failure.kind {
        FailureKind::Crashed => error.hint("the same request starts it anew"),
        _ => error,
    }
}
