//! `hive add hf:…`, `ollama:…`, `https:…`: a model of a hub, an address or another program becomes
//! one of ours.
//!
//! `hive-hub` says what there is and brings it, the store takes it; here is the order of it: what
//! will come is known and has room before a byte is asked for, and what was brought is removed only
//! when the store has it. One pull of a source at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hive_api::{
    Added, Discovered, ErrorKind, Events, HiveError, Listing, PullEvent, PullRequest, Result,
    Visibility,
};
use hive_hub::{Hub, Plan, Tell};
use hive_protocol::BlockId;
use hive_protocol::limits::TEXT_LEN;
use hive_store as store;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::add::parse_name;
use crate::library::{self, license_key};
use crate::local::{Local, blocking, send_last};
use crate::{errors, machine};

pub(crate) mod leftovers;

/// Events that may wait for their reader; progress beyond that is dropped.
const EVENTS: usize = 32;
/// Time between two events of progress.
const TICK: Duration = Duration::from_millis(250);
/// How much of the rate is the last tick's: what a person sees shall not jump.
const SMOOTHING: f64 = 0.2;

/// Pulls that are going on, by the key of their plan: the bytes that each will have brought.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    hub: Hub,
    running: Arc<Mutex<HashMap<String, u64>>>,
}

/// The right to use a download's directory, given back on drop.
#[derive(Debug)]
struct Claim {
    running: Arc<Mutex<HashMap<String, u64>>>,
    key: String,
}

impl Pulls {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a key, unless somebody has. Also says what all others will bring.
    fn claim(&self, key: String, bytes: u64) -> Option<(Claim, u64)> {
        let mut running = self.lock();
        let others = running.values().sum();
        match running.entry(key.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(entry) => {
                entry.insert(bytes);
                Some((Claim { running: Arc::clone(&self.running), key }, others))
            }
        }
    }

