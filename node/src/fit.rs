//! What running a model takes of this machine, and how long things take, for people who choose:
//! measured where something was measured, estimated from that elsewhere.
//!
//! What a run took is kept by [`crate::engines`], for each model; here are the estimates for those
//! that never ran, and the rate of the latest fetch. Never loads a model, never fetches. A figure
//! that cannot be read or written is one that is not known; nothing fails for it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hive_api::{EngineOptions, Fit};
use hive_protocol::BlockId;
use hive_store::{Model, State, Store};
use hive_worker::Input;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engines::fit::{CONTEXT, Measured, measured, needed};

/// Where the rate of the latest fetch is kept.
const FETCH: &str = "figures/fetch";
/// Where the rate of this machine's memory is kept.
const MEMORY: &str = "figures/memory";
/// What a process takes beside weights, when only the size of a file is known.
const OVERHEAD: u64 = 256 << 20;
/// Of what memory can be read at, the part that generating was seen to use: it also computes.
const GENERATING: f64 = 0.4;
/// The same for loading, which reads the file from the disk cache and copies it.
const LOADING: f64 = 0.15;
/// Fetches shorter than this say little.
const SHORTEST: Duration = Duration::from_millis(50);
/// Models whose figures an estimate looks at.
const LOOKED_AT: usize = 32;

/// Bytes of memory for models: in all, and not taken by models at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) total: u64,
    pub(crate) free: u64,
}

fn read<T: DeserializeOwned>(store: &Store, key: &str) -> Option<T> {
    serde_json::from_slice(&store.meta(key).ok()??).ok()
}

fn write(store: &Store, key: &str, value: &impl Serialize) {
    let kept = serde_json::to_vec(value).map(|bytes| store.set_meta(key, &bytes));
    if let Ok(Err(error)) = kept {
        tracing::debug!(key, %error, "a figure is not kept");
    }
}

/// Keeps how quickly a fetch went, in bytes a second.
pub(crate) fn record_fetch(store: &Store, bytes: u64, took: Duration) {
    if bytes > 0 && took >= SHORTEST {
        write(store, FETCH, &(bytes as f64 / took.as_secs_f64()));
    }
}

/// Seconds that fetching so many bytes takes at the rate of the latest fetch.
pub(crate) fn fetch_seconds(store: &Store, missing: u64) -> Option<f64> {
    let rate: f64 = read(store, FETCH).filter(|rate| *rate > 0.0)?;
    (missing > 0).then_some(missing as f64 / rate)
}

/// Bytes of memory that a model of this size needs, of which nothing else is known.
fn needed_by_size(size: u64) -> u64 {
    // Keys and values of a usual context are about a tenth of quantised weights.
    size.saturating_add(size / 10).saturating_add(OVERHEAD)
}

/// Whether a model of this size fits the memory that there is.
pub(crate) fn fits(size: u64, room: Room) -> bool {
    needed_by_size(size) <= room.total
}

/// What a model that is only offered takes.
pub(crate) fn of_offer(store: &Store, size: u64, room: Room) -> Fit {
    estimate(store, None, size, needed_by_size(size), CONTEXT, room)
}

/// What a model that is here takes. Its files' headers say how much each token of context does.
pub(crate) fn of_model(store: &Store, model: &Model, options: &EngineOptions, room: Room) -> Fit {
    let mut inputs = Vec::new();
    for file in store.files(&model.id).unwrap_or_default() {
        let Ok(open) = std::fs::File::open(&file.on_disk) else { continue };
        let path = file.path.to_string();
        inputs.push(Input { path, file: open, at: file.on_disk, gate: None });
    }
    let bytes =
        if inputs.is_empty() { needed_by_size(model.size) } else { needed(&mut inputs, options) };
    let context = options.context.map_or(CONTEXT, |most| CONTEXT.min(u64::from(most)));
    estimate(store, Some(&model.id), model.size, bytes, context, room)
}

fn estimate(
    store: &Store,
    id: Option<&BlockId>,
    size: u64,
    needed: u64,
    context: u64,
    room: Room,
) -> Fit {
    let own = id.and_then(|id| measured(store, id)).filter(|own| own.tokens_per_second > 0.0);
    let (load, generate) = if let Some(own) = own {
        (own.load_seconds, own.tokens_per_second)
    } else {
        let rates = rates(store);
        let bytes = size.max(1) as f64;
        (bytes / rates.load, rates.generate / bytes)
    };
    Fit {
        needed,
        context,
        free: room.free,
        total: room.total,
        fits: needed <= room.total,
        load_seconds: Some(load),
        tokens_per_second: Some(generate),
        measured: own.is_some(),
    }
}

/// Bytes a second, of any model's files.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rates {
    load: f64,
    generate: f64,
}