    fn is_running(&self, key: &str) -> bool {
        self.lock().contains_key(key)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Where the source of a model is kept, for its card.
fn source_key(id: &BlockId) -> String {
    format!("source/{id}")
}

/// Where a model came from, if it was pulled.
pub(crate) fn source(store: &store::Store, id: &BlockId) -> Result<Option<String>> {
    let source = store
        .meta(&source_key(id))
        .map_err(|error| errors::store("cannot read the index", &error))?;
    Ok(source.and_then(|bytes| String::from_utf8(bytes).ok()))
}

impl Local {
    pub(crate) async fn look_at(&self, request: PullRequest) -> Result<Listing> {
        self.refuse_beyond_the_lan(&request.source)?;
        let mut listing = self.pulls.hub.look(&request, &silent()).await?;
        let memory = machine::look().memory;
        for choice in &mut listing.choices {
            choice.fits = (memory > 0).then(|| fits(choice.size, memory));
        }
        Ok(listing)
    }

    /// What other programs left on this disk is as near as can be; hubs and addresses are not.
    fn refuse_beyond_the_lan(&self, source: &str) -> Result<()> {
        if !self.config.lan_only || source.starts_with("ollama:") {
            return Ok(());
        }
        let message = format!("`{source}` is not fetched: this node keeps to the LAN (`lan-only`)");
        Err(HiveError::new(ErrorKind::Refused, message).hint(
            "add a file or directory of this disk, `hive fetch` it from a node of the LAN, or run \
             the node without `--lan-only`",
        ))
    }

    pub(crate) async fn discover_models(&self) -> Result<Vec<Discovered>> {
        self.pulls.hub.discover().await
    }

    /// Pulls a model; dropping the stream stops it and keeps what was downloaded.
    pub(crate) fn pull_model(&self, request: PullRequest) -> Events<PullEvent> {
        let (events, stream) = mpsc::channel(EVENTS);
        let local = self.clone();
        self.tasks.spawn(async move {
            let last = tokio::select! {
                done = local.pull_now(request, &events) => done.map(PullEvent::Done),
                () = events.closed() => return,
                () = local.stop.cancelled() => {
                    Err(HiveError::new(ErrorKind::Interrupted, "stopped"))
                }
            };
            send_last(&events, last, &local.stop).await;
        });
        Box::pin(ReceiverStream::new(stream))
    }

    async fn pull_now(
        &self,
        request: PullRequest,
        events: &mpsc::Sender<Result<PullEvent>>,
    ) -> Result<Added> {
        self.refuse_beyond_the_lan(&request.source)?;
        let name = request.name.as_deref().map(parse_name).transpose()?;
        let plan = self.pulls.hub.plan(&request, &teller(events)).await?;
        // What is here already under another name keeps that one, unless this one was asked for.
        let default = parse_name(&plan.name)?;
        let key = plan.key();
        let dir = self.store.downloads().join(&key);
        let to_download = plan.to_download();
        let (claim, others) = self.pulls.claim(key, to_download).ok_or_else(|| {
            let told = format!("`{}` is being added already", plan.source);
            HiveError::new(ErrorKind::Busy, told).hint("wait for that one, or stop it")
        })?;
        let downloaded = self.room_for(&plan, &dir, others).await?;
        let found = PullEvent::Found {
            source: plan.source.clone(),
            files: plan.files.len() as u64,
            size: plan.size(),
            present: plan.size() - to_download + downloaded,
            notes: plan.notes.clone(),
        };
        let _ = events.send(Ok(found)).await;
        download(&plan, &dir, downloaded, events).await?;
        self.take((name, default), plan, request, &dir, claim, events.clone()).await
    }

    /// Refuses what has no room, and says how much of it is here from earlier.
    async fn room_for(&self, plan: &Plan, dir: &Path, others: u64) -> Result<u64> {
        let to_download = plan.to_download();
        if to_download == 0 {
            return Ok(0);
        }
        let downloaded = plan.downloaded(dir).min(to_download);
        let (store, source) = (self.store.clone(), plan.source.clone());
        blocking(move || {
            store.check_room(to_download.saturating_add(others), downloaded).map_err(|error| {
                let told = format!("no room for `{source}`");
                match error {
                    store::SpaceError::NoRoom(error) => {
                        HiveError::caused(ErrorKind::NoSpace, told, &error)
                            .hint("free some space (`hive gc`, `hive rm`), or raise the quota")
                    }
                    error => errors::store(told, &error),
                }
            })
        })
        .await?;
        Ok(downloaded)
    }

    /// Gives the files to the store.
    async fn take(
        &self,
        (name, default): (Option<hive_protocol::Name>, hive_protocol::Name),
        plan: Plan,
        request: PullRequest,
        dir: &Path,
        claim: Claim,
        events: mpsc::Sender<Result<PullEvent>>,
    ) -> Result<Added> {
        let configured = Some(self.config.share).filter(|share| *share != Visibility::Local);
        let options = store::AddOptions {
            name,
            visibility: request.visibility.or(configured).map(library::visibility),
            link: request.link,
        };
        let (store, stop, dir) = (self.store.clone(), self.stop.clone(), dir.to_owned());
        let added = blocking(move || {
            // Whoever drops the stream now leaves this thread to its end; the claim ends with it.
            let _claim = claim;
            let files: Vec<_> = plan
                .ready(&dir)
                .into_iter()
                .map(|file| store::AddFile {
                    path: file.path,
                    from: file.at,
                    take: file.downloaded,
                    sha256: file.sha256,
                })
                .collect();
            let mut last = None::<Instant>;
            let mut progress = |now: store::Progress| {
                if events.is_closed() || stop.is_cancelled() {
                    return ControlFlow::Break(());
                }
                if last.is_none_or(|last| last.elapsed() >= TICK) {
                    last = Some(Instant::now());
                    let event = PullEvent::Adding { bytes: now.bytes, total: now.total };
                    // Progress that nobody has read yet is out of date anyway.
                    let _ = events.try_send(Ok(event));
                }
                ControlFlow::Continue(())
            };
            let added = store
                .add_files(&default, &files, plan.is_file, &options, &mut progress)
                .map_err(|error| add_error(&plan, &dir, &error))?;
            keep_facts(&store, &added.id, &plan, request.license.as_deref())?;
            leftovers::remove(&dir);
            Ok(added)
        })
        .await?;
        self.offers_changed();
        Ok(Added {
            cid: added.id.to_string(),
            name: added.name.to_string(),
            size: added.size,
            chunks: added.n_chunks,
            storage: library::storage(added.storage),
            notes: Vec::new(),
        })
    }
}

/// Downloads, and tells how it goes.
async fn download(
    plan: &Plan,
    dir: &Path,
    downloaded: u64,
    events: &mpsc::Sender<Result<PullEvent>>,
) -> Result<()> {
    if plan.to_download() == 0 {
        return Ok(());
    }
    let bytes = Arc::new(AtomicU64::new(0));
    let tell = teller(events);
    let mut work = std::pin::pin!(plan.download(dir, &bytes, &tell));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let size = plan.size();
    let cached = size - plan.to_download();
    let (mut shown, mut rate) = (downloaded, 0.0);
    loop {
        tokio::select! {
            done = &mut work => {
                done?;
                // The reader has seen the end of the way, not the last tick before it.
                let event = PullEvent::Progress { bytes: size, size, rate, eta: Some(0.0) };
                let _ = events.try_send(Ok(event));
                return Ok(());
            }
            _ = ticks.tick() => {
                // What turns out to be wrong is downloaded again; progress waits for it.
                let now = bytes.load(Ordering::Relaxed).max(shown);
                let last = (now - shown) as f64 / TICK.as_secs_f64();
                rate = if rate > 0.0 { rate + SMOOTHING * (last - rate) } else { last };
                shown = now;
                let left = (size - cached).saturating_sub(now);
                let eta = (rate > 1.0).then(|| left as f64 / rate);
                let event = PullEvent::Progress { bytes: cached + now, size, rate, eta };
                let _ = events.try_send(Ok(event));
            }
        }
    }
}

/// Keeps what the card will say.
fn keep_facts(
    store: &store::Store,
    id: &BlockId,
    plan: &Plan,
    license: Option<&str>,
) -> Result<()> {
    let keep = |key: String, value: &str| {
        store
            .set_meta(&key, value.as_bytes())
            .map_err(|error| errors::store("cannot keep where the model came from", &error))
    };
    if let Some(license) = license.or(plan.license.as_deref()) {
        keep(license_key(id), license)?;
    }
    if plan.source.len() <= TEXT_LEN {
        keep(source_key(id), &plan.source)?;
    }
    Ok(())
}

fn add_error(plan: &Plan, dir: &Path, error: &store::AddError) -> HiveError {
    let told = format!("cannot add `{}`", plan.source);
    match error {
        store::AddError::Stopped => HiveError::new(ErrorKind::Interrupted, "stopped"),
        store::AddError::NoRoom(_) => HiveError::caused(ErrorKind::NoSpace, told, error)
            .hint("free some space, raise the quota, or add it in place with `--link`"),
        store::AddError::Digest { path } => {
            let ours = is_below(path, dir);
            if ours {
                leftovers::remove(dir);
            }
            let hint = if ours {
                "it changed on the disk after it was downloaded; run the same command again"
            } else {
                "the other program's copy is damaged; have that program fetch it again"
            };
            HiveError::caused(ErrorKind::Verification, told, error).hint(hint)
        }
        error => errors::store(told, error),
    }
}

/// Whether a file is in a directory. The store names files with links resolved, and the directory
/// of models may be one.
fn is_below(path: &Path, dir: &Path) -> bool {
    dir.canonicalize().is_ok_and(|dir| path.starts_with(dir))
}

/// Weights and a little for what they compute with, in memory that the system needs some of.
fn fits(size: u64, memory: u64) -> bool {
    size.saturating_add(size / 8) <= memory - memory / 8
}

fn silent() -> Tell {
    Arc::new(|_| {})
}

fn teller(events: &mpsc::Sender<Result<PullEvent>>) -> Tell {
    let events = events.clone();
    Arc::new(move |event| {
        // With nobody reading there is nobody to tell.
        let _ = events.try_send(Ok(event));
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Who moved his models to another disk has a link there.
    #[test]
    fn a_download_behind_a_link_is_still_ours() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("disk");
        std::fs::create_dir_all(real.join("key/files")).unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("models")).unwrap();
        let download = dir.path().join("models/key");
        assert!(is_below(&real.join("key/files/x.gguf"), &download));
        assert!(!is_below(&real.join("other/x.gguf"), &download));
        assert!(!is_below(&real.join("key/x"), &dir.path().join("none")));
    }
}