/// What the models that ran here did on average; before any did, what the memory lets expect.
fn rates(store: &Store) -> Rates {
    let ran = |model: Model| -> Option<(f64, Measured)> {
        let whole = model.state == State::Whole;
        let known = measured(store, &model.id).filter(|_| whole)?;
        let tells = known.tokens_per_second > 0.0 && known.load_seconds > 0.0;
        tells.then_some((model.size as f64, known))
    };
    let models = store.list().unwrap_or_default();
    let ran: Vec<_> = models.into_iter().filter_map(ran).take(LOOKED_AT).collect();
    if ran.is_empty() {
        let memory = memory_rate(store);
        return Rates { load: memory * LOADING, generate: memory * GENERATING };
    }
    let mean =
        |rate: fn(&(f64, Measured)) -> f64| ran.iter().map(rate).sum::<f64>() / ran.len() as f64;
    Rates {
        load: mean(|(size, known)| size / known.load_seconds),
        generate: mean(|(size, known)| size * known.tokens_per_second),
    }
}

/// Bytes a second at which memory is read; measured once for a home.
fn memory_rate(store: &Store) -> f64 {
    if let Some(known) = read::<f64>(store, MEMORY).filter(|rate| *rate > 0.0) {
        return known;
    }
    let rate = measure_memory();
    write(store, MEMORY, &rate);
    rate
}

/// Bytes a second at which all cores together read memory: a look of some 30 ms, made once.
fn measure_memory() -> f64 {
    /// More than caches hold, for each core.
    const WORDS: usize = 4 << 20;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get().min(16));
    let begun = Instant::now();
    let seconds: f64 = std::thread::scope(|scope| {
        let look = || {
            let words = vec![1_u64; WORDS];
            let begun = Instant::now();
            black_box(words.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word)));
            begun.elapsed().as_secs_f64()
        };
        let looks: Vec<_> = (0..cores).map(|_| scope.spawn(look)).collect();
        // A thread that failed took the whole time at most.
        let took = looks.into_iter().map(std::thread::ScopedJoinHandle::join);
        took.map(|took| took.unwrap_or_else(|_| begun.elapsed().as_secs_f64())).fold(0.0, f64::max)
    });
    (cores * WORDS * size_of::<u64>()) as f64 / seconds.max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), hive_store::Options::default()).unwrap();
        (dir, store)
    }

    fn add(store: &Store, dir: &std::path::Path, name: &str, len: usize) -> Model {
        let path = dir.join(name);
        std::fs::write(&path, vec![name.len() as u8; len]).unwrap();
        let options = hive_store::AddOptions { name: None, visibility: None, link: false };
        let mut go_on = |_| std::ops::ControlFlow::Continue(());
        let added = store.add(&path, &options, &mut go_on).unwrap();
        store.get(&added.id).unwrap().unwrap()
    }

    const ROOM: Room = Room { total: 16 << 30, free: 8 << 30 };

    #[test]
    fn a_model_that_ran_is_told_as_measured_and_others_follow_from_it() {
        let (dir, store) = store();
        let (ran, other) =
            (add(&store, dir.path(), "ran", 1000), add(&store, dir.path(), "other", 2000));
        let known = Measured { load_seconds: 2.0, tokens_per_second: 25.0, memory: 1 };
        crate::engines::fit::record(&store, &ran.id, known);
        let fit_of = |model: &Model| of_model(&store, model, &EngineOptions::default(), ROOM);
        let known = fit_of(&ran);
        assert_eq!((known.load_seconds, known.tokens_per_second), (Some(2.0), Some(25.0)));
        assert!(known.measured && known.fits);
        let guessed = fit_of(&other);
        assert!(!guessed.measured);
        assert_eq!((guessed.load_seconds, guessed.tokens_per_second), (Some(4.0), Some(12.5)));
        let offered = of_offer(&store, 4000, ROOM);
        assert_eq!((offered.load_seconds, offered.tokens_per_second), (Some(8.0), Some(6.25)));
    }

    #[test]
    fn without_any_run_the_memory_is_measured_once() {
        let (_dir, store) = store();
        let first = of_offer(&store, 1 << 30, ROOM);
        assert!(first.tokens_per_second.is_some_and(|rate| rate > 0.0) && !first.measured);
        assert_eq!(first, of_offer(&store, 1 << 30, ROOM), "what was measured is kept");
    }

    #[test]
    fn a_fetch_that_says_nothing_is_not_kept() {
        let (_dir, store) = store();
        record_fetch(&store, 0, Duration::from_secs(1));
        record_fetch(&store, 1, Duration::from_nanos(1));
        assert_eq!(fetch_seconds(&store, 10), None);
        record_fetch(&store, 100, Duration::from_secs(2));
        assert_eq!((fetch_seconds(&store, 500), fetch_seconds(&store, 0)), (Some(10.0), None));
    }

    #[test]
    fn a_model_that_takes_more_than_there_is_does_not_fit() {
        assert!(fits(4 << 30, ROOM));
        assert!(!fits(15 << 30, ROOM));
        assert!(!fits(u64::MAX, ROOM));
    }
}
